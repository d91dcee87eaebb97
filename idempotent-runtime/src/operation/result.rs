//! The types that an operation can return: traits that turn a missing bound into one clear compile
//! error.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Codec, CodecError, Error, OnErr, Operation, RerunOrFail,
    codec::{Format, MessagePack},
    key::KeyParts,
};

/// A value that can be recorded and replayed.
///
/// Every type with serde's `Serialize` and `DeserializeOwned` is one. The marker `M` names the way,
/// and is found by inference. It allows other implementations beside that one: those for axum's
/// response types (feature `axum`), and yours for a foreign type:
///
/// ```
/// # use idempotent_fn::{codec::CodecError, operation::Recorded};
/// struct AsText;
/// struct Foreign(u8); // imagine it comes from another crate and has no serde
///
/// impl Recorded<AsText> for Foreign {
///     const CODEC: u32 = 1002;
///     fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
///         bytes.push(self.0);
///         Ok(())
///     }
///     fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
///         bytes.first().map(|&byte| Self(byte)).ok_or_else(|| CodecError::new("no bytes"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded and replayed",
    label = "needs `serde::Serialize` and `serde::Deserialize`",
    note = "derive both, for it and for what it is made of; what has no serde is recorded by `codec = …`",
    note = "of axum's types `Json<T>`, `(StatusCode, Json<T>)` and `(StatusCode, HeaderMap, Json<T>)` are recorded, with the \
            feature `axum`: return one of them instead of a `Response`, a `StatusCode`, a text or other headers"
)]
pub trait Recorded<M>: Sized {
    /// The id of the format in every record, as [`Codec::ID`].
    const CODEC: u32;

    /// Appends the value's bytes.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads the value back.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;

    /// Reads a value that another codec has written: a result that was given by hand for another type
    /// than the function's. `None` if that codec's bytes do not tell this value.
    #[doc(hidden)]
    #[must_use]
    fn decode_from(codec: u32, bytes: &[u8]) -> Option<Result<Self, CodecError>> {
        let _ = (codec, bytes);
        None
    }

    /// Whether this value, though returned as `Ok`, stands for a failure that may pass (an HTTP
    /// 503, say). Then it is returned to the caller and not recorded, and the key is released.
    /// Under [`OnCrash::Fail`](crate::OnCrash::Fail) the key is in doubt instead, as after an
    /// `Err`: only `on_err = rerun` says that nothing happened.
    fn is_transient(&self) -> bool {
        false
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Recorded<MessagePack> for T {
    const CODEC: u32 = <MessagePack as Codec<T>>::ID;

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        <MessagePack as Codec<T>>::encode(self, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        <MessagePack as Codec<T>>::decode(bytes)
    }
}

/// What an operation returns: a `Result`, under any name.
#[diagnostic::on_unimplemented(
    message = "an idempotent function must return a `Result`, not `{Self}`",
    label = "must be a `Result<T, E>`",
    note = "the error side tells the caller what the store says: a key in flight, reused, or in doubt"
)]
pub trait Fallible: sealed::Sealed {
    /// The value, which is recorded.
    type Ok;
    /// The error, which by default is not recorded.
    type Err;
    /// [`Operation<Ok, Err>`](Operation). With this name, [`operation`](crate::operation()) reports
    /// only once that a type is no `Result`.
    type Operation;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Err = E;
    type Operation = Operation<T, E>;
}

/// A [`Fallible`] whose value can be recorded.
#[diagnostic::on_unimplemented(
    message = "an idempotent function must return a `Result`, not `{Self}`",
    label = "must be a `Result<T, E>`",
    note = "the error side tells the caller what the store says: a key in flight, reused, or in doubt"
)]
pub trait Outcome<M>: Fallible {
    #[doc(hidden)]
    fn operation(scope: &'static str, key: &(impl KeyParts + ?Sized)) -> Self::Operation;
}

impl<T: Recorded<M>, E, M> Outcome<M> for Result<T, E> {
    #[inline]
    fn operation(scope: &'static str, key: &(impl KeyParts + ?Sized)) -> Operation<T, E> {
        Operation::new(scope, key, format_of::<T, M>())
    }
}

/// An error that can be recorded and replayed, which `on_err = record` needs: a [`Recorded`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded, so `on_err` cannot say `record`",
    label = "needs `serde::Serialize` and `serde::Deserialize`",
    note = "derive both for it if it is yours; another crate's error, such as `anyhow::Error`, is made into one of yours first. \
            Without `record`, `on_err = rerun` runs the body again, and `on_err = fail` leaves it in doubt"
)]
pub trait RecordedErr<M>: Recorded<M> {}

#[diagnostic::do_not_recommend]
impl<E: Recorded<M>, M> RecordedErr<M> for E {}

/// What a function given to [`on_err_with`](Operation::on_err_with) may return about an `E`:
/// [`OnErr`] if errors can be recorded, or [`RerunOrFail`].
#[diagnostic::on_unimplemented(
    message = "`on_err` answers `{Self}` here, and `{E}` cannot be recorded",
    label = "must answer `OnErr` or `RerunOrFail`",
    note = "answer `RerunOrFail::…` if errors are never recorded; to answer `OnErr::…`, which may be `Record`, derive \
            `serde::Serialize` and `serde::Deserialize` for the error"
)]
pub trait Decision<E, M>: Sized {
    #[doc(hidden)]
    fn decide<T, F>(operation: Operation<T, E, F>, by: fn(&E) -> Self) -> Operation<T, E, F>;
}

/// The function given to [`on_err_with`](Operation::on_err_with).
pub(crate) enum Classify<E> {
    Full(fn(&E) -> OnErr),
    Unrecorded(fn(&E) -> RerunOrFail),
}

impl<E> Clone for Classify<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Classify<E> {}

impl<E> Classify<E> {
    pub(crate) fn judge(&self, error: &E) -> OnErr {
        match self {
            Self::Full(classify) => classify(error),
            Self::Unrecorded(classify) => classify(error).into(),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<E: Recorded<M>, M> Decision<E, M> for OnErr {
    fn decide<T, F>(mut operation: Operation<T, E, F>, by: fn(&E) -> Self) -> Operation<T, E, F> {
        operation.policy.classify = Some(Classify::Full(by));
        operation.policy.err = Some(format_of::<E, M>());
        operation
    }
}

#[diagnostic::do_not_recommend]
impl<E> Decision<E, Never> for RerunOrFail {
    fn decide<T, F>(mut operation: Operation<T, E, F>, by: fn(&E) -> Self) -> Operation<T, E, F> {
        operation.policy.classify = Some(Classify::Unrecorded(by));
        operation
    }
}

/// The marker of a decision that never records.
#[doc(hidden)]
#[derive(Debug)]
pub struct Never;

pub(crate) fn format_of<T: Recorded<M>, M>() -> Format<T> {
    Format {
        codec: T::CODEC,
        encode: T::encode,
        decode: |codec, bytes| {
            if codec == T::CODEC {
                Some(T::decode(bytes))
            } else {
                T::decode_from(codec, bytes)
            }
        },
        is_transient: T::is_transient,
    }
}

mod sealed {
    pub trait Sealed {}
    impl<T, E> Sealed for Result<T, E> {}
}

/// The error of a body that is finished even when its caller goes away. Any `Send + 'static` type
/// is one.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` cannot be sent between threads, and the body is finished even when its caller goes away",
    label = "needs `Send`",
    note = "what it holds must be `Send`: `Arc` for `Rc`, `Box<dyn Error + Send + Sync>` for `Box<dyn Error>`; or add \
            `detach = false`: the body then stops when its caller goes away"
)]
pub trait SendErr: Send + 'static {}

#[diagnostic::do_not_recommend]
impl<E: Send + 'static> SendErr for E {}

/// How the library's [`Error`] becomes the function's error: by `From`, or by `map_err`.
#[diagnostic::on_unimplemented(
    message = "`{E}` cannot be made from `idempotent_fn::Error`",
    label = "needs `From<idempotent_fn::Error>`",
    note = "implement it, or say how with `map_err = |error| …`"
)]
pub trait IntoErr<E> {
    #[doc(hidden)]
    fn into_err(self, error: Error) -> E;
}

/// The default of `map_err`: `E::from`.
#[derive(Clone, Copy, Debug)]
pub struct ByFrom;

#[diagnostic::do_not_recommend]
impl<E: From<Error>> IntoErr<E> for ByFrom {
    fn into_err(self, error: Error) -> E {
        E::from(error)
    }
}

/// A function given as `map_err`.
#[derive(Clone, Copy, Debug)]
pub struct ByFn<F>(pub(crate) F);

#[diagnostic::do_not_recommend]
impl<E, F: FnOnce(Error) -> E> IntoErr<E> for ByFn<F> {
    fn into_err(self, error: Error) -> E {
        (self.0)(error)
    }
}
