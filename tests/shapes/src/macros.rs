//! Functions written by a `macro_rules!` macro.

use idempotent_fn::idempotent;

use crate::{Outcome, fresh};

macro_rules! operation {
    ($(#[$attribute:meta])* $name:ident($argument:ident: $type:ty) -> $result:ty, $ttl:literal, $key:expr, $body:block) => {
        $(#[$attribute])*
        #[idempotent(key = $key, ttl = $ttl)]
        pub async fn $name($argument: $type) -> $result $body
    };
}

operation!(
    /// One part.
    ///
    /// # Errors
    /// None.
    one(id: u64) -> Outcome, "1h", id, { Ok(id + fresh()) }
);

operation!(
    /// A tuple that comes as one fragment, and an expression that needs parentheses.
    ///
    /// # Errors
    /// None.
    two(id: u64) -> Result<u64, crate::Failure>, "90m", (id + 1, "two"), {
        let answer = id + fresh();
        Ok(answer)
    }
);
