//! Calls in their callers' own transactions.

use idempotent_model::in_tx::{Flaw, InTx};

#[test]
fn in_a_transaction_everything_holds() {
    let found = InTx {
        faults: 3,
        flaw: None,
    }
    .check();
    println!("{found}");
    assert!(found.fails.is_empty(), "{found}");
    assert!(found.states > 1000, "{found}");
}

#[test]
fn each_flaw_is_noticed() {
    for (flaw, claim) in [
        (Flaw::RecordOutside, "exactly once"),
        (Flaw::ReadFirst, "exactly once"),
        (Flaw::RunningMayRerun, "exactly once"),
        (Flaw::NoLock, "exactly once"),
    ] {
        let found = InTx {
            faults: 2,
            flaw: Some(flaw),
        }
        .check();
        println!("{flaw:?}: {found}");
        assert!(found.fails.contains(&claim), "{flaw:?}: {found}");
    }
}
