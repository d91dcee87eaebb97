//! Which default store a call uses.
//!
//! A process chooses its default store once, so each case runs in its own process: this test binary
//! again, running only the test that plays the child.
#![cfg(feature = "memory")]

mod common;

use std::{collections::BTreeMap, env, process::Command};

use common::Answer;
use idempotent_fn::{Error, SharedStore, install, operation, store::MemoryStore, with_store};

/// What the child does, by name.
const CASE: &str = "IDEMPOTENT_TEST_CASE";
const STORE: &str = "IDEMPOTENT_STORE";

async fn call() -> Answer {
    operation::<Answer, _>("default_store", &[&"k"])
        .run(async { Ok(1) })
        .await
}

async fn recorded_in(store: &SharedStore) -> bool {
    let call = operation::<Answer, _>("default_store", &[&"k"]).store(store);
    call.inspect().await.unwrap().is_some()
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

async fn play(case: &str) {
    let (installed, local) = (memory(), memory());
    match case {
        "memory" => {
            assert_eq!(call().await.unwrap(), 1);
            let late = install(installed).unwrap_err();
            let text = late.to_string();
            assert!(
                text.contains("memory:") && text.contains("before"),
                "{text}"
            );
        }
        "redis" => {
            #[cfg(feature = "tracing")]
            listener::print_warnings();
            // Looks only, for a server may be there: the usual local one.
            let look = operation::<Answer, _>("default_store", &[&"k"]).inspect();
            let _ = look.await;
            let text = install(installed).unwrap_err().to_string();
            assert!(text.contains("Redis at 127.0.0.1:6379"), "{text}");
            assert!(text.contains("nobody chose a store"), "{text}");
        }
        "postgres" => {
            #[cfg(feature = "tracing")]
            listener::print_warnings();
            // Looks only, for a server may be there: the usual local one.
            let look = operation::<Answer, _>("default_store", &[&"k"]).inspect();
            let _ = look.await;
            let text = install(installed).unwrap_err().to_string();
            assert!(text.contains("PostgreSQL at localhost:5432"), "{text}");
            assert!(text.contains("nobody chose a store"), "{text}");
        }
        "file" => {
            let call = operation::<Answer, _>("default_store", &[&"file"]);
            let body = async {
                println!("the body runs");
                Ok(1)
            };
            assert_eq!(call.run(body).await.unwrap(), 1);
            let text = install(installed).unwrap_err().to_string();
            assert!(text.contains("SQLite at "), "{text}");
        }
        "install" => {
            install(installed.clone()).unwrap();
            assert_eq!(call().await.unwrap(), 1);
            assert!(recorded_in(&installed).await);
            assert!(install(local).is_err(), "once");
        }
        "with_store" => {
            install(installed.clone()).unwrap();
            let answer = with_store(local.clone(), call()).await;
            assert_eq!(answer.unwrap(), 1);
            assert!(recorded_in(&local).await);
            assert!(!recorded_in(&installed).await);
        }
        "store" => {
            let named = operation::<Answer, _>("default_store", &[&"k"]).store(&installed);
            let answer = with_store(local.clone(), named.run(async { Ok(1) })).await;
            assert_eq!(answer.unwrap(), 1);
            assert!(recorded_in(&installed).await);
            assert!(!recorded_in(&local).await);
        }
        "refused" => {
            let error = call().await.unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{error:?}");
            println!("refused: {error}");
            // It is not too late to say otherwise.
            install(installed.clone()).unwrap();
            assert_eq!(call().await.unwrap(), 1);
            assert!(recorded_in(&installed).await);
        }
        #[cfg(feature = "tracing")]
        "listener" => {
            listener::start();
            assert_eq!(call().await.unwrap(), 1);
            assert!(listener::has_called());
        }
        other => panic!("no such case: {other}"),
    }
}

/// Whoever listens to events may make calls.
#[cfg(feature = "tracing")]
mod listener {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use tracing::{Event, Subscriber};
    use tracing_subscriber::{
        Layer, Registry,
        layer::{Context, SubscriberExt},
    };

    use crate::common::{Answer, GENEROUS, poll_once};

    static BEGUN: AtomicU32 = AtomicU32::new(0);
    static ENDED: AtomicU32 = AtomicU32::new(0);

    struct Calls;

    impl<S: Subscriber> Layer<S> for Calls {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            if BEGUN.fetch_add(1, Ordering::SeqCst) == 0 {
                let look = idempotent_fn::operation::<Answer, _>("default_store", &[&"another"]);
                assert!(poll_once(&mut Box::pin(look.inspect())).is_ready());
                ENDED.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    struct Prints;

    impl<S: Subscriber> Layer<S> for Prints {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() <= tracing::Level::WARN {
                event.record(
                    &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                        println!("warned: {field} = {value:?}");
                    },
                );
            }
        }
    }

    pub(super) fn print_warnings() {
        tracing::subscriber::set_global_default(Registry::default().with(Prints)).unwrap();
    }

    pub(super) fn start() {
        tracing::subscriber::set_global_default(Registry::default().with(Calls)).unwrap();
        thread::spawn(|| {
            thread::sleep(GENEROUS);
            eprintln!("it hangs");
            std::process::exit(1);
        });
    }

    pub(super) fn has_called() -> bool {
        ENDED.load(Ordering::SeqCst) > 0
    }
}

/// Does nothing but in a child process.
#[tokio::test]
async fn child() {
    if let Ok(case) = env::var(CASE) {
        play(&case).await;
        println!("played: {case}");
    }
}

/// Plays `case` in a process of its own, and returns what it printed.
fn in_a_process(case: &str, environment: &[(&str, &str)]) -> String {
    let environment: BTreeMap<_, _> = environment.iter().copied().collect();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env_remove(STORE)
        .env(CASE, case)
        .envs(environment)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {text}{errors}");
    assert!(text.contains(&format!("played: {case}")), "{text}");
    text
}

#[test]
fn memory_when_the_environment_says_so() {
    for memory in ["memory:", " memory: ", "memory"] {
        in_a_process("memory", &[(STORE, memory)]);
    }
}

/// Swapping the feature swaps the store.
#[test]
fn what_is_compiled_in_when_nothing_is_said() {
    let (redis, postgres) = (cfg!(feature = "redis"), cfg!(feature = "postgres"));
    let case = match (redis, postgres) {
        (true, true) => "refused",
        (true, false) => "redis",
        (false, true) => "postgres",
        (false, false) => "memory",
    };
    for blank in ["", "  "] {
        in_a_process(case, &[(STORE, blank)]);
    }
    let text = in_a_process(case, &[]);
    if case == "refused" {
        assert!(text.contains("`redis` and `postgres`"), "{text}");
        assert!(text.contains(STORE) && text.contains("`install`"), "{text}");
        return;
    }
    // Any crate may have turned the feature on: that nobody chose the store is told, and once.
    let told = text
        .matches(&format!("nobody chose one; the feature `{case}` made it"))
        .count();
    assert_eq!(
        told,
        usize::from(cfg!(feature = "tracing") && (redis || postgres)),
        "{text}"
    );
}

/// One file, which the next process finds.
#[cfg(feature = "sqlite-system")]
#[test]
fn a_file_when_the_environment_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b.db");
    let url = format!("sqlite://{}", path.to_str().unwrap().replace(' ', "%20"));
    let first = in_a_process("file", &[(STORE, &url)]);
    let second = in_a_process("file", &[(STORE, &url)]);
    assert!(first.contains("the body runs"), "{first}");
    assert!(!second.contains("the body runs"), "{second}");
    assert!(path.exists());
}

/// The event that says which store it is comes when the store is there, for a call too that is made
/// meanwhile.
#[cfg(feature = "tracing")]
#[test]
fn a_listener_that_makes_a_call_when_the_store_is_announced_is_answered() {
    in_a_process("listener", &[(STORE, "memory:")]);
}

#[test]
fn install_comes_before_the_environment() {
    in_a_process("install", &[]);
    in_a_process("install", &[(STORE, "nonsense://")]);
}

#[test]
fn with_store_comes_before_install() {
    in_a_process("with_store", &[(STORE, "nonsense://")]);
}

#[test]
fn a_named_store_comes_first() {
    in_a_process("store", &[(STORE, "nonsense://")]);
}

/// What is said but cannot be had is an error that says what to do, never quietly memory.
#[test]
fn an_address_that_cannot_be_used_is_refused() {
    let redis = [
        ("redis://user:pass4711@host/", "feature `redis`"),
        ("rediss://user:pass4711@host/", "feature `redis`"),
    ];
    let redis = redis.iter().filter(|_| cfg!(not(feature = "redis")));
    let sqlite = [
        ("sqlite:a.db", "feature `sqlite`"),
        ("sqlite:///a.db", "feature `sqlite`"),
    ];
    let sqlite = sqlite
        .iter()
        .filter(|_| cfg!(not(feature = "sqlite-system")));
    let postgres = [
        ("postgres://user:pass4711@host/", "feature `postgres`"),
        ("postgresql://user:pass4711@host/", "feature `postgres`"),
    ];
    let postgres = postgres.iter().filter(|_| cfg!(not(feature = "postgres")));
    let others = [
        ("nonsense://user:pass4711@host", "redis://…"),
        ("mysql://user:pass4711@host/", "unknown kind"),
        ("pass4711", "unknown kind"),
    ];
    for &(url, word) in redis.chain(postgres).chain(sqlite).chain(&others) {
        let text = in_a_process("refused", &[(STORE, url)]);
        assert!(text.contains(word), "{url}: {text}");
        assert!(text.contains(STORE), "{url}: {text}");
        assert!(!text.contains("4711"), "it shows a password: {text}");
    }
}
