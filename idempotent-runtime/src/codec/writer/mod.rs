//! Writes values as `MessagePack`, and refuses those that would not be read back as they are.
//!
//! Everything is written as human-readable: an address is text, inside an enum and outside. The
//! reason is that serde reads as human-readable what it buffers before it knows the type (untagged,
//! internally and adjacently tagged enums, `flatten`).
//!
//! There are three kinds of values:
//!
//! | will it be read back as it is? | values | what happens |
//! |---|---|---|
//! | yes | most | written |
//! | no | `Some(None)`, too deep, a wrong length | refused |
//! | only the type knows | bytes, `u128` and `i128`, `flatten` | written, and *doubtful* |
//!
//! The caller reads a doubtful value back before it is recorded.

mod compound;
mod serializer;

use std::fmt;

use rmp::encode;
use serde::ser::{self, Serialize};

use self::compound::{Entries, Fields, Shape};
use super::number::Number;

/// How deeply values may be nested. Each level takes stack when it is read, and a stack overflow
/// ends the process.
pub(super) const MAX_DEPTH: usize = 128;

/// How deeply wrappers may be nested that leave no trace in the bytes: `Some`, and a newtype. Each
/// takes stack when it is written.
const MAX_WRAPPERS: usize = 384;

/// Appends `value`. Returns whether it is doubtful.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<bool, Refused> {
    Writer::new(bytes, Target::MessagePack).write_whole(value)
}

/// Checks a value that will be written as JSON; it writes nothing. Returns whether the value is
/// doubtful.
#[cfg(feature = "json")]
pub(super) fn check_for_json<T: Serialize + ?Sized>(value: &T) -> Result<bool, Refused> {
    Writer::new(&mut Vec::new(), Target::Json).write_whole(value)
}

/// Why a value is not written.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Box<str>,
    /// Whether the text is our own, which may be shown, and not that of a `Serialize`.
    pub(super) is_own: bool,
}

impl Refused {
    #[cold]
    fn own(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string().into(),
            is_own: true,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self {
            reason: reason.to_string().into(),
            is_own: false,
        }
    }
}

type Written = Result<(), Refused>;

const NIL: u8 = 0xc0;
const OTHER_LENGTH: &str = "its `Serialize` says another length than it gives";

/// The format that the value will have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    MessagePack,
    #[cfg(feature = "json")]
    Json,
}

impl Target {
    fn max_depth(self) -> usize {
        match self {
            Self::MessagePack => MAX_DEPTH,
            // `serde_json` counts down from 128, and reads one level less.
            #[cfg(feature = "json")]
            Self::Json => MAX_DEPTH - 1,
        }
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    target: Target,
    depth: usize,
    /// How many `Some`s and newtypes are around the value.
    wrappers: usize,
    /// Whether only the type knows if the value will be read back as it is.
    is_doubtful: bool,
    /// Whether anything was refused. A `Serialize` implementation may ignore the error and leave
    /// half a value.
    has_refused: bool,
}

/// Drops the result of writing to a vector, which cannot fail.
fn infallible<T, E>(_: Result<T, E>) {}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, target: Target) -> Self {
        Self {
            out,
            target,
            depth: 0,
            wrappers: 0,
            is_doubtful: false,
            has_refused: false,
        }
    }

    /// Writes one value, and checks that its `Serialize` has ended all that it began.
    fn write_whole<T: Serialize + ?Sized>(mut self, value: &T) -> Result<bool, Refused> {
        value.serialize(&mut self)?;
        if self.has_refused || self.depth != 0 {
            return Err(Refused::own("its `Serialize` went on after an error"));
        }
        Ok(self.is_doubtful)
    }

    #[cold]
    fn refuse(&mut self, reason: impl fmt::Display) -> Refused {
        self.has_refused = true;
        Refused::own(reason)
    }

    #[inline]
    fn enter(&mut self) -> Written {
        self.depth += 1;
        let limit = self.target.max_depth();
        if self.depth > limit {
            return Err(self.refuse(format_args!("it is nested more deeply than {limit} levels")));
        }
        Ok(())
    }

    /// Writes the value within a `Some` or a newtype.
    #[inline]
    fn write_wrapped<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        if self.wrappers == MAX_WRAPPERS {
            return Err(self.refuse(format_args!(
                "it has more than {MAX_WRAPPERS} `Some`s and newtypes in one another"
            )));
        }
        self.wrappers += 1;
        let written = value.serialize(&mut *self);
        self.wrappers -= 1;
        written
    }

    #[inline]
    fn write_header(&mut self, shape: Shape, len: usize) -> Written {
        let Ok(len) = u32::try_from(len) else {
            return Err(self.refuse("it has too many entries"));
        };
        match shape {
            Shape::Sequence => infallible(encode::write_array_len(self.out, len)),
            Shape::Map => infallible(encode::write_map_len(self.out, len)),
        }
        Ok(())
    }

    /// Writes a text. The short form comes first, because names are short and many.
    #[inline]
    fn write_text(&mut self, text: &str) {
        match u8::try_from(text.len()) {
            Ok(len @ 0..=31) => {
                self.out.push(0xa0 | len);
                self.out.extend_from_slice(text.as_bytes());
            }
            _ => infallible(encode::write_str(self.out, text)),
        }
    }

    /// Begins a sequence or a map. If its length is not declared, the header is inserted at its
    /// end.
    #[inline]
    fn begin<'w>(
        &'w mut self,
        shape: Shape,
        declared: Option<usize>,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.enter()?;
        let at = self.out.len();
        if let Some(len) = declared {
            self.write_header(shape, len)?;
        }
        Ok(Entries {
            writer: self,
            shape,
            declared,
            at,
            levels: 1,
            count: 0,
            first_key: 0..0,
        })
    }

    /// Begins a struct.
    #[inline]
    fn begin_fields<'w>(&'w mut self, len: usize) -> Result<Fields<'w, 'a>, Refused> {
        self.enter()?;
        let at = self.out.len();
        self.write_header(Shape::Map, len)?;
        Ok(Fields {
            writer: self,
            at,
            left: len,
            first: None,
            levels: 1,
            is_number: false,
        })
    }

    /// Begins a variant with data: a map of one entry, its name and the data.
    fn begin_variant(&mut self, variant: &str) -> Written {
        self.enter()?;
        infallible(encode::write_map_len(self.out, 1));
        infallible(encode::write_str(self.out, variant));
        Ok(())
    }

    /// Replaces the map that begins at `at`, whose only value is a number's text, by the number. If
    /// the text says more than a number of 64 bits, the map stays, and is doubtful. See
    /// [`number`](super::number).
    fn replace_by_number(&mut self, at: usize) {
        use rmp::decode::read_str_from_slice;
        let entry = read_str_from_slice(self.out.get(at + 1..).unwrap_or_default());
        let value = entry.and_then(|(_, rest)| read_str_from_slice(rest));
        let Some(number) = value.ok().and_then(|(value, _)| Number::exactly(value)) else {
            self.is_doubtful = true;
            return;
        };
        self.out.truncate(at);
        match number {
            Number::Unsigned(number) => infallible(encode::write_uint(self.out, number)),
            Number::Negative(number) => infallible(encode::write_sint(self.out, number)),
            Number::Float(number) => infallible(encode::write_f64(self.out, number)),
        }
    }

    /// Names such as `$serde_json::private::RawValue` have a meaning to one format, which is not
    /// this one. A value with such a name is doubtful.
    fn check_name(&mut self, name: &str) {
        self.is_doubtful |= name.starts_with(['$', '_']);
    }

    /// Refuses a float that JSON cannot write.
    #[cfg(feature = "json")]
    fn check_finite(&mut self, is_finite: bool) -> Written {
        if self.target == Target::Json && !is_finite {
            return Err(self.refuse("JSON has no word for a number that is not finite"));
        }
        Ok(())
    }
}
