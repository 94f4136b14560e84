//! What is asked: method, path, form of the answer, body.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use zeroize::Zeroizing;

/// Who wrote a field, as the API server records it.
const FIELD_MANAGER: &str = "keyfob";

/// A path of the API. Namespaces and names in it are checked: they have no character that means something in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn namespace(namespace: &str) -> Self {
        Self(format!("/api/v1/namespaces/{namespace}"))
    }

    pub(crate) fn secrets(namespace: &str) -> Self {
        Self(format!("/api/v1/namespaces/{namespace}/secrets"))
    }

    pub(crate) fn secret(namespace: &str, name: &str) -> Self {
        Self(format!("/api/v1/namespaces/{namespace}/secrets/{name}"))
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        self
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// The object with its values.
    Whole,
    /// The object's metadata.
    Metadata,
    /// A list of metadata.
    MetadataList,
    /// A table as `kubectl get` prints it: metadata, type, and how many values there are.
    Table,
}

impl Accept {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataList => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Self::Table => "application/json;as=Table;g=meta.k8s.io;v=v1",
        }
    }
}

/// One request.
pub(crate) struct Call {
    pub(super) method: Method,
    path: Path,
    query: Query,
    pub(super) accept: Accept,
    pub(super) body: Option<Sent>,
    /// It changes something, so that nobody knows what is when its answer gets lost.
    pub(super) writes: bool,
}

pub(super) struct Sent {
    pub(super) content_type: &'static str,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Call {
    pub(crate) fn get(path: Path, accept: Accept) -> Self {
        Self::new(Method::GET, path, accept)
    }

    /// Makes an object.
    pub(crate) fn post(path: Path, object: &impl Serialize) -> Self {
        Self::new(Method::POST, path, Accept::Metadata).writing("application/json", object)
    }

    /// Changes an object by a JSON merge patch (RFC 7396).
    pub(crate) fn merge(path: Path, patch: &impl Serialize) -> Self {
        Self::new(Method::PATCH, path, Accept::Metadata).writing("application/merge-patch+json", patch)
    }

    /// Changes an object by a JSON patch (RFC 6902).
    pub(crate) fn patch(path: Path, operations: &impl Serialize) -> Self {
        Self::new(Method::PATCH, path, Accept::Metadata).writing("application/json-patch+json", operations)
    }

    pub(crate) fn delete(path: Path, options: &impl Serialize) -> Self {
        let mut call = Self::new(Method::DELETE, path, Accept::Metadata);
        call.body = Some(sent("application/json", options));
        call.writes = true;
        call
    }

    pub(crate) fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// What it is in a Role.
    pub(super) fn verb(&self) -> &'static str {
        match self.method {
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if self.query.0.contains("watch=true") => "watch",
            _ if self.accept == Accept::MetadataList => "list",
            _ => "get",
        }
    }

    pub(super) fn uri(&self) -> String {
        format!("{}{}", self.path.0, self.query.0)
    }

    fn new(method: Method, path: Path, accept: Accept) -> Self {
        Self {
            method,
            path,
            query: Query::default(),
            accept,
            body: None,
            writes: false,
        }
    }

    fn writing(mut self, content_type: &'static str, body: &impl Serialize) -> Self {
        self.query = Query::default().with("fieldManager", FIELD_MANAGER);
        self.body = Some(sent(content_type, body));
        self.writes = true;
        self
    }
}

fn sent(content_type: &'static str, body: &impl Serialize) -> Sent {
    let mut length = Length(0);
    // Neither can fail: what is written are strings in maps, to memory.
    let _ = serde_json::to_writer(&mut length, body);
    // Once, with room for all, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    let _ = serde_json::to_writer(&mut *bytes, body);
    Sent { content_type, bytes }
}

struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_parameter_means_nothing() {
        let query = Query::default().with("continue", "a&b=c d/é").with("limit", "5");
        let call = Call::get(Path::secrets("prod"), Accept::MetadataList).query(query);
        assert_eq!(
            call.uri(),
            "/api/v1/namespaces/prod/secrets?continue=a%26b%3Dc%20d%2F%C3%A9&limit=5"
        );
    }

    #[test]
    fn a_write_says_who_writes_and_is_sent_from_memory_that_never_grew() {
        let call = Call::post(Path::secrets("a"), &["kfcanary-written01"]);
        assert_eq!(call.uri(), "/api/v1/namespaces/a/secrets?fieldManager=keyfob");
        let body = call.body.unwrap();
        assert!(body.bytes.len() == body.bytes.capacity() && body.bytes.starts_with(b"[\"kfcanary"));
    }
}
