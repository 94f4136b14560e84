//! What stands in front of a service at its public name: TLS, for a protocol that the service itself speaks there.
//!
//! The doubles speak HTTP/1.1, and the one of Secret Manager no TLS. Google serves HTTP/2 over TLS, and gRPC too. This serves that,
//! passes each request on over a connection that stays open, and counts.

mod grpc;

use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use super::http::{Answer, Connection, Endpoint};
use super::tls::Identity;
use crate::Outcome;

/// Runs for as long as the runtime that it was started on.
pub(super) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the service calls itself, where that is not how the world calls it.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// The host that it wants to be asked as; by default, the one that the client asks for.
    pub(super) host: Option<String>,
    /// Its addresses in answers, each with the one to put there.
    pub(super) public: Vec<(String, String)>,
}

impl Names {
    fn publish(&self, text: String) -> String {
        let replace = |text: String, (own, public): &(String, String)| text.replace(own, public);
        self.public.iter().fold(text, replace)
    }
}

struct Shared {
    upstream: Endpoint,
    idle: Mutex<Vec<Connection>>,
    requests: AtomicUsize,
    names: Names,
}

impl Front {
    /// `protocols` as TLS names them, the best first.
    pub(super) fn start(
        runtime: &Handle,
        upstream: Endpoint,
        identity: &Identity,
        protocols: &[&str],
        names: Names,
    ) -> Outcome<Self> {
        let acceptor = TlsAcceptor::from(identity.server(protocols)?);
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            idle: Mutex::default(),
            requests: AtomicUsize::new(0),
            names,
        });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, acceptor.clone(), Arc::clone(&serving)));
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// `HOST:PORT`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.shared.requests.store(0, Ordering::Relaxed);
    }
}

/// Errors of a connection are the client's, who sees them itself.
async fn serve(client: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let _ = client.set_nodelay(true);
    let Ok(client) = acceptor.accept(client).await else { return };
    let is_multiplexed = client.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            shared.requests.fetch_add(1, Ordering::Relaxed);
            pass_on(request, &shared).await.map_err(|error| error.to_string())
        }
    });
    let client = TokioIo::new(client);
    let _ = match is_multiplexed {
        true => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(client, service)
                .await
        }
        false => http1::Builder::new().serve_connection(client, service).await,
    };
}

async fn pass_on(request: Request<Incoming>, shared: &Shared) -> Outcome<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = match (head.uri.authority(), head.headers.get("host")) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str()?,
        (None, None) => return Err("a request for no host".into()),
    };
    let mut headers = format!("Host: {}\r\n", shared.names.host.as_deref().unwrap_or(asked));
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // Clients of Google's that are not the newest say `//v1/...`, which Google takes for the same.
    let path = if path.starts_with("//") { &path[1..] } else { path };
    if path == grpc::METHOD {
        let token = head.headers.get("authorization").ok_or("a call without a token")?;
        headers.push_str(&format!("Authorization: {}\r\n", token.to_str()?));
        let path = format!("/v1/{}:access", grpc::name(&body).ok_or("a call that can't be read")?);
        return called(&shared.ask("GET", &path, &headers, &[]).await?);
    }
    for (name, value) in &head.headers {
        if !OF_A_CONNECTION.contains(&name.as_str()) {
            headers.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
    }
    let mut answer = shared.ask(head.method.as_str(), path, &headers, &body).await?;
    if !shared.names.public.is_empty() {
        answer.body = shared.names.publish(String::from_utf8(answer.body)?).into_bytes();
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        if !OF_A_CONNECTION.contains(&name.as_str()) {
            response = response.header(name, shared.names.publish(value.clone()));
        }
    }
    Ok(response.body(Full::new(answer.body.into()).boxed())?)
}

/// The answer to a call of gRPC.
fn called(answer: &Answer) -> Outcome<Response<Body>> {
    let message = std::str::from_utf8(&answer.body).ok().and_then(grpc::response);
    // 2 is `UNKNOWN`.
    let status = HeaderValue::from_static(if message.is_some() { "0" } else { "2" });
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]);
    let body = Full::new(message.unwrap_or_default().into()).with_trailers(ready(Some(Ok(trailers))));
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed())?)
}

type Body = BoxBody<Bytes, Infallible>;

impl Shared {
    /// Over a connection that nobody else uses now.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome<Answer> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.upstream.connect().await?,
        };
        let answer = connection.exchange(method, path, headers, body).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }
}

/// Headers that each side makes for itself.
const OF_A_CONNECTION: [&str; 5] = ["connection", "content-length", "host", "te", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A service that answers each request with its address and what it was asked.
    fn service(runtime: &Handle) -> String {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = url.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let own = own.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    while let Ok(length @ 1..) = client.read(&mut buffer).await {
                        let request = String::from_utf8_lossy(&buffer[..length]).replace("\r\n", "|");
                        let body = format!("{own} {request}");
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        client.write_all((head + &body).as_bytes()).await.unwrap();
                    }
                });
            }
        });
        url
    }

    #[test]
    fn both_protocols_pass_over_tls_and_count() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let identity = Identity::make().unwrap();
        let url = service(runtime.handle());
        let names = Names {
            host: Some("own".to_owned()),
            public: vec![(url.clone(), "https://public.example".to_owned())],
        };
        let upstream = Endpoint::parse(&url, None).unwrap();
        let front = Front::start(runtime.handle(), upstream, &identity, &["h2", "http/1.1"], names).unwrap();
        let endpoint = Endpoint::parse(&format!("https://{}", front.address()), Some(&identity.ca())).unwrap();
        runtime.block_on(async {
            let mut connection = endpoint.connect().await.unwrap();
            for path in ["/a?b=c", "//d"] {
                let (status, body) = connection.send("GET", path, "X-Name: value\r\n", "").await.unwrap();
                let path = path.replace("//", "/");
                let expected = format!("https://public.example GET {path} HTTP/1.1|Host: own|x-name: value|");
                assert!(status == 200 && body.starts_with(&expected), "{body}");
            }
            let mut connection = endpoint.multiplex().await.unwrap();
            let (status, body) = connection.get("/e", "Bearer x").await.unwrap();
            assert!(status == 200 && body.contains("GET /e HTTP/1.1|"), "{body}");
            assert!(body.contains("|authorization: Bearer x|"), "{body}");
        });
        assert_eq!(front.requests(), 3);
        front.forget();
        assert_eq!(front.requests(), 0);
    }
}
