//! The methods by which a `Serialize` writes its value.

use rmp::encode;
use serde::ser::{self, Serialize};

use super::{
    NIL, Refused, Target, Writer, Written,
    compound::{Entries, Fields, Shape},
    infallible,
};
use crate::codec::number;

macro_rules! small_integers {
    ($($method:ident: $type:ty => $write:ident)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Written {
            infallible(encode::$write(self.out, value.into()));
            Ok(())
        }
    )*};
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Entries<'w, 'a>;
    type SerializeTuple = Entries<'w, 'a>;
    type SerializeTupleStruct = Entries<'w, 'a>;
    type SerializeTupleVariant = Entries<'w, 'a>;
    type SerializeMap = Entries<'w, 'a>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Fields<'w, 'a>;

    small_integers! {
        serialize_i8: i8 => write_sint
        serialize_i16: i16 => write_sint
        serialize_i32: i32 => write_sint
        serialize_i64: i64 => write_sint
        serialize_u8: u8 => write_uint
        serialize_u16: u16 => write_uint
        serialize_u32: u32 => write_uint
        serialize_u64: u64 => write_uint
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_i128(self, value: i128) -> Written {
        self.serialize_bytes(&value.to_be_bytes())
    }

    fn serialize_u128(self, value: u128) -> Written {
        self.serialize_bytes(&value.to_be_bytes())
    }

    fn serialize_bool(self, value: bool) -> Written {
        infallible(encode::write_bool(self.out, value));
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Written {
        infallible(encode::write_f32(self.out, value));
        #[cfg(feature = "json")]
        self.check_finite(value.is_finite())?;
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Written {
        infallible(encode::write_f64(self.out, value));
        #[cfg(feature = "json")]
        self.check_finite(value.is_finite())?;
        Ok(())
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Written {
        if u32::try_from(value.len()).is_err() {
            return Err(self.refuse("it is too long"));
        }
        self.write_text(value);
        Ok(())
    }

    /// Bytes are doubtful: an untagged enum may read them as text, and serde does not read buffered
    /// integers of 128 bits from them.
    fn serialize_bytes(self, value: &[u8]) -> Written {
        if u32::try_from(value.len()).is_err() {
            return Err(self.refuse("it is too long"));
        }
        self.is_doubtful = true;
        infallible(encode::write_bin(self.out, value));
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        let at = self.out.len();
        self.write_wrapped(value)?;
        if self.out[at..] == [NIL] {
            let reason = "it has a `Some` of nothing (`Some(None)`, `Some(())`), which would come back as `None`";
            return Err(self.refuse(reason));
        }
        Ok(())
    }

    fn serialize_unit(self) -> Written {
        self.out.push(NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Written {
        self.check_name(name);
        self.write_wrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.begin_variant(variant)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Entries<'w, 'a>, Refused> {
        self.begin(Shape::Sequence, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Entries<'w, 'a>, Refused> {
        self.begin(Shape::Sequence, Some(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.check_name(name);
        self.begin(Shape::Sequence, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.begin_variant(variant)?;
        Ok(self.begin(Shape::Sequence, Some(len))?.of_variant())
    }

    /// A map without a declared length is doubtful. It may be a struct with flattened fields, two
    /// of which may have one name.
    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'w, 'a>, Refused> {
        self.is_doubtful |= len.is_none();
        self.begin(Shape::Map, len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'a>, Refused> {
        let is_number = name == number::TOKEN && len == 1 && self.target == Target::MessagePack;
        if !is_number {
            self.check_name(name);
        }
        let mut fields = self.begin_fields(len)?;
        fields.is_number = is_number;
        Ok(fields)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'a>, Refused> {
        self.begin_variant(variant)?;
        let mut fields = self.begin_fields(len)?;
        fields.levels = 2;
        Ok(fields)
    }
}
