//! What each option of the attribute does, on the memory store. The forms of functions are in
//! `tests/shapes`.

use std::{
    sync::{
        Arc, LazyLock, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_fn::{
    Error, OnErr, RerunOrFail, SharedStore,
    codec::{Codec, CodecError},
    current, idempotent, install,
    store::{ManualClock, MemoryStore},
    with_store,
};
use tokio::{sync::Semaphore, task::yield_now};

/// One key for all calls.
const ONE: u64 = 1;

/// A number that was never given before: equal answers are one run.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The default store, also where features or the environment say another.
fn on_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| install(memory()).expect("no default store yet"));
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

fn memory_with_clock() -> (SharedStore, ManualClock) {
    let clock = ManualClock::new();
    (SharedStore::new(MemoryStore::with_clock(&clock)), clock)
}

#[tokio::test]
async fn parts_of_a_key_do_not_run_into_each_other() {
    #[idempotent(key = (left, right))]
    async fn pair(left: &'static str, right: &'static str) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    let answers = [
        pair("a", "b:c").await.unwrap(),
        pair("a:b", "c").await.unwrap(),
        pair("a:b:c", "d").await.unwrap(),
    ];
    assert!(answers[0] != answers[1] && answers[1] != answers[2]);
    assert_eq!(pair("a", "b:c").await.unwrap(), answers[0]);
}

#[tokio::test]
async fn the_key_is_read_once_before_the_body() {
    static READ: AtomicU64 = AtomicU64::new(0);

    fn id(order: &str) -> &str {
        READ.fetch_add(1, Ordering::Relaxed);
        order
    }

    #[idempotent(key = id(&order))]
    async fn read_once(mut order: String) -> Result<(String, u64), Error> {
        order.push_str(" is paid");
        Ok((order, fresh()))
    }

    on_memory();
    let first = read_once("one".into()).await.unwrap();
    assert_eq!(
        (first.0.as_str(), READ.load(Ordering::Relaxed)),
        ("one is paid", 1)
    );
    assert_eq!(read_once("one".into()).await.unwrap(), first);
    assert_ne!(read_once("one is paid".into()).await.unwrap().1, first.1);
}

#[tokio::test]
async fn an_empty_key_is_refused() {
    #[idempotent(key = ("order", id))]
    async fn keyless(id: &'static str) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    assert!(matches!(keyless("").await, Err(Error::InvalidKey { .. })));
}

#[tokio::test]
async fn the_scope_is_the_functions_path_or_what_is_given() {
    #[idempotent(key = ONE)]
    async fn by_path() -> Result<String, Error> {
        Ok(current().scope().to_owned())
    }

    #[idempotent(scope = "payments.given", key = ONE)]
    async fn given() -> Result<String, Error> {
        Ok(current().scope().to_owned())
    }

    on_memory();
    assert_eq!(by_path().await.unwrap(), "attribute::options::by_path");
    assert_eq!(given().await.unwrap(), "payments.given");
}

#[tokio::test]
async fn two_functions_with_one_scope_are_refused() {
    #[idempotent(scope = "payments.shared", key = ONE)]
    async fn first() -> Result<u64, Error> {
        Ok(1)
    }

    #[idempotent(scope = "payments.shared", key = ONE)]
    async fn second() -> Result<u64, Error> {
        Ok(2)
    }

    on_memory();
    assert_eq!(first().await.unwrap(), 1);
    let refused = second().await.unwrap_err();
    assert!(matches!(refused, Error::Config { .. }));
    let text = refused.to_string();
    assert_eq!(
        text.matches("tests/attribute/options.rs:").count(),
        2,
        "{text}"
    );
    assert_eq!(first().await.unwrap(), 1);
}

#[tokio::test]
async fn another_payload_under_the_same_key_is_refused() {
    #[idempotent(key = order, fingerprint = (amount, &currency))]
    async fn pinned(order: u64, amount: u64, currency: String) -> Result<u64, Error> {
        drop(currency);
        Ok(fresh())
    }

    on_memory();
    let first = pinned(1, 100, "EUR".into()).await.unwrap();
    assert_eq!(pinned(1, 100, "EUR".into()).await.unwrap(), first);
    for (amount, currency) in [(101, "EUR"), (100, "USD")] {
        let refused = pinned(1, amount, currency.into()).await;
        assert!(matches!(refused, Err(Error::KeyReused { .. })));
    }
}

#[tokio::test]
async fn a_result_is_replayed_for_its_ttl() {
    #[idempotent(key = order, ttl = "90m")]
    async fn kept(order: u64) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    #[idempotent(key = order)]
    async fn kept_by_default(order: u64) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    on_memory();
    let (store, clock) = memory_with_clock();
    with_store(store, async move {
        let first = (kept(1).await.unwrap(), kept_by_default(1).await.unwrap());
        clock.advance(Duration::from_secs(90 * 60 - 1));
        assert_eq!(kept(1).await.unwrap(), first.0);
        clock.advance(Duration::from_secs(2));
        assert_ne!(kept(1).await.unwrap(), first.0);
        assert_eq!(kept_by_default(1).await.unwrap(), first.1);
        clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_ne!(kept_by_default(1).await.unwrap(), first.1);
    })
    .await;
}

#[tokio::test]
async fn an_expression_is_a_duration_too() {
    #[idempotent(key = order, ttl = kept * 2)]
    async fn kept_twice(order: u64, kept: Duration) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    on_memory();
    let (store, clock) = memory_with_clock();
    with_store(store, async move {
        let first = kept_twice(1, Duration::from_secs(5)).await.unwrap();
        clock.advance(Duration::from_secs(9));
        assert_eq!(kept_twice(1, Duration::from_secs(5)).await.unwrap(), first);
        clock.advance(Duration::from_secs(2));
        assert_ne!(kept_twice(1, Duration::from_secs(5)).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_waits_or_is_told_at_once() {
    #[idempotent(scope = "waits", key = ONE, wait = "1m")]
    async fn waits(gate: Arc<Semaphore>) -> Result<u64, Error> {
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    #[idempotent(scope = "does_not_wait", key = ONE, wait = "0s", lease = "20s")]
    async fn does_not_wait(gate: Arc<Semaphore>) -> Result<u64, Error> {
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let gate = Arc::new(Semaphore::new(0));
    let owner = tokio::spawn(waits(gate.clone()));
    let duplicate = tokio::spawn(waits(gate.clone()));
    let told = tokio::spawn(does_not_wait(gate.clone()));
    yield_now().await;
    let refused = does_not_wait(gate.clone()).await.unwrap_err();
    let lease_left = refused.lease_left().expect("in flight");
    assert!(lease_left <= Duration::from_secs(20) && lease_left > Duration::from_secs(10));
    gate.add_permits(2);
    let answer = owner.await.unwrap().unwrap();
    assert_eq!(duplicate.await.unwrap().unwrap(), answer);
    told.await.unwrap().unwrap();
}

/// An error that can be recorded.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Declined {
    Card(u64),
    Network(u64),
    Library(String),
}

impl From<Error> for Declined {
    fn from(error: Error) -> Self {
        match error {
            Error::Indeterminate { .. } => Self::Library("indeterminate".into()),
            other => Self::Library(other.to_string()),
        }
    }
}

#[tokio::test]
async fn an_err_means_what_on_err_says() {
    #[idempotent(key = ONE)]
    async fn by_default() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    #[idempotent(key = ONE, on_err = record)]
    async fn record() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    #[idempotent(key = ONE, on_err = fail)]
    async fn fail() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    on_memory();
    assert_ne!(by_default().await, by_default().await);
    assert_eq!(record().await, record().await);
    assert!(matches!(fail().await, Err(Declined::Card(_))));
    assert_eq!(fail().await, Err(Declined::Library("indeterminate".into())));
}

#[tokio::test]
async fn an_err_can_be_looked_at() {
    #[idempotent(key = card, on_err = |error| match error {
        Declined::Card(_) => OnErr::Record,
        _ => OnErr::Rerun,
    })]
    async fn closure(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    #[idempotent(key = card, on_err = policy)]
    async fn function(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    fn policy(error: &Declined) -> OnErr {
        match error {
            Declined::Card(_) => OnErr::Fail,
            _ => OnErr::Rerun,
        }
    }

    on_memory();
    assert_eq!(closure(true).await, closure(true).await);
    assert_ne!(closure(false).await, closure(false).await);
    assert!(matches!(function(true).await, Err(Declined::Card(_))));
    assert_eq!(
        function(true).await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_ne!(function(false).await, function(false).await);
}

#[tokio::test]
async fn a_closure_that_never_records_asks_nothing_of_the_error() {
    /// Has no serde.
    #[derive(Debug)]
    struct Opaque(u64);

    impl From<Error> for Opaque {
        fn from(_: Error) -> Self {
            Self(0)
        }
    }

    #[idempotent(key = ONE, on_err = |_| RerunOrFail::Rerun)]
    async fn opaque() -> Result<u64, Opaque> {
        Err(Opaque(fresh()))
    }

    #[idempotent(key = ONE, on_err = in_doubt)]
    async fn by_function() -> Result<u64, Opaque> {
        Err(Opaque(fresh()))
    }

    fn in_doubt(error: &Opaque) -> RerunOrFail {
        let _: u64 = error.0;
        RerunOrFail::Fail
    }

    on_memory();
    let first = opaque().await.unwrap_err();
    assert_ne!(opaque().await.unwrap_err().0, first.0, "it runs again");
    assert_ne!(by_function().await.unwrap_err().0, 0);
    assert_eq!(by_function().await.unwrap_err().0, 0, "it is in doubt");
}

#[tokio::test]
async fn what_a_closure_answers_decides_and_not_the_words_in_it() {
    fn classify(error: &Declined, otherwise: OnErr) -> OnErr {
        match error {
            Declined::Card(_) => OnErr::Record,
            _ => otherwise,
        }
    }

    #[idempotent(key = card, on_err = |error| classify(error, OnErr::Rerun))]
    async fn elsewhere(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    #[idempotent(key = ONE, on_err = |error| {
        // Record: not here.
        let is_network = matches!(error, Declined::Network(_));
        if is_network { RerunOrFail::Rerun } else { RerunOrFail::Fail }
    })]
    async fn never_records() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    on_memory();
    assert_eq!(elsewhere(true).await, elsewhere(true).await);
    assert_ne!(elsewhere(false).await, elsewhere(false).await);
    assert_ne!(never_records().await, never_records().await);
}

#[tokio::test]
async fn a_call_whose_optional_key_is_none_runs_its_body_each_time() {
    #[idempotent(key = key, optional_key = true)]
    async fn optional(key: Option<String>) -> Result<u64, Error> {
        assert_eq!(current().is_protected(), key.is_some());
        yield_now().await;
        Ok(fresh())
    }

    #[idempotent(key = (user, key, &header), optional_key = true, fingerprint = user)]
    async fn parts(user: u64, key: Option<&'static str>, header: Option<u8>) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = key, optional_key = true, detach = false)]
    async fn attached(key: Option<&str>) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = later(key).await, optional_key = true, codec = idempotent_fn::codec::MessagePack)]
    async fn awaits(key: Option<u64>) -> Result<u64, Error> {
        Ok(fresh())
    }

    async fn later(key: Option<u64>) -> Option<u64> {
        yield_now().await;
        key
    }

    /// Runs each time without a key, and once with it.
    macro_rules! assert_protects {
        ($some:expr, $($none:expr),+) => {
            assert_eq!($some.await.unwrap(), $some.await.unwrap());
            $(assert_ne!($none.await.unwrap(), $none.await.unwrap());)+
        };
    }

    on_memory();
    assert_protects!(optional(Some("k".into())), optional(None));
    assert_protects!(
        parts(1, Some("k"), Some(1)),
        parts(1, None, Some(1)),
        parts(1, Some("k"), None)
    );
    assert_protects!(attached(Some("k")), attached(None));
    assert_protects!(awaits(Some(1)), awaits(None));
}

#[tokio::test]
async fn a_body_without_a_key_stops_when_its_caller_goes_away() {
    #[idempotent(key = key, optional_key = true)]
    async fn abandoned(
        key: Option<u64>,
        held: Arc<()>,
        entered: Arc<Semaphore>,
    ) -> Result<u64, Error> {
        entered.add_permits(1);
        std::future::pending::<()>().await;
        drop(held);
        Ok(1)
    }

    on_memory();
    let (held, entered) = (Arc::new(()), Arc::new(Semaphore::new(0)));
    tokio::select! {
        biased;
        _ = abandoned(None, Arc::clone(&held), Arc::clone(&entered)) => unreachable!(),
        _ = entered.acquire() => {}
    }
    assert_eq!(Arc::strong_count(&held), 1, "the body is gone");
}

#[tokio::test]
async fn an_empty_optional_key_is_as_invalid_as_any() {
    #[idempotent(key = key, optional_key = true)]
    async fn empty(key: Option<&'static str>) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    assert!(matches!(
        empty(Some("")).await,
        Err(Error::InvalidKey { .. })
    ));
}

/// In one expression: its parts do not stay in the future.
#[tokio::test]
async fn a_call_by_hand_is_send() {
    fn is_send<F: Send>(future: F) -> F {
        future
    }

    let store = memory();
    let call = is_send(async move {
        let order = 1;
        let user = String::from("a");
        idempotent_fn::operation::<Result<u64, Error>, _>("by-hand", &(&order, &user))
            .store(&store)
            .run(async { Ok(1) })
            .await?;
        idempotent_fn::operation::<Result<u64, Error>, _>("by-hand", &[&order])
            .store(&store)
            .run_attached(async { Ok(2) })
            .await
    });
    assert_eq!(tokio::spawn(call).await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn under_on_crash_fail_an_err_is_in_doubt_unless_it_is_said_otherwise() {
    #[idempotent(key = ONE, on_crash = fail)]
    async fn in_doubt() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    #[idempotent(key = ONE, on_crash = fail, on_err = rerun)]
    async fn nothing_happened() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    on_memory();
    assert!(matches!(in_doubt().await, Err(Declined::Network(_))));
    assert_eq!(
        in_doubt().await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_ne!(nothing_happened().await, nothing_happened().await);
}

/// Polls the call until it is pending, then drops it.
async fn give_up<F: Future>(call: F) {
    let timeout = Duration::from_millis(20);
    assert!(tokio::time::timeout(timeout, call).await.is_err());
}

#[tokio::test]
async fn a_body_is_finished_when_its_caller_goes_away() {
    #[idempotent(key = ONE)]
    async fn finished(ran: Arc<AtomicU64>, gate: Arc<Semaphore>) -> Result<u64, Error> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let (ran, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    give_up(finished(ran.clone(), gate.clone())).await;
    gate.add_permits(1);
    finished(ran.clone(), gate).await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_attached_body_stops_when_its_caller_goes_away() {
    #[idempotent(scope = "attached.rerun", key = ONE, detach = false)]
    async fn rerun(ran: &AtomicU64, gate: &Semaphore) -> Result<u64, Declined> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    #[idempotent(scope = "attached.fail", key = ONE, detach = false, on_crash = fail)]
    async fn fail(ran: &AtomicU64, gate: &Semaphore) -> Result<u64, Declined> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let (ran, gate) = (AtomicU64::new(0), Semaphore::new(0));
    give_up(rerun(&ran, &gate)).await;
    give_up(fail(&ran, &gate)).await;
    gate.add_permits(1);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
    rerun(&ran, &gate).await.unwrap();
    assert_eq!(
        fail(&ran, &gate).await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_eq!(ran.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_store_is_the_one_that_is_given() {
    #[idempotent(key = ONE, store = store)]
    async fn stored(store: SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    let (one, other) = (memory(), memory());
    let first = stored(one.clone()).await.unwrap();
    assert_eq!(stored(one.clone()).await.unwrap(), first);
    assert_ne!(stored(other).await.unwrap(), first);
    let inside = with_store(memory(), stored(one)).await.unwrap();
    assert_eq!(inside, first);
}

/// A store that stands somewhere is read by reference, as often as one likes; one that an
/// expression makes is taken.
#[tokio::test]
async fn a_store_is_taken_where_it_stands_or_as_it_is_made() {
    static STORE: LazyLock<SharedStore> = LazyLock::new(memory);

    struct App {
        stores: Vec<SharedStore>,
    }

    impl App {
        fn pick(&self) -> &SharedStore {
            &self.stores[0]
        }

        #[idempotent(scope = "taken", key = ONE, store = self.stores[0])]
        async fn indexed(self: Arc<Self>) -> Result<u64, Error> {
            Ok(fresh())
        }

        #[idempotent(scope = "taken::picked", key = ONE, store = self.pick())]
        async fn picked(self: Arc<Self>) -> Result<u64, Error> {
            Ok(fresh())
        }
    }

    #[idempotent(key = ONE, store = STORE)]
    async fn in_a_static() -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = *STORE)]
    async fn behind_a_static() -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = store, detach = false)]
    async fn borrowed(store: &SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = store.with_namespace("made"))]
    async fn made(store: SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    let app = Arc::new(App {
        stores: vec![memory()],
    });
    let store = app.pick();
    for _ in 0..2 {
        assert_eq!(
            app.clone().indexed().await.unwrap(),
            app.clone().indexed().await.unwrap()
        );
        assert_eq!(
            app.clone().picked().await.unwrap(),
            app.clone().picked().await.unwrap()
        );
        assert_eq!(in_a_static().await.unwrap(), in_a_static().await.unwrap());
        assert_eq!(
            behind_a_static().await.unwrap(),
            behind_a_static().await.unwrap()
        );
        assert_eq!(
            borrowed(store).await.unwrap(),
            borrowed(store).await.unwrap()
        );
        assert_eq!(
            made(store.clone()).await.unwrap(),
            made(store.clone()).await.unwrap()
        );
    }
    assert_eq!(store.counters().ran(), 4);
    assert_eq!(STORE.counters().ran(), 2);
}

/// A store as it is, shared, or by reference: nobody has to write how it is shared.
#[tokio::test]
async fn with_store_takes_whatever_is_a_store() {
    #[idempotent(key = ONE)]
    async fn anywhere() -> Result<u64, Error> {
        Ok(fresh())
    }

    let store = memory();
    let first = with_store(&store, anywhere()).await.unwrap();
    assert_eq!(with_store(store.clone(), anywhere()).await.unwrap(), first);
    let other = with_store(MemoryStore::new(), anywhere()).await.unwrap();
    assert_ne!(other, first);
    let spawned = tokio::spawn(with_store(store, anywhere()));
    assert_eq!(spawned.await.unwrap().unwrap(), first);
}

/// Has no serde.
#[derive(Debug, PartialEq)]
struct Receipt(u64);

struct Digits;

impl Codec<Receipt> for Digits {
    const ID: u32 = 1_234;

    fn encode(value: &Receipt, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes.extend(value.0.to_string().into_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Receipt, CodecError> {
        let text = std::str::from_utf8(bytes).map_err(CodecError::new)?;
        text.parse().map(Receipt).map_err(CodecError::new)
    }
}

#[tokio::test]
async fn a_codec_records_what_has_no_serde() {
    #[idempotent(key = ONE, codec = Digits)]
    async fn coded() -> Result<Receipt, Error> {
        Ok(Receipt(fresh()))
    }

    on_memory();
    assert_eq!(coded().await.unwrap(), coded().await.unwrap());
}

#[tokio::test]
async fn our_error_becomes_the_functions() {
    #[idempotent(key = id, map_err = |error| format!("{prefix}: {error}"))]
    async fn closure(id: &'static str, prefix: &'static str) -> Result<u64, String> {
        Ok(fresh())
    }

    #[idempotent(key = id, map_err = Some)]
    async fn function(id: &'static str) -> Result<u64, Option<Error>> {
        Ok(fresh())
    }

    #[idempotent(key = id)]
    async fn boxed(id: &'static str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(fresh())
    }

    on_memory();
    let text = closure("", "refused").await.unwrap_err();
    assert!(text.starts_with("refused: "), "{text}");
    let ours = function("").await.unwrap_err();
    assert!(matches!(ours, Some(Error::InvalidKey { .. })));
    assert!(boxed("").await.unwrap_err().is::<Error>());
}

#[tokio::test]
async fn empty_results_replay_as_themselves() {
    static RUNS: AtomicU64 = AtomicU64::new(0);

    macro_rules! empty {
        ($($name:ident: $type:ty = $value:expr),*) => {$({
            #[idempotent(key = ONE)]
            async fn $name() -> Result<$type, Error> {
                RUNS.fetch_add(1, Ordering::Relaxed);
                Ok($value)
            }

            let expected: $type = $value;
            assert_eq!($name().await.unwrap(), expected);
            let expected: $type = $value;
            assert_eq!($name().await.unwrap(), expected);
        })*};
    }

    on_memory();
    empty!(unit: () = (), none: Option<u64> = None, no: bool = false, zero: u64 = 0, list: Vec<u64> = Vec::<u64>::new());
    assert_eq!(RUNS.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_body_that_calls_itself_with_its_own_key_is_told() {
    #[idempotent(key = ONE)]
    async fn outer() -> Result<u64, Error> {
        inner().await
    }

    fn inner() -> std::pin::Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> {
        Box::pin(outer())
    }

    on_memory();
    assert!(matches!(outer().await, Err(Error::Reentrant { .. })));
}

#[test]
fn without_tokio_the_call_is_refused() {
    #[idempotent(key = ONE)]
    async fn without_runtime() -> Result<u64, Error> {
        Ok(fresh())
    }

    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let answer = std::pin::pin!(without_runtime()).poll(&mut context);
    let std::task::Poll::Ready(Err(refused)) = answer else {
        panic!("{answer:?}")
    };
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
}

#[tokio::test]
async fn a_result_may_say_how_long_it_is_kept() {
    const MINUTE: Duration = Duration::from_secs(60);

    #[idempotent(key = paid, store = store, ttl = |result| match result {
        Ok(paid) if *paid > 0 => 60 * MINUTE,
        _ => MINUTE,
    })]
    async fn charge_kept(paid: u64, store: &'static SharedStore) -> Result<u64, Error> {
        Ok(paid * fresh())
    }

    /// The arguments have types, and the error is recorded.
    #[idempotent(key = id, store = store, on_err = record, ttl = |result: &Result<u64, Declined>| kept(result))]
    async fn declined(id: u64, store: &'static SharedStore) -> Result<u64, Declined> {
        Err(Declined::Card(id + fresh()))
    }

    fn kept(result: &Result<u64, Declined>) -> Duration {
        if result.is_err() {
            MINUTE
        } else {
            Duration::MAX
        }
    }

    let (store, clock) = memory_with_clock();
    let store: &'static SharedStore = Box::leak(Box::new(store));
    let (paid, unpaid) = (
        charge_kept(1, store).await.unwrap(),
        charge_kept(0, store).await.unwrap(),
    );
    let refused = declined(1, store).await;
    clock.advance(MINUTE / 2);
    assert_eq!(charge_kept(0, store).await.unwrap(), unpaid);
    assert_eq!(declined(1, store).await, refused);
    clock.advance(MINUTE);
    assert_eq!(charge_kept(1, store).await.unwrap(), paid);
    assert_ne!(declined(1, store).await, refused);
    clock.advance(60 * MINUTE);
    assert_ne!(charge_kept(1, store).await.unwrap(), paid);
}
