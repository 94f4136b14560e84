//! The value of a secret that is an object: of a map one value.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};
use serde::ser::{SerializeMap as _, Serializer as _};

use super::SCHEME;
use crate::object::Value;

/// The key under which keyfob writes.
pub(crate) const KEY: &str = "value";

/// The value of a map whose only key is [`KEY`], byte for byte; of any other map its JSON document.
///
/// # Errors
/// `NotText` when a value of such a document is not UTF-8: it can't stand in JSON, and base64 would be another value.
pub(crate) fn value_of(name: &SecretName, data: &BTreeMap<String, Value>) -> Result<SecretValue> {
    if let (1, Some(value)) = (data.len(), data.get(KEY)) {
        return Ok(value.0.clone());
    }
    let mut texts = Vec::with_capacity(data.len());
    for (key, value) in data {
        let text = value.0.expose_str().map_err(|_| {
            Error::new(
                ErrorKind::NotText,
                format!("the Secret holds several values, and that of `{key}` is not UTF-8 text"),
            )
            .with("name", name.as_str())
            .with("store", SCHEME)
            .with_hint("a single key of it is read as a secret of its own from `k8s://NAMESPACE/NAME`")
        })?;
        texts.push((key.as_str(), text));
    }
    let mut length = Counted(0);
    write(&texts, &mut length)?;
    // Once, with room for all, so that growing leaves no copies behind.
    let mut bytes = Vec::with_capacity(length.0);
    write(&texts, &mut bytes)?;
    Ok(SecretValue::new(bytes))
}

fn write(texts: &[(&str, &str)], to: impl std::io::Write) -> Result<()> {
    let mut serializer = serde_json::Serializer::new(to);
    let written = serializer.serialize_map(Some(texts.len())).and_then(|mut map| {
        for (key, text) in texts {
            map.serialize_entry(key, text)?;
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
        value_of(&SecretName::new("a").unwrap(), &data.collect())
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
    fn bytes_in_a_document_are_refused_by_the_name_of_their_key() {
        let error = read(&[("keystore.jks", b"\xff\xfekfcanary-bytes0001"), ("value", b"x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotText);
        assert!(error.to_string().contains("keystore.jks") && error.hint().is_some());
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
}
