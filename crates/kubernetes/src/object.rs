//! What the API server answers with, as far as it is needed.
//!
//! Own types and not those of `k8s-openapi`: its `Secret` prints the data in `Debug`, and does not wipe it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use data_encoding::BASE64;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, Visitor};

use crate::error::{Failed, incomprehensible};
use crate::store::SCHEME;

/// All values of an object together, in bytes. Kubernetes: `MaxSecretSize` in k8s.io/kubernetes/pkg/apis/core/types.go.
pub(crate) const MAX_DATA_BYTES: usize = 1 << 20;
/// All names and values of an object's annotations together. Kubernetes: `TotalAnnotationSizeLimitB`.
pub(crate) const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// A Secret object.
#[derive(Deserialize)]
pub(crate) struct Object {
    kind: String,
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) data: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) immutable: bool,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(crate) secret_type: String,
}

/// The metadata of an object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    managed_fields: Vec<Managed>,
}

/// Which fields one writer has written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    fields_v1: Fields,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Fields {
    #[serde(default, rename = "f:data", deserialize_with = "or_default")]
    data: BTreeMap<String, IgnoredAny>,
}

impl Object {
    /// Refuses an answer that is not about the object that was asked for.
    pub(crate) fn confirm(&self, namespace: &str, name: &str) -> Result<(), Failed> {
        match self.kind.as_str() {
            "Secret" => self.metadata.confirm(namespace, name),
            _ => Err(Failed::of(incomprehensible().with("store", SCHEME))),
        }
    }

    /// How many bytes all values have.
    pub(crate) fn data_bytes(&self) -> usize {
        self.data.values().map(|value| value.0.len()).sum()
    }
}

impl Meta {
    /// Refuses an answer that is not about the object that was asked for.
    pub(crate) fn confirm(&self, namespace: &str, name: &str) -> Result<(), Failed> {
        match self.namespace == namespace && self.name == name && !self.resource_version.is_empty() && !self.uid.is_empty() {
            true => Ok(()),
            false => Err(Failed::of(
                Error::new(ErrorKind::Corrupt, "the answer is about another object").with("store", SCHEME),
            )),
        }
    }

    /// It has been deleted, and stays until everybody who asked for that (a finalizer) has let go of it.
    pub(crate) fn is_being_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// When somebody last changed something, as far as the API server keeps it.
    pub(crate) fn updated(&self) -> Option<SystemTime> {
        let times = self.managed_fields.iter().filter_map(|managed| managed.time.as_deref());
        times.chain(self.creation_timestamp.as_deref()).filter_map(time).max()
    }

    /// The keys of the data that a writer is known for.
    pub(crate) fn managed_keys(&self) -> BTreeSet<&str> {
        let fields = self.managed_fields.iter().flat_map(|managed| managed.fields_v1.data.keys());
        fields.filter_map(|field| field.strip_prefix("f:")).collect()
    }

    /// How many bytes the annotations have.
    pub(crate) fn annotation_bytes(&self) -> usize {
        self.annotations.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The metadata of an object alone.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Partial {
    kind: String,
    pub(crate) metadata: Meta,
}

impl Partial {
    /// Refuses an answer that is not about the object that was asked for.
    pub(crate) fn confirm(&self, namespace: &str, name: &str) -> Result<(), Failed> {
        match self.kind.as_str() {
            "PartialObjectMetadata" => self.metadata.confirm(namespace, name),
            _ => Err(Failed::of(incomprehensible().with("store", SCHEME))),
        }
    }
}

/// What the API server says after a delete: that it is done, or what is left of the object while a finalizer holds it.
#[derive(Deserialize)]
pub(crate) struct Deleted {
    kind: String,
    status: Option<String>,
}

impl Deleted {
    /// Refuses an answer that says something else.
    pub(crate) fn confirm(&self) -> Result<(), Failed> {
        match (self.kind.as_str(), self.status.as_deref()) {
            ("Status", Some("Success")) | ("PartialObjectMetadata" | "Secret", None) => Ok(()),
            _ => Err(Failed::of(incomprehensible().with("store", SCHEME))),
        }
    }
}

/// A page of the metadata of objects.
#[derive(Debug, Deserialize)]
pub(crate) struct PartialList {
    kind: String,
    pub(crate) metadata: ListMeta,
    #[serde(deserialize_with = "or_default")]
    pub(crate) items: Vec<Item>,
}

/// In a list, the kind of the items is that of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) metadata: Meta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) next: Option<String>,
}

impl PartialList {
    /// Refuses an answer of another kind.
    pub(crate) fn confirm(&self, namespace: &str) -> Result<(), Failed> {
        let is_here = self.items.iter().all(|item| item.metadata.namespace == namespace);
        match self.kind == "PartialObjectMetadataList" && is_here {
            true => Ok(()),
            false => Err(Failed::of(incomprehensible().with("store", SCHEME))),
        }
    }
}

/// What `kubectl get secret NAME` is printed from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table {
    kind: String,
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<serde_json::Value>,
    object: Partial,
}

/// What a table says of one object.
pub(crate) struct Summary {
    pub(crate) metadata: Meta,
    pub(crate) secret_type: String,
    /// How many keys the data has.
    pub(crate) keys: Option<u64>,
}

impl Table {
    /// What it says of the one object that was asked for.
    pub(crate) fn summary(mut self, namespace: &str, name: &str) -> Result<Summary, Failed> {
        let wrong = || Failed::of(incomprehensible().with("store", SCHEME));
        if self.kind != "Table" || self.rows.len() != 1 {
            return Err(wrong());
        }
        let row = self.rows.remove(0);
        row.object.confirm(namespace, name)?;
        let cell = |name: &str| {
            let index = self.column_definitions.iter().position(|column| column.name == name)?;
            row.cells.get(index)
        };
        Ok(Summary {
            secret_type: cell("Type").and_then(|cell| cell.as_str()).ok_or_else(wrong)?.to_owned(),
            keys: cell("Data").and_then(serde_json::Value::as_u64),
            metadata: row.object.metadata,
        })
    }
}

/// A value of an object's data: base64, decoded into memory that is wiped, without a copy on the way.
pub(crate) struct Value(pub(crate) SecretValue);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                // The library's error has a position in the value: left out on purpose.
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| E::custom("not base64"))?;
                Ok(Value(SecretValue::new(bytes)))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value(SecretValue::new(Vec::new())))
            }
        }
        deserializer.deserialize_any(Base64)
    }
}

/// `null` is what is not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time as the API server writes it (RFC 3339).
pub(crate) fn time(text: &str) -> Option<SystemTime> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    timestamp.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_nothing_is_what_is_null() {
        let text = r#"{"kind":"Secret","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"1","annotations":null},
            "data":{"a":"a2ZjYW5hcnktdmFsdWUx","b":"","c":null},"immutable":null}"#;
        let object: Object = serde_json::from_str(text).unwrap();
        assert!(object.data["a"].0.expose_secret() == b"kfcanary-value1");
        assert!(object.data["b"].0.is_empty() && object.data["c"].0.is_empty() && !object.immutable);
        assert_eq!(object.data_bytes(), 15);
        assert!(object.confirm("n", "a").is_ok() && object.confirm("n", "b").is_err() && object.confirm("m", "a").is_err());
        let none: Object =
            serde_json::from_str(&text.replace(r#"{"a":"a2ZjYW5hcnktdmFsdWUx","b":"","c":null}"#, "null")).unwrap();
        assert!(none.data.is_empty());
        assert!(serde_json::from_str::<Object>(&text.replace("a2Zj", "a_Zj")).is_err());
    }

    #[test]
    fn keys_are_known_by_who_wrote_them() {
        let text = r#"{"name":"a","namespace":"n","uid":"u","resourceVersion":"1","creationTimestamp":"2026-01-01T00:00:00Z",
            "managedFields":[
              {"manager":"kubectl","time":"2026-02-01T00:00:00Z","fieldsV1":{"f:data":{".":{},"f:a":{},"f:b":{}},"f:type":{}}},
              {"manager":"keyfob","fieldsV1":{"f:data":{"f:b":{},"f:tls.crt":{}}}},{"manager":"x"}]}"#;
        let meta: Meta = serde_json::from_str(text).unwrap();
        assert_eq!(meta.managed_keys(), BTreeSet::from(["a", "b", "tls.crt"]));
        assert_eq!(meta.updated(), time("2026-02-01T00:00:00Z"));
    }

    #[test]
    fn a_table_says_type_and_number_of_keys() {
        let text = r#"{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Type"},{"name":"Data"},{"name":"Age"}],
            "rows":[{"cells":["a","Opaque",3,"5s"],"object":{"kind":"PartialObjectMetadata",
              "metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"1"}}}]}"#;
        let summary = serde_json::from_str::<Table>(text).unwrap().summary("n", "a").ok().unwrap();
        assert_eq!((summary.secret_type.as_str(), summary.keys), ("Opaque", Some(3)));
        assert!(serde_json::from_str::<Table>(text).unwrap().summary("n", "b").is_err());
    }
}
