//! Records in pages, on one server and on a cluster.

use std::collections::BTreeSet;

use idempotent_runtime::{
    Store, StoreErrorKind,
    key::Key,
    record::State,
    store::{Cursor, Filter, Lapsed, RedisStore},
};
use idempotent_test_support::{RedisCluster, RedisServer};

use crate::common::*;

/// Every key that a listing shows, page by page; unreadable ones with a mark.
async fn listed(store: &RedisStore, filter: &Filter) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store.list(filter, cursor.as_ref()).await.expect("a page");
        for found in page.records {
            let mark = if found.record.is_ok() { "" } else { "!" };
            all.insert(format!("{mark}{}", found.key.as_str()));
        }
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

fn of(scope: &str, part: &str) -> Key {
    Key::new(scope, &[&part]).expect("a valid key")
}

async fn write(store: &RedisStore, key: &Key, state: State) {
    let owned = granted(store.claim(key, &failing(1)).await.expect("claim"));
    let target = match state {
        State::Running => return,
        State::Done => done(&owned, b"42"),
        state => in_state(&owned, state),
    };
    store.finish(key, &target).await.expect("finish");
}

#[tokio::test]
async fn a_listing_shows_each_record_once_at_least_and_nothing_else() {
    let server = RedisServer::start();
    let store = store(&server);
    let mut all = BTreeSet::new();
    for number in 0..250 {
        let key = of("orders.place", &number.to_string());
        write(&store, &key, State::Done).await;
        all.insert(key.as_str().to_owned());
        server.cli(&["SET", &format!("other:{number}"), "x"]);
    }
    for page in [1, 7, 100, 5_000] {
        assert_eq!(
            listed(&store, &Filter::new().with_page(page)).await,
            all,
            "{page}"
        );
    }
    // No page is much larger than it was asked for.
    let page = store
        .list(&Filter::new().with_page(10), None)
        .await
        .expect("a page");
    assert!(page.records.len() <= 30, "{}", page.records.len());
}

#[tokio::test]
async fn a_listing_is_by_prefix_state_and_lapse() {
    let server = RedisServer::start();
    let store = store(&server);
    let states = [State::Running, State::Done, State::Failed, State::Lost];
    for (part, state) in ["running", "done", "failed", "lost"].iter().zip(states) {
        write(&store, &of("a.b", part), state).await;
        write(&store, &of("a*b", part), state).await;
        let shown = listed(&store, &Filter::new().with_state(state)).await;
        let expected = [format!("a*b|{part}"), format!("a.b|{part}")];
        assert_eq!(shown, BTreeSet::from(expected));
    }
    let names = |scope: &str| -> BTreeSet<_> {
        let parts = ["running", "done", "failed", "lost"];
        parts.iter().map(|part| format!("{scope}|{part}")).collect()
    };
    // A prefix is no pattern.
    assert_eq!(
        listed(&store, &Filter::new().with_prefix("a*")).await,
        names("a*b")
    );
    assert_eq!(
        listed(&store, &Filter::new().with_prefix("a.b|")).await,
        names("a.b")
    );
    assert!(
        listed(&store, &Filter::new().with_prefix("?"))
            .await
            .is_empty()
    );

    assert!(
        listed(&store, &Filter::new().with_lapsed(Lapsed::Only))
            .await
            .is_empty()
    );
    write(&store, &of("a.b", "silent"), State::Running).await;
    elapse(&server, &of("a.b", "silent"), PAST_LEASE);
    let lapsed = listed(&store, &Filter::new().with_lapsed(Lapsed::Only)).await;
    assert_eq!(lapsed, BTreeSet::from(["a.b|silent".to_owned()]));

    // What is past its end is there, and is not shown.
    elapse(&server, &of("a.b", "done"), TTL);
    assert!(value(&server, &of("a.b", "done")).is_some());
    let done = listed(&store, &Filter::new().with_state(State::Done)).await;
    assert_eq!(done, BTreeSet::from(["a*b|done".to_owned()]));
}

#[tokio::test]
async fn a_listing_shows_what_cannot_be_read_as_that() {
    let server = RedisServer::start();
    let store = store(&server);
    put(&server, &of("a", "foreign"), b"locked");
    server.cli(&["HSET", &redis_key(&of("a", "hash")), "a", "b"]);
    server.cli(&["SET", "idempotent:|trial|1", "x"]);
    server.cli(&["SET", "idempotent:no-key", "x"]);
    let all = BTreeSet::from(["!a|foreign".to_owned(), "!a|hash".to_owned()]);
    assert_eq!(listed(&store, &Filter::new()).await, all);
    assert!(
        listed(&store, &Filter::new().with_state(State::Done))
            .await
            .is_empty()
    );
    let error = store
        .list(&Filter::new(), Some(&Cursor::new("nonsense")))
        .await
        .expect_err("no cursor");
    assert_eq!(error.kind(), StoreErrorKind::Config);
}

/// Its scripts are brought along, as everywhere.
#[tokio::test]
async fn a_listing_needs_no_script_that_the_server_still_knows() {
    let server = RedisServer::start();
    let store = store(&server);
    write(&store, &key("1"), State::Done).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(listed(&store, &Filter::new()).await.len(), 1);
}

#[tokio::test]
async fn a_listing_needs_a_right_of_its_own() {
    let server = RedisServer::builder()
        .acl("tenant on >secret-7 ~* &* +@all -scan")
        .start();
    let store = RedisStore::connect(&server.url_for("tenant", "secret-7"))
        .await
        .expect("let in");
    let error = store
        .list(&Filter::new(), None)
        .await
        .expect_err("no right");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("+scan"), "{error}");
}

#[tokio::test]
async fn a_clusters_listing_shows_the_records_of_every_primary_also_when_slots_move() {
    let cluster = RedisCluster::start();
    let store = RedisStore::cluster(cluster.urls()).expect("valid URLs");
    let mut all = BTreeSet::new();
    for number in 0..120 {
        let key = of("orders.place", &number.to_string());
        write(&store, &key, State::Done).await;
        all.insert(key.as_str().to_owned());
    }
    assert_eq!(listed(&store, &Filter::new().with_page(10)).await, all);

    // Begin, then move the slot of a record that was not shown to a node that comes before.
    let filter = Filter::new().with_page(5);
    let mut shown = BTreeSet::new();
    let mut cursor = None;
    let first = cluster.node_of("idempotent:orders.place|0");
    let moves: Vec<_> = (0..120)
        .map(|number| of("orders.place", &number.to_string()))
        .filter(|key| cluster.node_of(&redis_key(key)) != first)
        .take(2)
        .collect();
    let mut pages = 0;
    loop {
        let page = store.list(&filter, cursor.as_ref()).await.expect("a page");
        shown.extend(
            page.records
                .iter()
                .map(|found| found.key.as_str().to_owned()),
        );
        pages += 1;
        if pages == 2 {
            for key in &moves {
                shown.remove(key.as_str());
                move_slot(&cluster, key, first);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        assert!(pages < 1_000, "it ends");
    }
    assert_eq!(shown, all);
}

/// Moves the slot of a key, with what is in it.
fn move_slot(cluster: &RedisCluster, key: &Key, to: usize) {
    let name = redis_key(key);
    let from = cluster.node_of(&name);
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    let slot = source.cli(&["CLUSTER", "KEYSLOT", &name]);
    let (source_id, target_id) = (
        source.cli(&["CLUSTER", "MYID"]),
        target.cli(&["CLUSTER", "MYID"]),
    );
    target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
    source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
    let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
    for name in keys.lines() {
        let port = target.port().to_string();
        source.cli(&["MIGRATE", "127.0.0.1", &port, name, "0", "5000"]);
    }
    for node in cluster.nodes() {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
    }
    idempotent_test_support::wait_until("every node knows the slot's owner", || {
        cluster.node_of(&name) == to
    });
}
