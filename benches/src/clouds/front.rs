//! What stands in front of a service at its public name: TLS, for a protocol that the service itself speaks there.
//!
//! The doubles speak HTTP/1.1, and the one of Secret Manager no TLS. Google serves HTTP/2 over TLS. This serves that, passes each
//! request on over a connection that stays open, and counts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use super::http::{Connection, Endpoint};
use super::tls::Identity;
use crate::Outcome;

/// Runs for as long as the runtime that it was started on.
pub(super) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Endpoint,
    idle: Mutex<Vec<Connection>>,
    requests: AtomicUsize,
}

impl Front {
    /// `protocols` as TLS names them, the best first.
    pub(super) fn start(runtime: &Handle, upstream: Endpoint, identity: &Identity, protocols: &[&str]) -> Outcome<Self> {
        let acceptor = TlsAcceptor::from(identity.server(protocols)?);
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            idle: Mutex::default(),
            requests: AtomicUsize::new(0),
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

async fn pass_on(request: Request<Incoming>, shared: &Shared) -> Outcome<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let host = match (head.uri.authority(), head.headers.get("host")) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str()?,
        (None, None) => return Err("a request for no host".into()),
    };
    let mut headers = format!("Host: {host}\r\n");
    for (name, value) in &head.headers {
        if !OF_A_CONNECTION.contains(&name.as_str()) {
            headers.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match idle {
        Some(connection) => connection,
        None => shared.upstream.connect().await?,
    };
    let answer = connection.exchange(head.method.as_str(), path, &headers, &body).await?;
    shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        if !OF_A_CONNECTION.contains(&name.as_str()) {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Full::new(answer.body.into()))?)
}

/// Headers that each side makes for itself.
const OF_A_CONNECTION: [&str; 5] = ["connection", "content-length", "host", "te", "transfer-encoding"];
