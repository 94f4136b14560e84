//! Reading a document's structure into a type of the application, without ever quoting a value.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Visitor};

use super::Node;

/// Why a document does not fit a type: where, and what was expected.
#[derive(Debug)]
pub(crate) struct Mismatch {
    /// Innermost first.
    path: Vec<String>,
    problem: String,
}

impl Mismatch {
    fn within(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    /// The value of a reference does not fit; what the type's own reader says may quote it, so it is not kept.
    fn of_secret(expected: &dyn Expected) -> Self {
        de::Error::custom(format_args!("the value of a reference is not {expected}"))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            f.write_str("`")?;
            for (index, step) in self.path.iter().rev().enumerate() {
                let separator = if index == 0 || step.starts_with('[') { "" } else { "." };
                write!(f, "{separator}{}", step.escape_debug())?;
            }
            f.write_str("`: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: Vec::new(),
            problem: message.to_string(),
        }
    }

    /// Without what was found: also a plain value of a configuration may be a secret.
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            de::Unexpected::Str(_) => "text",
            de::Unexpected::Bool(_) => "a boolean",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
            de::Unexpected::Float(_) => "a number",
            de::Unexpected::Unit | de::Unexpected::Option => "null",
            de::Unexpected::Seq => "a list",
            de::Unexpected::Map => "a map",
            _ => "something else",
        };
        Self::custom(format_args!("found {found}, expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("the value does not fit, expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected one of {}", expected.join(", ")))
    }
}

impl IntoDeserializer<'_, Mismatch> for Node {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads what a reference stands for as a number or a boolean where the type wants one.
macro_rules! from_text {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let Self::Secret(text) = &self else { return self.deserialize_any(visitor) };
            match text.trim().parse::<$type>() {
                Ok(value) => {
                    let expected = expectation(&visitor);
                    visitor.$visit(value).map_err(|_: Mismatch| Mismatch::of_secret(&expected.as_str()))
                }
                Err(_) => Err(Mismatch::of_secret(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Unsigned(value) => visitor.visit_u64(value),
            Self::Signed(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::Text(text) => visitor.visit_str(&text),
            Self::Secret(text) => {
                let expected = expectation(&visitor);
                visitor
                    .visit_str(&text)
                    .map_err(|_: Mismatch| Mismatch::of_secret(&expected.as_str()))
            }
            Self::Sequence(items) => {
                let items = items.into_iter().enumerate().map(|(index, node)| At {
                    step: format!("[{index}]"),
                    node,
                });
                let mut seq = SeqDeserializer::new(items);
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            Self::Map(map) => {
                let entries = map.into_iter().map(|(key, node)| (key.clone(), At { step: key, node }));
                let mut map = MapDeserializer::new(entries);
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
        }
    }

    from_text! {
        deserialize_bool visit_bool bool;
        deserialize_i8 visit_i64 i64;
        deserialize_i16 visit_i64 i64;
        deserialize_i32 visit_i64 i64;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u64 u64;
        deserialize_u16 visit_u64 u64;
        deserialize_u32 visit_u64 u64;
        deserialize_u64 visit_u64 u64;
        deserialize_f32 visit_f64 f64;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self {
            Self::Null => visitor.visit_none(),
            // An optional reference that is absent; a type that wants the empty text is no `Option`.
            Self::Secret(text) if text.is_empty() => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self {
            Self::Text(text) => visitor.visit_enum(StrDeserializer::new(&text)),
            Self::Secret(text) => {
                let expected = expectation(&visitor);
                let variant: StrDeserializer<'_, Mismatch> = StrDeserializer::new(&text);
                visitor
                    .visit_enum(variant)
                    .map_err(|_| Mismatch::of_secret(&expected.as_str()))
            }
            Self::Map(map) => {
                let entries = map.into_iter().map(|(key, node)| (key.clone(), At { step: key, node }));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries)))
            }
            other => other.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn expectation(visitor: &dyn Expected) -> String {
    visitor.to_string()
}

/// A node that knows under which key it stands, so that a mismatch can say so.
struct At {
    step: String,
    node: Node,
}

impl IntoDeserializer<'_, Mismatch> for At {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! at {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.node.$method(visitor).map_err(|mismatch| mismatch.within(self.step))
        }
    )*};
}

impl<'de> Deserializer<'de> for At {
    type Error = Mismatch;

    at! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_option
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        self.node
            .deserialize_newtype_struct(name, visitor)
            .map_err(|mismatch| mismatch.within(self.step))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.node
            .deserialize_enum(name, variants, visitor)
            .map_err(|mismatch| mismatch.within(self.step))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
