//! What the server answered.

use keyfob_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The most bytes that an answer may have. A secret has at most 1 MiB; a listing of 100,000 names some 10 MiB.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// A success, or a 404. The body is wiped when this goes.
pub(crate) struct Answer {
    pub(super) status: u16,
    /// Empty, or one JSON document.
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) path: String,
    pub(super) address: String,
}

impl Answer {
    /// Whether the server has nothing there: a 404 without data.
    ///
    /// A 404 *with* data is what KV 2 says of a deleted version: its metadata, `data: null`.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404 && !self.has_data()
    }

    /// Parses the body, also that of a 404 with data.
    ///
    /// # Errors
    /// `NotFound` when it [is missing](Self::is_missing), `Other` when the body is empty or not of that shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if self.is_missing() {
            return Err(self.error(ErrorKind::NotFound, "the server has nothing at this path"));
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            // serde's words may quote the body, and are left out.
            self.error(ErrorKind::Other, "the server's answer is not of the expected shape")
        })
    }

    /// Parses the `data` of the body; see [`json`](Self::json).
    pub(crate) fn data<T: DeserializeOwned>(&self) -> Result<T> {
        #[derive(serde::Deserialize)]
        struct WithData<T> {
            data: T,
        }
        self.json::<WithData<T>>().map(|body| body.data)
    }

    /// An error about this answer, with its address, path, status and, if the body has one, request id.
    pub(crate) fn error(&self, kind: ErrorKind, message: &'static str) -> Error {
        let error = Error::new(kind, message)
            .with("vault", self.address.as_str())
            .with("path", self.path.as_str())
            .with("status", self.status.to_string());
        match request_id(&self.body) {
            Some(id) => error.with("request_id", id),
            None => error,
        }
    }

    /// That a write reached something. An answer to a write may be empty, and a 404 is the only sign that there is no
    /// such mount or namespace, or that the mount is of another version.
    ///
    /// # Errors
    /// `InvalidConfig` when there is nothing at the path.
    pub(crate) fn written(&self) -> Result<()> {
        if self.is_missing() {
            let error = self.error(
                ErrorKind::InvalidConfig,
                "nothing was written: the server has nothing at this path",
            );
            return Err(error.with_hint(
                "check the mount (`VAULT_PATH`), the namespace (`VAULT_NAMESPACE`) and the mount's version (`VAULT_KV_VERSION`)",
            ));
        }
        Ok(())
    }

    fn has_data(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Data {
            data: Option<serde::de::IgnoredAny>,
        }
        serde_json::from_slice::<Data>(&self.body).is_ok_and(|body| body.data.is_some())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("path", &self.path)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The id that the server gave the request, if it looks like one.
pub(super) fn request_id(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Id {
        request_id: String,
    }
    let Id { request_id } = serde_json::from_slice(body).ok()?;
    let looks_like_one = request_id.len() == 36 && request_id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    looks_like_one.then_some(request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: Zeroizing::new(body.as_bytes().to_vec()),
            path: "secret/data/a".to_owned(),
            address: "https://v:8200".to_owned(),
        }
    }

    #[test]
    fn a_deleted_version_is_not_a_missing_one() {
        assert!(answer(404, r#"{"errors":[]}"#).is_missing());
        assert!(answer(404, "").is_missing());
        assert!(answer(404, r#"{"data":null}"#).is_missing());
        let deleted = answer(404, r#"{"data":{"data":null,"metadata":{"version":1}}}"#);
        assert!(!deleted.is_missing());
        assert!(deleted.data::<serde_json::Value>().is_ok());
        assert!(!answer(200, "").is_missing());
    }

    #[test]
    fn an_unexpected_shape_is_told_without_the_body() {
        let id = "f125394b-dd91-e99f-5780-438bb861f872";
        let answer = answer(
            200,
            &format!(r#"{{"request_id":"{id}","data":{{"value":"kfcanary-shape1234"}}}}"#),
        );
        let error = answer.data::<u32>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(!format!("{error:?}{answer:?}").contains("kfcanary-"));
        assert!(error.context().any(|fact| fact == ("request_id", id)));
        assert!(error.context().any(|fact| fact == ("status", "200")));
    }

    #[test]
    fn a_request_id_that_is_none_is_not_repeated() {
        assert_eq!(request_id(br#"{"request_id":"\u001b[31mkfcanary-notanid1"}"#), None);
    }
}
