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
//! Header values and bodies are kept in memory, for assertions, and never printed.

mod connection;
mod http;
mod line;
mod rule;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

pub use http::Request;
pub use line::Line;
pub use rule::{Answer, Fault, Rule};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// What a proxy is made from; see [`FaultProxy::to`].
#[derive(Debug, Clone)]
pub struct Builder {
    upstream: Option<SocketAddr>,
    line: Line,
    opaque: bool,
}

impl Builder {
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
    /// When no port or thread is to be had.
    pub fn start(self) -> io::Result<FaultProxy> {
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
        let (port, rest) = match upstream.split_once("://") {
            Some(("https", rest)) => (443, rest),
            Some((_, rest)) => (80, rest),
            None => (80, upstream),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let mut addresses = if authority.contains(':') {
            authority.to_socket_addrs()?
        } else {
            (authority, port).to_socket_addrs()?
        };
        let upstream = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Builder {
            upstream: Some(upstream),
            line: Line::default(),
            opaque: false,
        })
    }

    /// A listener with no server behind it: what no rule answers is reset.
    #[must_use]
    pub fn alone() -> Builder {
        Builder {
            upstream: None,
            line: Line::default(),
            opaque: false,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

/// What the caller's side and the proxy's thread share.
struct Shared {
    upstream: Option<SocketAddr>,
    line: Line,
    opaque: bool,
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
