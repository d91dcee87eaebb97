//! The ledger stands for services outside of the store: it notes effects in the order in which they
//! arrive.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::history::{Entry, Event, now};

/// All entries, in the order in which the conductor received them.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Entry>>);

impl Log {
    /// Adds an entry.
    pub(crate) fn push(&self, entry: Entry) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    /// Adds an event that the conductor itself has observed or caused, with the current time.
    pub(crate) fn note(&self, event: Event) {
        self.push(Entry {
            at: now(),
            process: 0,
            event,
        });
    }

    /// Takes all entries out.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts the ledger on a thread of its own, for the rest of the process. Returns its port.
///
/// It stands for two services at once: one that accepts every effect, and one that refuses fencing
/// tokens smaller than the largest it has seen for the key.
#[must_use]
pub(crate) fn start(log: Arc<Log>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    listener.set_nonblocking(true).expect("a socket option");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener =
                tokio::net::TcpListener::from_std(listener).expect("a non-blocking socket");
            let seen = Arc::new(Mutex::new(HashMap::new()));
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(serve(stream, log.clone(), seen.clone()));
            }
        });
    });
    port
}

/// `CALL KEY TOKEN`: answered once it is noted.
async fn serve(
    stream: TcpStream,
    log: Arc<Log>,
    seen: Arc<Mutex<HashMap<u32, u64>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    // A line without its end was cut off by a kill: it has had no effect.
    let mut words = line.strip_suffix('\n')?.split(' ');
    let call = words.next()?.parse().ok()?;
    let key = words.next()?.parse().ok()?;
    let token: u64 = words.next()?.parse().ok()?;
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = seen.entry(key).or_insert(0);
        let fenced = token < *largest;
        *largest = token.max(*largest);
        // Under the lock, so that the log has the ledger's own order.
        log.note(Event::Effect {
            call,
            key,
            token,
            fenced,
        });
    }
    stream.write_all(b"noted\n").await.ok()
}

static PORT: OnceLock<u16> = OnceLock::new();

/// Tells a worker the ledger's port.
pub(crate) fn locate(port: u16) {
    PORT.get_or_init(|| port);
}

/// Has an effect.
///
/// # Panics
/// If the conductor is gone.
pub(crate) async fn effect(call: u64, key: u32, token: u64) {
    let port = *PORT.get().expect("the worker knows the ledger");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the ledger listens");
    let line = format!("{call} {key} {token}\n");
    stream
        .write_all(line.as_bytes())
        .await
        .expect("the ledger reads");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .await
        .expect("the ledger answers");
    assert_eq!(answer, "noted\n");
}
