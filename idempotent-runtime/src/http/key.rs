//! The `Idempotency-Key` header: its syntax, and how a key is told apart from other clients' keys.

use std::{
    fmt::{self, Display, Write},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::key::KeyDigest;

/// The key that a client sends in the header `Idempotency-Key`.
///
/// Each client chooses its own keys, so a key alone names nothing: [`of`](Self::of) puts the
/// client's identity, the *principal*, before it. That is why this type is not `Display`, and
/// `key = key` does not compile.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use axum::{Json, http::StatusCode};
/// # use idempotent_fn::{Error, http::IdempotencyKey, idempotent};
/// # struct User { id: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Order { cents: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Receipt { number: u64 }
/// // An axum handler. `User` is an extractor of yours: it refuses who is not logged in.
/// #[idempotent(scope = "orders.place", key = key.of(user.id), fingerprint = order)]
/// async fn place(user: User, key: IdempotencyKey, Json(order): Json<Order>) -> Result<(StatusCode, Json<Receipt>), Error> {
///     Ok((StatusCode::CREATED, Json(Receipt { number: 1 })))
/// }
/// # }
/// ```
///
/// As an axum extractor (feature `axum`), `IdempotencyKey` answers 400 where the header is missing
/// or malformed. `Option<IdempotencyKey>` is `None` where it is missing, and goes with
/// `optional_key = true` and `key = key.as_ref().map(|key| key.of(user.id))`.
///
/// `Debug` shows a digest. Nothing of this library shows the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Why a value is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySyntaxError {
    /// It has no characters.
    #[error("it is empty")]
    Empty,
    /// It has more than [`IdempotencyKey::MAX_LEN`] characters.
    #[error("it has more than {max} characters", max = IdempotencyKey::MAX_LEN)]
    TooLong,
    /// A character that a key may not have.
    #[error(
        "a character is not allowed: keys are visible ASCII without `\"`, `,`, `;` and `\\`, or a quoted string"
    )]
    Character,
    /// It begins with a quote, and is no quoted string.
    #[error("it is not a well-formed quoted string")]
    Quoting,
    /// The request has the header more than once.
    #[error("the header is there more than once")]
    Repeated,
    /// A rule of the server's own refuses it.
    #[error("the server's own rule for keys refuses it")]
    Refused,
}

impl IdempotencyKey {
    /// How many characters a key has at most.
    pub const MAX_LEN: usize = 255;

    /// The key with this text: 1 to 255 printable ASCII characters.
    ///
    /// ```
    /// # use idempotent_fn::http::IdempotencyKey;
    /// let key = IdempotencyKey::new("order-42")?;
    /// assert_eq!(key.to_header_value(), "\"order-42\"");
    /// # Ok::<(), idempotent_fn::http::KeySyntaxError>(())
    /// ```
    pub fn new(text: &str) -> Result<Self, KeySyntaxError> {
        if text.is_empty() {
            return Err(KeySyntaxError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(KeySyntaxError::TooLong);
        }
        if !text.bytes().all(is_printable) {
            return Err(KeySyntaxError::Character);
        }
        Ok(Self(text.into()))
    }

    /// A new key that nobody else has: 122 random bits, in the form of a UUID (version 4).
    ///
    /// # Panics
    /// Where the operating system gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        Self(parts.join("-").into())
    }

    /// A key that stands for all, to check what comes with it.
    pub(super) fn any() -> Self {
        Self("any".into())
    }

    /// Reads a header's value: a quoted string (RFC 9651), whose parameters are ignored, or a bare
    /// text, as many clients send it. `"f"`, `f` and `"f";v=1` are one key.
    ///
    /// ```
    /// # use idempotent_fn::http::IdempotencyKey;
    /// assert_eq!(IdempotencyKey::parse(b"order-42"), IdempotencyKey::parse(b"\"order-42\""));
    /// assert!(IdempotencyKey::parse(b"two, keys").is_err());
    /// ```
    pub fn parse(value: &[u8]) -> Result<Self, KeySyntaxError> {
        let value = value.trim_ascii();
        match value.strip_prefix(b"\"") {
            Some(quoted) => Self::new(&unquoted(quoted)?),
            None if value.len() > Self::MAX_LEN => Err(KeySyntaxError::TooLong),
            None => match str::from_utf8(value) {
                Ok(text) if text.bytes().all(is_bare) => Self::new(text),
                _ => Err(KeySyntaxError::Character),
            },
        }
    }

    /// The key in the header called `name`, if the request has that header. Several headers of that
    /// name are refused: choosing one would hide that a client or a proxy is wrong.
    pub fn from_headers(
        headers: &HeaderMap,
        name: &HeaderName,
    ) -> Result<Option<Self>, KeySyntaxError> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value.as_bytes()).map(Some),
            (Some(_), Some(_)) => Err(KeySyntaxError::Repeated),
        }
    }

    /// This key as one of `principal`'s: what goes into `key = …`.
    ///
    /// A principal is what stays the same for a client across its retries: the id of a user or an
    /// account. A token or a session does not, an address is shared by strangers. No two pairs of
    /// principal and key meet. Where the principal shows nothing (an empty text), the call is
    /// refused with [`Error::InvalidKey`](crate::Error::InvalidKey).
    pub fn of<P: Display>(&self, principal: P) -> PrincipalKey<'_, P> {
        PrincipalKey {
            principal,
            key: self,
        }
    }

    /// The bare text, which all clients share: only for keys that nobody can guess and that belong
    /// to nobody.
    #[must_use]
    pub fn shared(&self) -> &str {
        &self.0
    }

    /// The key as a header's value: a quoted string, marked as sensitive, so that logs of headers
    /// do not show it.
    #[expect(clippy::missing_panics_doc, reason = "a key is printable ASCII")]
    #[must_use]
    pub fn to_header_value(&self) -> HeaderValue {
        let mut text = String::with_capacity(self.0.len() + 2);
        text.push('"');
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
        let mut value = HeaderValue::try_from(text).expect("printable ASCII");
        value.set_sensitive(true);
        value
    }
}

/// Shows the key's digest.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({})", KeyDigest::of(&self.0))
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn is_bare(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !b"\",;\\".contains(&byte)
}

/// The text of a quoted string, which stands after its first quote. Behind it there is nothing, or
/// parameters.
fn unquoted(quoted: &[u8]) -> Result<String, KeySyntaxError> {
    let mut text = String::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') => break,
            Some(b'\\') => match bytes.next() {
                Some(&byte @ (b'"' | b'\\')) => text.push(byte.into()),
                _ => return Err(KeySyntaxError::Quoting),
            },
            Some(&byte) if is_printable(byte) => text.push(byte.into()),
            Some(_) => return Err(KeySyntaxError::Character),
            None => return Err(KeySyntaxError::Quoting),
        }
    }
    match bytes.as_slice() {
        [] => Ok(text),
        [b';', parameters @ ..] if is_one_item(parameters) => Ok(text),
        _ => Err(KeySyntaxError::Quoting),
    }
}

/// Whether there is no comma outside of quotes: that would be two header lines which somebody
/// joined.
fn is_one_item(parameters: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for &byte in parameters {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return false,
            byte if !is_printable(byte) => return false,
            _ => {}
        }
    }
    !is_quoted
}

/// A key together with whose it is, made by [`IdempotencyKey::of`]: written as `principal/key`. In
/// the principal, `/` and `%` are escaped.
#[derive(Clone, Copy)]
pub struct PrincipalKey<'a, P> {
    principal: P,
    key: &'a IdempotencyKey,
}

impl<P: Display> Display for PrincipalKey<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut principal = Escaped {
            text: f,
            is_empty: true,
        };
        write!(principal, "{}", self.principal)?;
        if principal.is_empty {
            return Ok(()); // an empty part, which is refused
        }
        f.write_str("/")?;
        f.write_str(&self.key.0)
    }
}

/// Shows the key's digest, and nothing of the principal.
impl<P> fmt::Debug for PrincipalKey<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrincipalKey")
            .field("key", self.key)
            .finish_non_exhaustive()
    }
}

struct Escaped<'a, 'f> {
    text: &'a mut fmt::Formatter<'f>,
    is_empty: bool,
}

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.is_empty &= text.is_empty();
        for piece in text.split_inclusive(['/', '%']) {
            let plain = piece.trim_end_matches(['/', '%']);
            self.text.write_str(plain)?;
            match piece.as_bytes().get(plain.len()) {
                Some(b'/') => self.text.write_str("%2F")?,
                Some(_) => self.text.write_str("%25")?,
                None => {}
            }
        }
        Ok(())
    }
}
