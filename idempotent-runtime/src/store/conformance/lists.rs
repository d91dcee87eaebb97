//! Rules about listings. A store that cannot list passes if it says so.

use std::{collections::HashMap, time::Duration};

use super::{
    Subject,
    trial::{LEASE, Trial, done, kept, lost, new_key, released, request, unique},
};
use crate::{
    SharedStore, StoreErrorKind,
    key::Key,
    record::{Record, State},
    store::{ClaimRequest, Cursor, Filter, Found, Lapsed, Listed, Store},
};

/// More pages than these rules can have.
const MANY: usize = 100_000;

fn scope() -> String {
    format!("conformance.{}", unique())
}

fn key(scope: &str, part: usize) -> Key {
    Key::new(scope, &[&part]).expect("a valid key")
}

/// Everything that is listed, repetitions included; `None` if the store cannot list.
async fn listed<S: Subject>(trial: &Trial<'_, S>, filter: &Filter) -> Option<Vec<Found>> {
    let (mut all, mut cursor) = (Vec::new(), None::<Cursor>);
    for _ in 0..MANY {
        let page = match trial.store.list(filter, cursor.as_ref()).await {
            Err(error) if error.kind() == StoreErrorKind::Config && cursor.is_none() => {
                return None;
            }
            page => page.unwrap_or_else(|error| panic!("`list` answered with an error: {error}")),
        };
        all.extend(page.records);
        match page.next {
            None => return Some(all),
            next => cursor = next,
        }
    }
    panic!("list: a listing comes to its end")
}

/// What is listed, by key. A record that is listed twice must be the same both times.
async fn by_key<S: Subject>(
    trial: &Trial<'_, S>,
    filter: &Filter,
) -> Option<HashMap<Key, (Record, Duration)>> {
    let all = listed(trial, filter).await?;
    Some(
        all.into_iter()
            .map(|found| (found.key, found.record.expect("a record that was written")))
            .collect(),
    )
}

/// Page by page, a listing shows every record with the prefix, whole, and no other.
pub async fn a_listing_shows_every_record(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let scope = scope();
    let mut written = HashMap::new();
    for part in 0..40 {
        let key = key(&scope, part);
        let owned = trial.start(&key).await;
        let record = match part % 4 {
            0 => owned,
            1 => trial.finished(&key, &done(&owned, b"result")).await,
            2 => trial.finished(&key, &released(&owned)).await,
            _ => trial.finished(&key, &lost(&owned)).await,
        };
        written.insert(key, record);
    }
    trial.start(&new_key()).await;
    let rule = "list: every record whose key begins with the prefix, whole, through any handle";
    for page in [1, 7, 1000] {
        let filter = Filter::new()
            .with_prefix(&format!("{scope}|"))
            .with_page(page);
        let Some(shown) = by_key(&other, &filter).await else {
            return;
        };
        let records: HashMap<Key, Record> = shown
            .into_iter()
            .map(|(key, (record, _))| (key, record))
            .collect();
        assert_eq!(records, written, "{rule}, in pages of {page}");
    }
}

/// A listing shows what its filter allows, and nothing past its end. The prefix is a text, not a
/// pattern.
pub async fn a_listing_shows_what_was_asked_for(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let scope = scope();
    let keys: Vec<Key> = (0..7).map(|part| key(&scope, part)).collect();
    let owned = trial.start(&keys[1]).await;
    trial.finished(&keys[1], &done(&owned, b"result")).await;
    let owned = trial.start(&keys[2]).await;
    trial.finished(&keys[2], &released(&owned)).await;
    let owned = trial.start(&keys[3]).await;
    trial.finished(&keys[3], &lost(&owned)).await;
    trial.start(&keys[4]).await;
    for (ended, end) in [
        (&keys[5], done as fn(&Record, &[u8]) -> Record),
        (&keys[6], |it, _| released(it)),
    ] {
        let owned = trial.start(ended).await;
        let target = kept(end(&owned, b"ended"), Duration::from_secs(1));
        trial.finished(ended, &target).await;
        trial.elapse(ended, Duration::from_secs(10)).await;
    }
    trial.elapse(&keys[4], 2 * LEASE).await;
    let live = ClaimRequest {
        lease: 20 * LEASE,
        ..request()
    };
    trial.grant(&keys[0], &live, "a free key").await;

    let all = Filter::new().with_prefix(&format!("{scope}|"));
    for (filter, expected) in [
        (all.clone(), &[0, 1, 2, 3, 4][..]),
        (all.clone().with_state(State::Running), &[0, 4]),
        (all.clone().with_state(State::Done), &[1]),
        (all.clone().with_state(State::Failed), &[2]),
        (all.clone().with_state(State::Lost), &[3]),
        (all.clone().with_lapsed(Lapsed::Only), &[4]),
        (all.clone().with_lapsed(Lapsed::Excluded), &[0, 1, 2, 3]),
        (
            all.clone()
                .with_state(State::Done)
                .with_lapsed(Lapsed::Only),
            &[],
        ),
        (all.clone().with_prefix(keys[1].as_str()), &[1]),
    ] {
        let Some(shown) = by_key(&trial, &filter).await else {
            return;
        };
        let parts: Vec<usize> = (0..keys.len())
            .filter(|part| shown.contains_key(&keys[*part]))
            .collect();
        assert_eq!(parts, expected, "list: what {filter:?} shows");
        assert_eq!(parts.len(), shown.len(), "list: and nothing else");
        for (record, left) in shown.values() {
            let lives = record.state == State::Running && record.lease == 20 * LEASE;
            assert_eq!(!left.is_zero(), lives, "list: what is left of a lease");
        }
    }
    for pattern in ["*", "?", "%", "_", "[a-z]", "\\", ".*"] {
        let filter = Filter::new().with_prefix(&format!("{scope}{pattern}"));
        let shown = by_key(&trial, &filter).await.unwrap_or_default();
        assert!(shown.is_empty(), "list: {pattern} is a text like any other");
    }
}

/// Through a [`SharedStore`], each handle lists the keys of its own namespace.
pub async fn a_namespace_lists_its_own_keys(subject: &impl Subject) {
    let store = SharedStore::new(subject.store().await);
    let scope = scope();
    let trial = Trial::of(subject).await;
    let plain = key(&scope, 1);
    let (inner, deeper) = (
        plain.in_namespace("a"),
        plain.in_namespace("a").in_namespace("b"),
    );
    let filter = Filter::new().with_prefix(&scope);
    for key in [&plain, &inner, &deeper] {
        trial.start(key).await;
    }
    for store in [
        store.clone(),
        store.with_namespace("a"),
        store.with_namespace("b"),
    ] {
        let mut shown: Vec<Listed> = Vec::new();
        let mut cursor = None;
        loop {
            let page = match store.list(&filter, cursor.as_ref()).await {
                Err(error) if error.kind() == StoreErrorKind::Config => return,
                page => {
                    page.unwrap_or_else(|error| panic!("`list` answered with an error: {error}"))
                }
            };
            shown.extend(page.records);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(
            shown.iter().all(|listed| listed.key == plain),
            "list: a handle lists the keys of its own namespace, as it knows them: {shown:?}"
        );
        let is_used = !format!("{store:?}").contains("\"b\"");
        assert_eq!(!shown.is_empty(), is_used, "list: and all of them");
        assert!(shown.iter().all(|listed| listed.record.is_ok()));
    }
}
