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

#[idempotent(scope = "orders.place", key = order, in_tx = tx)]
async fn place(tx: &mut Transaction, order: u64) -> Result<u64, PlaceError> {
    let _ = tx;
    Ok(order)
}

struct PlaceError;

fn main() {}
