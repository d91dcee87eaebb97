//! A user's own error type, and how it is recorded.

use idempotent_fn::{Error, codec::CodecError, operation::Recorded};

use super::Effects;

/// An error of the user's own, with the library's among its cases.
#[derive(Debug)]
pub enum Refusal {
    Declined(u32),
    Broken,
    Library(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// A marker of the user's own: how a type without serde is recorded.
pub struct ByHand;

impl Recorded<ByHand> for Refusal {
    const CODEC: u32 = 1001;

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Self::Declined(code) => bytes.extend(code.to_be_bytes()),
            Self::Broken | Self::Library(_) => return Err(CodecError::new("not for recording")),
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let code = bytes.try_into().map_err(CodecError::new)?;
        Ok(Self::Declined(u32::from_be_bytes(code)))
    }
}

pub fn declines(effects: &Effects) -> impl Future<Output = Result<u32, Refusal>> + Send + 'static {
    let effects = effects.clone();
    async move {
        effects.start();
        Err(Refusal::Declined(effects.finish()))
    }
}
