//! The transport to one server: TCP, TLS or a unix socket. It notes when something was last
//! received.

use std::{
    fmt,
    future::poll_fn,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

const NO_ROOM: &[u8; 34] = b"-ERR max number of clients reached";

/// How long a server has to say it.
const LISTENS: Duration = Duration::from_millis(500);

/// A stream that notes when something was received.
pub(crate) struct Transport {
    stream: Box<dyn Stream>,
    activity: Arc<Activity>,
}

impl Transport {
    /// Connects, over `tls` if given, which checks the server's name.
    pub(crate) async fn connect(
        address: &Address,
        #[cfg(feature = "redis-tls")] tls: Option<&tokio_rustls::TlsConnector>,
        patience: Duration,
    ) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                tune(&stream, patience)?;
                #[cfg(feature = "redis-tls")]
                if let Some(tls) = tls {
                    let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host.clone());
                    let name =
                        name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                    return Ok(Self::new(tls.connect(name, stream).await?));
                }
                Ok(Self::new(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Self::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the server says, to whoever connects, that it has no room for another client. It hangs
    /// up after that, often before a first command is written, and then nobody reads it. So this one
    /// only listens. A server says nothing so early over TLS.
    pub(crate) async fn is_told_of_no_room(address: &Address) -> bool {
        let listening = async {
            let mut stream: Box<dyn Stream> = match address {
                Address::Tcp(host, port) => {
                    Box::new(TcpStream::connect((host.as_str(), *port)).await?)
                }
                #[cfg(unix)]
                Address::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
                #[cfg(not(unix))]
                Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            };
            let mut said = [0; NO_ROOM.len()];
            let mut said = ReadBuf::new(&mut said);
            let mut end = 0;
            loop {
                poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut said)).await?;
                if said.remaining() == 0 || said.filled().len() == end {
                    return Ok::<_, io::Error>(said.filled() == NO_ROOM);
                }
                end = said.filled().len();
            }
        };
        matches!(tokio::time::timeout(LISTENS, listening).await, Ok(Ok(true)))
    }

    fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            activity: Arc::new(Activity::new()),
        }
    }

    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }
}

/// Sets socket options. Commands are small and have waiters, so each is sent at once (`nodelay`).
/// The kernel detects a vanished peer too, also on a connection that only listens: by keepalive
/// probes, and by a timeout for unacknowledged data.
fn tune(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        // The kernel counts milliseconds in 31 bits.
        let day = Duration::from_secs(24 * 60 * 60);
        socket.set_tcp_user_timeout(Some(patience.clamp(Duration::from_secs(10), day)))?;
    }
    let _ = patience;
    Ok(())
}

/// When something was last received, and since when an answer is expected.
#[derive(Debug)]
pub(crate) struct Activity {
    origin: Instant,
    /// Milliseconds since `origin`, plus one.
    heard: AtomicU64,
    /// When the first bytes after that were written; 0 if none were.
    asked: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            heard: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }

    fn note_heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }

    fn note_asked(&self) {
        if self.asked.load(Ordering::Relaxed) == 0 {
            self.asked.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether something was written at least `patience` ago, and nothing was received since.
    pub(crate) fn is_silent_for(&self, patience: Duration) -> bool {
        match self.asked.load(Ordering::Relaxed) {
            0 => false,
            asked => Duration::from_millis(self.now().saturating_sub(asked)) >= patience,
        }
    }

    /// Whether nothing was received since `moment`, which is at least `patience` ago.
    pub(crate) fn is_silent_since(&self, moment: u64, patience: Duration) -> bool {
        self.heard.load(Ordering::Relaxed) <= moment
            && Duration::from_millis(self.now().saturating_sub(moment)) >= patience
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.note_heard();
        }
        result
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(result, Poll::Ready(Ok(_))) {
            self.activity.note_asked();
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
