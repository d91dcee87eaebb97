//! A network link that can be made slow, silent, cut or closed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::process::wait_until;

/// What is held back for so long is counted as late.
const LATE: Duration = Duration::from_millis(500);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What has happened on a [`Proxy`] since its start: the proof that an injected fault took place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections passed on to the server.
    pub connections: u64,
    /// Of those, how many are open now.
    pub open: u64,
    /// Connections closed by [`Proxy::cut`].
    pub cut: u64,
    /// Connections turned away by [`Proxy::refuse`].
    pub refused: u64,
    /// Bytes passed on to the server.
    pub requests: u64,
    /// Bytes passed on to the client.
    pub replies: u64,
    /// Bytes from the client that never reached the server.
    pub lost_requests: u64,
    /// Bytes from the server that never reached the client.
    pub lost_replies: u64,
    /// Bytes that reached the server half a second or more after they were sent.
    pub late_requests: u64,
}

/// A TCP proxy on loopback, on a thread and a runtime of its own, whose faults are switched while
/// it runs.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    lanes: [Lane; 2],
    refuse: AtomicBool,
    // Its value counts the cuts asked for; dropping every connection is each connection's own
    // reaction.
    cuts: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    connections: AtomicU64,
    open: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Lane {
    delay: Mutex<Duration>,
    swallow: AtomicBool,
    delivered: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
}

impl Proxy {
    /// A proxy to the server at `upstream`, as `127.0.0.1:6379`.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            lanes: Default::default(),
            refuse: AtomicBool::new(false),
            cuts: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a non-blocking socket");
                let mut stop = shared.stop.subscribe();
                tokio::select! {
                    () = accept(&listener, &shared) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// [`address`](Self::address) as a Redis URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on bytes of one direction arrive this much later, in order; zero switches it off.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        *self
            .state
            .lane(direction)
            .delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// Loses what the server answers; requests still arrive and are carried out.
    ///
    /// Switched off, it spares new connections only. One that has lost an answer stays deaf, as TCP
    /// has it.
    pub fn drop_replies(&self, on: bool) {
        self.state
            .lane(Direction::Replies)
            .swallow
            .store(on, SeqCst);
    }

    /// Loses everything both ways, while connections stay open: a peer that vanished without a
    /// word. Switched off, it spares new connections, as [`drop_replies`](Self::drop_replies) does.
    pub fn black_hole(&self, on: bool) {
        self.state
            .lane(Direction::Requests)
            .swallow
            .store(on, SeqCst);
        self.drop_replies(on);
    }

    /// Resets new connections at once; those that are open are left alone.
    pub fn refuse(&self, on: bool) {
        self.state.refuse.store(on, SeqCst);
    }

    /// Closes all connections; returns once none is left, so with clients that reconnect, refuse
    /// first.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|count| *count += 1);
        let target = self.counters().connections;
        wait_until("every connection is cut", || {
            let now = self.counters();
            now.open == 0 || now.connections > target
        });
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let state = &self.state;
        let [requests, replies] = &state.lanes;
        Counters {
            connections: state.connections.load(SeqCst),
            open: state.open.load(SeqCst),
            cut: state.cut.load(SeqCst),
            refused: state.refused.load(SeqCst),
            requests: requests.delivered.load(SeqCst),
            replies: replies.delivered.load(SeqCst),
            lost_requests: requests.lost.load(SeqCst),
            lost_replies: replies.lost.load(SeqCst),
            late_requests: requests.late.load(SeqCst),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl State {
    fn lane(&self, direction: Direction) -> &Lane {
        &self.lanes[direction as usize]
    }
}

async fn accept(listener: &TcpListener, state: &Arc<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if state.refuse.load(SeqCst) {
            state.refused.fetch_add(1, SeqCst);
            reset(&client);
            continue;
        }
        state.connections.fetch_add(1, SeqCst);
        state.open.fetch_add(1, SeqCst);
        let mut cuts = state.cuts.subscribe();
        let state = Arc::clone(state);
        tokio::spawn(async move {
            tokio::select! {
                _ = connect(client, &state) => {}
                _ = cuts.changed() => { state.cut.fetch_add(1, SeqCst); }
            }
            state.open.fetch_sub(1, SeqCst);
        });
    }
}

/// Makes closing this socket a reset, as a host does where nobody listens.
fn reset(client: &TcpStream) {
    let _gone_anyway = client.set_zero_linger();
}

async fn connect(client: TcpStream, state: &State) -> io::Result<()> {
    let server = TcpStream::connect(&state.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Either side's end ends both: none of the protocols here uses half-closed connections. What is
    // still held back of that side is delivered first, as on a network: a client that has hung up
    // takes nothing back.
    tokio::select! {
        result = carry(from_client, to_server, state.lane(Direction::Requests)) => result,
        result = carry(from_server, to_client, state.lane(Direction::Replies)) => result,
    }
}

/// Reading and writing apart, so that a delay adds latency and takes no throughput.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lane: &Lane) -> io::Result<()> {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Duration, Vec<u8>)>();
    let read = async move {
        loop {
            let mut buffer = vec![0; 16 * 1024];
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            buffer.truncate(length);
            let delay = *lane.delay.lock().unwrap_or_else(PoisonError::into_inner);
            let due = Instant::now() + delay;
            if sender.send((due, delay, buffer)).is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        let mut broken = false;
        while let Some((due, delay, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            let length = bytes.len() as u64;
            // A stream that has lost bytes never goes on behind them: the next answer would be
            // taken for the lost one's.
            broken |= lane.swallow.load(SeqCst);
            if broken {
                lane.lost.fetch_add(length, SeqCst);
            } else {
                // Counted first: whoever has received a byte finds it counted.
                lane.delivered.fetch_add(length, SeqCst);
                if delay >= LATE {
                    lane.late.fetch_add(length, SeqCst);
                }
                to.write_all(&bytes).await?;
            }
        }
        Ok(())
    };
    // The queue's end follows the reader's, after what is still due has been written.
    let (read, write): (io::Result<()>, io::Result<()>) = tokio::join!(read, write);
    read.and(write)
}
