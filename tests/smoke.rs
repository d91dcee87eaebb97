//! By hand, on memory.
use idempotent_fn::{
    Error, OnCrash, OnErr, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

type R = Result<u32, Error>;

#[tokio::test]
async fn replays() {
    let store = SharedStore::new(MemoryStore::new());
    let ran = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let n = ran.clone();
        let r = operation::<R, _>("s", &[&1])
            .store(&store)
            .run(async move { Ok(n.fetch_add(1, Ordering::SeqCst)) })
            .await
            .unwrap();
        assert_eq!(r, 0);
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn fifty_at_once() {
    let store = SharedStore::new(MemoryStore::new());
    let ran = Arc::new(AtomicU32::new(0));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (store, n) = (store.clone(), ran.clone());
            tokio::spawn(async move {
                operation::<R, _>("s", &[&1])
                    .store(&store)
                    .run(async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok(n.fetch_add(1, Ordering::SeqCst))
                    })
                    .await
            })
        })
        .collect();
    for c in calls {
        assert_eq!(c.await.unwrap().unwrap(), 0);
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn dropped_body_is_finished() {
    let store = SharedStore::new(MemoryStore::new());
    let ran = Arc::new(AtomicU32::new(0));
    let call = |ms| {
        let (store, n) = (store.clone(), ran.clone());
        async move {
            tokio::time::timeout(
                Duration::from_millis(ms),
                operation::<R, _>("s", &[&1]).store(&store).run(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(n.fetch_add(1, Ordering::SeqCst))
                }),
            )
            .await
        }
    };
    assert!(call(5).await.is_err());
    assert_eq!(call(5000).await.unwrap().unwrap(), 0);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(idempotent_fn::drain(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn attached_fail_is_indeterminate() {
    let store = SharedStore::new(MemoryStore::new());
    let call = |on| {
        let store = store.clone();
        async move {
            tokio::time::timeout(
                Duration::from_millis(5),
                operation::<R, _>("s", &[&1])
                    .store(&store)
                    .on_crash(on)
                    .run_attached(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok(1)
                    }),
            )
            .await
        }
    };
    assert!(call(OnCrash::Fail).await.is_err());
    assert!(matches!(
        call(OnCrash::Fail).await,
        Ok(Err(Error::Indeterminate { .. }))
    ));
}

#[tokio::test]
async fn err_reruns() {
    let store = SharedStore::new(MemoryStore::new());
    for attempt in 1..4 {
        let r = operation::<Result<u32, String>, _>("s", &[&1])
            .store(&store)
            .map_err(|e| e.to_string())
            .run(async move {
                assert_eq!(idempotent_fn::current().attempt(), attempt);
                Err("no".into())
            })
            .await;
        assert_eq!(r.unwrap_err(), "no");
    }
    let r = operation::<Result<u32, String>, _>("s2", &[&1])
        .store(&store)
        .map_err(|e| e.to_string())
        .on_err(OnErr::Record)
        .run(async move { Ok(1) })
        .await;
    println!("{r:?}");
}

#[tokio::test]
async fn lapsed_by_clock() {
    let clock = ManualClock::new();
    let store = SharedStore::new(MemoryStore::with_clock(&clock));
    let mut hung = Box::pin(
        operation::<R, _>("s", &[&1])
            .store(&store)
            .run(std::future::pending()),
    );
    assert!(futures_poll(&mut hung));
    clock.advance(Duration::from_secs(31));
    let r = operation::<R, _>("s", &[&1])
        .store(&store)
        .run(async move { Ok(7) })
        .await
        .unwrap();
    assert_eq!(r, 7);
    drop(hung);
}
fn futures_poll<F: std::future::Future>(f: &mut std::pin::Pin<Box<F>>) -> bool {
    f.as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        .is_pending()
}
