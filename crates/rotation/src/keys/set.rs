//! A set of keys (RFC 7517), as it stands in a secret.

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::unusable;

pub(crate) type Key = Map<String, Value>;

/// The keys, wiped when they go.
pub(crate) struct Set(pub(crate) Vec<Key>);

impl Set {
    pub(crate) fn parse(value: &SecretValue) -> Result<Self> {
        let strange = || unusable("the secret is not a JSON object with `keys`, a list of objects");
        // What the parser says could quote the value.
        let mut document: Map<String, Value> = serde_json::from_slice(value.expose_secret()).map_err(|_| strange())?;
        let Some(Value::Array(keys)) = document.get_mut("keys").map(Value::take) else {
            return Err(strange());
        };
        let mut set = Self(Vec::with_capacity(keys.len()));
        for key in keys {
            match key {
                Value::Object(key) => set.0.push(key),
                _ => return Err(strange()),
            }
        }
        Ok(set)
    }

    pub(crate) fn text(&self) -> Result<SecretValue> {
        let mut bytes = Vec::with_capacity(64 + 8192 * self.0.len());
        bytes.extend_from_slice(b"{\"keys\":");
        let written = serde_json::to_writer(&mut bytes, &self.0);
        bytes.push(b'}');
        let text = SecretValue::new(bytes);
        written.map_err(|_| Error::new(ErrorKind::Other, "the set of keys can't be written"))?;
        Ok(text)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for field in self.0.iter_mut().flat_map(|key| key.values_mut()) {
            if let Value::String(text) = field {
                text.zeroize();
            }
        }
    }
}
