//! No run returns to an earlier state, and the model reaches all kinds of steps and phases: a fault
//! that never happens proves nothing.

use std::collections::BTreeSet;

use idempotent_model::{
    catalogue,
    verdict::{Walk, walk},
};

const STEPS: &str =
    "Call Join Answer Stall Start Effect Return Renew Wake Arrive Lapse Decide Overrule Fade";
const FAULTS: &str = "Late GiveUp Refuse LateRenew LateOverrule Twice Drop Panic Crash End Expire Evict Failover Skew";
const PHASES: &str = "Joining Following Looking Asking Granted Started Finishing Subscribing Asleep Adopting \
                      SeeingThrough Settling Ended";

#[test]
fn every_run_is_finite_and_every_step_is_taken() {
    let mut met = BTreeSet::new();
    for row in catalogue::rows(1) {
        met.append(&mut walked(&row.variant).met);
    }
    // An operator's decision that arrives late needs a second fault.
    let operator = catalogue::rows(2)
        .into_iter()
        .find(|row| row.variant.name == "fail, operator");
    met.append(&mut walked(&operator.expect("it is in the catalogue").variant).met);
    for expected in [STEPS, FAULTS, PHASES].join(" ").split_whitespace() {
        assert!(met.contains(expected), "never met: {expected}");
    }
}

fn walked(variant: &idempotent_model::variant::Variant) -> Walk {
    walk(variant).unwrap_or_else(|steps| panic!("{} goes in circles: {steps:?}", variant.name))
}
