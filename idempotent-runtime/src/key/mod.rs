//! Keys: which record a call is about.
//!
//! A record's key is `scope|part|part…`, or `namespace@scope|part…`, in UTF-8. Of nested namespaces
//! the outermost comes first: `tenant-a@mail@scope|part…`. In a scope, a part or a namespace the
//! characters `%`, `|`, `~`, `{` and ASCII control characters are written as `%XX`, and outside of
//! parts `@` too. So two different calls never have the same key, and an operator can still read
//! it:
//!
//! ```text
//! payments.charge|order-42
//! staging@shop::orders::place|customer-7|2026-11-23
//! ```
//!
//! Text over [`Key::MAX_TEXT`] bytes is replaced, after the scope, by `~` and its SHA-256 in hex. A
//! namespace over [`Key::MAX_NAMESPACE`] bytes ends in the same way.

mod parts;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Write};

use arrayvec::ArrayString;
use sha2::{Digest, Sha256};

pub(crate) use parts::Stored;
pub use parts::{KeyPart, KeyParts, MaybePart, OptionalPart, optional_part};

/// Keys up to this length need no allocation.
const INLINE: usize = 92;

/// The key of one record, as every store sees it.
///
/// ```
/// # fn main() -> Result<(), idempotent_fn::key::InvalidKeyError> {
/// use idempotent_fn::key::Key;
///
/// let key = Key::new("payments.charge", &[&"customer-7", &42])?;
/// assert_eq!(key.as_str(), "payments.charge|customer-7|42");
/// assert_eq!(key.in_namespace("eu").as_str(), "eu@payments.charge|customer-7|42");
/// assert_eq!(Key::stored(key.as_str()), Some(key.clone()));
/// assert_eq!(format!("{key:?}"), format!("Key({})", key.digest())); // never its text
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Key(Text);

enum Text {
    Inline(ArrayString<INLINE>),
    Heap(String),
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyError {
    /// `key = ()`, or no parts.
    #[error("the key has no parts")]
    NoParts,
    /// The part with this index (from 0) is the empty string.
    #[error(
        "part {0} of the key is empty; an empty key would make unrelated calls share one record"
    )]
    EmptyPart(usize),
    /// The part's `Display` implementation returned an error.
    #[error("part {0} of the key could not be displayed: its `Display` returned an error")]
    Display(usize),
    /// The scope is empty or longer than [`Key::MAX_SCOPE`] bytes.
    #[error("the scope must have 1 to {max} bytes", max = Key::MAX_SCOPE)]
    Scope,
}

impl Key {
    /// A key's text above this length is replaced by its digest.
    pub const MAX_TEXT: usize = 512;
    /// The longest scope, in bytes.
    pub const MAX_SCOPE: usize = 200;
    /// Of a longer namespace the beginning is kept, with a digest of the whole.
    pub const MAX_NAMESPACE: usize = 200;

    /// The key of `parts` within `scope`.
    ///
    /// # Errors
    /// [`InvalidKeyError`] when there are no parts, or a part is empty or cannot be displayed, or
    /// the scope is empty or too long.
    pub fn new(scope: &str, parts: &[&dyn Display]) -> Result<Self, InvalidKeyError> {
        let mut key = Self::empty();
        key.write(scope, parts)?;
        Ok(key)
    }

    /// The key with this text, as a store keeps it: what [`as_str`](Self::as_str) returned. `None`
    /// if it is not a key's text.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let (scope, parts) = text.split_once('|')?;
        let mut key = Self::empty();
        key.0.push_str(text);
        (!scope.is_empty() && !parts.is_empty()).then_some(key)
    }

    /// The key's text before its parts: its namespaces and its scope.
    #[must_use]
    pub fn scope(&self) -> &str {
        let text = self.as_str();
        text.split_once('|').map_or(text, |(scope, _)| scope)
    }

    /// The scope without its escapes.
    pub(crate) fn plain_scope(&self) -> String {
        let mut bytes = Vec::new();
        let mut rest = self.scope().as_bytes();
        while let Some((&first, more)) = rest.split_first() {
            let escaped = (first == b'%').then(|| more.get(..2)).flatten();
            let escaped =
                escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            bytes.push(escaped.unwrap_or(first));
            rest = if escaped.is_some() { &more[2..] } else { more };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A scope, or the beginning of one, with its escapes.
    pub(crate) fn scope_text(scope: &str) -> String {
        let mut key = Self::empty();
        key.0.push_escaped(scope, OUTSIDE_PARTS);
        key.as_str().to_owned()
    }

    /// An empty key, to be filled by [`write`](Self::write).
    pub(crate) const fn empty() -> Self {
        Self(Text::Inline(ArrayString::new_const()))
    }

    /// Fills an empty key, in place, with `parts` within `scope`.
    pub(crate) fn write(
        &mut self,
        scope: &str,
        parts: &[&dyn Display],
    ) -> Result<(), InvalidKeyError> {
        if scope.is_empty() || scope.len() > Self::MAX_SCOPE {
            return Err(InvalidKeyError::Scope);
        }
        if parts.is_empty() {
            return Err(InvalidKeyError::NoParts);
        }
        let text = &mut self.0;
        text.push_escaped(scope, OUTSIDE_PARTS);
        let scope_end = text.as_str().len();
        for (index, &part) in parts.iter().enumerate() {
            text.push_str("|");
            let mut written = Part {
                text,
                is_empty: true,
            };
            // Writing to the key cannot fail; a part's `Display` can.
            write!(written, "{part}").map_err(|_| InvalidKeyError::Display(index))?;
            if written.is_empty {
                return Err(InvalidKeyError::EmptyPart(index));
            }
        }
        text.shorten(scope_end);
        Ok(())
    }

    /// This key within a namespace: another record than the same key in any other namespace, or in
    /// none. A key that is in one already is then in that one within this:
    /// `key.in_namespace("mail").in_namespace("tenant-a")`.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        self.in_path(&namespace_path(None, namespace))
    }

    /// This key within the namespaces of a [`namespace_path`].
    pub(crate) fn in_path(&self, path: &str) -> Self {
        let mut key = Self::empty();
        key.0.push_str(path);
        key.0.push_str("@");
        key.0.push_str(self.as_str());
        key
    }

    /// The key's text, unique to it. Personal data may be in it: log [`Key::digest`] instead.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// A short name of the key for logs: it does not show the key. Whoever can guess the key can
    /// recompute it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.as_str())
    }
}

/// How `namespace`, within those of `outer`, stands before a key. Neither a namespace nor a scope
/// has an `@` that is not escaped, so no two lists of namespaces are one path.
pub(crate) fn namespace_path(outer: Option<&str>, namespace: &str) -> Box<str> {
    let mut path = Key::empty();
    if let Some(outer) = outer {
        path.0.push_str(outer);
        path.0.push_str("@");
    }
    let from = path.as_str().len();
    path.0.push_escaped(namespace, OUTSIDE_PARTS);
    path.0.shorten_namespace(from);
    path.as_str().into()
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Shows the digest, never the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.digest())
    }
}

/// The first 64 bits of a key's SHA-256, shown as 16 hex characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 8]);

impl KeyDigest {
    pub(crate) fn of(text: &str) -> Self {
        let hash = Sha256::digest(text);
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        Self(short)
    }
}

impl Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

type Table = [bool; 256];

const IN_PARTS: &Table = &escaped(b"%|~{");
const OUTSIDE_PARTS: &Table = &escaped(b"%|~{@");

const fn escaped(special: &[u8]) -> Table {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x7f] = true;
    let mut index = 0;
    while index < special.len() {
        table[special[index] as usize] = true;
        index += 1;
    }
    table
}

impl Clone for Text {
    fn clone(&self) -> Self {
        match self {
            // Copied once: `ArrayString::clone` would do it twice.
            Self::Inline(text) => Self::Inline(*text),
            Self::Heap(text) => Self::Heap(text.clone()),
        }
    }
}

impl Text {
    #[inline]
    fn as_str(&self) -> &str {
        match self {
            Self::Inline(text) => text,
            Self::Heap(text) => at_rest(text),
        }
    }

    #[inline]
    fn push_str(&mut self, more: &str) {
        if let Self::Inline(text) = self
            && text.try_push_str(more).is_ok()
        {
            return;
        }
        self.push_to_heap(more);
    }

    #[cold]
    fn push_to_heap(&mut self, more: &str) {
        if let Self::Inline(text) = self {
            *self = Self::Heap(text.as_str().to_owned());
        }
        if let Self::Heap(text) = self {
            text.push_str(more);
        }
    }

    /// Escapes the special characters. All of them are ASCII, so cutting at them keeps UTF-8 whole.
    #[inline]
    fn push_escaped(&mut self, more: &str, escaped: &Table) {
        let is_plain = !more.bytes().any(|byte| escaped[usize::from(byte)]);
        if is_plain {
            self.push_str(more);
        } else {
            self.escape(more, escaped);
        }
    }

    #[cold]
    fn escape(&mut self, more: &str, escaped: &Table) {
        let mut rest = more;
        while let Some(at) = rest.bytes().position(|byte| escaped[usize::from(byte)]) {
            self.push_str(&rest[..at]);
            self.push_str(&format!("%{:02X}", rest.as_bytes()[at]));
            rest = &rest[at + 1..];
        }
        self.push_str(rest);
    }

    /// Replaces what is too long, after the scope, by its digest.
    fn shorten(&mut self, scope_end: usize) {
        if let Self::Heap(text) = self
            && text.len() > Key::MAX_TEXT
        {
            let digest = Sha256::digest(&*text);
            text.truncate(scope_end);
            text.push('|');
            push_digest(text, &digest);
        }
    }

    /// Replaces the end of a namespace that is too long, and begins at `from`, by a digest of the
    /// namespace.
    fn shorten_namespace(&mut self, from: usize) {
        if let Self::Heap(text) = self
            && text.len() - from > Key::MAX_NAMESPACE
        {
            let digest = Sha256::digest(&text[from..]);
            let longest = from + Key::MAX_NAMESPACE - 1 - 2 * digest.len();
            let end = (from..=longest)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(from));
            push_digest(text, &digest);
        }
    }
}

/// Adds what no text has that was escaped: `~`, and the digest in hex.
fn push_digest(text: &mut String, digest: &[u8]) {
    text.push('~');
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

/// A call of its own. Otherwise the compiler also reads the long text's place when there is a short
/// one, in pieces other than those that were just written, and the processor waits for the writes.
#[cold]
#[inline(never)]
fn at_rest(text: &str) -> &str {
    text
}

/// What a part's `Display` writes to.
struct Part<'a> {
    text: &'a mut Text,
    is_empty: bool,
}

impl Write for Part<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.is_empty &= text.is_empty();
        self.text.push_escaped(text, IN_PARTS);
        Ok(())
    }
}
