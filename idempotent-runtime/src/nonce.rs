//! The name of one attempt.

#[cfg(test)]
mod tests;

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
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SIZE];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A nonce for records that only this process reaches, at a tenth of the cost: several are drawn at once.
    ///
    /// A machine that is copied while it runs, and a process that forks, would use the same ones twice. That does no harm
    /// where the records are copied with them; in a store that both reach, the second would be taken for the first.
    #[inline]
    pub(crate) fn within_process() -> Result<Self, getrandom::Error> {
        // At its end a thread keeps nothing any more.
        match AHEAD.try_with(|ahead| ahead.borrow_mut().pop()) {
            Ok(Some(nonce)) => Ok(nonce),
            Ok(None) => Self::draw(),
            Err(_) => Self::random(),
        }
    }

    /// One, and more for later.
    #[cold]
    fn draw() -> Result<Self, getrandom::Error> {
        let mut drawn = [[0; SIZE]; DRAWN];
        getrandom::fill(drawn.as_flattened_mut())?;
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
