//! The value of a secret that is an object: of a map one value.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::ser::{SerializeMap as _, Serializer as _};

use crate::object::Value;

/// The key under which keyfob writes.
pub(crate) const KEY: &str = "value";

/// The value of a map whose only key is [`KEY`], byte for byte; of any other map its JSON document. A value in it that is not
/// UTF-8 can't stand in JSON as it is: it stands there as `{"base64":"…"}`, so that it is neither lost nor taken for text, and
/// hides none of the others.
pub(crate) fn value_of(data: &BTreeMap<String, Value>) -> Result<SecretValue> {
    if let (1, Some(value)) = (data.len(), data.get(KEY)) {
        return Ok(value.0.clone());
    }
    let entries = data.iter().map(|(key, value)| (key.as_str(), Entry::of(&value.0)));
    let entries: Vec<(&str, Entry<'_>)> = entries.collect();
    let mut length = Counted(0);
    write(&entries, &mut length)?;
    // Once, with room for all, so that growing leaves no copies behind.
    let mut bytes = Vec::with_capacity(length.0);
    write(&entries, &mut bytes)?;
    Ok(SecretValue::new(bytes))
}

/// A value of a document.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Text(&'a str),
    Bytes { base64: Encoded },
}

impl<'a> Entry<'a> {
    fn of(value: &'a SecretValue) -> Self {
        match value.expose_str() {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes {
                base64: Encoded::new(value),
            },
        }
    }
}

fn write(entries: &[(&str, Entry<'_>)], to: impl std::io::Write) -> Result<()> {
    let mut serializer = serde_json::Serializer::new(to);
    let written = serializer.serialize_map(Some(entries.len())).and_then(|mut map| {
        for (key, entry) in entries {
            map.serialize_entry(key, entry)?;
        }
        map.end()
    });
    // Not serde's own error, on principle; text to memory can't fail.
    written.map_err(|_| Error::new(ErrorKind::Other, "the Secret's values can't be written as JSON"))
}

struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A value as it is sent: base64, in memory that is wiped.
pub(crate) struct Encoded(zeroize::Zeroizing<String>);

impl Encoded {
    pub(crate) fn new(value: &SecretValue) -> Self {
        Self(zeroize::Zeroizing::new(data_encoding::BASE64.encode(value.expose_secret())))
    }
}

impl serde::Serialize for Encoded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &[u8])]) -> Result<SecretValue> {
        let data = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value(SecretValue::from(*value))));
        value_of(&data.collect())
    }

    #[test]
    fn a_single_value_comes_as_it_is() {
        for value in [&b"kfcanary-single01"[..], b"", b"\xff\x00", b"{\"a\":1}"] {
            assert!(read(&[("value", value)]).unwrap().expose_secret() == value);
        }
    }

    #[test]
    fn any_other_map_is_its_document() {
        let value = read(&[("user", b"jo"), ("value", b"kfcanary-\"quoted\"\n01")]).unwrap();
        assert!(value.expose_secret() == br#"{"user":"jo","value":"kfcanary-\"quoted\"\n01"}"#);
        assert!(read(&[("password", b"")]).unwrap().expose_secret() == br#"{"password":""}"#);
        assert!(read(&[]).unwrap().expose_secret() == b"{}");
    }

    #[test]
    fn bytes_in_a_document_are_marked_and_hide_no_text() {
        let value = read(&[("keystore.jks", b"\xff\xfe\x00"), ("password", b"kfcanary-besidebytes1")]).unwrap();
        assert!(value.expose_secret() == br#"{"keystore.jks":{"base64":"//4A"},"password":"kfcanary-besidebytes1"}"#);
    }
}
