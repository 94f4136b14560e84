//! A proxy that stands between a client and a server and spoils what passes, on request.
//!
//! ```no_run
//! use std::time::Duration;
//! use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Line, Rule};
//!
//! # fn main() -> std::io::Result<()> {
//! let proxy = FaultProxy::to("http://127.0.0.1:8200")?.line(Line::round_trip(Duration::from_millis(20))).start()?;
//! // The third batch call is throttled, every other request passes.
//! let throttled = Answer::new(400).header("x-amzn-errortype", "ThrottlingException").body("{}");
//! proxy.add(Rule::new(throttled).header("x-amz-target", "secretsmanager.BatchGetSecretValue").nth(3));
//! proxy.add(Rule::new(Fault::Hang).method("LIST"));
//! // ... a client talks to `proxy.url()` ...
//! println!("{} connections, {} requests", proxy.connections(), proxy.requests().len());
//! # Ok(())
//! # }
//! ```
//!
//! It listens on a free port of the loopback interface, runs on a thread of its own, whatever runtime the caller has, and
//! stops with everything that it holds when it is dropped. Requests are understood as HTTP/1.1. What begins otherwise
//! (TLS, HTTP/2) passes as bytes: its line can be slow and its connections cut, rules don't see it.
//!
//! To see into TLS, the proxy ends it on both sides: `FaultProxy::to("https://...")?.trust(ca)?.tls()` gives a proxy at
//! an `https` URL, for a client that trusts [`FaultProxy::ca`]. Without [`Builder::tls`] the client speaks plain HTTP to it,
//! and without [`Builder::trust`] the proxy does to the server. A client's own certificate does not reach the server.
//!
//! Header values and bodies are kept in memory, for assertions, and never printed.

mod connection;
mod http;
mod line;
mod rule;
mod stream;
mod tls;

use std::fmt;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;

pub use http::Request;
pub use line::Line;
pub use rule::{Answer, Fault, Rule};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// What a proxy is made from; see [`FaultProxy::to`].
#[derive(Debug, Clone)]
pub struct Builder {
    upstream: Option<Upstream>,
    line: Line,
    opaque: bool,
    tls: bool,
    trust: Option<Arc<ClientConfig>>,
}

impl Builder {
    fn new(upstream: Option<Upstream>) -> Self {
        Self {
            upstream,
            line: Line::default(),
            opaque: false,
            tls: false,
            trust: None,
        }
    }

    /// Speaks TLS with the client, which has to trust [`FaultProxy::ca`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Speaks TLS with the server, whose authority is in the file `ca`, in PEM.
    ///
    /// # Errors
    /// When there is none.
    pub fn trust(mut self, ca: impl AsRef<Path>) -> io::Result<Self> {
        self.trust = Some(tls::client(ca.as_ref())?);
        Ok(self)
    }

    /// Makes the line to the client so slow.
    #[must_use]
    pub fn line(mut self, line: Line) -> Self {
        self.line = line;
        self
    }

    /// Doesn't look at what passes: the least overhead there is, no rules, and no requests are counted.
    #[must_use]
    pub fn opaque(mut self) -> Self {
        self.opaque = true;
        self
    }

    /// Listens.
    ///
    /// # Errors
    /// When no port or thread is to be had, or no certificate; with TLS towards one side only where both have to have it.
    pub fn start(self) -> io::Result<FaultProxy> {
        let encrypted = self.upstream.as_ref().is_some_and(|upstream| upstream.encrypted);
        if self.tls && encrypted && self.trust.is_none() {
            let message = "a proxy that ends TLS needs the authority of the server that speaks it: `trust`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let identity = if self.tls { Some(tls::identity()?) } else { None };
        let ca = match identity {
            Some(identity) => {
                let mut file = NamedTempFile::new()?;
                file.write_all(identity.authority.as_bytes())?;
                Some(file)
            }
            None => None,
        };
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (refuse, refusing) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let (told, tell) = mpsc::channel();
        let shared = Arc::new(Shared {
            upstream: self.upstream,
            line: self.line,
            opaque: self.opaque,
            identity,
            trust: self.trust,
            cut: watch::channel(0).0,
            connections: AtomicUsize::new(0),
            rules: Mutex::default(),
            requests: Mutex::default(),
        });
        let thread = std::thread::Builder::new().name("fault-proxy".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, listener, address, refusing, stopped, &told)
        })?;
        Ok(FaultProxy {
            shared,
            address,
            ca,
            refuse,
            stop,
            tell: Mutex::new(tell),
            thread: Some(thread),
        })
    }
}

/// A running proxy.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca: Option<NamedTempFile>,
    refuse: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    /// Says that a change between refusing and accepting has happened.
    tell: Mutex<mpsc::Receiver<io::Result<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// A proxy in front of `upstream`: an `http` or `https` URL, or `HOST:PORT`.
    ///
    /// # Errors
    /// When that has no address.
    pub fn to(upstream: &str) -> io::Result<Builder> {
        let (scheme, rest) = upstream.split_once("://").unwrap_or(("http", upstream));
        let encrypted = scheme == "https";
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let port = if encrypted { 443 } else { 80 };
        let (host, mut addresses) = match authority.rsplit_once(':') {
            Some((host, _)) => (host, authority.to_socket_addrs()?),
            None => (authority, (authority, port).to_socket_addrs()?),
        };
        Ok(Builder::new(Some(Upstream {
            address: addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
            host: host.trim_matches(['[', ']']).to_owned(),
            encrypted,
        })))
    }

    /// A listener with no server behind it: what no rule answers is reset.
    #[must_use]
    pub fn alone() -> Builder {
        Builder::new(None)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL, `http://127.0.0.1:PORT`, or `https` when it speaks [TLS](Builder::tls).
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The file with the authority that its clients have to trust, in PEM. It is there for as long as the proxy.
    ///
    /// # Panics
    /// When the proxy speaks no [TLS](Builder::tls).
    #[must_use]
    pub fn ca(&self) -> &Path {
        self.ca.as_ref().expect("a proxy that speaks TLS").path()
    }

    /// Adds a rule. Of several that fit a request the first one added acts.
    pub fn add(&self, rule: Rule) {
        self.shared.rules().push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.shared.rules().clear();
    }

    /// Resets every connection there is and refuses new ones, until [`accept`](Self::accept).
    ///
    /// # Panics
    /// When the operating system doesn't let it.
    pub fn refuse(&self) {
        self.change(true);
        self.cut();
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Panics
    /// When the operating system doesn't let it.
    pub fn accept(&self) {
        self.change(false);
    }

    /// Resets every connection there is. New ones are accepted.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|generation| *generation += 1);
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The requests that came, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.shared.requests().clone()
    }

    /// Forgets the requests that came, and the number of connections.
    pub fn forget(&self) {
        self.shared.requests().clear();
        self.shared.connections.store(0, Ordering::Relaxed);
    }

    fn change(&self, refuse: bool) {
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        if self.refuse.send_replace(refuse) == refuse {
            return;
        }
        tell.recv().expect("the proxy's thread runs").expect("the port is ours");
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; a second one here would abort the test run.
            let _ = thread.join();
        }
    }
}

/// The server behind a proxy.
#[derive(Debug, Clone)]
struct Upstream {
    address: SocketAddr,
    /// The name that its certificate has to have.
    host: String,
    encrypted: bool,
}

/// What the caller's side and the proxy's thread share.
struct Shared {
    upstream: Option<Upstream>,
    line: Line,
    opaque: bool,
    /// Shown to clients, when they are to speak TLS.
    identity: Option<&'static tls::Identity>,
    /// How to speak TLS with the server, when it is to be.
    trust: Option<Arc<ClientConfig>>,
    /// Counts up when all connections are to be reset.
    cut: watch::Sender<u64>,
    connections: AtomicUsize,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Arc<Request>>>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Arc<Request>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the request and says what happens to it.
    fn judge(&self, request: Request) -> Option<Fault> {
        // Every rule counts the requests that it fits, whichever of them acts.
        let acting: Vec<Fault> = self.rules().iter_mut().filter_map(|rule| rule.judge(&request)).collect();
        self.requests().push(Arc::new(request));
        acting.into_iter().next()
    }
}

/// The proxy's thread. Dropping the runtime at its end drops every connection.
fn run(
    shared: &Arc<Shared>,
    listener: StdListener,
    address: SocketAddr,
    refusing: watch::Receiver<bool>,
    mut stopped: watch::Receiver<bool>,
    told: &mpsc::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = serve(shared, listener, address, refusing, told) => {}
        }
    });
}

async fn serve(
    shared: &Arc<Shared>,
    listener: StdListener,
    address: SocketAddr,
    mut refusing: watch::Receiver<bool>,
    told: &mpsc::Sender<io::Result<()>>,
) {
    let mut listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else {
                    // The connection is gone already, or there are too many open files, which passes.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection::serve(Arc::clone(shared), client, number, shared.cut.subscribe()));
            }
            () = until(&mut refusing, true) => {
                drop(listener);
                let held = hold(address);
                let _ = told.send(held.as_ref().map(|_| ()).map_err(|error| error.kind().into()));
                let Ok(held) = held else { return };
                until(&mut refusing, false).await;
                let opened = held.listen(BACKLOG);
                let _ = told.send(opened.as_ref().map(|_| ()).map_err(|error| error.kind().into()));
                let Ok(opened) = opened else { return };
                listener = opened;
            }
        }
    }
}

/// Waits until connections are to be refused, or no longer.
async fn until(refusing: &mut watch::Receiver<bool>, refuse: bool) {
    // The sender lives until this thread has ended.
    let _ = refusing.wait_for(|now| *now == refuse).await;
}

/// Keeps the port without listening on it: whoever connects is refused, and nobody else gets it.
fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
