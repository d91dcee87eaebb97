//! Keys: which record a call is about.
//!
//! A record's key is `scope|part|part…`, or `namespace@scope|part…`, in UTF-8. Within a scope, a part or a namespace
//! the characters `%`, `|`, `~`, `{` and ASCII control characters are written as `%XX`, and `@` too outside of parts,
//! so two different calls never meet in one key, and an operator still recognises it:
//!
//! ```text
//! payments.charge|order-42
//! staging@shop::orders::place|customer-7|2026-11-23
//! ```
//!
//! Text over [`Key::MAX_TEXT`] bytes is replaced, after the scope, by `~` and its SHA-256 in hex.

#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Write},
    sync::Arc,
};

use arrayvec::ArrayString;
use sha2::{Digest, Sha256};

/// Keys up to this length need no allocation.
const INLINE: usize = 92;

/// The key of one record, as every store sees it.
#[derive(Clone)]
pub struct Key(Text);

#[derive(Clone)]
enum Text {
    Inline(ArrayString<INLINE>),
    Heap(Arc<str>),
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
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
    /// Longer texts are kept as a digest.
    pub const MAX_TEXT: usize = 512;
    /// The longest scope, in bytes.
    pub const MAX_SCOPE: usize = 200;

    /// The key of `parts` within `scope`.
    ///
    /// # Errors
    /// [`InvalidKey`] when there are no parts, or a part is empty or cannot be displayed, or the scope is empty or too
    /// long.
    pub fn new(scope: &str, parts: &[&dyn Display]) -> Result<Self, InvalidKey> {
        if scope.is_empty() || scope.len() > Self::MAX_SCOPE {
            return Err(InvalidKey::Scope);
        }
        if parts.is_empty() {
            return Err(InvalidKey::NoParts);
        }
        let mut encoder = Encoder {
            text: Buffer::Inline(ArrayString::new()),
            escaped: OUTSIDE_PARTS,
        };
        // Writing to a buffer cannot fail; only a part's own `Display` can.
        let _ = encoder.write_str(scope);
        let scope_end = encoder.text.as_str().len();
        encoder.escaped = IN_PARTS;
        for (index, part) in parts.iter().enumerate() {
            encoder.text.push_str("|");
            let start = encoder.text.as_str().len();
            write!(encoder, "{part}").map_err(|_| InvalidKey::Display(index))?;
            if encoder.text.as_str().len() == start {
                return Err(InvalidKey::EmptyPart(index));
            }
        }
        Ok(Self(encoder.text.finish(scope_end)))
    }

    /// This key within a namespace: another record than the same key in any other namespace, or in none.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        let mut encoder = Encoder {
            text: Buffer::Inline(ArrayString::new()),
            escaped: OUTSIDE_PARTS,
        };
        let _ = encoder.write_str(namespace);
        encoder.text.push_str("@");
        encoder.text.push_str(self.as_str());
        Self(match encoder.text {
            Buffer::Inline(text) => Text::Inline(text),
            Buffer::Heap(text) => Text::Heap(text.into()),
        })
    }

    /// The key's text, unique to it. Personal data may be in it: log [`Key::digest`] instead.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Inline(text) => text,
            Text::Heap(text) => text,
        }
    }

    /// A short name of the key for logs: it does not show the key. Whoever can guess the key can recompute it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        let hash = Sha256::digest(self.as_str());
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        KeyDigest(short)
    }
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

/// Writes text with the special characters escaped. All of them are ASCII, so cutting at them keeps UTF-8 whole.
struct Encoder {
    text: Buffer,
    escaped: &'static Table,
}

impl Write for Encoder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest
            .bytes()
            .position(|byte| self.escaped[usize::from(byte)])
        {
            self.text.push_str(&rest[..at]);
            let _ = write!(self.text, "%{:02X}", rest.as_bytes()[at]);
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
        Ok(())
    }
}

enum Buffer {
    Inline(ArrayString<INLINE>),
    Heap(String),
}

impl Buffer {
    fn as_str(&self) -> &str {
        match self {
            Self::Inline(text) => text,
            Self::Heap(text) => text,
        }
    }

    fn push_str(&mut self, more: &str) {
        match self {
            Self::Inline(text) => {
                if text.try_push_str(more).is_err() {
                    let mut heap = String::with_capacity(2 * (text.len() + more.len()));
                    heap.push_str(text);
                    heap.push_str(more);
                    *self = Self::Heap(heap);
                }
            }
            Self::Heap(text) => text.push_str(more),
        }
    }

    fn finish(self, scope_end: usize) -> Text {
        match self {
            Self::Inline(text) => Text::Inline(text),
            Self::Heap(text) if text.len() <= Key::MAX_TEXT => Text::Heap(text.into()),
            Self::Heap(text) => {
                let mut short = String::from(&text[..scope_end]);
                short.push_str("|~");
                for byte in Sha256::digest(&text) {
                    let _ = write!(short, "{byte:02x}");
                }
                Text::Heap(short.into())
            }
        }
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}
