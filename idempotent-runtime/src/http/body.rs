//! Bodies: reading one within a limit, and the body of a response.

use std::{
    error, fmt,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError};
use pin_project_lite::pin_project;
use tokio::time::{Instant, timeout_at};

use super::{Problem, problem::Kind};

/// What `tower` calls an error of any kind.
pub(super) type BoxError = Box<dyn error::Error + Send + Sync>;

pin_project! {
    /// The body of a response that has come through a layer.
    #[project = Projected]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProjected]
    enum Inner<B> {
        /// As the service inside has made it.
        Untouched { #[pin] body: B },
        /// Read to its end.
        Whole { bytes: Option<Bytes>, trailers: Option<HeaderMap> },
        /// The first part was read. The rest is pinned where it is, so `B` need not be `Unpin`.
        Partial { first: Option<Bytes>, rest: Pin<Box<B>> },
    }
}

/// Shows how the body came here, and nothing of what it holds.
impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::Untouched { .. } => "untouched",
            Inner::Whole { .. } => "whole",
            Inner::Partial { .. } => "partial",
        };
        write!(f, "ResponseBody({kind})")
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        let inner = Inner::Untouched { body };
        Self { inner }
    }

    pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        let inner = Inner::Whole { bytes, trailers };
        Self { inner }
    }

    fn partial(first: Bytes, rest: Pin<Box<B>>) -> Self {
        let first = Some(first).filter(|first| !first.is_empty());
        let inner = Inner::Partial { first, rest };
        Self { inner }
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes, None)
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            InnerProjected::Untouched { body } => body.poll_frame(cx),
            InnerProjected::Whole { bytes, trailers } => {
                let bytes = bytes.take().map(Frame::data);
                let frame = bytes.or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            InnerProjected::Partial { first, rest } => match first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => rest.as_mut().poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Untouched { body } => body.is_end_stream(),
            Inner::Whole { bytes, trailers } => bytes.is_none() && trailers.is_none(),
            Inner::Partial { first, rest } => first.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Untouched { body } => body.size_hint(),
            Inner::Whole { bytes, .. } => SizeHint::with_exact(length(bytes.as_ref())),
            Inner::Partial { first, rest } => {
                let (read, rest) = (length(first.as_ref()), rest.size_hint());
                let mut whole = SizeHint::new();
                whole.set_lower(rest.lower() + read);
                if let Some(upper) = rest.upper() {
                    whole.set_upper(upper + read);
                }
                whole
            }
        }
    }
}

fn length(bytes: Option<&Bytes>) -> u64 {
    bytes.map_or(0, |bytes| bytes.len() as u64)
}

/// Pieces of a body. A single one is not copied.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn push(&mut self, mut piece: impl Buf) {
        let length = piece.remaining();
        if self.first.is_empty() {
            self.first = piece.copy_to_bytes(length);
        } else {
            self.more.extend_from_slice(&piece.copy_to_bytes(length));
        }
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.more);
        whole.freeze()
    }
}

/// The length that a message's headers announce.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    announced_lengths(headers).next()
}

/// Each line announces one, where somebody has added a second line.
pub(super) fn announced_lengths(headers: &HeaderMap) -> impl Iterator<Item = u64> {
    let lines = headers.get_all(header::CONTENT_LENGTH).iter();
    lines.filter_map(|line| line.to_str().ok()?.parse().ok())
}

/// Reads a request's body to its end, within the limit. Trailers are dropped.
pub(super) async fn read_request<B>(
    body: B,
    headers: &HeaderMap,
    limit: u64,
) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let too_large = || Problem::new(Kind::BodyTooLarge);
    let mut body = pin!(body);
    if body
        .size_hint()
        .lower()
        .max(announced_length(headers).unwrap_or(0))
        > limit
    {
        return Err(too_large());
    }
    let mut pieces = Pieces::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&*error.into()))?;
        if let Ok(data) = frame.into_data() {
            if (pieces.len() + data.remaining()) as u64 > limit {
                return Err(too_large());
            }
            pieces.push(data);
        }
    }
    Ok(pieces.into_bytes())
}

/// A body broke off. Where a limit outside of this layer has cut it, it says so.
fn broken_off(error: &(dyn error::Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::new(Kind::BodyTooLarge);
        }
        cause = error.source();
    }
    Problem::new(Kind::BodyIncomplete)
}

/// What was read of a response's body.
pub(super) enum Collected<B> {
    Whole(Bytes, Option<HeaderMap>),
    /// It is longer than the limit, or takes longer than it may.
    Unfinished(ResponseBody<B>),
    Broken,
}

/// Reads a response's body to its end, up to the limit, and for as long as it may take.
pub(super) async fn collect<B>(body: B, limit: usize, patience: Option<Duration>) -> Collected<B>
where
    B: Body<Data = Bytes>,
{
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut body = Box::pin(body);
    let (mut pieces, mut trailers) = (Pieces::default(), None::<HeaderMap>);
    loop {
        let frame = match deadline {
            None => body.frame().await,
            Some(deadline) => match timeout_at(deadline, body.frame()).await {
                Ok(frame) => frame,
                Err(_) => break,
            },
        };
        match frame {
            None => return Collected::Whole(pieces.into_bytes(), trailers),
            Some(Err(_)) => return Collected::Broken,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => pieces.push(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        if pieces.len() > limit {
            break;
        }
    }
    Collected::Unfinished(ResponseBody::partial(pieces.into_bytes(), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_not_shown() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("4711"));
        let whole = ResponseBody::<String>::whole(Bytes::from_static(b"4711"), Some(trailers));
        let partial =
            ResponseBody::partial(Bytes::from_static(b"4711"), Box::pin("4711".to_owned()));
        for body in [whole, partial, ResponseBody::untouched("4711".to_owned())] {
            let shown = format!("{body:?}");
            assert!(!shown.contains("4711"), "{shown}");
        }
    }
}
