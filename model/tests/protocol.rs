//! What holds and what does not, in all states that two faults lead to. Broken protocols are
//! noticed.

use idempotent_model::{
    catalogue,
    variant::Variant,
    verdict::{check, trace},
};

#[test]
fn each_variant_keeps_what_the_catalogue_says_and_no_more() {
    for row in catalogue::rows(2) {
        let variant = &row.variant;
        let verdict = check(variant);
        println!(
            "{}: {} states, {:?}",
            variant.name, verdict.states, verdict.took
        );
        let stated = row.breaks();
        for claim in &verdict.fails {
            if !stated.contains(claim) {
                let trace = trace(variant, *claim).expect("it was just found");
                panic!("{}: not \"{}\":\n{trace}", variant.name, claim.name());
            }
        }
        assert_eq!(
            verdict.fails, stated,
            "{}: more holds than is said",
            variant.name
        );
    }
}

#[test]
fn whatever_holds_without_a_near_cache_holds_with_one() {
    let rows = catalogue::rows(2);
    let near: Vec<_> = rows.iter().filter(|row| row.variant.near).collect();
    assert!(!near.is_empty());
    for row in near {
        let without = Variant {
            near: false,
            ..row.variant.clone()
        };
        assert_eq!(check(&without).fails, row.breaks(), "{}", without.name);
    }
}

#[test]
fn each_broken_protocol_is_noticed() {
    for (variant, claim) in catalogue::broken() {
        let broken = variant.broken;
        assert!(
            trace(&variant, claim).is_some(),
            "{broken:?} keeps \"{}\": the model is too weak",
            claim.name()
        );
        let whole = Variant {
            broken: None,
            ..variant
        };
        assert!(
            trace(&whole, claim).is_none(),
            "\"{}\" is broken without {broken:?} as well",
            claim.name()
        );
    }
}
