//! Writes the entries of sequences and maps, and the fields of structs.

use std::ops::Range;

use serde::ser::{self, Serialize};

#[cfg(feature = "json")]
use super::Target;
use super::{OTHER_LENGTH, Refused, Writer, Written};

#[derive(Clone, Copy)]
pub(super) enum Shape {
    Sequence,
    Map,
}

/// The entries of a sequence or a map.
pub(super) struct Entries<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) shape: Shape,
    /// The length that the `Serialize` has declared.
    pub(super) declared: Option<usize>,
    /// Where the header is, or will be inserted.
    pub(super) at: usize,
    /// How many levels of nesting it has begun.
    pub(super) levels: usize,
    /// How many entries were written; of a map, its keys.
    pub(super) count: usize,
    /// Where a map's first key is.
    pub(super) first_key: Range<usize>,
}

impl Entries<'_, '_> {
    /// The same, inside a variant, which is a level of its own.
    pub(super) fn of_variant(mut self) -> Self {
        self.levels = 2;
        self
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.count += 1;
        value.serialize(&mut *self.writer)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let out = &*self.writer.out;
        #[cfg(feature = "json")]
        if self.writer.target == Target::Json && !matches!(out[start], 0xa0..=0xbf | 0xd9..=0xdb) {
            // JSON writes it as text, and serde does not turn a buffered text back into a number.
            self.writer.is_doubtful = true;
        }
        let text = match out[start] {
            0xa0..=0xbf => out.get(start + 1),
            0xd9 => out.get(start + 2),
            _ => None,
        };
        // See `Writer::check_name`; such a name may also be a map's key.
        self.writer.is_doubtful |= text == Some(&b'$');
        if self.count == 0 {
            self.first_key = start..out.len();
        } else if out[self.first_key.clone()] == out[start..] {
            // Doubtful: the first key may be an enum's tag, and this field has its name.
            self.writer.is_doubtful = true;
        }
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Written {
        let Self { writer, at, .. } = self;
        writer.depth -= self.levels;
        match self.declared {
            Some(declared) if declared == self.count => Ok(()),
            Some(_) => Err(writer.refuse(OTHER_LENGTH)),
            None => {
                let end = writer.out.len();
                writer.write_header(self.shape, self.count)?;
                let header = writer.out.len() - end;
                writer.out[at..].rotate_right(header);
                Ok(())
            }
        }
    }
}

macro_rules! sequences {
    ($($trait:ident: $method:ident)*) => {$(
        impl ser::$trait for Entries<'_, '_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.element(value)
            }

            fn end(self) -> Written {
                self.finish()
            }
        }
    )*};
}

sequences! {
    SerializeSeq: serialize_element
    SerializeTuple: serialize_element
    SerializeTupleStruct: serialize_field
    SerializeTupleVariant: serialize_field
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Written {
        self.finish()
    }
}

/// The fields of a struct. Their names are static texts, so they take half the time of a map's
/// keys.
pub(super) struct Fields<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    /// Where the header is.
    pub(super) at: usize,
    /// How many fields are still to come.
    pub(super) left: usize,
    /// The first field's name.
    pub(super) first: Option<&'static str>,
    /// How many levels of nesting it has begun.
    pub(super) levels: usize,
    /// Whether it stands for a number: see [`number`](crate::codec::number).
    pub(super) is_number: bool,
}

impl Fields<'_, '_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(self.writer.refuse(OTHER_LENGTH));
        };
        self.left = left;
        self.writer.write_text(name);
        match self.first {
            None => self.first = Some(name),
            // Doubtful: the first field may be an enum's tag, and this one has its name.
            Some(first) => self.writer.is_doubtful |= name == first,
        }
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn finish(self) -> Written {
        let Self { writer, at, .. } = self;
        writer.depth -= self.levels;
        if self.is_number {
            writer.replace_by_number(at);
        }
        if self.left > 0 {
            return Err(writer.refuse(OTHER_LENGTH));
        }
        Ok(())
    }
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Refused;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
                self.field(name, value)
            }

            fn end(self) -> Written {
                self.finish()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }
