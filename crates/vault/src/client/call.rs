//! One request of the API.

use keyfob_core::adapter::WipedBuffer;
use keyfob_core::{Error, ErrorKind, Result};
use reqwest::Method;
use serde::Serialize;
use zeroize::Zeroizing;

use super::path::ApiPath;
use crate::error::Refusal;

/// One request: method, path, body, and how to read a refusal of it.
pub(crate) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a ApiPath,
    /// Asks for a listing: as a parameter, because what stands between may not let the method `LIST` pass.
    pub(super) lists: bool,
    pub(super) body: Option<Body>,
    pub(super) writes: bool,
    pub(super) refusals: &'static [Refusal],
    pub(super) namespace: bool,
}

pub(super) struct Body {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) content_type: &'static str,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a ApiPath) -> Self {
        Self::new(Method::GET, path, false)
    }

    pub(crate) fn list(path: &'a ApiPath) -> Self {
        Self {
            lists: true,
            ..Self::new(Method::GET, path, false)
        }
    }

    pub(crate) fn post(path: &'a ApiPath) -> Self {
        Self::new(Method::POST, path, true)
    }

    pub(crate) fn put(path: &'a ApiPath) -> Self {
        Self::new(Method::PUT, path, true)
    }

    pub(crate) fn patch(path: &'a ApiPath) -> Self {
        Self::new(Method::PATCH, path, true)
    }

    pub(crate) fn delete(path: &'a ApiPath) -> Self {
        Self::new(Method::DELETE, path, true)
    }

    fn new(method: Method, path: &'a ApiPath, writes: bool) -> Self {
        Self {
            method,
            path,
            lists: false,
            body: None,
            writes,
            refusals: &[],
            namespace: true,
        }
    }

    /// Sends `body` as JSON, with PATCH as a merge patch.
    ///
    /// The bytes are wiped here when the request is done; the copy that the HTTP client sends from is not.
    ///
    /// # Errors
    /// `InvalidInput` when it can't be written as JSON.
    pub(crate) fn body(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = to_json(body)?;
        let content_type = if self.method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        self.body = Some(Body { bytes, content_type });
        Ok(self)
    }

    /// Says that a POST or PUT changes nothing (a log-in, a decryption): when the connection breaks, asking again is
    /// harmless, so the error is `Unavailable` and not `Timeout` with its unknown outcome.
    pub(crate) fn reads_only(mut self) -> Self {
        self.writes = false;
        self
    }

    /// What the server's texts mean for this request; see [`Refusal`].
    pub(crate) fn refusals(mut self, refusals: &'static [Refusal]) -> Self {
        self.refusals = refusals;
        self
    }

    /// Leaves the namespace out: some endpoints exist only in the root namespace.
    pub(super) fn in_root_namespace(mut self) -> Self {
        self.namespace = false;
        self
    }
}

/// Writes JSON into a buffer that is wiped, also where it was while it grew.
fn to_json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = WipedBuffer::default();
    serde_json::to_writer(&mut bytes, body)
        // Its words could repeat a part of the body.
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "the request can't be written as JSON"))?;
    Ok(bytes.into_inner())
}
