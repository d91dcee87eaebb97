//! Any bytes as the value of `Idempotency-Key` are a key that comes back, or an error.

#![no_main]

use idempotent_runtime::http::{IdempotencyKey, Problem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let key = match IdempotencyKey::parse(value) {
        Ok(key) => key,
        Err(error) => {
            let problem = Problem::from(error);
            assert_eq!(problem.status(), 400);
            assert!(!problem.body().is_empty());
            return;
        }
    };
    let text = key.shared();
    assert!((1..=IdempotencyKey::MAX_LEN).contains(&text.len()));
    let written = key.to_header_value();
    assert_eq!(IdempotencyKey::parse(written.as_bytes()).as_ref(), Ok(&key));
    let with_parameters = [written.as_bytes(), b";v=1"].concat();
    assert_eq!(IdempotencyKey::parse(&with_parameters).as_ref(), Ok(&key));
    assert_eq!(IdempotencyKey::new(text).as_ref(), Ok(&key));
    // A short text may stand in any digest.
    assert!(text.len() < 8 || !format!("{key:?}").contains(text));
});
