//! A proxy that knows where PostgreSQL's messages begin and end: it can spoil the answer to one request, at any byte, let the
//! server itself fail, or hold a request back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::spoil::PLANTED;

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// There are no connections, and none can be made.
    Refuse,
    /// In its place the server is asked for something that fails with this code.
    Fail(&'static str),
    Spoil {
        /// Whether the server gets the request, and does it.
        is_done: bool,
        answer: Answer,
        end: End,
    },
}

/// What the client gets of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    First(usize),
    Half,
    AllBut(usize),
    /// Something else.
    Other(Vec<u8>),
    /// The beginning of a message that would be longer than any, and so many bytes of it.
    Endless(usize),
}

/// What comes after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    /// Nothing.
    Silence,
}

/// Which requests it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Every,
    /// Counted from 1.
    Only(usize),
}

/// What came since the proxy was told what to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) spoiled: usize,
    /// How many of them were to make changes last.
    pub(crate) commits: usize,
    pub(crate) spoiled_commits: usize,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    acceptor: Option<AbortHandle>,
    refusing: Option<TcpSocket>,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    plan: Mutex<Plan>,
    cut: watch::Sender<()>,
    connections: watch::Sender<usize>,
}

#[derive(Default)]
struct Plan {
    effect: Option<(Effect, Which)>,
    seen: Seen,
}

impl Proxy {
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        let socket = bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::default(),
            cut: watch::Sender::new(()),
            connections: watch::Sender::new(0),
        });
        let mut proxy = Self {
            address: socket.local_addr().unwrap(),
            acceptor: None,
            refusing: None,
            shared,
        };
        proxy.accept(socket);
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on this happens, if anything.
    pub(crate) async fn spoil(&mut self, effect: Option<(Effect, Which)>) {
        if matches!(effect, Some((Effect::Refuse, _))) {
            self.acceptor.take().unwrap().abort();
            self.cut().await;
            // Whoever has the port and does not listen keeps it from everybody else.
            self.refusing = Some(self.bound_again().await);
        }
        *self.shared.plan() = Plan {
            effect,
            seen: Seen::default(),
        };
    }

    /// From now on nothing happens. What came until now.
    pub(crate) fn mend(&mut self) -> Seen {
        if let Some(socket) = self.refusing.take() {
            self.accept(socket);
        }
        std::mem::take(&mut *self.shared.plan()).seen
    }

    /// Closes all connections, and comes back when the client has done so as well.
    pub(crate) async fn cut(&self) {
        self.shared.cut.send_replace(());
        let mut connections = self.shared.connections.subscribe();
        connections.wait_for(|open| *open == 0).await.unwrap();
    }

    fn accept(&mut self, socket: TcpSocket) {
        let (listener, shared) = (socket.listen(64).unwrap(), Arc::clone(&self.shared));
        self.acceptor = Some(tokio::spawn(accept(listener, shared)).abort_handle());
    }

    /// The listener of a task that was stopped goes when the task does.
    async fn bound_again(&self) -> TcpSocket {
        for _ in 0..1000 {
            if let Ok(socket) = bound(self.address) {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the proxy's port does not become free");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
        self.shared.cut.send_replace(());
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }

    /// What happens to the next request.
    fn next(&self, is_commit: bool) -> Option<Effect> {
        let mut plan = self.plan();
        plan.seen.requests += 1;
        plan.seen.commits += usize::from(is_commit);
        let (effect, which) = plan.effect.as_ref()?;
        let is_chosen = match which {
            Which::Every => true,
            Which::Only(number) => *number == plan.seen.requests,
        };
        let effect = is_chosen.then(|| effect.clone())?;
        plan.seen.spoiled += 1;
        plan.seen.spoiled_commits += usize::from(is_commit);
        Some(effect)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.send_modify(|open| *open += 1);
        let shared = Arc::clone(&shared);
        // From before anything can be waited for: nothing is missed.
        let mut cut = shared.cut.subscribe();
        tokio::spawn(async move {
            let (from, mut to) = client.into_split();
            let mut from = BufReader::new(from);
            tokio::select! {
                _ = carry(&mut from, &mut to, &shared) => {}
                _ = cut.changed() => {}
            }
            close(&mut from, &mut to).await;
            shared.connections.send_modify(|open| *open -= 1);
        });
    }
}

/// What the client still sends is read: if it were not, what it was sent would be lost with the connection.
async fn close(from: &mut BufReader<OwnedReadHalf>, to: &mut OwnedWriteHalf) {
    let _ = to.shutdown().await;
    let _ = io::copy(from, &mut io::sink()).await;
}

/// Request by request, until one side closes or the fault says so.
async fn carry(from: &mut BufReader<OwnedReadHalf>, to: &mut OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(shared.upstream).await?;
    server.set_nodelay(true)?;
    to.as_ref().set_nodelay(true)?;
    let (from_server, mut to_server) = server.into_split();
    let mut from_server = BufReader::new(from_server);
    let mut is_new = true;
    let (mut is_log_in, mut is_writing) = (true, false);
    loop {
        let request = read_request(from, std::mem::take(&mut is_new)).await?;
        let has = |words: &[u8]| request.starts_with(b"Q") && request.windows(words.len()).any(|window| window == words);
        is_writing = !has(b"READ ONLY") && (is_writing || has(b"READ WRITE"));
        let is_commit = is_writing && has(b"COMMIT\0");
        let (asked, spoiled) = match shared.next(is_commit) {
            None => (Some(request), None),
            Some(Effect::Fail(code)) if !is_log_in => (Some(failing(code, is_commit)), None),
            Some(Effect::Fail(code)) => (None, Some((Answer::Other(fatal(code)), End::Close))),
            Some(Effect::Refuse) => return Ok(()),
            Some(Effect::Spoil { is_done, answer, end }) => (is_done.then_some(request), Some((answer, end))),
        };
        let mut whole = Vec::new();
        if let Some(asked) = asked {
            to_server.write_all(&asked).await?;
            let is_ready = read_answer(&mut from_server, &mut whole).await?;
            is_log_in &= !is_ready;
        }
        let Some((answer, end)) = spoiled else {
            to.write_all(&whole).await?;
            continue;
        };
        let given = match &answer {
            Answer::First(count) => &whole[..whole.len().min(*count)],
            Answer::Half => &whole[..whole.len() / 2],
            Answer::AllBut(count) => &whole[..whole.len().saturating_sub(*count)],
            Answer::Other(bytes) => bytes,
            Answer::Endless(_) => b"D\x7f\xff\xff\xff",
        };
        to.write_all(given).await?;
        if let Answer::Endless(count) = answer {
            let filler = PLANTED.as_bytes().repeat(1 << 12);
            for _ in 0..count / filler.len() {
                to.write_all(&filler).await?;
            }
        }
        if end == End::Silence {
            // Until the client has enough of it.
            io::copy(from, &mut io::sink()).await?;
        }
        return Ok(());
    }
}

/// All messages up to the one that wants an answer.
async fn read_request(from: &mut BufReader<OwnedReadHalf>, is_first: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if is_first {
        // It has no letter before its length.
        body(from, &mut bytes).await?;
        return Ok(bytes);
    }
    loop {
        let kind = from.read_u8().await?;
        bytes.push(kind);
        body(from, &mut bytes).await?;
        match kind {
            // A query, the end of a series, or a step of the log-in.
            b'Q' | b'S' | b'p' => return Ok(bytes),
            // The client leaves.
            b'X' => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// A whole answer, and whether the server is then ready for a query.
async fn read_answer(from: &mut BufReader<OwnedReadHalf>, bytes: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let kind = from.read_u8().await?;
        let start = bytes.len();
        bytes.push(kind);
        body(from, bytes).await?;
        match kind {
            b'Z' => return Ok(true),
            // A step of the log-in that wants another one.
            b'R' if !matches!(bytes[start + 5..], [0, 0, 0, 0 | 12, ..]) => return Ok(false),
            _ => {}
        }
    }
}

/// The length of a message and what it is the length of.
async fn body(from: &mut BufReader<OwnedReadHalf>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = from.read_u32().await?;
    bytes.extend(length.to_be_bytes());
    let rest = u64::from(length).saturating_sub(4);
    let read = from.take(rest).read_to_end(bytes).await?;
    if u64::try_from(read).unwrap() < rest {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// A query that fails on the server, with all that follows from it there. What was to be committed is rolled back.
fn failing(code: &str, is_commit: bool) -> Vec<u8> {
    let before = if is_commit { "ROLLBACK; " } else { "" };
    let sql = format!(
        "{before}DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = '{PLANTED}', DETAIL = '{PLANTED}', \
         HINT = '{PLANTED}'; END $$\0"
    );
    message(b'Q', sql.as_bytes())
}

/// How a server says that it ends the connection.
pub(crate) fn fatal(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{PLANTED}\0D{PLANTED}\0H{PLANTED}\0\0");
    message(b'E', fields.as_bytes())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}
