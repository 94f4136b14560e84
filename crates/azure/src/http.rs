//! The HTTP client below the SDK: one host, no redirects, no retries, answers of bounded size.

mod connect;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::error::ErrorKind as SdkKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use keyfob_core::{Error, ErrorKind};
use reqwest::header;
use reqwest::{Client, Response};
use tokio::sync::Notify;
use url::Origin;
use zeroize::Zeroizing;

pub(crate) use self::connect::{client, machine_client};
use crate::problem::Problem;

/// The largest answer that is read. The largest that can come is a page of 25 secrets with 15 tags each.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// What the SDK sends its requests through, to one host and no other.
pub(crate) struct Http {
    client: Client,
    origin: Origin,
    server: Server,
}

/// Who is spoken to.
pub(crate) enum Server {
    /// The vault, which is given tokens. Whoever waits is told of each answer.
    Vault(Arc<Refused>, Arc<Notify>),
    /// Where to log in.
    Authority,
}

impl Http {
    pub(crate) fn new(client: Client, origin: Origin, server: Server) -> Self {
        Self { client, origin, server }
    }

    async fn send(&self, request: &Request) -> Result<AsyncRawResponse, Problem> {
        if request.url().origin() != self.origin {
            // A listing's next page is an address that the server names.
            return Err(Problem::new(
                ErrorKind::Other,
                "the server names another host for the next request, and the token is not sent there",
            )
            .with("offered", request.url().origin().ascii_serialization()));
        }
        let token = request.headers().get_optional_str(&AUTHORIZATION);
        let answer = self.client.execute(translated(request)?).await;
        let changes = !matches!(request.method(), Method::Get | Method::Head);
        // Without a token nothing can have been done.
        let can_have_worked = changes && token.is_some();
        let answer = answer.map_err(|error| {
            undelivered(&error, can_have_worked, self.server.name()).with("address", self.origin.ascii_serialization())
        })?;
        if let Server::Vault(_, heard) = &self.server {
            heard.notify_one();
        }
        let status = answer.status().as_u16();
        let headers = headers(&answer);
        let body = read(answer).await;
        let body = body.map_err(|problem| if can_have_worked { problem.unsettled() } else { problem })?;
        match &self.server {
            Server::Vault(refused, _) => {
                if let (401, Some(token)) = (status, token) {
                    refused.note(token);
                }
            }
            // The SDK gives up when such an answer is not JSON, and forgets its status.
            Server::Authority => login_refused(status, &headers, &body)?,
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, Vec::clone(&body)))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.send(request).await.map_err(|problem| problem.into_sdk(SdkKind::Other))
    }
}

impl Server {
    fn name(&self) -> &'static str {
        match self {
            Self::Vault(..) => "the vault",
            Self::Authority => "the log-in server",
        }
    }
}

/// The token that the vault refused last: the SDK's own caches would hand it out again until it ends.
#[derive(Default)]
pub(crate) struct Refused(Mutex<Option<Zeroizing<String>>>);

impl Refused {
    pub(crate) fn note(&self, header: &str) {
        let token = header.strip_prefix("Bearer ").unwrap_or(header);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Zeroizing::new(token.to_owned()));
    }

    pub(crate) fn is(&self, token: &str) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|refused| refused.as_str() == token)
    }
}

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");

fn translated(request: &Request) -> Result<reqwest::Request, Problem> {
    let unfit = || Problem::new(ErrorKind::Other, "the request could not be built");
    let method = match request.method() {
        Method::Delete => reqwest::Method::DELETE,
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Patch => reqwest::Method::PATCH,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        _ => return Err(unfit()),
    };
    let mut translated = reqwest::Request::new(method, request.url().clone());
    for (name, value) in request.headers().iter() {
        let name = header::HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| unfit())?;
        let mut value = header::HeaderValue::from_str(value.as_str()).map_err(|_| unfit())?;
        value.set_sensitive(name == header::AUTHORIZATION);
        translated.headers_mut().insert(name, value);
    }
    match request.body() {
        Body::Bytes(bytes) if bytes.is_empty() => {}
        Body::Bytes(bytes) => *translated.body_mut() = Some(bytes.clone().into()),
        Body::SeekableStream(_) => return Err(unfit()),
    }
    Ok(translated)
}

fn headers(answer: &Response) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in answer.headers() {
        if let Ok(value) = value.to_str() {
            headers.insert(
                HeaderName::from(name.as_str().to_owned()),
                HeaderValue::from(value.to_owned()),
            );
        }
    }
    headers
}

/// Reads the body, up to the limit.
pub(crate) async fn read(mut answer: Response) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let too_large =
        || Problem::new(ErrorKind::Other, "the answer is larger than any answer of Key Vault can be").hint("check the address");
    let announced = usize::try_from(answer.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > MAX_ANSWER_BYTES {
        return Err(too_large());
    }
    // A capacity that is known from the start leaves no outgrown copies of values behind.
    let mut body = Zeroizing::new(Vec::with_capacity(announced));
    loop {
        match answer.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(part)) if body.len() + part.len() > MAX_ANSWER_BYTES => return Err(too_large()),
            Ok(Some(part)) => body.extend_from_slice(&part),
            Err(_) => {
                return Err(Problem::new(
                    ErrorKind::Unavailable,
                    "the connection broke in the middle of an answer",
                ));
            }
        }
    }
}

/// What the log-in server says when it can't serve, and what is not its answer at all.
fn login_refused(status: u16, headers: &Headers, body: &[u8]) -> Result<(), Problem> {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let error = match status {
        429 => Error::new(ErrorKind::RateLimited, "the log-in server asks for fewer requests"),
        408 | 504 => Error::new(ErrorKind::Timeout, "the log-in server gave up waiting"),
        500..=599 => Error::new(ErrorKind::Unavailable, "the log-in server can't serve now"),
        300..=399 => Error::new(
            ErrorKind::InvalidConfig,
            "the log-in server redirects elsewhere, which is not followed",
        ),
        _ if !is_json => Error::new(ErrorKind::Other, "what answered is not the log-in server")
            .with_hint("check `AZURE_AUTHORITY_HOST`; a proxy may stand there"),
        _ => return Ok(()),
    };
    let error = error.with("status", status.to_string());
    Err(match crate::error::retry_after(headers) {
        Some(wait) => error.with_retry_after(wait).into(),
        None => error.into(),
    })
}

/// The request could not be sent, or no answer came.
pub(crate) fn undelivered(error: &reqwest::Error, can_have_worked: bool, server: &'static str) -> Problem {
    let is_unconnected = error.is_connect() || error.is_builder();
    let mut mapped = if error.is_timeout() && !error.is_connect() {
        Error::new(ErrorKind::Timeout, "no answer came in time")
    } else if error.is_builder() {
        Error::new(ErrorKind::Other, "the request could not be built")
    } else {
        Error::new(ErrorKind::Unavailable, "the server can't be reached")
    };
    mapped = mapped.with("server", server);
    // The words of the operating system, of the resolver or of TLS about the connection.
    let mut below = std::error::Error::source(error);
    let mut reason = None;
    while let Some(cause) = below {
        reason = Some(cause);
        below = cause.source();
    }
    if let Some(reason) = reason {
        let text: String = reason.to_string().chars().filter(|c| !c.is_control()).take(160).collect();
        if text.contains("certificate") {
            mapped = mapped.with_hint("a private certificate authority is named in the URL, `?ca=FILE`");
        }
        mapped = mapped.with("reason", text);
    }
    let problem = Problem::from(mapped);
    match can_have_worked && !is_unconnected {
        true => problem.unsettled(),
        false => problem,
    }
}
