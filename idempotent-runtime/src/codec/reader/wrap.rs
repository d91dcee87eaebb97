//! serde's traits for [`Reader`]: each passes the call on, wraps what it passes along, and carries
//! errors.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{ReadError, Reader};

macro_rules! deserialize {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, ReadError> {
            let carried = self.carried;
            let visitor = Reader { inner: visitor, carried };
            self.inner.$method($($name,)* visitor).map_err(|error| carried.take_or(error))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<'_, D> {
    type Error = ReadError;

    deserialize! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty)*) => {$(
        #[inline]
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value).map_err(|error| self.carried.carry(error))
        }
    )*};
}

macro_rules! visit_inside {
    ($($method:ident: $trait:ident)*) => {$(
        #[inline]
        fn $method<A: $trait<'de>>(self, inside: A) -> Result<V::Value, A::Error> {
            let carried = self.carried;
            let inside = Reader { inner: inside, carried };
            self.inner.$method(inside).map_err(|error| carried.carry(error))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reader<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool
        visit_i8: i8 visit_i16: i16 visit_i32: i32 visit_i64: i64 visit_i128: i128
        visit_u8: u8 visit_u16: u16 visit_u32: u32 visit_u64: u64 visit_u128: u128
        visit_f32: f32 visit_f64: f64 visit_char: char
        visit_str: &str visit_borrowed_str: &'de str visit_string: String
        visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8] visit_byte_buf: Vec<u8>
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        let carried = self.carried;
        self.inner
            .visit_none()
            .map_err(|error| carried.carry(error))
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        let carried = self.carried;
        self.inner
            .visit_unit()
            .map_err(|error| carried.carry(error))
    }

    visit_inside! {
        visit_some: Deserializer
        visit_newtype_struct: Deserializer
        visit_seq: SeqAccess
        visit_map: MapAccess
        visit_enum: EnumAccess
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Reader<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, format: D) -> Result<S::Value, D::Error> {
        let carried = self.carried;
        let format = Reader {
            inner: format,
            carried,
        };
        self.inner
            .deserialize(format)
            .map_err(|error| carried.carry(error))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_element_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_key_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_value_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 's, A: EnumAccess<'de>> EnumAccess<'de> for Reader<'s, A> {
    type Error = ReadError;
    type Variant = Reader<'s, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        match self.inner.variant_seed(seed) {
            Ok((value, inner)) => Ok((value, Reader { inner, carried })),
            Err(error) => Err(carried.take_or(error)),
        }
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn unit_variant(self) -> Result<(), ReadError> {
        let carried = self.carried;
        self.inner
            .unit_variant()
            .map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let value = self.inner.newtype_variant_seed(seed);
        value.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        let carried = self.carried;
        let visitor = Reader {
            inner: visitor,
            carried,
        };
        let value = self.inner.tuple_variant(len, visitor);
        value.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let carried = self.carried;
        let visitor = Reader {
            inner: visitor,
            carried,
        };
        let value = self.inner.struct_variant(fields, visitor);
        value.map_err(|error| carried.take_or(error))
    }
}
