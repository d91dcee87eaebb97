//! The nonce, which names one attempt.

use std::{cell::RefCell, fmt};

use arrayvec::ArrayVec;

/// 128 random bits that name one attempt. Every change of a record names the nonce that it applies
/// to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; SIZE]);

const SIZE: usize = 16;
/// How many are drawn at once: 256 bytes, which an operating system gives in one piece.
const DRAWN: usize = 16;

thread_local! {
    /// Nonces drawn in advance.
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

    /// A nonce for records that only this process reaches. It costs a tenth, because several are
    /// drawn at once.
    ///
    /// After a fork, or in a copy of a running machine, the nonces drawn in advance exist twice.
    /// That does no harm if the records are copied with them. In a store that both processes reach,
    /// one attempt would be taken for the other.
    #[inline]
    pub(crate) fn within_process() -> Result<Self, NonceError> {
        // A thread-local is not accessible while its thread ends.
        match AHEAD.try_with(|ahead| ahead.borrow_mut().pop()) {
            Ok(Some(nonce)) => Ok(nonce),
            Ok(None) => Self::draw(),
            Err(_) => Self::random(),
        }
    }

    /// Draws [`DRAWN`] nonces, keeps the others, and returns one.
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

        /// How many are left after a call to `store` has drawn its nonce. The call goes no further,
        /// so nothing connects.
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
