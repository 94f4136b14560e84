//! A document's structure, with values that must not be printed.

use std::fmt;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// One value of a document.
pub(crate) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Zeroizing<String>),
    /// Text that holds what a reference stands for.
    Secret(Zeroizing<String>),
    Sequence(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// What the placeholders of a document stand for: `prefix` and an index.
pub(crate) struct Values<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) values: &'a [Zeroizing<String>],
}

impl Node {
    /// A map of texts; of a key that stands there twice the last one counts.
    pub(crate) fn map(entries: impl Iterator<Item = (String, String)>) -> Self {
        let mut map: Vec<(String, Self)> = Vec::new();
        for (key, value) in entries {
            map.retain(|(known, _)| *known != key);
            map.push((key, Self::Text(Zeroizing::new(value))));
        }
        Self::Map(map)
    }

    /// Puts values in the place of placeholders.
    pub(crate) fn fill(self, values: &Values<'_>) -> Result<Self> {
        Ok(match self {
            Self::Text(text) => match text.strip_prefix(values.prefix) {
                Some(index) => {
                    let value = index.parse::<usize>().ok().and_then(|index| values.values.get(index));
                    let lost = || Error::new(ErrorKind::Other, "a value was not found again; this is a defect of keyfob");
                    Self::Secret(value.ok_or_else(lost)?.clone())
                }
                None => Self::Text(text),
            },
            Self::Sequence(items) => Self::Sequence(items.into_iter().map(|item| item.fill(values)).collect::<Result<_>>()?),
            Self::Map(map) => Self::Map(
                map.into_iter()
                    .map(|(key, item)| Ok((key, item.fill(values)?)))
                    .collect::<Result<_>>()?,
            ),
            other => other,
        })
    }
}

impl Node {
    /// As JSON; `None` where a number would lose digits.
    pub(crate) fn to_json(&self) -> Option<SecretValue> {
        let mut json = Zeroizing::new(Vec::new());
        self.write_json(&mut json)?;
        Some(SecretValue::from(json.as_slice()))
    }

    fn write_json(&self, json: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Null => json.extend_from_slice(b"null"),
            Self::Bool(value) => json.extend_from_slice(value.to_string().as_bytes()),
            Self::Unsigned(value) => json.extend_from_slice(value.to_string().as_bytes()),
            Self::Signed(value) => json.extend_from_slice(value.to_string().as_bytes()),
            Self::Float(_) => return None,
            Self::Text(text) | Self::Secret(text) => serde_json::to_writer(json, text.as_str()).ok()?,
            Self::Sequence(items) => {
                json.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        json.push(b',');
                    }
                    item.write_json(json)?;
                }
                json.push(b']');
            }
            Self::Map(map) => {
                json.push(b'{');
                for (index, (key, item)) in map.iter().enumerate() {
                    if index > 0 {
                        json.push(b',');
                    }
                    serde_json::to_writer(&mut *json, key).ok()?;
                    json.push(b':');
                    item.write_json(json)?;
                }
                json.push(b'}');
            }
        }
        Some(())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNode;
        impl<'de> Visitor<'de> for AnyNode {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Unsigned(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Signed(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Float(value))
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(Zeroizing::new(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::Sequence(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key, Node>()? {
                    entries.push((key.0, value));
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyNode)
    }
}

/// A key as text: YAML allows numbers and booleans as keys.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyKey;
        impl Visitor<'_> for AnyKey {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }
        }
        deserializer.deserialize_any(AnyKey)
    }
}

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
