//! One request and its answer over HTTP, without a log-in.

use std::time::Duration;

use keyfob_core::adapter::WipedBuffer;
use keyfob_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response};
use url::Url;
use zeroize::Zeroizing;

use super::answer::{Answer, MAX_BYTES, request_id};
use super::call::Call;
use super::transport;
use crate::config::VaultConfig;
use crate::error;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Agents and proxies can be told to refuse requests without it, so that nobody is tricked into sending one.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// How often an answer may point to another path of the same server.
const MAX_REDIRECTS: usize = 2;

/// Sends requests to one address.
pub(crate) struct Exchange {
    client: Client,
    /// Ends with `/v1/`.
    base: String,
    address: String,
    namespace: Option<(String, HeaderValue)>,
    timeout: Duration,
}

impl Exchange {
    pub(crate) fn new(config: &VaultConfig) -> Result<Self> {
        config.check()?;
        let namespace = match &config.namespace {
            None => None,
            Some(name) => {
                let value = HeaderValue::from_str(name)
                    .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the namespace has a character that none has"))?;
                Some((name.clone(), value))
            }
        };
        Ok(Self {
            client: transport::client(config)?,
            base: config.address.base(),
            address: config.address.to_string(),
            namespace,
            timeout: config.timeout,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_ref().map(|(name, _)| name.as_str())
    }

    /// Gives up on `future` when the time for one request has passed, whatever it consists of.
    pub(crate) async fn within_deadline<T>(&self, call: &Call<'_>, future: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.timeout, future).await {
            Ok(result) => result,
            Err(_) => Err(self.about(call, error::too_late(call.writes))),
        }
    }

    /// Sends a request once, within the deadline. See [`send`](Self::send).
    pub(crate) async fn send_in_time(&self, call: &Call<'_>, token: Option<&HeaderValue>) -> Result<Answer> {
        self.within_deadline(call, self.send(call, token)).await
    }

    /// Sends a request once. Follows the server to another of its own paths, and to no other server.
    ///
    /// The errors are those of [`Vault::request`](super::Vault::request), without the deadline.
    pub(crate) async fn send(&self, call: &Call<'_>, token: Option<&HeaderValue>) -> Result<Answer> {
        let mut url = self.url(call)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(call, url.clone(), token);
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Err(self.about(call, error::from_transport(&error, call.writes))),
            };
            if !response.status().is_redirection() {
                return self.answer(call, response).await;
            }
            url = self.redirected(call, &url, &response)?;
        }
        Err(self.about(
            call,
            Error::new(
                ErrorKind::Unavailable,
                "the server sends the request from one path to the next",
            ),
        ))
    }

    fn url(&self, call: &Call<'_>) -> Result<Url> {
        let mut path = call.path.encoded();
        if call.lists {
            path.push_str(if path.contains('?') { "&list=true" } else { "?list=true" });
        }
        Url::parse(&format!("{}{path}", self.base))
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the path can't stand in a URL"))
    }

    fn request(&self, call: &Call<'_>, url: Url, token: Option<&HeaderValue>) -> reqwest::RequestBuilder {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(token) = token {
            headers.insert(TOKEN, token.clone());
        }
        if let Some((_, namespace)) = self.namespace.as_ref().filter(|_| call.namespace) {
            headers.insert(NAMESPACE, namespace.clone());
        }
        let mut request = self.client.request(call.method.clone(), url);
        if let Some(body) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
            // The HTTP client owns what it sends, and does not wipe it.
            request = request.body(body.bytes.to_vec());
        }
        request.headers(headers)
    }

    /// Where a redirect goes, if that is on the same server: no other may see the token.
    fn redirected(&self, call: &Call<'_>, from: &Url, response: &Response) -> Result<Url> {
        let status = response.status().as_u16();
        let to = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| from.join(location).ok());
        let Some(to) = to.filter(|_| status != 304) else {
            let error = Error::new(ErrorKind::Unavailable, "the server redirects the request to nowhere");
            return Err(self.about(call, error).with("status", status.to_string()));
        };
        if to.origin() == from.origin() && to.origin().is_tuple() {
            return Ok(to);
        }
        let error = Error::new(
            ErrorKind::Unavailable,
            "the server redirects to another host, and the token is not sent there",
        )
        .with("offered", to.origin().ascii_serialization())
        .with_hint("if that is the active node, use its address, or one that always reaches the active node");
        Err(self.about(call, error).with("status", status.to_string()))
    }

    async fn answer(&self, call: &Call<'_>, response: Response) -> Result<Answer> {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let is_json = is_json(response.headers());
        let body = self.read(call, response).await?;
        let failed = |error: Error| {
            let error = self.about(call, error).with("status", status.as_u16().to_string());
            match request_id(&body) {
                Some(id) => error.with("request_id", id),
                None => error,
            }
        };
        if !status.is_success() && status.as_u16() != 404 {
            let texts = texts(&body, is_json);
            return Err(failed(error::from_status(
                status.as_u16(),
                &texts,
                call.refusals,
                call.writes,
                retry_after,
            )));
        }
        if !body.is_empty() && !is_json {
            return Err(failed(
                Error::new(ErrorKind::Other, "what answered is not the server: the answer is not JSON")
                    .with_hint("check the address; a proxy or another service may stand there"),
            ));
        }
        // Here, so that nobody mistakes the half of an answer for one without data.
        if !body.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            return Err(failed(Error::new(ErrorKind::Other, "the server's answer is malformed JSON")));
        }
        Ok(Answer {
            status: status.as_u16(),
            body,
            path: call.path.shown().to_owned(),
            address: self.address.clone(),
        })
    }

    async fn read(&self, call: &Call<'_>, mut response: Response) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |error: Error, status: u16| self.about(call, error).with("status", status.to_string());
        let too_large = || Error::new(ErrorKind::Other, "the server's answer is larger than 32 MiB");
        let status = response.status().as_u16();
        let announced = response.content_length().unwrap_or(0);
        if announced > MAX_BYTES as u64 {
            return Err(failed(too_large(), status));
        }
        let mut body = WipedBuffer::with_capacity(usize::try_from(announced).unwrap_or(0));
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(body.into_inner()),
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BYTES => return Err(failed(too_large(), status)),
                Ok(Some(chunk)) => body.extend(&chunk),
                Err(error) => return Err(failed(error::from_transport(&error, call.writes), status)),
            }
        }
    }

    /// Adds where and what to an error.
    fn about(&self, call: &Call<'_>, error: Error) -> Error {
        error.with("vault", self.address.as_str()).with("path", call.path.shown())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// What the server wrote about an error: to be searched, never to be shown.
fn texts(body: &[u8], is_json: bool) -> Zeroizing<String> {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    if !is_json {
        // A line of text; more would be a page of something else.
        return Zeroizing::new(String::from_utf8_lossy(&body[..body.len().min(256)]).into_owned());
    }
    let errors = serde_json::from_slice::<Errors>(body).map(|body| Zeroizing::new(body.errors));
    Zeroizing::new(errors.map(|errors| errors.join("\n")).unwrap_or_default())
}

/// Seconds; the other form, a date, is not used by these servers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
