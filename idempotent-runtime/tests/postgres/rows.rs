//! What is in the table, and what statements are sent.

use idempotent_runtime::Store;

use crate::common::*;

#[tokio::test]
async fn a_first_call_is_two_statements_and_a_replay_one() {
    let place = Place::new();
    let store = place.store();
    store.check().await.expect("fit");
    let before = place.sent("");
    first_call(&store, &key("1"), b"42").await;
    assert_eq!(place.sent("") - before, 2);
    store.claim(&key("1"), &request()).await.expect("a replay");
    assert_eq!(place.sent("") - before, 3);
}
