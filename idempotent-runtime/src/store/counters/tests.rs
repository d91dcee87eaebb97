use super::*;

#[test]
fn scopes_are_counted_apart_and_summed() {
    let counters = Counters::default();
    for (scope, times) in [("a", 1), ("b", 2), ("c", 3)] {
        for _ in 0..times {
            counters.count(scope, Turn::Ran);
            counters.count(scope, Turn::ReplayedByNearCache);
        }
    }
    assert_eq!(counters.scope("b").ran, 2);
    assert_eq!(counters.scope("c").replayed(), 3);
    assert_eq!(counters.scope("d"), Counts::default());
    assert_eq!((counters.ran(), counters.all().replayed()), (6, 6));
    assert_eq!(counters.scopes(), ["a", "b", "c"]);
}

/// One text may stand at two addresses.
#[test]
fn a_scope_is_its_text() {
    let counters = Counters::default();
    for _ in 0..2 {
        let scope: &'static str = String::from("same").leak();
        counters.count(scope, Turn::Ran);
    }
    assert_eq!(counters.scope("same").ran, 2);
    assert_eq!(counters.scopes(), ["same"]);
}

#[test]
fn more_scopes_than_there_is_room_for_are_counted_as_one() {
    let counters = Counters::default();
    let scopes: Vec<&'static str> = (0..SCOPES + 10)
        .map(|number| &*format!("scope {number}").leak())
        .collect();
    for scope in &scopes {
        counters.count(scope, Turn::Ran);
    }
    assert_eq!(counters.scope(OTHERS).ran, 10);
    assert_eq!(counters.ran(), SCOPES as u64 + 10);
    assert_eq!(counters.scopes().len(), SCOPES + 1);
}

#[test]
fn all_threads_are_counted() {
    let counters = Counters::default();
    std::thread::scope(|threads| {
        for _ in 0..2 * SHARDS {
            threads.spawn(|| (0..1_000).for_each(|_| counters.count("a", Turn::Ran)));
        }
    });
    assert_eq!(counters.ran(), 2_000 * SHARDS as u64);
}
