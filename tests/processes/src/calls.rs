//! Makes the calls that the test asks for, and reports their answers.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
};

use idempotent_fn::{Error, SharedStore};
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{body, functions, say};

/// Reads the test's lines until it ends:
///
/// | line | what it does | what is said |
/// |---|---|---|
/// | `call ID FUNCTION KEY END` | calls | `pending ID` if it has to wait, `started …` by the body, `answer ID RESULT` |
/// | `drop ID` | the caller goes away | `dropped ID` |
/// | `go` | ends the bodies that are held | |
/// | `counters` | | `counters NAME=VALUE…` |
///
/// It blocks its own thread, so that it also listens while bodies block theirs.
pub fn obey(runtime: &Handle, store: &SharedStore) {
    let mut calls = HashMap::new();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["call", id, function, key, end] => {
                let end = end.parse().expect("an end");
                let call = call(id, function, key, end, runtime);
                calls.insert((*id).to_owned(), call);
            }
            ["drop", id] => {
                let call: Option<AbortHandle> = calls.remove(*id);
                call.expect("a call with this id").abort();
            }
            ["go"] => body::go(),
            ["counters"] => say_counters(store),
            other => panic!("not a command: {other:?}"),
        }
    }
}

fn call(id: &str, function: &str, key: &str, end: body::End, runtime: &Handle) -> AbortHandle {
    let (id, function, key) = (id.to_owned(), function.to_owned(), key.to_owned());
    let call = async move {
        let farewell = Farewell(&id);
        let call = async {
            match &*function {
                "rerun" => functions::rerun(key, id.clone(), end).await,
                "fail" => functions::fail(key, id.clone(), end).await,
                other => panic!("no such function: {other}"),
            }
        };
        let result = tell_pending(&id, call).await;
        std::mem::forget(farewell);
        match result {
            Ok(value) => say(&format!("answer {id} ok {value}")),
            Err(error) => say(&format!("answer {id} error {}", name(&error))),
        }
    };
    runtime.spawn(call).abort_handle()
}

/// Says `dropped` when a call ends without an answer.
struct Farewell<'a>(&'a str);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        say(&format!("dropped {}", self.0));
    }
}

async fn tell_pending<F: Future>(id: &str, call: F) -> F::Output {
    let mut call = pin!(call);
    let mut told = false;
    poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        if polled.is_pending() && !told {
            told = true;
            say(&format!("pending {id}"));
        }
        polled
    })
    .await
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::InFlight { .. } => "InFlight",
        Error::Indeterminate { .. } => "Indeterminate",
        Error::Superseded { .. } => "Superseded",
        Error::TimedOut { .. } => "TimedOut",
        Error::Unavailable { .. } => "Unavailable",
        other => panic!("no test expects this: {other}"),
    }
}

fn say_counters(store: &SharedStore) {
    let counters = store.counters();
    say(&format!(
        "counters ran={} taken_over={} stale={} unrecorded={} record_lost={}",
        counters.ran(),
        counters.taken_over(),
        counters.stale(),
        counters.unrecorded(),
        counters.record_lost()
    ));
}
