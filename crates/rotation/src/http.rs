//! HTTP as rotators need it: one request, one bounded answer, no redirects, no retries.

use std::time::Duration;

use keyfob_core::adapter::WipedBuffer;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, Url};

/// The longest answer.
const MAX_ANSWER: usize = 1 << 20;

/// The longest time to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What a server said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: SecretValue,
    retry_after: Option<Duration>,
}

/// A client that trusts the authorities of the machine, or only those of this PEM text.
pub(crate) fn client(authorities: Option<&[u8]>) -> Result<Client> {
    let mut builder = ClientBuilder::new()
        .user_agent(concat!("keyfob/", env!("CARGO_PKG_VERSION")))
        // Values and credentials go to the server that was named, and to no other.
        .redirect(Policy::none())
        // The next run is the retry: every step can be done again.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT);
    if let Some(pem) = authorities {
        let found = Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty());
        let found = found.ok_or_else(|| invalid("there is no certificate in PEM among the authorities to trust"))?;
        builder = builder.tls_certs_only(found);
    }
    builder.build().map_err(|_| invalid("the TLS settings can't be used"))
}

/// A URL that values may be sent to: `https`, or `http` on this machine.
pub(crate) fn url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| invalid("this is not a URL"))?;
    let is_here = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    match url.scheme() {
        "https" if url.host_str().is_some() => {}
        "http" if is_here => {}
        _ => return Err(invalid("values are sent to `https` URLs only, or to `http` on this machine")),
    }
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err(invalid("a URL is no place for a password").with_hint("put it into a header")),
    }
}

/// A header that is shown nowhere.
pub(crate) fn header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("this is not the name of a header"))?;
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| invalid("a header can't have this value").with("header", name.as_str().to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Sends a request once.
///
/// # Errors
/// `Timeout` and `Unavailable` when no whole answer came, `InvalidConfig` when the certificate is not trusted. Never with a URL:
/// that may hold a key.
pub(crate) async fn send(request: RequestBuilder, limit: Duration) -> Result<Answer> {
    let late =
        || Error::new(ErrorKind::Timeout, "the server did not answer in time").with("seconds", limit.as_secs_f32().to_string());
    let answering = async {
        let response = request.send().await.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let body = read(response).await?;
        Ok(Answer {
            status,
            body,
            retry_after,
        })
    };
    tokio::time::timeout(limit, answering).await.map_err(|_| late())?
}

impl Answer {
    /// What the status means, if it is no success. The body is not looked at.
    pub(crate) fn failure(&self) -> Option<Error> {
        let (kind, message) = match self.status {
            200..=299 => return None,
            300..=399 => (
                ErrorKind::InvalidConfig,
                "the server sends the request elsewhere, where values are not sent",
            ),
            401 => (ErrorKind::Unauthenticated, "the server does not know who asks"),
            403 => (
                ErrorKind::PermissionDenied,
                "the server does not let the one who asks do that",
            ),
            404 | 410 => (ErrorKind::NotFound, "the server has nothing there"),
            409 | 412 => (ErrorKind::Conflict, "the server says that something else came before"),
            408 | 425 | 500..=599 => (ErrorKind::Unavailable, "the server can't serve the request now"),
            429 => (ErrorKind::RateLimited, "the server asks for fewer requests"),
            400..=499 => (ErrorKind::InvalidInput, "the server says that the request is wrong"),
            _ => (ErrorKind::Other, "the server answered with an unexpected status"),
        };
        let error = Error::new(kind, message).with("status", self.status.to_string());
        Some(match self.retry_after {
            Some(wait) if kind.is_retryable() => error.with_retry_after(wait),
            _ => error,
        })
    }
}

async fn read(mut response: Response) -> Result<SecretValue> {
    let mut body = WipedBuffer::default();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the server's answer is longer than 1 MiB",
            ));
        }
        body.extend(&chunk);
    }
    Ok(SecretValue::new(std::mem::take(&mut *body.into_inner())))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn broken(error: &reqwest::Error) -> Error {
    let mut below: Option<&dyn std::error::Error> = Some(error);
    let mut is_untrusted = false;
    while let Some(error) = below {
        // Only searched, never shown.
        is_untrusted |= error.to_string().contains("invalid peer certificate");
        below = error.source();
    }
    if is_untrusted {
        return Error::new(
            ErrorKind::InvalidConfig,
            "the server's certificate is not trusted, or is for another name",
        );
    }
    let (kind, message) = match (error.is_builder(), error.is_timeout(), error.is_connect()) {
        (true, ..) => (ErrorKind::InvalidInput, "the request can't be written as HTTP"),
        (_, true, _) => (ErrorKind::Timeout, "no connection to the server came about in time"),
        (.., true) => (ErrorKind::Unavailable, "the server can't be reached"),
        _ => (
            ErrorKind::Unavailable,
            "the connection broke before the server's answer was complete",
        ),
    };
    Error::new(kind, message)
}

pub(crate) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
