//! Durations written as `"250ms"`, `"30s"`, `"10m"`, `"24h"`, `"7d"` or `"1h30m"`.

use proc_macro2::{Ident, Span};
use quote::quote_spanned;
use syn::parse::ParseStream;
use syn::{Error, Expr, Lit, LitInt, Result};

use crate::options::expression;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// A unit, its milliseconds, and other spellings that people try.
const UNITS: &[(&str, u64, &[&str])] = &[
    (
        "ms",
        1,
        &[
            "milli",
            "millis",
            "millisecond",
            "milliseconds",
            "msec",
            "msecs",
        ],
    ),
    ("s", SECOND, &["sec", "secs", "second", "seconds"]),
    ("m", 60 * SECOND, &["min", "mins", "minute", "minutes"]),
    ("h", 3_600 * SECOND, &["hr", "hrs", "hour", "hours"]),
    ("d", DAY, &["day", "days"]),
];

const EXAMPLE: &str = "write a number and a unit (ms, s, m, h, d), as in \"30s\" or \"1h30m\"";

pub(crate) fn ttl(input: ParseStream<'_>) -> Result<Expr> {
    let value = expression(input)?;
    if matches!(value, Expr::Closure(_)) {
        return Ok(value);
    }
    duration(value, |millis| {
        (millis == 0).then_some("a result must be kept for at least \"1ms\"")
    })
}

pub(crate) fn lease(input: ParseStream<'_>) -> Result<Expr> {
    duration(expression(input)?, |millis| {
        (!(1..=DAY).contains(&millis)).then_some("a lease is between \"1ms\" and \"1d\"")
    })
}

pub(crate) fn timeout(input: ParseStream<'_>) -> Result<Expr> {
    duration(expression(input)?, |millis| {
        (millis == 0).then_some("a body must be let run for at least \"1ms\"")
    })
}

pub(crate) fn wait(input: ParseStream<'_>) -> Result<Expr> {
    duration(expression(input)?, |_| None)
}

/// A string literal becomes a constant `Duration`. Any other expression must be a `Duration`
/// itself.
fn duration(value: Expr, refuse: fn(u64) -> Option<&'static str>) -> Result<Expr> {
    let literal = match &value {
        Expr::Lit(expr) => &expr.lit,
        Expr::Closure(_) => {
            return Err(Error::new_spanned(
                value,
                "there is no result to look at yet: only `ttl` can be a closure; write a duration, as in \"30s\"",
            ));
        }
        _ => return Ok(value),
    };
    let Lit::Str(text) = literal else {
        return Err(Error::new_spanned(
            literal,
            "write the duration with its unit in quotes, as in \"30s\"",
        ));
    };
    let millis = parse(&text.value()).map_err(|message| Error::new(text.span(), message))?;
    if let Some(message) = refuse(millis) {
        return Err(Error::new(text.span(), message));
    }
    Ok(constant(millis, text.span()))
}

fn constant(millis: u64, at: Span) -> Expr {
    let span = Span::mixed_site().located_at(at);
    let (constructor, count) = if millis.is_multiple_of(SECOND) {
        ("from_secs", millis / SECOND)
    } else {
        ("from_millis", millis)
    };
    let constructor = Ident::new(constructor, span);
    let count = LitInt::new(&readable(count), span);
    Expr::Verbatim(quote_spanned!(span=> ::core::time::Duration::#constructor(#count)))
}

/// `86400` as `86_400`.
fn readable(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// Parses the text to milliseconds, or says what is wrong with it.
fn parse(text: &str) -> std::result::Result<u64, String> {
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(format!("a duration cannot be negative; {EXAMPLE}"));
    }
    let mut total = 0_u64;
    loop {
        let digits = leading(rest, |c| c.is_ascii_digit() || c == '_');
        let unit = leading(&rest[digits.len()..], |c| !c.is_ascii_digit());
        rest = &rest[digits.len() + unit.len()..];
        let digits = digits.replace('_', "");
        if digits.is_empty() {
            return Err(EXAMPLE.to_owned());
        }
        let Some((_, size, _)) = UNITS.iter().find(|(name, ..)| *name == unit) else {
            return Err(unit_error(&digits, unit));
        };
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*size))
            .and_then(|part| total.checked_add(part))
            .ok_or("this duration is too long to be counted in milliseconds")?;
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

fn leading(text: &str, accept: fn(char) -> bool) -> &str {
    &text[..text.find(|c| !accept(c)).unwrap_or(text.len())]
}

fn unit_error(digits: &str, unit: &str) -> String {
    let word = unit.trim().to_lowercase();
    let meant = UNITS
        .iter()
        .find(|(name, _, words)| *name == word || words.contains(&word.as_str()));
    match meant {
        Some((name, ..)) => format!("units are short: write \"{digits}{name}\""),
        None if word.is_empty() => format!("`{digits}` of what? {EXAMPLE}"),
        None if word.starts_with('.') => format!("whole numbers only; {EXAMPLE}"),
        None => format!("`{word}` is not a unit; {EXAMPLE}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{UNITS, parse, readable};

    #[test]
    fn units_add_up() {
        assert_eq!(parse("250ms"), Ok(250));
        assert_eq!(parse(" 30s "), Ok(30_000));
        assert_eq!(parse("1h30m"), Ok(5_400_000));
        assert_eq!(parse("7d"), Ok(604_800_000));
        assert_eq!(parse("1_000s"), Ok(1_000_000));
        assert_eq!(parse("0s"), Ok(0));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let message = |text| parse(text).unwrap_err();
        assert_eq!(message("10 minutes"), "units are short: write \"10m\"");
        assert_eq!(message("10 m"), "units are short: write \"10m\"");
        assert_eq!(message("5S"), "units are short: write \"5s\"");
        for (text, start) in [
            ("24", "`24` of what?"),
            ("-1s", "a duration cannot be negative"),
            ("", "write a number and a unit"),
            ("s", "write a number and a unit"),
            ("1.5h", "whole numbers only"),
            ("3w", "`w` is not a unit"),
            ("99999999999999999999s", "this duration is too long"),
            ("18446744073709551615s", "this duration is too long"),
        ] {
            assert!(
                message(text).starts_with(start),
                "{text:?}: {}",
                message(text)
            );
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(readable(0), "0");
        assert_eq!(readable(999), "999");
        assert_eq!(readable(86_400), "86_400");
        assert_eq!(readable(1_000_000), "1_000_000");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn any_text_is_a_duration_or_a_mistake_with_advice(text in any::<String>()) {
            if let Err(message) = parse(&text) {
                prop_assert!(message.contains("write") || message.contains("too long"), "{}", message);
            }
        }

        /// Texts that are almost durations: digits, signs and units in some order.
        #[test]
        fn near_misses_do_not_panic(text in "[0-9_ .smhdw+-]{0,30}|[0-9]{1,40}(ms|s|m|h|d)") {
            let _ = parse(&text);
        }

        #[test]
        fn parts_add_up_or_are_too_long(parts in vec((any::<u64>(), select(UNITS)), 1..5)) {
            let texts: Vec<String> = parts.iter().map(|(count, (unit, ..))| format!("{count}{unit}")).collect();
            let text = texts.concat();
            let total: u128 = parts.iter().map(|(count, (_, size, _))| u128::from(*count) * u128::from(*size)).sum();
            match u64::try_from(total) {
                Ok(total) => prop_assert_eq!(parse(&text), Ok(total)),
                Err(_) => prop_assert!(parse(&text).unwrap_err().contains("too long")),
            }
        }

        #[test]
        fn grouped_digits_are_the_same_number(count: u64) {
            prop_assert_eq!(readable(count).replace('_', ""), count.to_string());
            prop_assert_eq!(parse(&format!("{}ms", readable(count))), Ok(count));
        }
    }
}
