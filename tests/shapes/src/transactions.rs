//! Functions in their caller's own transaction, on a connection of any library. They are run in
//! `idempotent-runtime/tests/tx`, where there are databases.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use idempotent_fn::idempotent;
use idempotent_fn::tx::{Table, TxConnection};

use crate::{Failure, Outcome, fresh};

/// What a body does on the connection.
async fn write<C>(tx: &mut C) -> Outcome {
    let _ = tx;
    std::future::ready(Ok(fresh())).await
}

/// A variable; the other arguments are borrowed or moved.
#[idempotent(scope = "shapes.tx.name", key = (id, text), fingerprint = text, in_tx = tx)]
pub async fn name<C: TxConnection>(tx: &mut C, id: String, text: &str) -> Outcome {
    let moved = tx;
    if text.is_empty() {
        return write(moved).await;
    }
    let number = write(moved).await?;
    drop(id);
    Ok(number)
}

/// The body does not name it.
#[idempotent(scope = "shapes.tx.unnamed", key = id, in_tx = tx)]
pub async fn unnamed<C: TxConnection>(tx: &mut C, id: u64) -> Result<(), Failure> {
    Ok(())
}

/// An argument of any type.
#[idempotent(scope = "shapes.tx.impl_trait", key = id.borrow(), wait = "0s", in_tx = tx)]
pub async fn impl_trait(tx: &mut impl TxConnection, id: impl Borrow<u64>) -> Outcome {
    write(tx).await
}

/// Patterns, and a variable that changes.
#[idempotent(scope = "shapes.tx.patterns", key = (a, b), in_tx = tx)]
pub async fn patterns<C: TxConnection>(
    tx: &mut C,
    (a, mut b): (u64, u64),
    [first, ..]: [u64; 2],
    _: u8,
) -> Outcome {
    b += first;
    Ok(write(tx).await? + a + b)
}

/// Whose names are those of the expansion.
#[idempotent(scope = "shapes.tx.names", key = (operation, result, begun, running), in_tx = tx)]
pub async fn names<C: TxConnection>(
    tx: &mut C,
    operation: u64,
    result: u64,
    begun: u64,
    running: u64,
) -> Outcome {
    Ok(write(tx).await? + operation + result + begun + running)
}

/// All options.
#[idempotent(
    scope = "shapes.tx.options",
    key = id,
    optional_key = true,
    ttl = |result: &Outcome| std::time::Duration::from_secs(*result.as_ref().unwrap_or(&1)),
    wait = "2s",
    on_err = record,
    codec = idempotent_fn::codec::MessagePack,
    map_err = |error| Failure(error.to_string()),
    in_tx = tx,
)]
pub async fn options<C: TxConnection>(tx: &mut C, id: Option<u64>) -> Outcome {
    write(tx).await
}

/// Has a connection among other things.
#[derive(Debug)]
pub struct Context<'a, C> {
    /// The connection.
    pub tx: &'a mut C,
    /// Something else.
    pub user: u64,
}

impl<C> Context<'_, C> {
    fn connection(&mut self) -> &mut C {
        self.tx
    }
}

/// A field.
#[idempotent(scope = "shapes.tx.field", key = context.user, in_tx = context.tx)]
pub async fn field<C: TxConnection>(context: &mut Context<'_, C>) -> Outcome {
    context.user += 1;
    write(context.tx).await
}

/// A method that gives the connection.
#[idempotent(scope = "shapes.tx.method", key = context.user, in_tx = context.connection())]
pub async fn method<C: TxConnection>(context: &mut Context<'_, C>) -> Outcome {
    write(context.connection()).await
}

/// Another table.
#[idempotent(scope = "shapes.tx.expression", key = id, in_tx = &mut Table::new("records").on(tx))]
pub async fn expression<C: TxConnection>(tx: &mut C, id: u64) -> Outcome {
    write(&mut *tx).await
}

/// Has its connection by value.
#[derive(Debug)]
pub struct Owner<C> {
    tx: C,
}

impl<C: TxConnection> Owner<C> {
    /// A field of `self`.
    #[idempotent(scope = "shapes.tx.owned", key = id, in_tx = &mut self.tx)]
    pub async fn owned(&mut self, id: u64) -> Outcome {
        write(&mut self.tx).await
    }

    /// An argument beside `self`.
    #[idempotent(scope = "shapes.tx.beside", key = id, in_tx = tx)]
    pub async fn beside(&self, tx: &mut C, id: u64) -> Outcome {
        let _ = &self.tx;
        write(tx).await
    }
}

/// Methods of a trait.
pub trait Orders {
    /// With a body.
    fn place<C: TxConnection + Send>(&self, tx: &mut C, id: u64) -> impl Future<Output = Outcome>;
}

impl Orders for u64 {
    #[idempotent(scope = "shapes.tx.in_trait", key = id, in_tx = tx)]
    async fn place<C: TxConnection + Send>(&self, tx: &mut C, id: u64) -> Outcome {
        Ok(write(tx).await? + *self)
    }
}

/// The same by `async_trait`.
#[async_trait]
pub trait Boxed<C: TxConnection + Send> {
    /// An argument.
    async fn boxed(&self, tx: &mut C, id: u64) -> Outcome;
}

#[async_trait]
impl<C: TxConnection + Send> Boxed<C> for u64 {
    #[idempotent(scope = "shapes.tx.boxed", key = id, in_tx = tx)]
    async fn boxed(&self, tx: &mut C, id: u64) -> Outcome {
        Ok(write(tx).await? + *self)
    }
}

/// A future in a box, by hand.
#[idempotent(scope = "shapes.tx.by_hand", key = id, in_tx = tx)]
pub fn by_hand<'a, C: TxConnection + Send>(
    tx: &'a mut C,
    id: u64,
) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
    Box::pin(async move { write(tx).await })
}

macro_rules! place {
    ($name:ident, $tx:ident, $connection:expr, $id:ident) => {
        /// Written by a macro.
        #[idempotent(scope = "shapes.tx.macro", key = $id, in_tx = $connection)]
        pub async fn $name<C: TxConnection>($tx: &mut C, $id: u64) -> Outcome {
            write($tx).await
        }
    };
}

place!(by_macro, tx, tx, id);

/// Their futures can go to another thread, where the connection can.
pub fn all_are_send<C: TxConnection + Send>(tx: &mut C) {
    fn is_send(_: impl Future + Send) {}
    is_send(name(tx, String::new(), ""));
    is_send(unnamed(tx, 1));
    is_send(impl_trait(tx, 1));
    is_send(options(tx, None));
    is_send(field(&mut Context { tx, user: 1 }));
    is_send(expression(tx, 1));
    is_send(5_u64.place(tx, 1));
    is_send(5_u64.boxed(tx, 1));
    is_send(by_hand(tx, 1));
    is_send(by_macro(tx, 1));
}
