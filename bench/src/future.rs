//! The size that the attribute adds to a function's future, and so to its caller's future, for each
//! call.

use std::{future::Future, hint::black_box};

use idempotent_fn::{Error, idempotent};

use crate::report::Facts;

/// Written once plain, once annotated, once with `detach = false`: the bodies are the same text.
macro_rules! thrice {
    ($([$attribute:meta] $name:ident)*, |$order:ident| $body:block) => {
        $(
            #[$attribute]
            async fn $name($order: u64) -> Result<u64, Error> $body
        )*
    };
}

thrice!([allow(clippy::unused_async)] tiny
        [idempotent(scope = "bench.tiny", key = order)] tiny_run
        [idempotent(scope = "bench.tiny-attached", key = order, detach = false)] tiny_attached,
    |order| { Ok(order) });

thrice!([allow(clippy::unused_async)] large
    [idempotent(scope = "bench.large", key = order)] large_run
    [idempotent(scope = "bench.large-attached", key = order, detach = false)] large_attached,
|order| {
    let block = [order as u8; 1024];
    tokio::task::yield_now().await;
    Ok(u64::from(black_box(&block)[7]))
});

pub fn measure() -> Facts {
    let row = |name: &str, [plain, run, attached]: [usize; 3]| {
        let added = |size: usize| format!("{size} B (+{})", size.saturating_sub(plain));
        vec![
            name.to_owned(),
            format!("{plain} B"),
            added(run),
            added(attached),
        ]
    };
    let rows = vec![
        row(
            "no await",
            [size(tiny(1)), size(tiny_run(1)), size(tiny_attached(1))],
        ),
        row(
            "1 KiB across an await",
            [size(large(1)), size(large_run(1)), size(large_attached(1))],
        ),
    ];
    Facts {
        id: "future",
        title: "Size of the call's future".to_owned(),
        columns: ["body", "plain", "annotated", "with `detach = false`"]
            .map(str::to_owned)
            .to_vec(),
        rows,
    }
}

fn size(future: impl Future) -> usize {
    size_of_val(&future)
}
