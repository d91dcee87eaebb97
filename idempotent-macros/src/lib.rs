//! The attribute of `idempotent-fn`, which re-exports it: depend on that crate.

mod annotate;
mod arguments;
mod duration;
mod expand;
mod function;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
mod literal;
mod options;
mod parts;
mod policy;
mod scope;
mod transaction;
mod types;

use annotate::annotate;

/// Runs an `async fn` once per key: every other call with that key receives the recorded result.
///
/// ```
/// use idempotent_fn::{Error, idempotent};
///
/// #[idempotent(key = order_id)]
/// async fn charge(order_id: u64, amount: u64) -> Result<String, Error> {
///     Ok(format!("charged {amount}"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// assert_eq!(charge(42, 100).await?, "charged 100");
/// assert_eq!(charge(42, 999).await?, "charged 100"); // the same key: the body did not run
/// # Ok(())
/// # }
/// ```
///
/// The function returns a `Result<T, E>`, under any name, with `T: Serialize + DeserializeOwned`
/// and `E: From<Error>` (or `map_err`). It is called on a Tokio runtime. Its body is finished even
/// when its caller goes away, so its arguments are owned and `Send` (or `detach = false`), and the
/// body keeps them until it ends, as a plain `async fn` does: also a guard or permit that it does
/// not name. Methods, generic functions, trait methods with a body, functions under
/// `#[async_trait]` and functions that return `Pin<Box<dyn Future<Output = Result<T, E>> + Send>>`
/// work as well.
///
/// # Options
///
/// Durations are text (`"250ms"`, `"30s"`, `"10m"`, `"24h"`, `"7d"`, `"1h30m"`), checked by the
/// compiler, or any expression of type `Duration`. Other options' expressions see the arguments,
/// too.
///
/// ## `key = expr`
/// The value that tells one operation from another: anything `Display`. A tuple is several parts,
/// written so that no two keys meet: `("a", "b:c")` is not `("a:b", "c")`. It is read by reference,
/// once, before the body, so the body may move what the key was made of; `?` and `.await` work in
/// it. An empty key or part is `Error::InvalidKey`. A literal, such as `"order"`, is refused: it
/// would be one key for all calls; if that is meant, name a `const`. Required.
///
/// ## `optional_key = true`
/// The key, or a part of it, may be an `Option`; a call for which it is `None` runs its body each
/// time, without protection, in the caller's own future: for clients that need not send a key.
/// `timeout` holds for it too, and `current()` in it is an execution of that call alone. Without
/// this option such a key is a compile error.
///
/// ## `scope = expr`
/// The operation's durable name, any `&'static str`: `"payments.charge"`, `Self::SCOPE`. Records
/// are found by scope and key, in other processes and after a deploy, so renaming it forgets them.
/// Two annotated functions must not share one. By default the path `module::path::function`;
/// required where that names more than one operation: for methods, and functions with type or const
/// parameters. Each choice of type parameters is an operation: give each a scope of its own
/// (`K::SCOPE`), or annotate a function without them whose key has a part for what differs. It is
/// one name for all calls: what differs from call to call, such as a tenant, belongs in the key.
///
/// **Write no literal where one function is many operations**: in a generic function, a method of a
/// generic type, a trait's default method. The attribute cannot refuse it, since it is given the
/// function without the `impl` or trait around it, and the records of a generic function need not
/// depend on its parameter. The second type that is called in one process gets `Error::Config`; two
/// processes with a type each would replay each other's results.
///
/// The default path names no type and no outer function. So an associated function without `self`,
/// and a function within another, share it with others of their name. In the process' memory the
/// second one is refused; in a store that other processes use, each of them is `Error::Config`
/// before its body, and needs a scope.
///
/// The path begins with the crate's name, and for a binary that is the binary's. A module that two
/// programs include (`mod payments;` in two of them) has two scopes: name one, or put the function
/// into a library.
///
/// ## `fingerprint = expr`
/// The payload that belongs to the key, `Serialize`; a tuple for several values. A hash of it is
/// kept with the record, and the same key with another payload is `Error::KeyReused`. A literal is
/// refused, as for the key. A payload nested more deeply than 512 levels is `Error::Config`. By
/// default nothing is compared.
///
/// ## `ttl = duration`
/// How long a completed result is replayed, counted from completion; at least 1 ms, by default 24
/// hours. It must outlast the caller's retries. Or a closure that looks at the result, `|result|
/// …`, with `result: &Result<T, E>`: a decline is kept for a minute, say, and a payment for a week.
/// It captures nothing.
///
/// ## `lease = duration`
/// How long a silent owner is believed alive, from 1 ms to 1 day, by default 30 seconds. The owner
/// renews it while the body is pending, so it need not be longer than the body. A body that blocks
/// its thread (a synchronous SDK, a password hash, `std::fs`) is not pending but silent: nothing
/// renews its lease. Put such work into `tokio::task::spawn_blocking`, or ask for a lease that is
/// longer than it. `on_crash` says what happens when it lapses.
///
/// ## `wait = duration`
/// How long a duplicate waits for the running owner's result, by default 10 seconds; then it is
/// `Error::InFlight`. With `"0s"` it does not wait for the owner, but still for the store's answer:
/// where the store is slow or silent, for up to about 2 seconds.
///
/// ## `timeout = duration`
/// How long the body may run, from 1 ms on; then it is stopped, also where its caller has gone, the
/// call is `Error::TimedOut`, and `on_crash` decides. By default for as long as it takes.
///
/// ## `on_err = rerun | record | fail`
/// What it means that the body returned `Err`. `rerun`: nothing happened, a retry runs the body.
/// `record`: it is final and replayed as an `Ok` is (`E: Serialize + DeserializeOwned`). `fail`:
/// its effects are unknown, as after a crash under `on_crash = fail`. Or a closure that captures
/// nothing, or a function, that decides: `fn(&E) -> OnErr`, where the error can be recorded, or
/// `fn(&E) -> RerunOrFail` for any error. By default `rerun`, and `fail` under `on_crash = fail`. A
/// bare word that looks like one of the three (`recrod`, `retry`) is refused; a function of such a
/// name is written as a path (`self::retry`).
///
/// An `Err` is never recorded while a call that the body made stands refused for now (in flight,
/// unavailable, superseded, timed out, in doubt), nor where it carries this library's `Error` of
/// any kind: `on_crash` decides. Refusals that stay, such as `KeyReused`, keep no `Err` of the
/// body's own from being final.
///
/// ## `on_crash = rerun | fail`
/// What it means that the owner vanished in the body. `rerun`: the next call runs the body again,
/// so effects happen at least once. `fail`: calls get `Error::Indeterminate` until the operation is
/// resolved, for 7 days at most, so effects happen at most once. By default `rerun`.
///
/// ## `detach = false`
/// The body stops when its caller goes away, and `on_crash` decides what that means. It may then
/// borrow its arguments and need not be `Send`, and take them apart by `..` and `ref`. By default
/// the body is finished: it is polled in the call's own future, and handed to the runtime when that
/// is dropped.
///
/// ## `store = expr`
/// This `SharedStore` instead of the default one. A variable, a field or a `static` is read by
/// reference; any other expression gives the store, or a reference to it.
///
/// ## `in_tx = expr`
/// The record is in the caller's own SQL transaction: it is committed with what the body writes there, or
/// neither is. **Exactly once, for the effects on that connection.** `expr` is the argument that has the
/// transaction, `tx: &mut Transaction<'_>` or `tx: &mut PgConnection`; or a field or method that gives it,
/// `ctx.tx`; or, as it stands, a `&mut …`, such as `&mut Mine(tx)`. The caller begins the transaction
/// and commits it, after an `Err` too if that is meant.
///
/// ```ignore
/// #[idempotent(scope = "orders.place", key = order.id, in_tx = tx)]
/// async fn place(tx: &mut PgConnection, order: Order) -> Result<Placed, PlaceError> { todo!() }
/// ```
///
/// Features `tx-sqlx-postgres`, `tx-sqlx-sqlite`, `tx-tokio-postgres` and `tx-rusqlite` bring those
/// libraries; another one is fourteen lines (`TxConnection`). The table is that of `PostgresStore` and
/// `SqliteStore`.
///
/// A duplicate waits for the owner's transaction to end, on PostgreSQL for as long as `wait` says. Then it
/// replays, or runs if that was rolled back. Under `repeatable read` and `serializable` it is
/// `Error::Unavailable` instead, and its transaction begins again. After an error of this library, roll back.
/// The body may borrow. It must not commit or roll back (`Error::TransactionEnded`), and an error of the
/// database that it swallows is `Error::Uncommitted`. `on_err` says what an `Err` means if the caller commits
/// all the same: under `rerun`, the default, there is no record. `scope` is required; `store`, `lease`,
/// `on_crash`, `timeout` and `detach` have no meaning here and are refused.
///
/// ## `codec = Type`
/// How the result becomes bytes, a `Codec<T>`; also how a type without serde is recorded. By
/// default `MessagePack`, with field names.
///
/// ## `map_err = |error| …`
/// How this library's `Error` becomes `E`, where there is no `From`: a closure or a function. By
/// default `E::from`.
///
/// ## `crate = path`
/// Where `idempotent_fn` is found when it is renamed or re-exported. By default `::idempotent_fn`.
#[proc_macro_attribute]
pub fn idempotent(
    options: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    annotate(options.into(), item.into()).into()
}
