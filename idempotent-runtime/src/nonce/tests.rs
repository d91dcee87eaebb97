//! Which nonces are drawn ahead.

use std::{collections::HashSet, thread};

use super::{DRAWN, Nonce};

#[test]
fn no_two_are_alike() {
    let draw = || (0..5 * DRAWN).map(|_| Nonce::within_process().expect("random bytes"));
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || draw().collect::<Vec<_>>()))
        .collect();
    let mut all: Vec<_> = draw().collect();
    for thread in threads {
        all.extend(thread.join().expect("no panic"));
    }
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[cfg(all(feature = "memory", feature = "redis"))]
#[tokio::test]
async fn only_records_in_this_process_get_nonces_that_were_drawn_ahead() {
    use crate::{
        Error, SharedStore, operation,
        store::{MemoryStore, redis::RedisStore},
    };

    /// How many are left after a call to `store` has drawn its nonce. It goes no further: nothing is connected to.
    fn ahead_after_a_call_to(store: &SharedStore) -> usize {
        let call = operation::<Result<u8, Error>, _>("nonce", &[&"key"]).store(store);
        assert!(call.prepare().is_ok());
        super::AHEAD.with_borrow(arrayvec::ArrayVec::len)
    }

    let memory = MemoryStore::new().into();
    let redis = SharedStore::new(RedisStore::new("redis://127.0.0.1/").expect("a URL"));
    let drawn_for_others = ahead_after_a_call_to(&redis);
    assert_eq!(drawn_for_others, 0, "for a store that others reach");
    assert_eq!(ahead_after_a_call_to(&memory), DRAWN - 1);
    let left = ahead_after_a_call_to(&redis);
    assert_eq!(left, DRAWN - 1, "one was used where others reach");
}
