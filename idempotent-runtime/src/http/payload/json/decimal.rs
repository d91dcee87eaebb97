//! Which numbers of a JSON text their doubles give back.

/// Each decimal of so many digits is given back by its double ...
const DIGITS: usize = 15;
/// ... if the double is none of the smallest, which have fewer.
const SMALLEST: i64 = -300;

/// No double gives back more digits than these.
const MOST_DIGITS: usize = 17;

/// Whether `text`, which is JSON, has exactly `count` numbers, and the double of each that is no
/// integer of 64 bits gives back the number's exact value. Then different values are different
/// doubles.
pub(super) fn are_exact(text: &[u8], count: usize) -> bool {
    let (mut rest, mut found) = (text, 0);
    while let Some((&first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => behind_text(behind),
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|byte| !is_of_number(*byte));
                let (number, behind) = rest.split_at(end.unwrap_or(rest.len()));
                if !str::from_utf8(number).is_ok_and(is_exact) {
                    return false;
                }
                found += 1;
                behind
            }
            _ => behind,
        };
    }
    found == count
}

/// What is behind a text's end, where `rest` is behind its first quote.
fn behind_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let is_end = rest[at] == b'"';
        rest = rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or(&[]);
        if is_end {
            return rest;
        }
    }
    &[]
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

fn is_exact(number: &str) -> bool {
    if number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok() {
        return true;
    }
    let Some(decimal) = Decimal::of(number) else {
        return false;
    };
    if decimal.digits.is_empty() {
        return true;
    }
    if decimal.digits.len() > MOST_DIGITS {
        return false;
    }
    if decimal.digits.len() <= DIGITS && (SMALLEST..-SMALLEST).contains(&decimal.exponent) {
        return true;
    }
    // Rust writes the shortest decimal that no other double is nearer to.
    let double = number.parse::<f64>().ok().filter(|it| it.is_finite());
    double.and_then(|it| Decimal::of(&format!("{it:e}"))) == Some(decimal)
}

/// The size of a number: 0.`digits` times ten to the `exponent`.
#[derive(Debug, PartialEq)]
struct Decimal {
    /// Without zeros at either end. None for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// `None` where the exponent is none of 64 bits.
    fn of(number: &str) -> Option<Self> {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let mantissa = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        if digits.is_empty() {
            let exponent = 0;
            return Some(Self { digits, exponent });
        }
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(point)?;
        Some(Self { digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is taken for given is so: the short way and the long way say the same.
        #[test]
        fn fifteen_digits_are_given_back(digits in "[1-9][0-9]{0,14}", exponent in -300_i32..280) {
            let number = format!("{digits}e{exponent}");
            let double: f64 = number.parse().unwrap();
            prop_assert_eq!(Decimal::of(&format!("{double:e}")), Decimal::of(&number));
            prop_assert!(is_exact(&number));
        }

        /// Each double has a decimal that counts by its value.
        #[test]
        fn what_encoders_write_is_exact(number in any::<f64>()) {
            prop_assume!(number.is_finite());
            for text in [format!("{number:e}"), format!("{number:?}"), format!("{number}")] {
                prop_assert!(is_exact(&text), "{}", text);
            }
        }
    }
}
