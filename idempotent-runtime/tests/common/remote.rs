//! A store's handle in another process, as the conformance suite uses one.

use std::{
    io::{BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout},
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    key::Key,
    record::Record,
    store::{ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, Settled, Subscription},
};

/// Frames begin with this in the child's output, which the test harness writes to as well.
const FRAME: &[u8] = b"\x01frame";

/// A command or an answer: a letter and some pieces.
struct Frame {
    what: u8,
    pieces: Vec<Vec<u8>>,
}

impl Frame {
    fn new(what: u8, pieces: &[&[u8]]) -> Self {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        Self { what, pieces }
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let count = u8::try_from(self.pieces.len()).expect("few pieces");
        let mut bytes = [FRAME, &[self.what, count]].concat();
        for piece in &self.pieces {
            bytes.extend((piece.len() as u64).to_be_bytes());
            bytes.extend(piece);
        }
        to.write_all(&bytes)?;
        to.flush()
    }

    /// Passes over what stands before the frame.
    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let mut matched = 0;
        while matched < FRAME.len() {
            let [byte] = array(from)?;
            matched = if byte == FRAME[matched] {
                matched + 1
            } else {
                usize::from(byte == FRAME[0])
            };
        }
        let [what, count] = array(from)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            let length = u64::from_be_bytes(array(from)?);
            let mut piece = vec![0; usize::try_from(length).expect("a length")];
            from.read_exact(&mut piece)?;
            pieces.push(piece);
        }
        Ok(Self { what, pieces })
    }

    fn record(&self, at: usize) -> Record {
        Record::decode(&self.pieces[at]).expect("a record")
    }

    fn time(&self, at: usize) -> Duration {
        let micros = self.pieces[at].as_slice().try_into().expect("a time");
        Duration::from_micros(u64::from_be_bytes(micros))
    }
}

fn array<const N: usize>(from: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn micros(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_micros())
        .expect("a time")
        .to_be_bytes()
}

/// The child: carries out what it reads.
pub(crate) async fn serve(store: &impl Store) {
    let mut input = std::io::stdin().lock();
    while let Ok(frame) = Frame::read(&mut input) {
        let answer = answer(store, &frame).await.unwrap_or_else(|error| {
            let kind = format!("{:?}", error.kind());
            Frame::new(b'e', &[kind.as_bytes(), error.to_string().as_bytes()])
        });
        answer
            .write(&mut std::io::stdout().lock())
            .expect("answered");
    }
}

async fn answer(store: &impl Store, frame: &Frame) -> Result<Frame, StoreError> {
    let text = String::from_utf8(frame.pieces[0].clone()).expect("a key");
    let key = Key::stored(&text).expect("a key");
    let settled = match frame.what {
        b'c' => {
            let asked = frame.record(1);
            let mut request = ClaimRequest::new(asked.nonce);
            request.lease = asked.lease;
            request.on_crash = asked.on_crash;
            request.fingerprint = asked.fingerprint;
            request.ttl = asked.ttl;
            request.owner = asked.owner;
            request.trace = asked.trace;
            return Ok(match store.claim(&key, &request).await? {
                ClaimReply::Granted { record, takeover } => {
                    Frame::new(b'g', &[&record.encode(), &[u8::from(takeover)]])
                }
                ClaimReply::Held { record, lease_left } => {
                    Frame::new(b'h', &[&record.encode(), &micros(lease_left)])
                }
                other => panic!("{other:?}"),
            });
        }
        b'i' => {
            return Ok(match store.read(&key).await? {
                Some((record, left)) => Frame::new(b'h', &[&record.encode(), &micros(left)]),
                None => Frame::new(b'n', &[]),
            });
        }
        b'r' => store.renew(&key, &frame.record(1)).await?,
        b'f' => store.finish(&key, &frame.record(1)).await?,
        b'o' => {
            let seen = (frame.pieces.len() == 3).then(|| frame.record(2));
            store
                .overrule(&key, seen.as_ref(), &frame.record(1))
                .await?
        }
        other => panic!("what is {other}?"),
    };
    Ok(match settled {
        Settled::Applied => Frame::new(b'a', &[]),
        Settled::PutBack => Frame::new(b'p', &[]),
        Settled::Absent => Frame::new(b'n', &[]),
        Settled::Stale { record, lease_left } => {
            Frame::new(b'h', &[&record.encode(), &micros(lease_left)])
        }
        other => panic!("{other:?}"),
    })
}

/// A handle that is in this process, or in another one.
pub(crate) struct Handle<S> {
    /// Lists and subscribes in any case.
    here: S,
    there: Option<Arc<Mutex<Other>>>,
}

struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<S> Handle<S> {
    /// A handle that is in the process `there`, if there is one.
    pub(crate) fn new(here: S, there: Option<Child>) -> Self {
        let there = there.map(|mut child| {
            let input = child.stdin.take().expect("its input");
            let output = BufReader::new(child.stdout.take().expect("its output"));
            let other = Other {
                child,
                input,
                output,
            };
            Arc::new(Mutex::new(other))
        });
        Self { here, there }
    }

    /// What the other process answers. A dropped future leaves the command carried out.
    async fn ask(&self, frame: Frame) -> Option<Result<Frame, StoreError>> {
        let other = Arc::clone(self.there.as_ref()?);
        let asked = tokio::task::spawn_blocking(move || {
            let mut other = other.lock().expect("no panic under it");
            frame.write(&mut other.input).expect("sent");
            Frame::read(&mut other.output).expect("an answer")
        });
        let answer = asked.await.expect("no panic");
        if answer.what != b'e' {
            return Some(Ok(answer));
        }
        let [kind, text] =
            [0, 1].map(|at| String::from_utf8_lossy(&answer.pieces[at]).into_owned());
        let kind = match &*kind {
            "Incompatible" => StoreErrorKind::Incompatible,
            "TooLarge" => StoreErrorKind::TooLarge,
            other => panic!("{other}: {text}"),
        };
        Some(Err(StoreError::new(kind, text)))
    }

    async fn settled(&self, frame: Frame) -> Option<Result<Settled, StoreError>> {
        let answer = self.ask(frame).await?;
        Some(answer.map(|answer| match answer.what {
            b'a' => Settled::Applied,
            b'p' => Settled::PutBack,
            b'n' => Settled::Absent,
            _ => Settled::Stale {
                record: answer.record(0),
                lease_left: answer.time(1),
            },
        }))
    }
}

fn about(key: &Key, what: u8, more: &[&[u8]]) -> Frame {
    Frame::new(what, &[&[key.as_str().as_bytes()], more].concat())
}

impl<S: Store> Store for Handle<S> {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        let Some(answer) = self
            .ask(about(key, b'c', &[&request.record().encode()]))
            .await
        else {
            return self.here.claim(key, request).await;
        };
        let answer = answer?;
        let record = answer.record(0);
        Ok(if answer.what == b'g' {
            let takeover = answer.pieces[1] == [1];
            ClaimReply::Granted { record, takeover }
        } else {
            let lease_left = answer.time(1);
            ClaimReply::Held { record, lease_left }
        })
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        match self.settled(about(key, b'r', &[&owned.encode()])).await {
            Some(settled) => settled,
            None => self.here.renew(key, owned).await,
        }
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        match self.settled(about(key, b'f', &[&target.encode()])).await {
            Some(settled) => settled,
            None => self.here.finish(key, target).await,
        }
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        match self.ask(about(key, b'i', &[])).await {
            Some(answer) => answer
                .map(|answer| (answer.what == b'h').then(|| (answer.record(0), answer.time(1)))),
            None => self.here.read(key).await,
        }
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let mut pieces = vec![replacement.encode()];
        pieces.extend(seen.map(Record::encode));
        let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
        match self.settled(about(key, b'o', &pieces)).await {
            Some(settled) => settled,
            None => self.here.overrule(key, seen, replacement).await,
        }
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        self.here.list(filter, cursor).await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.here.subscribe(key).await
    }
}
