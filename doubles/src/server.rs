//! A small HTTP/1.1 server on 127.0.0.1, with or without TLS. It knows nothing of what it serves.
//!
//! ```text
//! let listener = server::listen(port).await?;
//! server::serve(listener, None, move |request| gcp::handle(Arc::clone(&state), request)).await
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Failure;

/// No service that is doubled here takes a body as large as this.
const BODY_LIMIT: usize = 4 << 20;

/// A request whose body has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it was sent: still percent-encoded, so that `%2F` in a name is not a separator.
    pub(crate) path: String,
    /// Decoded, in the order in which they were sent.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// The value of a parameter of the query; of its first appearance.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.query.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a handler answers.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Response {
    /// Without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            body: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With a JSON body. `Content-Type` is `application/json; charset=utf-8` until [`Response::with`] sets another.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let response = Self {
            body: body.to_string().into_bytes(),
            ..Self::empty(status)
        };
        response.with("content-type", "application/json; charset=utf-8")
    }

    /// Sets a header. One that can't be sent is left out.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.retain(|(other, _)| other != name);
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// The value of a header.
    #[cfg(test)]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        value.to_str().ok()
    }
}

/// A listener on 127.0.0.1; a free port is picked for 0.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.map_err(|error| format!("can't listen on 127.0.0.1:{port}: {error}").into())
}

/// What TLS needs, from a chain of certificates and a key in PEM files.
pub(crate) fn tls(certificates: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, Failure> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificates)?.collect();
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Answers every request with `handler`, for ever. Each connection has a task of its own.
pub(crate) async fn serve<H, F>(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, handler: H) -> Result<(), Failure>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        // A client that is gone before it is accepted is no reason to end.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, acceptor.clone(), handler.clone()));
    }
}

/// Errors of a connection are those of the client, who sees them itself.
async fn connection<H, F>(stream: TcpStream, acceptor: Option<TlsAcceptor>, handler: H)
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    match acceptor {
        None => answer(stream, handler).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, handler).await;
            }
        }
    }
}

async fn answer<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let response = match read(request).await {
                Ok(request) => handler(request).await,
                Err(status) => Response::empty(status),
            };
            Ok::<_, Infallible>(into_hyper(response))
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The status to answer with when the request can't be read.
async fn read(request: hyper::Request<Incoming>) -> Result<Request, u16> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    let body = body.map_err(|error| if error.is::<LengthLimitError>() { 413_u16 } else { 400 })?;
    let query = head.uri.query().unwrap_or_default();
    Ok(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: head.headers,
        body: body.to_bytes(),
    })
}

fn into_hyper(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut answer = hyper::Response::new(Full::new(Bytes::from(response.body)));
    *answer.status_mut() = hyper::StatusCode::from_u16(response.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().extend(response.headers);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Sends bytes to a server that answers with what it was asked, and gives what comes back until the end.
    async fn exchange(sent: &[u8]) -> String {
        let listener = listen(0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = |request: Request| async move {
            let said = format!(
                "{} {} {:?} {}",
                request.method,
                request.path,
                request.query,
                request.body.len()
            );
            let response = Response::json(200, &Value::from(said));
            response
                .with("x-one", "first")
                .with("x-one", "last")
                .with("x-two", "not\nsent")
        };
        let server = tokio::spawn(serve(listener, None, handler));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent_and_a_header_has_its_last_value() {
        let answer =
            exchange(b"PUT /a%2Fb?x=1%202&x=&$y HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nx-one: last\r\n") && !answer.contains("x-two"),
            "{answer}"
        );
        let said = r#"PUT /a%2Fb [(\"x\", \"1 2\"), (\"x\", \"\"), (\"$y\", \"\")] 3"#;
        assert!(answer.contains(said), "{answer}");
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_not_collected() {
        let head = "PUT / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n";
        let large = format!("{head}content-length: {}\r\n\r\n", BODY_LIMIT + 1);
        let mut sent = large.into_bytes();
        sent.extend(vec![b'a'; BODY_LIMIT + 1]);
        let answer = exchange(&sent).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{}", &answer[..answer.len().min(100)]);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let listener = listen(0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let failure = listen(port).await.unwrap_err().to_string();
        assert!(failure.contains(&format!("127.0.0.1:{port}")), "{failure}");
    }
}
