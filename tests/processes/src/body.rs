//! The body. Its effect is a line in a file, and it ends when the test says so.

use std::{
    fs::OpenOptions,
    io::Write,
    str::FromStr,
    sync::{Condvar, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use idempotent_fn::{Error, current};
use tokio::sync::watch;

use crate::say;

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// At once.
    Now,
    /// After a while.
    After(Duration),
    /// When the test says `go`; until then it is pending, and its lease renewed.
    OnGo,
    /// When the test says `go`; until then it blocks its thread, so nothing renews its lease.
    Blocked,
}

impl FromStr for End {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "now" => Ok(Self::Now),
            "hold" => Ok(Self::OnGo),
            "block" => Ok(Self::Blocked),
            word => word
                .parse()
                .map(|millis| Self::After(Duration::from_millis(millis)))
                .map_err(|_| {
                    format!("a body ends `now`, on `hold`, `block`ed or after some ms, not {word}")
                }),
        }
    }
}

static GONE: Mutex<bool> = Mutex::new(false);
static GO: Condvar = Condvar::new();
static GO_ASYNC: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Ends all bodies that are held, and all that would be.
pub fn go() {
    *GONE.lock().unwrap_or_else(PoisonError::into_inner) = true;
    GO.notify_all();
    GO_ASYNC.send_replace(true);
}

/// The effect, and then the end. The result names the call that ran.
pub async fn run(key: &str, call: String, end: End) -> Result<String, Error> {
    effect(key, &call);
    let execution = current();
    say(&format!(
        "started {call} attempt={} token={}",
        execution.attempt(),
        execution.fencing_token()
    ));
    match end {
        End::Now => {}
        End::After(while_) => tokio::time::sleep(while_).await,
        End::OnGo => {
            // The sender is static: it is never closed.
            let _ = GO_ASYNC.subscribe().wait_for(|go| *go).await;
        }
        End::Blocked => {
            let gone = GONE.lock().unwrap_or_else(PoisonError::into_inner);
            drop(GO.wait_while(gone, |gone| !*gone));
        }
    }
    Ok(call)
}

/// One line, written by one call, so that lines of several processes do not mix.
fn effect(key: &str, call: &str) {
    let path = std::env::var_os("EFFECTS").expect("the test says where effects go");
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("the test's folder is writable");
    file.write_all(format!("{key} {call}\n").as_bytes())
        .expect("a line is written");
}
