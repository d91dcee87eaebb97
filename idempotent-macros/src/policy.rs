//! The words of `on_err` and `on_crash`.

use syn::parse::ParseStream;
use syn::{Error, Expr, ExprPath, Lit, Result};

use crate::options::{distance, expression};

/// What to do after an `Err` or a crash, by name.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    Rerun,
    Record,
    Fail,
}

pub(crate) enum OnErr {
    Always(Policy),
    /// A closure or a function that looks at the error.
    Decide(Expr),
}

/// A policy's name, and what people write instead of it.
const WORDS: &[(&str, Policy, &[&str])] = &[
    (
        "rerun",
        Policy::Rerun,
        &[
            "retry", "again", "repeat", "restart", "run", "release", "ignore", "forget", "none",
        ],
    ),
    (
        "record",
        Policy::Record,
        &[
            "store", "save", "keep", "cache", "persist", "replay", "return", "final", "complete",
        ],
    ),
    (
        "fail",
        Policy::Fail,
        &[
            "abort",
            "error",
            "stop",
            "panic",
            "lost",
            "unknown",
            "doubt",
            "in_doubt",
            "indeterminate",
        ],
    ),
];

/// The words that one option takes.
struct Words {
    option: &'static str,
    policies: &'static [Policy],
    /// All that can be written, and what it means.
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

/// A function is a path of two segments at least (`self::classify`), or is called by a closure: a bare word that is none of
/// ours may be a mistake, and the compiler would only say that there is no such value.
pub(crate) fn on_err(input: ParseStream<'_>) -> Result<OnErr> {
    let value = expression(input)?;
    match &value {
        Expr::Closure(_) => Ok(OnErr::Decide(value)),
        Expr::Path(path) if path.path.get_ident().is_none() && !is_variant(path) => {
            Ok(OnErr::Decide(value))
        }
        _ => ON_ERR.policy(&value).map(OnErr::Always),
    }
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
            Some((_, Some(name))) => format!("did you mean `{option} = {name}`? Otherwise {hint}"),
            Some((word, None)) if bare && self.policies.contains(&Policy::Record) => format!(
                "`{word}` is no word of `{option}`: {hint}. For a function of this name: `|error| {word}(error)`"
            ),
            Some((word, None)) => format!("`{word}` is no word of `{option}`: {hint}"),
            None => format!("this is nothing that `{option}` can be: {hint}"),
        };
        Err(Error::new_spanned(value, message))
    }

    fn words(
        &self,
    ) -> impl Iterator<Item = &'static (&'static str, Policy, &'static [&'static str])> {
        WORDS
            .iter()
            .filter(|(_, policy, _)| self.policies.contains(policy))
    }

    /// The policy that a slip of the pen, or a word of the same meaning, stands for.
    fn meant_by(&self, word: &str) -> Option<&'static str> {
        let word = word.to_lowercase();
        let by_letters = |(name, ..): &&(&'static str, Policy, _)| distance(&word, name) <= 1;
        let by_meaning =
            |(_, _, others): &&(&'static str, Policy, &[&str])| others.contains(&&*word);
        let found = self.words().find(by_letters);
        found
            .or_else(|| self.words().find(by_meaning))
            .map(|(name, ..)| *name)
    }
}

/// `OnErr::Record`, `RerunOrFail::Fail`, `idempotent_fn::OnErr::…`: what a closure answers, and not what decides.
fn is_variant(path: &ExprPath) -> bool {
    let mut segments = path.path.segments.iter().rev().skip(1);
    segments.next().is_some_and(|of| {
        ["OnErr", "OnCrash", "RerunOrFail", "Policy"]
            .iter()
            .any(|name| of.ident == name)
    })
}

/// The last word of a path, or what stands in quotes.
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
