use idempotent_fn::{idempotent, tx::{Dialect, Failure, Param, Row, TxConnection}};

struct Transaction;

impl TxConnection for Transaction {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn in_transaction(&self) -> Option<bool> {
        None
    }

    async fn fetch(&mut self, _: &'static str, _: &[Param<'_>]) -> Result<Option<Row>, Failure> {
        Ok(None)
    }
}

struct Context<'a> {
    tx: &'a mut Transaction,
}

#[idempotent(scope = "orders.place", key = order, in_tx = context.tx)]
async fn place(context: &mut Context<'_>, order: u64) -> Result<u64, idempotent_fn::Error> {
    let moved = context;
    drop(moved);
    Ok(order)
}

fn main() {}
