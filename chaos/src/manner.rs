//! How a caller treats the future of its call.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time;

use crate::{
    busy::Busy,
    history::{Event, Kind, now},
    say::{say, say_fault},
};

/// What a caller does with its call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Manner {
    /// Polls it to its end.
    Awaits,
    /// Goes away after this many milliseconds.
    Leaves(u64),
    /// Polls it this many times, holds it for this many milliseconds without a poll, and then goes
    /// on or drops it.
    Holds {
        polls: u32,
        millis: u64,
        goes_on: bool,
    },
    /// Polls it in one task with another future, which is polled first and uses up the budget for
    /// this many milliseconds.
    Beside(u64),
}

impl Manner {
    /// Whether the call has a task of its own, and is polled whenever it asks for it.
    pub(crate) fn is_fair(self) -> bool {
        matches!(self, Self::Awaits | Self::Leaves(_))
    }

    /// The answer, unless the caller goes away first.
    pub(crate) async fn treat<R>(
        self,
        id: u64,
        mut call: Pin<Box<impl Future<Output = R>>>,
    ) -> Option<R> {
        match self {
            Self::Awaits => Some(call.await),
            Self::Leaves(millis) => time::timeout(Duration::from_millis(millis), call)
                .await
                .ok(),
            Self::Holds {
                polls,
                millis,
                goes_on,
            } => {
                let answer = some_polls(polls, call.as_mut()).await;
                if answer.is_some() {
                    return answer;
                }
                let (since, kind, call_id) = (now(), Kind::Held, Some(id));
                say(Event::Begun {
                    kind,
                    call: call_id,
                });
                time::sleep(Duration::from_millis(millis)).await;
                // Held for as long as was meant, by a clock other than tokio's.
                say_fault(kind, call_id, since, now() - since >= millis * 1000);
                if goes_on { Some(call.await) } else { None }
            }
            Self::Beside(millis) => Some(beside(id, millis, call).await),
        }
    }
}

/// Polls the call this many times, each time that it asks for it. Returns its answer, if it has one
/// by then.
async fn some_polls<R>(polls: u32, mut call: Pin<&mut impl Future<Output = R>>) -> Option<R> {
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn beside<R>(id: u64, millis: u64, mut call: Pin<Box<impl Future<Output = R>>>) -> R {
    let since = now();
    let mut sibling = Some(Box::pin(Busy::new(millis)));
    poll_fn(|cx| {
        if let Some(busy) = &mut sibling
            && let Poll::Ready(used_up) = busy.as_mut().poll(cx)
        {
            sibling = None;
            say_fault(Kind::Sibling, Some(id), since, used_up);
        }
        call.as_mut().poll(cx)
    })
    .await
}
