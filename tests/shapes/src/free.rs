//! Functions that are not methods.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use idempotent_fn::idempotent;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Outcome, fresh};

/// Nothing special.
#[idempotent(key = id)]
pub async fn plain(id: u64) -> Result<u64, Failure> {
    let _ = id;
    Ok(fresh())
}

/// No argument is named as a local of the expansion is not.
#[idempotent(key = (operation, result, key_0, body))]
pub async fn names(operation: u64, result: u64, key_0: u64, body: u64) -> Outcome {
    Ok(operation + result + key_0 + body + fresh())
}

/// A type parameter, in arguments and in the result.
#[idempotent(scope = "shapes.generic", key = key)]
pub async fn generic<K, T>(key: K, value: T) -> Outcome<(T, u64)>
where
    K: Display + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    Ok((value, fresh()))
}

/// A const parameter.
#[idempotent(scope = "shapes.const_generic", key = (N, id))]
pub async fn const_generic<const N: usize>(id: u64, bytes: [u8; N]) -> Outcome<(usize, u64)> {
    Ok((bytes.len(), id + fresh()))
}

/// Any argument that can be displayed.
#[idempotent(scope = "shapes.impl_trait", key = id)]
pub async fn impl_trait(id: impl Display + Send + 'static) -> Outcome<String> {
    Ok(format!("{id} {}", fresh()))
}

/// Borrowed arguments with lifetimes, written and elided.
#[idempotent(key = (left, right), detach = false)]
pub async fn lifetimes<'a>(left: &'a str, right: &str, longest: &mut &'a str) -> Outcome {
    if left.len() > right.len() {
        *longest = left;
    }
    Ok(fresh())
}

/// Patterns and `mut`.
#[idempotent(key = (id, name))]
pub async fn patterns(
    (id, _): (u64, u64),
    mut amount: u64,
    Named { name, other: _ }: Named,
    _: u8,
) -> Outcome<(u64, String)> {
    amount += 1;
    Ok((id + amount + fresh(), name))
}

/// More of them.
#[idempotent(key = left)]
pub async fn more_patterns(
    [first, ..]: [u8; 3],
    both @ (left, mut right): (u64, u64),
    &constant: &'static u64,
    _guard: Opaque,
    Opaque(_): Opaque,
    Hidden {
        hidden: _hidden,
        mut shown,
    }: Hidden,
) -> Outcome {
    shown += u64::from(first) + constant;
    right += left + both.0;
    Ok(shown + right + fresh())
}

/// To be taken apart, with a field that nobody uses.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// Kept.
    pub hidden: String,
    /// Used.
    pub shown: u64,
}

/// What an attached body leaves in its arguments stays there.
#[idempotent(key = name, detach = false)]
pub async fn attached_patterns(
    Named { ref name, .. }: Named,
    (id, ..): (u64, u64, Opaque),
    _: Opaque,
) -> Outcome {
    Ok(id + name.len() as u64 + fresh())
}

/// Nothing can be shown of it.
#[expect(missing_debug_implementations, reason = "that is its point")]
pub struct Opaque(pub u64);

/// An attribute below sees the arguments as they were written: what has no name is not shown.
#[idempotent(key = id)]
#[tracing::instrument(level = "debug")]
pub async fn instrumented(id: u64, _: Opaque, (_, mut amount): (Opaque, u64)) -> Outcome {
    amount += 1;
    Ok(id + amount + fresh())
}

/// Lints about an argument are silenced as ever.
#[idempotent(key = 1 + id)]
pub async fn silenced(
    id: u64,
    #[expect(unused_variables, reason = "not used yet")] amount: u64,
    #[allow(unused_mut, reason = "not changed yet")] mut rest: u64,
    #[cfg(not(miri))] _: Opaque,
) -> Outcome {
    Ok(rest + fresh())
}

/// To be taken apart.
#[derive(Clone, Debug)]
pub struct Named {
    /// Part of the key.
    pub name: String,
    /// Not part of it.
    pub other: u8,
}

/// An argument that only the key names, and one that only a format string in it names.
#[idempotent(key = (id, format!("{text}-{id}")))]
pub async fn named_in_the_key(id: u64, text: String) -> Outcome {
    Ok(fresh())
}

/// Parameters and generics under `cfg`.
#[idempotent(key = id)]
pub async fn configured(id: u64, #[cfg(miri)] gone: &str, #[cfg(not(miri))] stays: u64) -> Outcome {
    #[cfg(miri)]
    let stays = gone.len() as u64;
    Ok(id + stays + fresh())
}

/// `?`, early `return` and coercions mean what they mean in a function.
#[idempotent(key = text)]
pub async fn flow(text: String) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    if text.is_empty() {
        return Err("empty".into());
    }
    let number: u64 = text.parse()?;
    if number == 7 {
        return Err(Box::new(std::fmt::Error));
    }
    Ok(number + fresh())
}

/// A body that never gets to its end.
///
/// # Panics
/// On zero.
#[idempotent(key = id)]
pub async fn diverges(id: u64) -> Outcome {
    assert!(id > 0, "zero");
    loop {
        if id > 0 {
            return Ok(fresh());
        }
    }
}

/// Items of the body stay in it, also those named as the arguments or the expansion's locals are.
#[idempotent(key = id)]
pub async fn items(id: u64) -> Outcome {
    const STEP: u64 = 1;

    fn operation(id: u64) -> u64 {
        id + STEP
    }
    Ok(operation(id) + fresh())
}

/// A big value across an await is the body's, not the caller's.
#[idempotent(key = id)]
pub async fn large(id: u64) -> Outcome {
    let buffer = [id; 2_000];
    ready().await;
    Ok(buffer[0] + fresh())
}

async fn ready() {
    std::future::ready(()).await;
}

/// A body that is not `Send`, for callers on one thread.
#[idempotent(key = id, detach = false)]
pub async fn local(id: Rc<str>) -> Outcome {
    let held = Rc::clone(&id);
    ready().await;
    Ok(held.len() as u64 + fresh())
}

/// `?` and `.await` in the key and the fingerprint; the future is still `Send`.
#[idempotent(key = (customer, number(&id)?, later(&id).await), fingerprint = (id.len(), later(&id).await))]
pub async fn awaits(customer: u64, id: String) -> Outcome {
    Ok(customer + id.len() as u64 + fresh())
}

/// One part that awaits.
#[idempotent(key = later(&id).await)]
pub async fn awaits_once(id: String) -> Outcome {
    Ok(id.len() as u64 + fresh())
}

fn number(text: &str) -> Outcome {
    Ok(text.parse()?)
}

async fn later(text: &str) -> String {
    ready().await;
    text.to_owned()
}

/// A key that borrows from a lock: the guard is gone before the body runs.
#[idempotent(key = names.lock().map_err(|_| Failure("poisoned".into()))?[0])]
pub async fn temporaries(names: Arc<std::sync::Mutex<Vec<String>>>) -> Outcome {
    ready().await;
    names
        .lock()
        .map_err(|_| Failure("poisoned".into()))?
        .push("one".into());
    Ok(fresh())
}

/// Calls itself with another key. Between the two stands a function whose future has a name, as for
/// any async recursion that must be `Send`.
#[idempotent(key = depth)]
pub async fn recursive(depth: u64) -> Outcome {
    if depth == 0 {
        return Ok(fresh());
    }
    Ok(recurse(depth - 1).await? + 1)
}

fn recurse(depth: u64) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    Box::pin(recursive(depth))
}
