//! Begins a call in its caller's transaction.

use std::{cmp, sync::Arc, time::Duration};

use super::{
    TxConnection,
    acquire::{Acquired, acquire},
    error::before,
    execution::Execution,
    running::{Protected, Running, within},
    session::Session,
};
use crate::{
    Error, OnCrash, Operation,
    context::observe::Observed,
    events::{self, Span},
    operation::{IntoErr, options::Options, scope::BodyType},
    record::{MAX_TTL, MIN_LEASE, Nonce, Owner},
    store::ClaimRequest,
};

/// What [`Operation::begin`] answers.
#[derive(Debug)]
#[must_use = "the body runs only if this says so"]
pub enum Begun<T, E, F> {
    /// The result is known: the recorded one, or a refusal. The body must not run.
    Answered(Result<T, E>),
    /// The body is to run.
    Running(Running<T, E, F>),
}

// Apart from the builder, which knows of no transaction.
impl<T, E, F> Operation<T, E, F> {
    /// Begins the operation in the transaction that is begun on `connection`: there its record is, and it is committed or
    /// rolled back with all else. This is what `#[idempotent(…, in_tx = tx)]` writes, and the same by hand:
    ///
    /// ```
    /// # #[cfg(feature = "tx-rusqlite")] {
    /// use idempotent_fn::{Error, operation, tx::Begun};
    /// use rusqlite::Transaction;
    ///
    /// async fn place(tx: &mut Transaction<'_>, order: &str) -> Result<i64, Error> {
    ///     let operation = operation::<Result<i64, Error>, _>("orders.place", &[&order]);
    ///     match operation.begin(tx).await {
    ///         Begun::Answered(result) => result, // placed before, or refused
    ///         Begun::Running(running) => {
    ///             let result = running.body(async { Ok(tx.last_insert_rowid()) }).await;
    ///             running.finish(tx, result).await
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// The store, `lease`, `on_crash` and `timeout` have no meaning here: where they are set, the answer is [`Error::Config`].
    /// `wait` is how long another transaction with this key is waited for on PostgreSQL; zero is not at all. On SQLite the
    /// file's lock is waited for, as long as the connection's own `busy_timeout` says.
    ///
    /// It needs no Tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped midway, it may have written a record that says that the body runs. Roll the transaction back. Once committed,
    /// the key is in doubt ([`Error::Indeterminate`]) until it is resolved.
    ///
    /// # Errors
    /// In [`Begun::Answered`], made into `E` as those of [`run`](Operation::run) are. After [`Error::Unavailable`], and after
    /// [`Error::InFlight`] where it has waited, roll the transaction back: on PostgreSQL it is over.
    pub async fn begin<C>(mut self, connection: &mut C) -> Begun<T, E, F>
    where
        C: TxConnection + ?Sized,
        F: IntoErr<E>,
    {
        // Lifetimes aside, what tells two operations of one place apart is what they return.
        self.options
            .claim_scope(BodyType::of::<fn() -> Result<T, E>>());
        if self.options.is_unprotected {
            return self.begin_unprotected();
        }
        let span = Span::new(self.options.scope, Some(&self.options.key));
        let begun = within(&span, begin(&self.options, self.policy.check(), connection)).await;
        let begun = begun.and_then(|(execution, acquired)| match acquired {
            Acquired::Run(granted) => Ok(Err((execution, granted))),
            Acquired::Replay(record) => {
                let replayed = self.policy.replay(&|| execution.operation_id(), &record);
                let result = replayed.inspect_err(|error| execution.emit_refusal(error))?;
                execution.emit_answer(Observed::Replayed, true, &record);
                span.in_scope(|| events::replayed(execution.scope, &execution.key));
                Ok(Ok(result))
            }
        });
        match begun {
            Ok(Ok(result)) => Begun::Answered(result),
            Ok(Err((execution, granted))) => {
                let protected = Protected { execution, granted };
                Begun::Running(Running::new(self.policy, self.into_err, span, protected))
            }
            Err(error) => {
                span.refused(&error);
                Begun::Answered(Err(self.into_err.into_err(error)))
            }
        }
    }

    /// A call without a key: the body runs in each of them.
    fn begin_unprotected(self) -> Begun<T, E, F>
    where
        F: IntoErr<E>,
    {
        match check(&self.options).and_then(|()| self.unprotected()) {
            Ok((call, span)) => {
                Begun::Running(Running::unprotected(self.policy, self.into_err, span, call))
            }
            Err(error) => Begun::Answered(Err(self.into_err.into_err(error))),
        }
    }
}

/// Finds what is wrong with the options, and acquires. Not compiled again for each type of result.
async fn begin<C: TxConnection + ?Sized>(
    options: &Options,
    policy: Result<(), &'static str>,
    connection: &mut C,
) -> Result<(Arc<Execution>, Acquired), Error> {
    let execution = Arc::new(Execution::new(options.scope, options.key.clone()));
    let acquired = async {
        options.check()?;
        check(options)?;
        policy.map_err(|reason| options.config(reason))?;
        execution.check_reentry()?;
        let mut session = Session::new(connection, &execution.key)
            .map_err(|error| Error::store(options.operation_id(), error))?;
        let dialect = session.dialect();
        let is_begun = session.is_in_transaction().await;
        if !is_begun.map_err(|failure| before(options.operation_id(), failure, dialect))? {
            return Err(options.config(NO_TRANSACTION));
        }
        let request = request(options)?;
        acquire(&mut session, &execution, &request, options.wait).await
    };
    match acquired.await {
        Ok(acquired) => {
            if let Acquired::Run(granted) = &acquired {
                execution.set_granted(&granted.record);
            }
            Ok((execution, acquired))
        }
        Err(error) => {
            execution.emit_refusal(&error);
            Err(error)
        }
    }
}

const NO_TRANSACTION: &str = "no transaction is begun on its connection, so its record and its effects would not be one: begin \
                              one first, and commit it after the call";

/// Refuses what has no meaning in a caller's transaction. The attribute has refused it where it is written.
fn check(options: &Options) -> Result<(), Error> {
    let given = if options.store.is_some() {
        "`store`: its record is in the transaction's own database"
    } else if options.timeout.is_some() {
        "`timeout`: give up by dropping the call and rolling back"
    } else if options.on_crash != OnCrash::Rerun {
        "`on_crash`: whatever crashes before the commit is rolled back"
    } else {
        return Ok(());
    };
    Err(options.config(format!(
        "a call in its caller's transaction takes no {given}"
    )))
}

/// What is written at the beginning. Nobody sees it, unless somebody commits before the body has ended: then it is in doubt
/// at once, for everybody.
fn request(options: &Options) -> Result<ClaimRequest, Error> {
    let nonce = Nonce::random().map_err(|error| options.config(error.to_string()))?;
    let mut request = ClaimRequest::new(nonce);
    request.lease = MIN_LEASE;
    request.on_crash = OnCrash::Fail;
    request.fingerprint = options.fingerprint();
    let ttl = cmp::min(options.ttl(), MAX_TTL);
    request.ttl = Duration::new(ttl.as_secs(), ttl.subsec_millis() * 1_000_000);
    request.owner = Owner::here();
    Ok(request)
}
