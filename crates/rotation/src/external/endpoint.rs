//! A server that is asked over HTTP.

use std::time::Duration;

use keyfob_core::{Result, SecretValue};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Url};

use super::Reply;
use crate::http;

/// A server for [`ExternalRotator`](super::ExternalRotator): each question is the body of a POST.
///
/// Over `https`, or over `http` on this machine. Redirects are not followed. `Debug` shows no header.
#[derive(Debug, Clone)]
pub struct RotationEndpoint {
    client: Client,
    url: Url,
    headers: HeaderMap,
    limit: Duration,
}

impl RotationEndpoint {
    /// The server at this URL, whose certificate an authority of the machine vouches for.
    ///
    /// # Errors
    /// `InvalidConfig` for a URL that values may not be sent to.
    pub fn new(url: &str) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            client: http::client(None)?,
            url: http::url(url)?,
            headers,
            limit: Duration::from_secs(60),
        })
    }

    /// Trusts only the authorities of this PEM text.
    ///
    /// # Errors
    /// `InvalidConfig` when there is none in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Self> {
        self.client = http::client(Some(pem))?;
        Ok(self)
    }

    /// With a header, for example `Authorization`. It is shown nowhere.
    ///
    /// # Errors
    /// `InvalidConfig` for what can't stand in a header.
    pub fn header(mut self, name: &str, value: &SecretValue) -> Result<Self> {
        let (name, value) = http::header(name, value.expose_secret())?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// How long it may take for one answer. One minute by default.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(super) async fn ask(&self, question: &SecretValue) -> Result<Reply> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        // The HTTP client owns what it sends, and does not wipe it.
        let request = request.body(question.expose_secret().to_vec());
        let answer = http::send(request, self.limit).await;
        let answer = answer.map_err(|error| error.with("host", self.host()))?;
        Ok(Reply {
            failure: answer.failure().map(|failure| failure.with("host", self.host())),
            answer: answer.body,
            said: String::new(),
        })
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}
