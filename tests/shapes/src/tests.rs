//! Calls every function twice with one key and once with another.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once};

use idempotent_fn::store::MemoryStore;
use idempotent_fn::{SharedStore, install};

use crate::boxed::Payments;
use crate::methods::Handler;
use crate::{attributes, bare, boxed, free, handlers, macros, methods, names, options};

/// Two calls are one run, a call with another key is another.
macro_rules! once {
    ($same:expr, $again:expr, $other:expr $(,)?) => {{
        let (first, again, other) = ($same.await, $again.await, $other.await);
        assert!(first.is_ok(), "{first:?}");
        assert_eq!(first, again);
        assert_ne!(first, other);
    }};
}

/// The default store, also where features or the environment say another.
fn on_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| install(memory()).expect("no default store yet"));
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

fn assert_send<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn functions() {
    on_memory();
    once!(free::plain(1), free::plain(1), free::plain(2));
    once!(
        free::names(1, 2, 3, 4),
        free::names(1, 2, 3, 4),
        free::names(4, 3, 2, 1)
    );
    once!(
        free::const_generic(1, [0; 3]),
        free::const_generic(1, [0; 3]),
        free::const_generic(1, [0; 4])
    );
    once!(
        free::impl_trait("a"),
        free::impl_trait("a"),
        free::impl_trait('b')
    );
    once!(
        free::configured(1, 1),
        free::configured(1, 1),
        free::configured(2, 1)
    );
    once!(free::large(1), free::large(1), free::large(2));
    once!(free::diverges(1), free::diverges(1), free::diverges(2));
    once!(free::items(1), free::items(1), free::items(2));
    once!(free::recursive(3), free::recursive(3), free::recursive(4));
    once!(
        free::local(Rc::from("a")),
        free::local(Rc::from("a")),
        free::local(Rc::from("b"))
    );
}

#[tokio::test]
async fn generic_functions_replay_their_own_type() {
    on_memory();
    once!(
        free::generic("k", vec![1]),
        free::generic("k", vec![2]),
        free::generic("l", vec![1])
    );
}

#[tokio::test]
async fn a_replay_leaves_borrowed_arguments_alone() {
    on_memory();
    let (mut first, mut again) = ("", "");
    let left = String::from("longer");
    let ran = free::lifetimes(&left, "short", &mut first).await;
    assert_eq!(ran, free::lifetimes(&left, "short", &mut again).await);
    assert_eq!((first, again), ("longer", ""));
}

#[tokio::test]
async fn patterns() {
    on_memory();
    let named = |name: &str| free::Named {
        name: name.to_owned(),
        other: 0,
    };
    let patterns = |id, name| free::patterns((id, 2), 3, named(name), 0);
    once!(patterns(1, "a"), patterns(1, "a"), patterns(1, "b"));
    let more = |id| {
        let hidden = free::Hidden {
            hidden: String::new(),
            shown: 7,
        };
        let opaque = || free::Opaque(id);
        free::more_patterns([1, 2, 3], (id, 5), &6, opaque(), opaque(), hidden)
    };
    once!(more(1), more(1), more(2));
    let attached =
        |name| free::attached_patterns(named(name), (1, 2, free::Opaque(3)), free::Opaque(4));
    once!(attached("a"), attached("a"), attached("b"));
    let instrumented = |id| free::instrumented(id, free::Opaque(1), (free::Opaque(2), 3));
    once!(instrumented(1), instrumented(1), instrumented(2));
    let silenced = |id| free::silenced(id, 1, 2, free::Opaque(3));
    once!(silenced(1), silenced(1), silenced(2));
}

#[tokio::test]
async fn control_flow_is_the_users() {
    on_memory();
    assert_eq!(
        free::flow(String::from("seven"))
            .await
            .unwrap_err()
            .to_string(),
        "invalid digit found in string"
    );
    assert!(
        free::flow(String::from("7"))
            .await
            .unwrap_err()
            .is::<std::fmt::Error>()
    );
    let first = free::flow(String::from("8")).await.unwrap();
    assert_eq!(free::flow(String::from("8")).await.unwrap(), first);
}

#[tokio::test]
async fn keys_that_await_or_fail() {
    on_memory();
    let call = |id: &str| assert_send(free::awaits(1, id.to_owned()));
    once!(call("1"), call("1"), call("2"));
    let no_number = call("one").await.unwrap_err();
    assert_eq!(no_number.0, "invalid digit found in string");
    let call = |id: &str| assert_send(free::awaits_once(id.to_owned()));
    once!(call("1"), call("1"), call("2"));
}

#[tokio::test]
async fn temporaries_of_the_key_are_gone_before_the_body() {
    on_memory();
    let names = || Arc::new(Mutex::new(vec![String::from("zero")]));
    let call = |names| assert_send(free::temporaries(names));
    let other = Arc::new(Mutex::new(vec![String::from("other")]));
    once!(call(names()), call(names()), call(other));
}

#[tokio::test]
async fn methods() {
    on_memory();
    let service = |tenant: &str| methods::Service {
        tenant: tenant.to_owned(),
        runs: 0,
    };
    let mut one = service("one");
    let other = service("other");
    once!(one.shared(1), one.shared(1), other.shared(1));
    once!(
        Arc::new(one.clone()).counted(1),
        Arc::new(one.clone()).counted(1),
        Arc::new(other.clone()).counted(1)
    );
    once!(one.clone().owned(), one.clone().owned(), other.owned());
    once!(one.exclusive(1), one.exclusive(1), one.exclusive(2));
    assert_eq!(one.runs, 2);
}

#[tokio::test]
async fn traits() {
    on_memory();
    let service = Arc::new(methods::Service::default());
    once!(
        service.by_default(1),
        service.by_default(1),
        service.by_default(2)
    );
    once!(
        Arc::clone(&service).by_hand(1),
        Arc::clone(&service).by_hand(1),
        Arc::clone(&service).by_hand(2)
    );
    once!(
        methods::defaults(&service, 1),
        methods::defaults(&service, 1),
        methods::defaults(&service, 2)
    );
}

#[tokio::test]
async fn boxed_futures() {
    on_memory();
    let gateway = Arc::new(boxed::Gateway::default());
    once!(
        gateway.charge("1", 5),
        gateway.charge("1", 5),
        gateway.charge("2", 5)
    );
    once!(gateway.settle(1), gateway.settle(1), gateway.settle(2));
    let refund = |order: &str| Arc::clone(&gateway).refund(order.to_owned());
    once!(refund("1"), refund("1"), refund("2"));
    once!(boxed::by_hand(0), boxed::by_hand(0), boxed::by_hand(1));
    assert_eq!(
        gateway.charge("one", 5).await.unwrap_err().0,
        "invalid digit found in string"
    );
}

#[tokio::test]
async fn beside_other_attributes() {
    on_memory();
    once!(
        attributes::traced_above(1),
        attributes::traced_above(1),
        attributes::traced_above(2)
    );
    once!(
        attributes::traced_below(1),
        attributes::traced_below(1),
        attributes::traced_below(2)
    );
    once!(
        attributes::inner(1),
        attributes::inner(1),
        attributes::inner(2)
    );
    let path = axum::extract::Path;
    once!(
        handlers::handler_above(path(1)),
        handlers::handler_above(path(1)),
        handlers::handler_above(path(2))
    );
    once!(
        handlers::handler_below(path(1)),
        handlers::handler_below(path(1)),
        handlers::handler_below(path(2))
    );
}

#[tokio::test]
async fn written_by_macros() {
    on_memory();
    once!(macros::one(1), macros::one(1), macros::one(2));
    once!(macros::two(1), macros::two(1), macros::two(2));
}

#[tokio::test]
async fn without_the_prelude() {
    on_memory();
    let name = |name: &str| name.to_owned();
    once!(
        bare::bare(1, name("a")),
        bare::bare(1, name("a")),
        bare::bare(2, name("a"))
    );
    once!(bare::boxed(1), bare::boxed(1), bare::boxed(2));
}

#[tokio::test]
async fn options() {
    on_memory();
    let id = |id: &str| id.to_owned();
    once!(
        options::durations(id("a")),
        options::durations(id("a")),
        options::durations(id("b"))
    );
    once!(
        options::renamed(1),
        options::renamed(1),
        options::renamed(2)
    );
    let (store, elsewhere) = (memory(), memory());
    let stored = |store: &SharedStore| options::stored(store.clone(), 1, 5, String::from("EUR"));
    once!(stored(&store), stored(&store), stored(&elsewhere));
    let borrowed = |store| options::borrowed_store(store, "name", 1);
    once!(borrowed(&store), borrowed(&store), borrowed(&elsewhere));
}

#[tokio::test]
async fn recorded_errors_replay() {
    on_memory();
    assert_eq!(options::recorded(1).await, options::recorded(1).await);
    assert_eq!(options::decided(1).await, options::decided(1).await);
    assert_eq!(
        options::decided_in_place(1).await,
        options::decided_in_place(1).await
    );
}

#[tokio::test]
async fn names_of_items() {
    on_memory();
    macro_rules! each {
        ($($kind:ident)*) => {$(
            let all = |id| names::$kind::all(id, 1, 0, (0, 0));
            once!(all(1), all(1), all(2));
            let boxed = names::$kind::boxed;
            once!(boxed(1), boxed(1), boxed(2));
        )*};
    }
    each!(constants statics columns functions);
    let generic = names::generic::<1, 2>;
    once!(generic(1), generic(1), generic(2));
}
