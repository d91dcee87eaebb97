//! The words of `on_err` and `on_crash`.

use syn::parse::ParseStream;
use syn::{Error, Expr, ExprPath, Lit, Result};

use crate::options::{distance, expression};

/// What an `Err` or a crash means, by name.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    Rerun,
    Record,
    Fail,
}

pub(crate) enum OnErr {
    Always(Policy),
    /// A closure or a function that decides by the error.
    Decide(Expr),
}

/// A policy's name, and other words that people try.
const WORDS: &[(&str, Policy, &[&str])] = &[
    (
        "rerun",
        Policy::Rerun,
        &[
            "retry", "again", "repeat", "restart", "run", "release", "ignore", "forget", "none",
            "skip",
        ],
    ),
    (
        "record",
        Policy::Record,
        &[
            "recorded", "store", "stored", "save", "saved", "keep", "cache", "cached", "persist",
            "replay", "return", "final", "complete",
        ],
    ),
    (
        "fail",
        Policy::Fail,
        &[
            "failed",
            "abort",
            "reject",
            "error",
            "stop",
            "panic",
            "lost",
            "unknown",
            "doubt",
            "indeterminate",
        ],
    ),
];

/// The words that one option accepts.
struct Words {
    option: &'static str,
    policies: &'static [Policy],
    /// All accepted forms and their meaning, for error messages.
    hint: &'static str,
}

const ON_ERR: Words = Words {
    option: "on_err",
    policies: &[Policy::Rerun, Policy::Record, Policy::Fail],
    hint: "write `rerun` (nothing happened: the next call runs), `record` (the error is final: replay it), `fail` (nobody knows \
           what happened: ask an operator), or a closure that looks at the error, `|error| OnErr::…`",
};

const ON_CRASH: Words = Words {
    option: "on_crash",
    policies: &[Policy::Rerun, Policy::Fail],
    hint: "write `rerun` (the next call runs the body again) or `fail` (nobody knows what happened: ask an operator)",
};

/// A closure, or the path of a function, decides. A bare word may be a function too, unless it
/// resembles one of the three words: for a misspelt word the compiler would only say that no such
/// value exists.
pub(crate) fn on_err(input: ParseStream<'_>) -> Result<OnErr> {
    let value = expression(input)?;
    let decides = match &value {
        Expr::Closure(_) => true,
        Expr::Path(path) => match path.path.get_ident() {
            Some(word) => ON_ERR.meant_by(&word.to_string()).is_none(),
            None => !is_variant(path),
        },
        _ => false,
    };
    if decides {
        return Ok(OnErr::Decide(value));
    }
    ON_ERR.policy(&value).map(OnErr::Always)
}

pub(crate) fn on_crash(input: ParseStream<'_>) -> Result<Policy> {
    ON_CRASH.policy(&expression(input)?)
}

impl Words {
    /// The policy that `value` names, without quotes and without a path.
    fn policy(&self, value: &Expr) -> Result<Policy> {
        let word = written(value);
        let bare = matches!(value, Expr::Path(path) if path.path.get_ident().is_some());
        if let Some((_, policy, _)) = self
            .words()
            .find(|(name, ..)| bare && word.as_deref() == Some(name))
        {
            return Ok(*policy);
        }
        let Self { option, hint, .. } = self;
        let message = match word.as_deref().map(|word| (word, self.meant_by(word))) {
            Some((word, Some(name))) if bare && self.takes_a_function() => format!(
                "did you mean `{option} = {name}`? Otherwise {hint}. For a function of this name, write `self::{word}`"
            ),
            Some((_, Some(name))) => format!("did you mean `{option} = {name}`? Otherwise {hint}"),
            Some((word, None)) => format!("`{word}` is no word of `{option}`: {hint}"),
            None => format!("this is nothing that `{option}` can be: {hint}"),
        };
        Err(Error::new_spanned(value, message))
    }

    fn takes_a_function(&self) -> bool {
        self.policies.contains(&Policy::Record)
    }

    fn words(
        &self,
    ) -> impl Iterator<Item = &'static (&'static str, Policy, &'static [&'static str])> {
        WORDS
            .iter()
            .filter(|(_, policy, _)| self.policies.contains(policy))
    }

    /// The policy that a misspelt word or a synonym stands for.
    fn meant_by(&self, word: &str) -> Option<&'static str> {
        let word = word.to_lowercase();
        let mut by_meaning = self.words().filter(|(.., others)| others.contains(&&*word));
        if let Some((name, ..)) = by_meaning.next() {
            return Some(name);
        }
        let slips = self
            .words()
            .map(|(name, ..)| (distance(&word, name), *name));
        let nearest = slips.filter(|(slips, _)| *slips <= 2).min();
        nearest.map(|(_, name)| name)
    }
}

/// Whether this is `OnErr::Record`, `RerunOrFail::Fail`, `idempotent_fn::OnErr::…`. A closure
/// returns such a value; as the option's value it is a mistake.
fn is_variant(path: &ExprPath) -> bool {
    let mut segments = path.path.segments.iter().rev().skip(1);
    segments.next().is_some_and(|of| {
        ["OnErr", "OnCrash", "RerunOrFail", "Policy"]
            .iter()
            .any(|name| of.ident == name)
    })
}

/// The last segment of a path, or the text in quotes.
fn written(value: &Expr) -> Option<String> {
    match value {
        Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;

    use super::{OnErr, on_crash, on_err};

    #[test]
    fn a_word_that_looks_like_a_policy_is_none_and_others_are_functions() {
        for (word, name) in [
            ("recrod", "record"),
            ("reccorrd", "record"),
            ("Record", "record"),
            ("rerunn", "rerun"),
            ("retry", "rerun"),
            ("again", "rerun"),
            ("fial", "fail"),
            ("Abort", "fail"),
            ("doubt", "fail"),
            ("OnErr::Record", "record"),
        ] {
            let refused = on_err.parse_str(word).err().expect(word).to_string();
            assert!(
                refused.starts_with(&format!("did you mean `on_err = {name}`?")),
                "{word}: {refused}"
            );
        }
        for function in [
            "policy",
            "in_doubt",
            "classify",
            "is_final",
            "self::retry",
            "Self::record",
            "errors::fail",
        ] {
            assert!(
                matches!(on_err.parse_str(function), Ok(OnErr::Decide(_))),
                "{function}"
            );
        }
        for policy in ["rerun", "record", "fail"] {
            assert!(
                matches!(on_err.parse_str(policy), Ok(OnErr::Always(_))),
                "{policy}"
            );
        }
    }

    #[test]
    fn no_function_decides_after_a_crash() {
        for word in ["policy", "record", "self::fail", "|_| fail", "\"fail\""] {
            assert!(on_crash.parse_str(word).is_err(), "{word}");
        }
    }
}
