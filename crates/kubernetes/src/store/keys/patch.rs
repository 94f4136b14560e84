//! The JSON patch (RFC 6902) that writes one key.

use std::collections::BTreeMap;

use keyfob_core::{PutMode, PutRequest, SecretValue};
use serde::Serialize;

use super::super::value::Encoded;
use super::annotation;
use crate::metadata::{Changes, Kept, OfKeyNames};
use crate::object::Meta;

/// What is there before a write.
pub(super) struct Present<'a> {
    pub(super) meta: &'a Meta,
    pub(super) has_data: bool,
    pub(super) value: Option<&'a SecretValue>,
}

/// A write of one key: what must be as it was, and what changes.
pub(super) struct Patch<'a> {
    key: &'a str,
    uid: &'a str,
    /// What the key must be; `None`: it doesn't matter.
    expected_value: Option<Option<&'a SecretValue>>,
    /// What annotations must be.
    expected_annotations: BTreeMap<String, Option<String>>,
    lacks_data: bool,
    lacks_annotations: bool,
    value: Option<&'a SecretValue>,
    annotations: Changes,
}

#[derive(Serialize)]
pub(super) struct Operation {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Operand>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Operand {
    Nothing,
    EmptyMap(BTreeMap<String, String>),
    Text(String),
    Secret(Encoded),
}

impl<'a> Patch<'a> {
    pub(super) fn new(key: &'a str, names: &OfKeyNames, present: &Present<'a>, request: &'a PutRequest, revision: &str) -> Self {
        let meta = present.meta;
        let written = annotation(meta, &names.metadata).map(str::to_owned);
        // Of a key that somebody took away the annotation may have stayed: it says nothing about a new one.
        let kept = match present.value {
            Some(_) => Kept::of_key(written.as_deref()),
            None => Kept::default(),
        };
        let is_kept = request.description.is_keep() && request.tags.is_keep() && request.expires_at.is_keep();
        let mut annotations = Changes::new();
        let mut expected_annotations = BTreeMap::new();
        let is_exact = matches!(request.mode, PutMode::Match(_));
        if !(is_kept && present.value.is_some()) {
            let after = kept.after(request).to_key();
            if after != written || !is_kept {
                annotations.insert(names.metadata.clone(), after);
                expected_annotations.insert(names.metadata.clone(), written.clone());
            }
        }
        if is_exact {
            expected_annotations.insert(names.metadata.clone(), written);
        }
        if request.value.is_some() {
            annotations.insert(names.revision.clone(), Some(revision.to_owned()));
        }
        if is_exact || request.value.is_none() {
            let revision = annotation(meta, &names.revision).map(str::to_owned);
            expected_annotations.insert(names.revision.clone(), revision);
        }
        let expected_value = match (&request.mode, &request.value) {
            (PutMode::Create, _) => Some(None),
            (PutMode::Match(_), _) | (_, None) => Some(present.value),
            // With a stale annotation the decision was made by its absence.
            (PutMode::Upsert, Some(_)) if present.value.is_none() && !annotations.is_empty() => Some(None),
            (PutMode::Upsert, Some(_)) => None,
        };
        Self {
            key,
            uid: &meta.uid,
            expected_value,
            expected_annotations,
            lacks_data: !present.has_data && request.value.is_some(),
            lacks_annotations: meta.annotations.is_empty(),
            value: request.value.as_ref(),
            annotations,
        }
    }

    /// The annotations that change.
    pub(super) fn annotations(&self) -> &Changes {
        &self.annotations
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        let text = |text: &str| Operand::Text(text.to_owned());
        let value = |value: &SecretValue| Operand::Secret(Encoded::new(value));
        let (data, annotations) = ("/data".to_owned(), "/metadata/annotations".to_owned());
        let key = format!("/data/{}", escaped(self.key));
        let mut tests = vec![test("/metadata/uid".to_owned(), text(self.uid))];
        let mut changes = Vec::new();
        if self.lacks_data {
            tests.push(test(data.clone(), Operand::Nothing));
            changes.push(add(data, Operand::EmptyMap(BTreeMap::new())));
        } else if let Some(expected) = self.expected_value {
            tests.push(test(key.clone(), expected.map_or(Operand::Nothing, value)));
        }
        if self.lacks_annotations {
            tests.push(test(annotations.clone(), Operand::Nothing));
            if self.annotations.values().any(Option::is_some) {
                changes.push(add(annotations, Operand::EmptyMap(BTreeMap::new())));
            }
        } else {
            for (name, expected) in &self.expected_annotations {
                let expected = expected.as_deref().map_or(Operand::Nothing, text);
                tests.push(test(annotation_path(name), expected));
            }
        }
        if let Some(new) = self.value {
            changes.push(add(key, value(new)));
        }
        for (name, new) in &self.annotations {
            let is_there = self.expected_annotations.get(name).is_some_and(Option::is_some);
            match new {
                Some(new) => changes.push(add(annotation_path(name), text(new))),
                None if is_there => changes.push(Operation {
                    op: "remove",
                    path: annotation_path(name),
                    value: None,
                }),
                None => {}
            }
        }
        tests.append(&mut changes);
        tests
    }
}

fn test(path: String, value: Operand) -> Operation {
    Operation {
        op: "test",
        path,
        value: Some(value),
    }
}

fn add(path: String, value: Operand) -> Operation {
    Operation {
        op: "add",
        path,
        value: Some(value),
    }
}

fn annotation_path(name: &str) -> String {
    format!("/metadata/annotations/{}", escaped(name))
}

/// A name in a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use keyfob_core::Change;
    use serde_json::{Value, json};

    use super::*;
    use crate::object::Object;

    const REVISION: &str = "0123456789abcdef01234567";
    const UID: &str = r#"test /metadata/uid "u""#;
    const KEY_REVISION: &str = "/metadata/annotations/revision.keyfob.dev~1k";
    const KEY_METADATA: &str = "/metadata/annotations/secret.keyfob.dev~1k";

    fn object(annotations: &Value, data: &Value) -> Object {
        let metadata = json!({
            "name": "app", "namespace": "n", "uid": "u", "resourceVersion": "1", "annotations": annotations,
        });
        serde_json::from_value(json!({"kind": "Secret", "metadata": metadata, "data": data})).unwrap()
    }

    fn patch<'a>(object: &'a Object, request: &'a PutRequest) -> Patch<'a> {
        let present = Present {
            meta: &object.metadata,
            has_data: !object.data.is_empty(),
            value: object.data.get("k").map(|value| &value.0),
        };
        Patch::new("k", &OfKeyNames::new("k"), &present, request, REVISION)
    }

    fn operations(object: &Object, request: &PutRequest) -> Vec<String> {
        let operations = serde_json::to_value(patch(object, request).operations()).unwrap();
        let line = |operation: &Value| {
            let value = operation.get("value").map(Value::to_string).unwrap_or_default();
            let text = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {value}", text("op"), text("path")).trim_end().to_owned()
        };
        operations.as_array().unwrap().iter().map(line).collect()
    }

    fn matching(value: &str) -> PutRequest {
        PutRequest::new(value).mode(PutMode::Match(1.into()))
    }

    #[test]
    fn a_new_value_alone_is_written_whatever_is_there() {
        let object = object(&json!({"secret.keyfob.dev/k": "{}"}), &json!({"k": "b2xk"}));
        let expected = [
            UID.to_owned(),
            r#"add /data/k "bmV3""#.to_owned(),
            format!(r#"add {KEY_REVISION} "{REVISION}""#),
        ];
        assert_eq!(operations(&object, &PutRequest::new("new")), expected);
    }

    #[test]
    fn what_was_decided_by_is_tested() {
        let object = object(&json!({"secret.keyfob.dev/k": "{}", "x": "y"}), &json!({"k": "b2xk"}));
        let described = PutRequest {
            description: Change::Set("d".to_owned()),
            ..matching("new")
        };
        let expected = [
            UID.to_owned(),
            r#"test /data/k "b2xk""#.to_owned(),
            format!("test {KEY_REVISION} null"),
            format!(r#"test {KEY_METADATA} "{{}}""#),
            r#"add /data/k "bmV3""#.to_owned(),
            format!(r#"add {KEY_REVISION} "{REVISION}""#),
            format!(r#"add {KEY_METADATA} "{{\"description\":\"d\"}}""#),
        ];
        assert_eq!(operations(&object, &described), expected);
        let cleared = PutRequest {
            description: Change::Clear,
            ..PutRequest::default()
        };
        let expected = [
            UID.to_owned(),
            r#"test /data/k "b2xk""#.to_owned(),
            format!("test {KEY_REVISION} null"),
            format!(r#"test {KEY_METADATA} "{{}}""#),
            format!("remove {KEY_METADATA}"),
        ];
        assert_eq!(operations(&object, &cleared), expected);
    }

    #[test]
    fn maps_that_are_not_there_are_made() {
        let create = PutRequest::new("new").mode(PutMode::Create);
        let expected = [
            UID.to_owned(),
            "test /data null".to_owned(),
            "test /metadata/annotations null".to_owned(),
            "add /data {}".to_owned(),
            "add /metadata/annotations {}".to_owned(),
            r#"add /data/k "bmV3""#.to_owned(),
            format!(r#"add {KEY_REVISION} "{REVISION}""#),
        ];
        assert_eq!(operations(&object(&Value::Null, &Value::Null), &create), expected);
        let beside = operations(&object(&json!({"x": "y"}), &json!({"other": ""})), &create);
        assert_eq!(beside[..2], [UID.to_owned(), "test /data/k null".to_owned()]);
    }
}
