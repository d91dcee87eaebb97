//! A client that keeps its key: one middleware of `reqwest` for the key and the retries.

use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderName, Method, StatusCode, header};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next, Result};
use tokio::time::{Instant, sleep};

use crate::{
    backoff::Backoff,
    http::{IDEMPOTENCY_KEY, IdempotencyKey},
};

/// Which requests need a key to be sent twice. Others are idempotent by themselves (RFC 9110).
const KEYED_METHODS: [Method; 2] = [Method::POST, Method::PATCH];

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Problems are shorter than this.
const LONGEST_PROBLEM: u64 = 64 * 1024;

/// A middleware that gives each POST and PATCH an `Idempotency-Key`, and sends what fails for now
/// again, with the same key and the same body.
///
/// ```no_run
/// # async fn send(order: &[u8]) -> Result<(), reqwest_middleware::Error> {
/// use idempotent_fn::{client::Retry, http::IdempotencyKey};
///
/// let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(Retry::new()).build();
/// let url = "https://shop.example/orders";
/// client.post(url).body(order.to_vec()).send().await?; // a key is made, once, and kept
/// let key = IdempotencyKey::new("order-42").expect("a key"); // or yours
/// client.post(url).with_extension(key).body(order.to_vec()).send().await?;
/// # Ok(())
/// # }
/// ```
///
/// Key and retries are one middleware, because in the wrong order each attempt would get a key of
/// its own. So let no other middleware retry.
///
/// **What is sent again:** a request with a key (made here, given as an extension, or in the
/// header), and one whose method is idempotent. A body that cannot be sent twice (a stream) is sent
/// once.
///
/// **When:** after a failed connection, a time-out, an answer that did not come; after 408, 425,
/// 429, 500, 502, 503 and 504; after 409 where it says `Retry-After`. Not where a problem says
/// `"retryable": false`. The pause grows, and is as long as `Retry-After` asks for (seconds, or a
/// date). A pause that does not fit into the time that is left is not begun: the answer is returned
/// as it is.
///
/// A body that breaks off while you read it is your error to handle. Send the request again with
/// the same key, given as an extension: the server has its response.
///
/// # Cancel safety
/// A dropped request is not sent again. The server finishes what it has got.
#[derive(Clone, Debug)]
pub struct Retry {
    attempts: u32,
    within: Duration,
    header: HeaderName,
    first_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// 5 attempts within 60 seconds.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            within: Duration::from_secs(60),
            header: IDEMPOTENCY_KEY,
            first_pause: FIRST_PAUSE,
        }
    }

    /// How often a request is sent at most, the first time included.
    #[must_use]
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// How long all attempts and pauses take at most, but for the last attempt: give the client a
    /// time-out too.
    #[must_use]
    pub fn with_total(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// The first pause, where the server asks for none; by default 200 ms. Each is up to twice as
    /// long as the one before.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self {
            first_pause,
            ..self
        }
    }

    /// The header that has the key; by default `Idempotency-Key`.
    #[must_use]
    pub fn with_header(self, header: HeaderName) -> Self {
        Self { header, ..self }
    }

    /// Gives a request its key, if it has none, and says whether it may be sent twice.
    fn prepare(&self, request: &mut Request, extensions: &Extensions) -> bool {
        if request.headers().contains_key(&self.header) {
            return true;
        }
        let given = extensions.get::<IdempotencyKey>();
        if !KEYED_METHODS.contains(request.method()) && given.is_none() {
            return request.method().is_idempotent();
        }
        let key = given.map_or_else(
            || IdempotencyKey::random().to_header_value(),
            IdempotencyKey::to_header_value,
        );
        request.headers_mut().insert(self.header.clone(), key);
        true
    }
}

#[async_trait::async_trait]
impl Middleware for Retry {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let may_repeat = self.prepare(&mut request, extensions);
        let end = Instant::now() + self.within;
        let mut backoff = Backoff::new(self.first_pause, LONGEST_PAUSE);
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            let again = (may_repeat && left > 0)
                .then(|| request.try_clone())
                .flatten();
            let answer = next.clone().run(request, extensions).await;
            let Some(again) = again else {
                return answer;
            };
            let (answer, asked) = verdict(answer).await;
            let Some(asked) = asked else {
                return answer;
            };
            let pause = backoff.pause().max(asked);
            if Instant::now() + pause > end {
                return answer;
            }
            drop(answer);
            sleep(pause).await;
            request = again;
        }
    }
}

/// The answer, and for how long the server asks to wait before the same request is sent again;
/// `None` where it is not to be sent again.
async fn verdict(answer: Result<Response>) -> (Result<Response>, Option<Duration>) {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let is_transient = is_transient(&error);
            return (Err(error), is_transient.then_some(Duration::ZERO));
        }
    };
    let asked = retry_after(&response);
    let is_transient = match response.status() {
        StatusCode::CONFLICT => asked.is_some(),
        status => matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504),
    };
    if !is_transient {
        return (Ok(response), None);
    }
    // A problem that breaks off says nothing.
    let (response, is_final) = check_final(response).await;
    (response, (!is_final).then(|| asked.unwrap_or_default()))
}

/// Nothing came of the request that the server could say.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Reqwest(error) => {
            !error.is_builder() && (error.is_connect() || error.is_timeout() || error.is_request())
        }
        Error::Middleware(_) => false,
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Whether a response is a problem that says that the same request will not succeed. To know it,
/// the problem is read, and the response made anew.
async fn check_final(response: Response) -> (Result<Response>, bool) {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_problem =
        content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/problem+json"));
    let is_short = response
        .content_length()
        .is_some_and(|length| length <= LONGEST_PROBLEM);
    if !is_problem || !is_short {
        return (Ok(response), false);
    }
    let mut head = http::Response::builder()
        .status(response.status())
        .version(response.version())
        .url(response.url().clone());
    if let Some(headers) = head.headers_mut() {
        headers.clone_from(response.headers());
    }
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return (Err(error.into()), false),
    };
    let problem = serde_json::from_slice::<serde_json::Value>(&body);
    let is_final = problem.is_ok_and(|problem| problem["retryable"] == false);
    match head.body(body) {
        Ok(response) => (Ok(response.into()), is_final),
        Err(error) => (Err(Error::middleware(error)), is_final),
    }
}
