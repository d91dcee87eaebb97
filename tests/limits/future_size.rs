//! How much the attribute adds to a function's future, and so to its callers' futures: a constant,
//! independent of the body's size.

use std::{hint::black_box, mem::size_of_val};

use idempotent_fn::{Error, idempotent};

/// What a call adds at most: the operation with its key, 92 bytes of it the key's text, and the
/// arguments once more, which the body owns whole. The body is in a box from its first poll on.
const ADDED: usize = 416;
/// And with `detach = false`: the body and the flow are in boxes too, from the first poll on. 520
/// bytes, since an operation may have a `timeout` and its body owns the arguments.
const ADDED_ATTACHED: usize = 536;

/// The same body three times.
macro_rules! thrice {
    ($plain:ident, $run:ident, $attached:ident, |$order:ident| $body:block) => {
        #[allow(clippy::unused_async, reason = "what is compared with")]
        async fn $plain($order: u64) -> Result<u64, Error> $body

        #[idempotent(key = $order)]
        async fn $run($order: u64) -> Result<u64, Error> $body

        #[idempotent(key = $order, detach = false)]
        async fn $attached($order: u64) -> Result<u64, Error> $body
    };
}

thrice!(tiny, tiny_run, tiny_attached, |order| { Ok(order) });

thrice!(large, large_run, large_attached, |order| {
    let block = [order.to_le_bytes(); 128];
    tokio::task::yield_now().await;
    Ok(u64::from(black_box(&block)[0][0]))
});

fn assert_added(most: usize, plain: &impl Future, annotated: &impl Future) {
    let [plain, annotated] = [size_of_val(plain), size_of_val(annotated)];
    let added = annotated.saturating_sub(plain);
    assert!(
        added <= most,
        "{plain} bytes became {annotated}: {added} more than {most} allow"
    );
}

#[test]
fn a_call_adds_a_bounded_number_of_bytes() {
    assert_added(ADDED, &tiny(1), &tiny_run(1));
    assert_added(ADDED, &large(1), &large_run(1));
}

#[test]
fn an_attached_call_adds_a_bounded_number_of_bytes() {
    assert_added(ADDED_ATTACHED, &tiny(1), &tiny_attached(1));
    assert_added(ADDED_ATTACHED, &large(1), &large_attached(1));
}
