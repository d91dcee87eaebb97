//! The name of one attempt.

use std::{cell::RefCell, fmt};

use arrayvec::ArrayVec;

/// 128 random bits that name one attempt. Every change of a record names the nonce it applies to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; SIZE]);

const SIZE: usize = 16;
/// As many as an operating system gives in one piece: 256 bytes.
const DRAWN: usize = 16;

thread_local! {
    /// Nonces that were drawn ahead of their attempts.
    static AHEAD: RefCell<ArrayVec<Nonce, DRAWN>> = const { RefCell::new(ArrayVec::new_const()) };
}

impl Nonce {
    /// A fresh nonce from the operating system's random source.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, NonceError> {
        let mut bytes = [0; SIZE];
        getrandom::fill(&mut bytes).map_err(NonceError)?;
        Ok(Self(bytes))
    }

    /// A nonce for records that only this process reaches, at a tenth of the cost: several are drawn at once.
    ///
    /// A machine that is copied while it runs, and a process that forks, would use the same ones twice. That does no harm
    /// where the records are copied with them; in a store that both reach, the second would be taken for the first.
    #[inline]
    pub(crate) fn within_process() -> Result<Self, NonceError> {
        // At its end a thread keeps nothing any more.
        match AHEAD.try_with(|ahead| ahead.borrow_mut().pop()) {
            Ok(Some(nonce)) => Ok(nonce),
            Ok(None) => Self::draw(),
            Err(_) => Self::random(),
        }
    }

    /// One, and more for later.
    #[cold]
    fn draw() -> Result<Self, NonceError> {
        let mut drawn = [[0; SIZE]; DRAWN];
        getrandom::fill(drawn.as_flattened_mut()).map_err(NonceError)?;
        let [first, rest @ ..] = drawn;
        AHEAD.with(|ahead| ahead.borrow_mut().extend(rest.map(Self)));
        Ok(Self(first))
    }

    /// The nonce with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The nonce's bytes, as they stand in the record.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:032x})", u128::from_be_bytes(self.0))
    }
}

/// The operating system gave no random bytes for a nonce.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NonceError(getrandom::Error);

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn no_two_are_alike() {
        let draw = || (0..5 * DRAWN).map(|_| Nonce::within_process().expect("random bytes"));
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(move || draw().collect::<Vec<_>>()))
            .collect();
        let mut all: Vec<_> = draw().collect();
        for thread in threads {
            all.extend(thread.join().expect("no panic"));
        }
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[cfg(all(feature = "memory", feature = "redis"))]
    #[tokio::test]
    async fn only_records_in_this_process_get_nonces_that_were_drawn_ahead() {
        use crate::{
            Error, SharedStore, operation,
            store::{MemoryStore, redis::RedisStore},
        };

        /// How many are left after a call to `store` has drawn its nonce. It goes no further: nothing is connected to.
        fn ahead_after_a_call_to(store: &SharedStore) -> usize {
            let call = operation::<Result<u8, Error>, _>("nonce", &[&"key"]).store(store);
            assert!(call.prepare().is_ok());
            AHEAD.with_borrow(arrayvec::ArrayVec::len)
        }

        let memory = MemoryStore::new().into();
        let redis = SharedStore::new(RedisStore::new("redis://127.0.0.1/").expect("a URL"));
        let drawn_for_others = ahead_after_a_call_to(&redis);
        assert_eq!(drawn_for_others, 0, "for a store that others reach");
        assert_eq!(ahead_after_a_call_to(&memory), DRAWN - 1);
        let left = ahead_after_a_call_to(&redis);
        assert_eq!(left, DRAWN - 1, "one was used where others reach");
    }
}
