//! Objects of Kubernetes, and what all of one application have in common.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::yaml;

/// An object as it is written down.
#[derive(Debug)]
pub(super) struct Object {
    document: Value,
}

impl Object {
    /// Its kind and its name, as the name of a file: `externalsecret-shop.yaml`.
    pub(super) fn file_name(&self) -> String {
        let part = |pointer: &str| self.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        format!("{}-{}.yaml", part("/kind").to_ascii_lowercase(), part("/metadata/name"))
    }

    pub(super) fn yaml(&self) -> String {
        yaml::write(&self.document)
    }
}

/// An application: where its objects are, and what they are labelled with.
#[derive(Debug, Clone)]
pub(super) struct Application {
    pub(super) name: String,
    pub(super) namespace: String,
    /// The user's own.
    pub(super) labels: Vec<(String, String)>,
}

impl Application {
    pub(super) fn labels(&self) -> Value {
        let own = [
            ("app.kubernetes.io/name", self.name.as_str()),
            ("app.kubernetes.io/managed-by", "keyfob"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let all: BTreeMap<String, String> = own.into_iter().chain(self.labels.iter().cloned()).collect();
        json!(all)
    }

    /// An object of the namespace; `body` is what follows its metadata.
    pub(super) fn object(&self, api: &str, kind: &str, name: &str, annotations: &[(&str, String)], body: Value) -> Object {
        self.build(api, kind, name, Some(&self.namespace), annotations, body)
    }

    /// An object of the whole cluster.
    pub(super) fn cluster_object(&self, api: &str, kind: &str, name: &str, body: Value) -> Object {
        self.build(api, kind, name, None, &[], body)
    }

    fn build(
        &self,
        api: &str,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        annotations: &[(&str, String)],
        body: Value,
    ) -> Object {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(name));
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        metadata.insert("labels".to_owned(), self.labels());
        if !annotations.is_empty() {
            let annotations: Map<String, Value> = annotations
                .iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect();
            metadata.insert("annotations".to_owned(), Value::Object(annotations));
        }
        let mut document = Map::new();
        document.insert("apiVersion".to_owned(), json!(api));
        document.insert("kind".to_owned(), json!(kind));
        document.insert("metadata".to_owned(), Value::Object(metadata));
        if let Value::Object(body) = body {
            document.extend(body);
        }
        Object {
            document: Value::Object(document),
        }
    }

    /// A role of the namespace, and who has it: a service account.
    pub(super) fn role(&self, name: &str, rules: &Value, subject: &ServiceAccount) -> [Object; 2] {
        const API: &str = "rbac.authorization.k8s.io/v1";
        [
            self.object(API, "Role", name, &[], json!({ "rules": rules })),
            self.object(
                API,
                "RoleBinding",
                name,
                &[],
                json!({
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                    "subjects": [{"kind": "ServiceAccount", "name": subject.name, "namespace": subject.namespace}],
                }),
            ),
        ]
    }
}

/// A service account and its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceAccount {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ServiceAccount {
    /// Reads `NAMESPACE/NAME`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('/').ok_or("write `NAMESPACE/NAME`")?;
        Ok(Self {
            namespace: parse_label_name(namespace)?,
            name: parse_name(name)?,
        })
    }
}

/// The name of most kinds of objects: a DNS subdomain (RFC 1123).
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let is_one = (1..=253).contains(&text.len()) && text.split('.').all(is_label);
    match is_one {
        true => Ok(text.to_owned()),
        false => {
            Err("a name of Kubernetes has small letters, digits, `-` and `.`, and neither begins nor ends with `-`".to_owned())
        }
    }
}

/// The name of a namespace, and what becomes a part of other names: a DNS label (RFC 1123).
pub(super) fn parse_label_name(text: &str) -> Result<String, String> {
    match (1..=63).contains(&text.len()) && is_label(text) {
        true => Ok(text.to_owned()),
        false => Err("it has at most 63 small letters, digits and `-`, and neither begins nor ends with `-`".to_owned()),
    }
}

/// Reads `KEY=VALUE` for a label.
pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write `KEY=VALUE`")?;
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_word = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        bytes.len() <= 63 && bytes.iter().copied().all(inner) && is_end(bytes.first()) && is_end(bytes.last())
    };
    let is_key = is_word(name) && prefix.is_none_or(|prefix| parse_name(prefix).is_ok());
    match is_key && (value.is_empty() || is_word(value)) {
        true => Ok((key.to_owned(), value.to_owned())),
        false => Err("a label has at most 63 letters, digits, `-`, `_` and `.` in its name and in its value".to_owned()),
    }
}

/// Whether `text` can be a key of a Secret's data.
pub(super) fn is_data_key(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(inner) && text != "." && !text.starts_with("..")
}

fn is_label(label: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.as_bytes().iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_checked_as_the_api_server_checks_them() {
        for name in ["a", "a-b.c1", &"x".repeat(63)] {
            assert!(parse_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a..b", "a_b", ".", &"x".repeat(64)] {
            assert!(parse_name(name).is_err(), "{name}");
        }
        assert!(parse_label_name("a.b").is_err());
        for label in ["team=shop", "a.example/team=Shop_1", "a="] {
            assert!(parse_label(label).is_ok(), "{label}");
        }
        for label in ["team", "=x", "a b=c", "a=-x", "A_/b=c", "/a=b"] {
            assert!(parse_label(label).is_err(), "{label}");
        }
    }
}
