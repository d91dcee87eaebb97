//! Nobody waits forever.
use idempotent_model::{catalogue, verdict::runs_are_finite};

#[test]
fn every_run_ends() {
    for row in catalogue::rows(1) {
        let states = runs_are_finite(&row.variant);
        println!("{}: {states:?}", row.variant.name);
        assert!(states.is_ok(), "{}: {states:?}", row.variant.name);
    }
}
