//! A document's structure, with values that must not be printed.

mod deserializer;

use std::fmt;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
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

/// A key as it stands there: `no`, `1.10` and `0x1F` are keys in YAML, and mean themselves.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyText;
        impl Visitor<'_> for KeyText {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.to_owned()))
            }
        }
        deserializer.deserialize_str(KeyText)
    }
}
