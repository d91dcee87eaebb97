//! The body owns its arguments as in a plain `async fn`: each is kept whole until the body ends,
//! and they are dropped in the same order.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_fn::{Error, SharedStore, idempotent, store::MemoryStore, with_store};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// A key that was never used before.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A body that waits until it is let go.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    open: Arc<Notify>,
    left: Arc<Notify>,
}

impl Gate {
    async fn pass(&self) {
        self.entered.notify_one();
        self.open.notified().await;
    }
}

/// The permit stays with the body when the caller is gone, and is free once the body has ended.
async fn assert_permit_is_the_bodys<F: Future<Output = Result<u64, Error>> + Send>(
    call: impl FnOnce(Gate, OwnedSemaphorePermit) -> F,
) {
    let gate = Gate::default();
    let permits = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
    let call = with_store(memory(), call(gate.clone(), permit));
    // The caller gives up as soon as the body has begun, as one under `timeout` does.
    tokio::select! {
        biased;
        answer = call => panic!("{answer:?}"),
        () = gate.entered.notified() => {}
    }
    assert_eq!(permits.available_permits(), 0, "the body still runs");
    gate.open.notify_one();
    gate.left.notified().await;
    // The body's last act is before its arguments are dropped.
    let freed = tokio::time::timeout(Duration::from_secs(30), permits.acquire()).await;
    assert!(freed.is_ok(), "the body has ended");
}

struct Named {
    gate: Gate,
    permit: OwnedSemaphorePermit,
}

struct Wrapped(Gate, OwnedSemaphorePermit);

macro_rules! keeps_its_permit {
    ($($test:ident: |$gate:ident, $permit:ident| ($($parameters:tt)*) $body:block called with ($($arguments:expr),*);)*) => {$(
        #[tokio::test]
        async fn $test() {
            #[idempotent(scope = concat!("arguments.", stringify!($test)), key = key)]
            async fn charge(key: u64, $($parameters)*) -> Result<u64, Error> $body

            assert_permit_is_the_bodys(|$gate, $permit| charge(fresh(), $($arguments),*)).await;
        }
    )*};
}

keeps_its_permit! {
    an_argument_that_is_not_named_is_kept: |gate, permit| (gate: Gate, _permit: OwnedSemaphorePermit) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (gate, permit);

    an_argument_without_a_name_is_kept: |gate, permit| (gate: Gate, _: OwnedSemaphorePermit) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (gate, permit);

    fields_that_are_not_named_are_kept: |gate, permit| (named: Named) {
        named.gate.pass().await;
        named.gate.left.notify_one();
        Ok(1)
    } called with (Named { gate, permit });

    fields_of_a_tuple_that_are_not_named_are_kept: |gate, permit| (mut pair: (Gate, OwnedSemaphorePermit)) {
        pair.0 = pair.0.clone();
        pair.0.pass().await;
        pair.0.left.notify_one();
        Ok(1)
    } called with ((gate, permit));

    what_a_tuple_pattern_does_not_name_is_kept: |gate, permit| ((gate, _): (Gate, OwnedSemaphorePermit)) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with ((gate, permit));

    what_a_struct_pattern_does_not_name_is_kept: |gate, permit| (Named { gate, permit: _ }: Named) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (Named { gate, permit });

    what_a_tuple_struct_pattern_does_not_name_is_kept: |gate, permit| (Wrapped(gate, _): Wrapped) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (Wrapped(gate, permit));

    what_a_nested_pattern_does_not_name_is_kept: |gate, permit| ((Wrapped(gate, _), _): (Wrapped, u8)) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with ((Wrapped(gate, permit), 0));

    what_a_pattern_names_and_the_body_does_not_is_kept: |gate, permit| ((gate, _permit): (Gate, OwnedSemaphorePermit)) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with ((gate, permit));

    the_rest_of_an_array_is_kept: |gate, permit| (gate: Gate, [_first, ..]: [Option<OwnedSemaphorePermit>; 2]) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (gate, [None, Some(permit)]);

    a_configured_argument_is_kept: |gate, permit| (gate: Gate, #[cfg(not(miri))] _: OwnedSemaphorePermit, #[cfg(miri)] _: u8) {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    } called with (gate, permit);
}

#[tokio::test]
async fn an_argument_that_only_the_key_names_is_kept() {
    struct Order {
        id: u64,
        _permit: OwnedSemaphorePermit,
    }

    #[idempotent(key = order.id)]
    async fn charge(order: Order, gate: Gate) -> Result<u64, Error> {
        gate.pass().await;
        gate.left.notify_one();
        Ok(1)
    }

    assert_permit_is_the_bodys(|gate, permit| {
        charge(
            Order {
                id: fresh(),
                _permit: permit,
            },
            gate,
        )
    })
    .await;
}

impl Named {
    #[idempotent(scope = "arguments.named.value", key = key)]
    async fn by_value(self, key: u64) -> Result<u64, Error> {
        self.gate.pass().await;
        self.gate.left.notify_one();
        Ok(key)
    }

    #[idempotent(scope = "arguments.named.mut", key = key)]
    async fn by_mut_value(mut self, key: u64) -> Result<u64, Error> {
        self.gate = self.gate.clone();
        self.gate.pass().await;
        self.gate.left.notify_one();
        Ok(key)
    }

    #[idempotent(scope = "arguments.named.boxed", key = key)]
    async fn by_box(self: Box<Self>, key: u64) -> Result<u64, Error> {
        self.gate.pass().await;
        self.gate.left.notify_one();
        Ok(key)
    }

    #[idempotent(scope = "arguments.named.unused", key = key)]
    async fn unused(self: Arc<Self>, key: u64, gate: Gate) -> Result<u64, Error> {
        gate.pass().await;
        gate.left.notify_one();
        Ok(key)
    }
}

#[tokio::test]
async fn a_receiver_is_kept_whole() {
    assert_permit_is_the_bodys(|gate, permit| Named { gate, permit }.by_value(fresh())).await;
    assert_permit_is_the_bodys(|gate, permit| Named { gate, permit }.by_mut_value(fresh())).await;
    assert_permit_is_the_bodys(|gate, permit| Box::new(Named { gate, permit }).by_box(fresh()))
        .await;
    let unused = |gate: Gate, permit| {
        let named = Named {
            gate: gate.clone(),
            permit,
        };
        Arc::new(named).unused(fresh(), gate)
    };
    assert_permit_is_the_bodys(unused).await;
}

/// Tells when it is dropped.
struct Told(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

struct Three {
    first: Told,
    second: Told,
    third: Told,
}

/// The same function three times.
macro_rules! thrice {
    ($plain:ident, $run:ident, $attached:ident, ($($parameters:tt)*) $body:block) => {
        async fn $plain(_key: u64, $($parameters)*) -> Result<u64, Error> $body

        #[idempotent(scope = concat!("arguments.order.", stringify!($run)), key = key)]
        async fn $run(key: u64, $($parameters)*) -> Result<u64, Error> $body

        #[idempotent(scope = concat!("arguments.order.", stringify!($attached)), key = key, detach = false)]
        async fn $attached(key: u64, $($parameters)*) -> Result<u64, Error> $body
    };
}

thrice!(plain, run, attached, (
    _: Told,
    _unused: Told,
    used: Told,
    (_, left, _, right, _): (Told, Told, Told, Told, Told),
    Three { second: _, first, third: _ }: Three,
    last: Three,
) {
    let local = Told("local", Arc::clone(&used.1));
    drop(last.second);
    tokio::task::yield_now().await;
    let _ = (&local, &left, &right, &first);
    Ok(1)
});

#[tokio::test]
async fn arguments_are_dropped_in_the_order_of_a_plain_function() {
    macro_rules! dropped {
        ($function:ident) => {{
            let order = Arc::default();
            let told = |name| Told(name, Arc::clone(&order));
            let three = |first, second, third| Three {
                first: told(first),
                second: told(second),
                third: told(third),
            };
            let five = (
                told("_0"),
                told("left"),
                told("_2"),
                told("right"),
                told("_4"),
            );
            let [pattern, last] = [three("first", "_second", "_third"), three("a", "b", "c")];
            let call = $function(
                1,
                told("_"),
                told("_unused"),
                told("used"),
                five,
                pattern,
                last,
            );
            with_store(memory(), call).await.unwrap();
            let order = order.lock().unwrap().clone();
            order
        }};
    }

    let plain = dropped!(plain);
    assert_eq!(plain.len(), 15);
    assert_eq!(dropped!(run), plain);
    assert_eq!(dropped!(attached), plain);
}
