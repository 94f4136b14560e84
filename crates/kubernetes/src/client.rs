//! One cluster's API server: requests, and their answers as bytes.

mod body;
mod call;
mod token;
mod transport;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, Response, Version};
use keyfob_core::{Error, ErrorKind, Result};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub(crate) use self::body::Lines;
pub(crate) use self::call::{Accept, Call, Path, Query};
use self::token::TokenSource;
pub(crate) use self::transport::of_program;
use crate::config::{Access, KubernetesConfig};
use crate::error::{Failed, incomprehensible, was_not_processed};

/// Asks an API server, within a deadline, once.
pub(crate) struct Cluster {
    client: Client,
    token: TokenSource,
    /// Scheme, host and port.
    server: String,
    timeout: Duration,
    /// What the last answer came over.
    protocol: AtomicU8,
}

/// How often a request is sent again that the server did nothing with, at most. Each goes over a new connection.
const UNPROCESSED: u32 = 10;

const UNKNOWN: u8 = 0;
const ONE_AT_A_TIME: u8 = 1;
const MULTIPLEXED: u8 = 2;

impl Cluster {
    /// Makes a client. Makes no connection; runs the program that gives credentials, when the kubeconfig names one.
    pub(crate) async fn connect(config: &KubernetesConfig, access: &Access) -> Result<Self> {
        let uri = &access.kube.cluster_url;
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        Ok(Self {
            client: transport::client(config, access).await?,
            token: TokenSource::new(&access.token, &config.environment)?,
            server: format!("{}://{authority}", uri.scheme_str().unwrap_or("https")),
            timeout: config.timeout,
            protocol: AtomicU8::new(UNKNOWN),
        })
    }

    /// Scheme, host and port.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The longest that one request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// No answer to a read came in time.
    pub(crate) fn too_late(&self) -> Failed {
        Failed::too_late().map(|error| error.with("store", crate::store::SCHEME).with("server", self.server.as_str()))
    }

    /// Whether one connection carries many requests at once; `None` before the first answer.
    pub(crate) fn is_multiplexed(&self) -> Option<bool> {
        match self.protocol.load(Ordering::Relaxed) {
            UNKNOWN => None,
            protocol => Some(protocol == MULTIPLEXED),
        }
    }

    /// Sends a request and reads its answer as `T`.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failed> {
        let body = self.answer(call).await?;
        // Not serde's own error: it quotes what it stumbles over.
        let read = serde_json::from_slice(&body);
        read.map_err(|_| Failed::of(self.about(call, incomprehensible())).with_status(http::StatusCode::OK))
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn answer(&self, call: &Call) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let exchange = async {
            let response = self.send(call).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = body::read(response).map_err(|problem| Failed::of(problem.error(call.writes)).with_status(status));
            let body = body.await?;
            match status.is_success() {
                true if body::is_json(&headers) => Ok(body),
                true => Err(Failed::of(incomprehensible()).with_status(status)),
                false => Err(Failed::refused(status, &headers, &body)),
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Failed::too_late()),
        }
        .map_err(|failed| failed.settled(call.writes).map(|error| self.about(call, error)))
    }

    /// Sends a request whose answer goes on and on: only its beginning has a deadline.
    pub(crate) async fn lines(&self, call: &Call) -> Result<Lines, Failed> {
        let begin = async {
            let response = self.send(call).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() {
                return Ok(Lines::of(response));
            }
            let body = body::read(response)
                .await
                .map_err(|problem| Failed::of(problem.error(false)))?;
            Err(Failed::refused(status, &headers, &body))
        };
        match tokio::time::timeout(self.timeout, begin).await {
            Ok(answer) => answer,
            Err(_) => Err(Failed::too_late()),
        }
        .map_err(|failed| failed.map(|error| self.about(call, error)))
    }

    async fn send(&self, call: &Call) -> Result<Response<Body>, Failed> {
        let token = self.token.current();
        let response = self.send_as(call, token.clone()).await?;
        // A token that was renewed meanwhile: the refusal says that nothing was done.
        if response.status() == http::StatusCode::UNAUTHORIZED
            && let Some(renewed) = self.token.renewed(token.as_ref())
        {
            return self.send_as(call, Some(renewed)).await;
        }
        Ok(response)
    }

    async fn send_as(&self, call: &Call, token: Option<HeaderValue>) -> Result<Response<Body>, Failed> {
        let mut left = UNPROCESSED;
        let response = loop {
            match self.client.send(request(call, token.clone())?).await {
                // An API server closes a connection after it refused a request on it, and others may be on their way then.
                Err(error) if left > 0 && was_not_processed(&error) => left -= 1,
                response => break response,
            }
        };
        let response = response.map_err(|error| Failed::undelivered(&error, call.writes))?;
        let protocol = match response.version() {
            Version::HTTP_2 => MULTIPLEXED,
            _ => ONE_AT_A_TIME,
        };
        self.protocol.store(protocol, Ordering::Relaxed);
        Ok(response)
    }

    fn about(&self, call: &Call, error: Error) -> Error {
        let error = error.with("store", crate::store::SCHEME).with("server", self.server.as_str());
        match error.kind() {
            // What a Role has to have.
            ErrorKind::PermissionDenied => error.with("verb", call.verb()),
            _ => error,
        }
    }
}

fn request(call: &Call, token: Option<HeaderValue>) -> Result<Request<Body>, Failed> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(call.uri())
        .header(ACCEPT, call.accept.media_type())
        .header(USER_AGENT, concat!("keyfob/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    if let Some(body) = &call.body {
        request = request.header(CONTENT_TYPE, body.content_type);
    }
    // The HTTP client owns what it sends, and does not wipe it.
    let body = call.body.as_ref().map(|body| body.bytes.to_vec()).unwrap_or_default();
    request
        .body(Body::from(body))
        .map_err(|_| Failed::of(Error::new(ErrorKind::Other, "the request could not be built")))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
