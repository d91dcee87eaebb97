//! A call that was polled a few times and is then held without a poll blocks no other call, on the
//! memory store. On Redis: `idempotent-runtime/tests/redis/held.rs`.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use crate::common::Answer;
use idempotent_fn::{
    Error, Operation, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_secs(30);
/// More polls than any call takes here.
const ENOUGH: usize = 20;

fn call(store: &SharedStore, part: &str) -> Operation<u32, Error> {
    let call = operation::<Answer, _>("held", &[&part]).store(store);
    call.lease(LEASE).wait(Duration::ZERO)
}

async fn body() -> Answer {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    Ok(1)
}

/// Polls so many times at most; whether it is still pending then.
async fn polled(mut future: std::pin::Pin<&mut impl Future>, polls: usize) -> bool {
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if left == 0 => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Answers that come at all; it is waited for, not measured.
async fn answered<F: Future>(what: &str, future: F) -> F::Output {
    let answer = tokio::time::timeout(Duration::from_secs(20), future).await;
    answer.unwrap_or_else(|_| panic!("{what} is answered"))
}

#[tokio::test]
async fn a_held_call_stops_nobody() {
    for is_attached in [false, true] {
        let clock = ManualClock::new();
        let store = SharedStore::new(MemoryStore::with_clock(&clock));
        let mut was_pending = true;
        for polls in 1..ENOUGH {
            let own = format!("{is_attached} {polls}");
            let owner = async {
                if is_attached {
                    call(&store, &own).run_attached(body()).await
                } else {
                    call(&store, &own).run(body()).await
                }
            };
            let mut held = pin!(owner);
            was_pending = polled(held.as_mut(), polls).await;
            let other = format!("{own} other");
            let other = answered("an unrelated key", call(&store, &other).run(body())).await;
            assert_eq!(other.unwrap(), 1);
            match answered("the same key", call(&store, &own).run(body())).await {
                Err(Error::InFlight { .. }) if was_pending => {}
                Ok(1) if !was_pending => {}
                answer => panic!("{own}: {answer:?}"),
            }
            answered("`inspect`", call(&store, &own).inspect())
                .await
                .unwrap();
            // Its heartbeat rides in the call: nobody polls it, so the lease runs out.
            clock.advance(LEASE * 2);
            let next = answered("the same key", call(&store, &own).run(body())).await;
            assert_eq!(next.unwrap(), 1, "{own}");
            if !was_pending {
                break;
            }
        }
        assert!(!was_pending, "it was held at every await point");
    }
}
