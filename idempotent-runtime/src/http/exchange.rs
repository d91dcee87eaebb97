//! One request with a key, from its body to its response.
//!
//! principal → body → fingerprint → operation (the handler, or the recorded response) → response

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request, response};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

use super::{
    Finish, IdempotencyKey, Problem, ResponseBody,
    body::{BoxError, Collected, announced_lengths, collect, read_request},
    config::{Config, Meaning, Principal},
    mark_as_replayed,
    payload::original_uri,
    problem::Kind,
    recorded,
};
use crate::{
    CodecError, Error, OnCrash, Operation, RerunOrFail,
    codec::Format,
    context::{Context, observe::Refusals},
    operation::{ByFn, options::Options, result::Classify, result_policy::ResultPolicy},
    record::DONE_HEADER,
    try_current,
};

/// How long a response of unknown length may take to be recorded. A stream takes longer, and its
/// client waits for its beginning.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a request with a key.
pub(super) async fn exchange<S, ReqBody, ResBody>(
    config: Arc<Config>,
    inner: S,
    request: Request<ReqBody>,
    key: IdempotencyKey,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    ReqBody: Body + From<Bytes> + Send + 'static,
    ReqBody::Data: Send,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Send,
{
    let (mut parts, body) = request.into_parts();
    let principal = match principal(&config, &mut parts).await {
        Ok(principal) => principal,
        Err(refusal) => return Ok(refusal.map(ResponseBody::from)),
    };
    let mut options = config.options(principal.as_deref(), &key, original_uri(&parts).path());
    let body = if config.coverage.needs_body() {
        let bytes = match read_request(body, &parts.headers, config.body_limit).await {
            Ok(bytes) => bytes,
            Err(problem) => return Ok(config.documented(problem).into_response()),
        };
        options.fingerprint = Some(config.coverage.fingerprint(&parts, &bytes));
        ReqBody::from(bytes)
    } else {
        options.fingerprint = Some(config.coverage.fingerprint(&parts, &Bytes::new()));
        body
    };
    prepare(&mut parts, key);
    let handler = handle(
        inner,
        Request::from_parts(parts, body),
        Arc::clone(&config),
        // Where there is no store, the operation says so.
        options
            .choose_store()
            .map_or(0, |store| store.result_limit()),
    );
    let run = operation(options).run(handler);
    let ended = match config.answer_within {
        None => run.await,
        // The run goes on, also where nobody polls it any more.
        Some(patience) => match timeout(patience, run).await {
            Ok(ended) => ended,
            Err(_) => Err(Unfinished::Outlasted),
        },
    };
    match ended {
        Ok(Answer::New { response, .. }) | Err(Unfinished::Response(response, _)) => Ok(response),
        Ok(Answer::Recorded(bytes, trailers)) => {
            let mut response = bytes.map(|bytes| ResponseBody::whole(bytes, trailers));
            mark_as_replayed(&mut response);
            Ok(response)
        }
        Err(Unfinished::Failed(error, _)) => Err(error),
        Err(Unfinished::Refused(error)) => Ok(config.documented(error.into()).into_response()),
        Err(Unfinished::Outlasted) => {
            let problem = Problem::new(Kind::StillRunning);
            Ok(config.documented(problem).into_response())
        }
    }
}

/// Whose the key is; none where all clients share theirs.
async fn principal(
    config: &Config,
    parts: &mut request::Parts,
) -> Result<Option<String>, Response<Bytes>> {
    let principal = match &config.principal {
        Principal::Shared => return Ok(None),
        Principal::Parts(find) => find(parts),
        Principal::Extractor(extract) => Some(extract(parts).await?),
    };
    // An empty one would be everybody's.
    match principal.filter(|principal| !principal.is_empty()) {
        Some(principal) => Ok(Some(principal)),
        None => Err(config
            .documented(Problem::new(Kind::NoPrincipal))
            .into_response()),
    }
}

/// Makes the request what the handler sees.
fn prepare(parts: &mut request::Parts, key: IdempotencyKey) {
    // A record must be readable for the next client too, whose encodings may be others.
    parts.headers.remove(header::ACCEPT_ENCODING);
    parts.extensions.insert(key);
}

/// What an operation has as its result.
enum Answer<B> {
    /// The handler's response, and the bytes to record it as, or why it is not kept.
    New {
        response: Response<ResponseBody<B>>,
        record: Result<Vec<u8>, &'static str>,
    },
    Recorded(Response<Bytes>, Option<HeaderMap>),
}

/// What is no result.
enum Unfinished<B, E> {
    /// The handler's response, which frees the key or leaves it in doubt.
    Response(Response<ResponseBody<B>>, RerunOrFail),
    /// The service inside has failed.
    Failed(E, RerunOrFail),
    /// The handler did not run, or its response is another's.
    Refused(Error),
    /// The handler has not ended yet.
    Outlasted,
}

type Exchange<B, E> = Operation<Answer<B>, Unfinished<B, E>, ByFn<fn(Error) -> Unfinished<B, E>>>;

fn operation<B, E>(options: Options) -> Exchange<B, E> {
    let mut policy = ResultPolicy::new(Format {
        codec: recorded::CODEC,
        encode: |answer: &Answer<B>, bytes| match answer {
            Answer::New {
                record: Ok(record), ..
            } => {
                bytes.extend_from_slice(record);
                Ok(())
            }
            Answer::New {
                record: Err(why), ..
            } => Err(CodecError::withheld(why)),
            Answer::Recorded(..) => Err(CodecError::own("it is recorded")),
        },
        decode: |codec, bytes| {
            (codec == recorded::CODEC).then(|| {
                let (response, trailers) = recorded::decode(bytes)?;
                Ok(Answer::Recorded(response, trailers))
            })
        },
        is_transient: |_| false,
    });
    policy.classify = Some(Classify::Unrecorded(|unfinished| match unfinished {
        Unfinished::Response(_, verdict) | Unfinished::Failed(_, verdict) => *verdict,
        // Neither comes from a body.
        Unfinished::Refused(_) | Unfinished::Outlasted => RerunOrFail::Fail,
    }));
    Operation {
        options,
        policy,
        into_err: ByFn(Unfinished::Refused),
    }
}

/// The body of the operation: asks the service inside, and says what its response means.
async fn handle<S, ReqBody, ResBody>(
    mut inner: S,
    mut request: Request<ReqBody>,
    config: Arc<Config>,
    limit: usize,
) -> Result<Answer<ResBody>, Unfinished<ResBody, S::Error>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    let abandoned = match config.on_crash {
        OnCrash::Rerun => RerunOrFail::Rerun,
        OnCrash::Fail => RerunOrFail::Fail,
    };
    let failed = |error| Unfinished::Failed(error, abandoned);
    if let Some(execution) = try_current() {
        request.extensions_mut().insert(execution);
    }
    poll_fn(|cx| inner.poll_ready(cx)).await.map_err(failed)?;
    let is_head = request.method() == Method::HEAD;
    let response = inner.call(request).await.map_err(failed)?;
    let (parts, body) = response.into_parts();
    let untouched = |parts, body| Response::from_parts(parts, ResponseBody::untouched(body));
    match meaning(&config, &parts) {
        Finish::Release => {
            let response = untouched(parts, body);
            Err(Unfinished::Response(response, RerunOrFail::Rerun))
        }
        Finish::Abandon => Err(Unfinished::Response(untouched(parts, body), abandoned)),
        Finish::CompleteWithoutResponse => Ok(Answer::New {
            response: untouched(parts, body),
            record: Err("its response is not to be kept"),
        }),
        Finish::Complete => Ok(recorded_answer(&config, parts, body, limit, is_head).await),
    }
}

fn meaning(config: &Config, parts: &response::Parts) -> Finish {
    let finish = match config.finish(parts) {
        Meaning::Said(finish) => return finish,
        Meaning::ByStatus(finish) => finish,
    };
    // An idempotent function that the handler called was refused for now, and the response looks as
    // if it told of that.
    let is_refused =
        || Context::with(|context| context.refusals().and_then(Refusals::first).is_some());
    if finish == Finish::Complete && parts.status.as_u16() >= 400 && is_refused() == Some(true) {
        return Finish::Abandon;
    }
    finish
}

/// Collects a response to be recorded, unless it is a stream or too large: then it is handed out as
/// it comes, and not kept.
async fn recorded_answer<B>(
    config: &Config,
    parts: response::Parts,
    body: B,
    limit: usize,
    is_head: bool,
) -> Answer<B>
where
    B: Body<Data = Bytes>,
{
    let announced: Vec<u64> = if is_without_body(is_head, parts.status) {
        Vec::new()
    } else {
        announced_lengths(&parts.headers).collect()
    };
    let length = body
        .size_hint()
        .exact()
        .or_else(|| announced.first().copied());
    let is_too_long = length.is_some_and(|length| length > limit as u64);
    if is_too_long || is_event_stream(&parts.headers) {
        return Answer::New {
            response: Response::from_parts(parts, ResponseBody::untouched(body)),
            record: Err(if is_too_long {
                TOO_LARGE
            } else {
                "its response is a stream"
            }),
        };
    }
    let patience = length.is_none().then_some(PATIENCE);
    let (bytes, trailers) = match collect(body, limit, patience).await {
        Collected::Whole(bytes, trailers)
            if announced.iter().all(|it| *it == bytes.len() as u64) =>
        {
            (bytes, trailers)
        }
        Collected::Unfinished(body) => {
            return Answer::New {
                response: Response::from_parts(parts, body),
                record: Err("its response is a stream, or larger than the store takes"),
            };
        }
        // It broke off, or an end of it is missing without an error.
        Collected::Whole(..) | Collected::Broken => {
            let problem = Problem::new(Kind::ResponseLost);
            return Answer::New {
                response: config.documented(problem).into_response(),
                record: Err("its response broke off"),
            };
        }
    };
    let mut record = Vec::new();
    let (status, rules) = (parts.status, &config.header_rules);
    let encoded = recorded::encode(
        status,
        &parts.headers,
        &bytes,
        trailers.as_ref(),
        rules,
        &mut record,
    );
    let record = match encoded {
        Ok(()) if DONE_HEADER + record.len() <= limit => Ok(record),
        Ok(()) => Err(TOO_LARGE),
        Err(_) => Err("its response has no bytes"),
    };
    Answer::New {
        response: Response::from_parts(parts, ResponseBody::whole(bytes, trailers)),
        record,
    }
}

/// Whether a response's headers speak of the body that another response would have.
fn is_without_body(is_head: bool, status: StatusCode) -> bool {
    is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

const TOO_LARGE: &str = "its response is larger than the store takes";

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}
