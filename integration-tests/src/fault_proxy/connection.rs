//! One connection of a client, and the server's behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Shared;
use super::http::{Parsed, end_of_head, parse};
use super::line::Outlet;
use super::rule::{Answer, Fault};
use super::stream::{Inlet, Stream};

const BUFFER_BYTES: usize = 64 << 10;
/// What was sent must have left the machine's buffers before a reset throws them away.
const BEFORE_RESET: Duration = Duration::from_millis(5);
const MOST_CONNECT_TIME: Duration = Duration::from_secs(5);

/// Serves a client until either side ends, or all connections are cut.
pub(super) async fn serve(shared: Arc<Shared>, mut client: TcpStream, number: usize, mut cut: watch::Receiver<u64>) {
    // Fails only on connections that are gone.
    let _ = client.set_nodelay(true);
    if shared.opaque && shared.line.is_fast() && shared.identity.is_none() && shared.trust.is_none() {
        let ended = tokio::select! {
            spliced = splice(&shared, &mut client) => spliced.is_ok(),
            _ = cut.changed() => false,
        };
        if !ended {
            let _ = client.set_zero_linger();
        }
        return;
    }
    let encrypted = shared.identity.is_some();
    let accepted = tokio::select! {
        accepted = accept(&shared, client) => accepted,
        _ = cut.changed() => return,
    };
    // A client that trusts somebody else, or speaks no TLS.
    let Ok(client) = accepted else { return };
    let (inlet, outlet) = client.split();
    let mut connection = Connection {
        foreign: shared.opaque,
        outlet: Outlet::new(outlet, shared.line),
        shared,
        number,
        inlet,
        server: None,
        pending: Vec::new(),
        answering: Answering::Pass,
        // The handshake took the time already.
        opening: !encrypted,
        continued: false,
    };
    let end = tokio::select! {
        end = connection.relay() => end.unwrap_or(End::Reset),
        _ = cut.changed() => End::Reset,
    };
    connection.end(end, &mut cut).await;
}

async fn splice(shared: &Shared, client: &mut TcpStream) -> io::Result<()> {
    let mut server = reach(shared).await?;
    copy_bidirectional(client, &mut server).await.map(|_| ())
}

/// Shakes hands with a client that is to use TLS.
async fn accept(shared: &Shared, client: TcpStream) -> io::Result<Stream> {
    let Some(identity) = shared.identity else {
        return Ok(Stream::Plain(client));
    };
    tokio::time::sleep(shared.line.handshake()).await;
    let client = TlsAcceptor::from(Arc::clone(&identity.config)).accept(client).await?;
    Ok(Stream::Tls(Box::new(client.into())))
}

async fn connect(shared: &Shared) -> io::Result<Stream> {
    let server = reach(shared).await?;
    let (Some(trust), Some(upstream)) = (&shared.trust, &shared.upstream) else {
        return Ok(Stream::Plain(server));
    };
    let name = upstream.host.clone().try_into().map_err(io::Error::other)?;
    let handshake = TlsConnector::from(Arc::clone(trust)).connect(name, server);
    let server = tokio::time::timeout(MOST_CONNECT_TIME, handshake).await??;
    Ok(Stream::Tls(Box::new(server.into())))
}

async fn reach(shared: &Shared) -> io::Result<TcpStream> {
    let upstream = shared.upstream.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
    let server = tokio::time::timeout(MOST_CONNECT_TIME, TcpStream::connect(upstream.address)).await??;
    server.set_nodelay(true)?;
    Ok(server)
}

struct Connection {
    shared: Arc<Shared>,
    number: usize,
    inlet: Inlet,
    outlet: Outlet,
    server: Option<Server>,
    /// What came from the client and is no whole request yet.
    pending: Vec<u8>,
    answering: Answering,
    /// The client got no byte yet.
    opening: bool,
    /// The client was told to go on with the body of the request that it is sending.
    continued: bool,
    /// What passes is not HTTP, or not looked at.
    foreign: bool,
}

struct Server {
    inlet: Inlet,
    outlet: Outlet,
}

/// What happens to the server's bytes.
enum Answering {
    Pass,
    Swallow,
    /// The head and so many bytes of the body pass, then comes the end.
    Until {
        head: Vec<u8>,
        left: usize,
        end: End,
    },
    Body {
        left: usize,
        end: End,
    },
}

/// How a connection ends for the client.
#[derive(Debug, Clone, Copy)]
enum End {
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// RST when everything that was sent has arrived.
    FlushAndReset,
    /// Nothing happens until the client goes.
    Silence,
}

enum Came {
    FromClient(usize),
    FromServer(usize),
}

impl Connection {
    async fn relay(&mut self) -> io::Result<End> {
        let mut from_client = vec![0; BUFFER_BYTES];
        let mut from_server = vec![0; BUFFER_BYTES];
        let mut client_ended = false;
        loop {
            let server = &mut self.server;
            let came = tokio::select! {
                read = self.inlet.read(&mut from_client), if !client_ended => Came::FromClient(read?),
                read = read(server, &mut from_server) => Came::FromServer(read?),
            };
            match came {
                Came::FromClient(0) => {
                    let Some(server) = &mut self.server else {
                        return Ok(End::Close);
                    };
                    server.outlet.end().await;
                    client_ended = true;
                }
                Came::FromClient(length) => {
                    if let Some(end) = self.client_sent(&from_client[..length]).await? {
                        return Ok(end);
                    }
                }
                Came::FromServer(0) => {
                    return Ok(match self.answering {
                        Answering::Swallow => End::Silence,
                        _ => End::Close,
                    });
                }
                Came::FromServer(length) => {
                    if let Some(end) = self.server_sent(&from_server[..length]).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    async fn client_sent(&mut self, bytes: &[u8]) -> io::Result<Option<End>> {
        if self.foreign {
            self.forward(bytes).await?;
            return Ok(None);
        }
        self.pending.extend_from_slice(bytes);
        while !self.pending.is_empty() {
            match parse(&self.pending, self.number) {
                Parsed::Incomplete { continues } => {
                    if continues && !self.continued {
                        self.continued = true;
                        self.answer(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                    }
                    break;
                }
                Parsed::Foreign => {
                    self.foreign = true;
                    let bytes = std::mem::take(&mut self.pending);
                    self.forward(&bytes).await?;
                }
                Parsed::Whole(request, taken) => {
                    self.continued = false;
                    let fault = self.shared.judge(request);
                    let bytes: Vec<u8> = self.pending.drain(..taken).collect();
                    if let Some(end) = self.act(fault.unwrap_or(Fault::Pass), &bytes).await? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn act(&mut self, fault: Fault, request: &[u8]) -> io::Result<Option<End>> {
        let until = |left, end| Answering::Until {
            head: Vec::new(),
            left,
            end,
        };
        self.answering = match fault {
            Fault::Pass => Answering::Pass,
            Fault::LoseAnswer => Answering::Swallow,
            Fault::ResetAfter(left) => until(left, End::FlushAndReset),
            Fault::CloseAfter(left) => until(left, End::Close),
            Fault::HalfOpenAfter(left) => until(left, End::Silence),
            Fault::Hang => return Ok(Some(End::Silence)),
            Fault::Reset => return Ok(Some(End::Reset)),
            Fault::Answer(answer) => {
                let mut bytes = answer.head(Some(answer.body.len()));
                if !request.starts_with(b"HEAD ") {
                    bytes.extend_from_slice(&answer.body);
                }
                self.answer(&bytes).await?;
                return Ok(None);
            }
            Fault::Endless(answer) => return self.endless(&answer).await.map(Some),
        };
        self.forward(request).await?;
        Ok(None)
    }

    async fn endless(&mut self, answer: &Answer) -> io::Result<End> {
        self.answer(&answer.head(None)).await?;
        let body: &[u8] = if answer.body.is_empty() { b" " } else { &answer.body };
        let block = body.repeat(BUFFER_BYTES.div_ceil(body.len()));
        let mut sink = [0; 512];
        loop {
            // A client that has gone is seen by the write, or by the end of what it sends.
            tokio::select! {
                sent = self.outlet.send(&block, self.shared.line.down()) => sent?,
                read = self.inlet.read(&mut sink) => if read? == 0 { return Ok(End::Reset) },
            }
            // The proxy's thread must also see the other connections.
            tokio::task::yield_now().await;
        }
    }

    async fn forward(&mut self, bytes: &[u8]) -> io::Result<()> {
        let server = match &mut self.server {
            Some(server) => server,
            none => {
                let (inlet, outlet) = connect(&self.shared).await?.split();
                let outlet = Outlet::new(outlet, self.shared.line);
                none.insert(Server { inlet, outlet })
            }
        };
        server.outlet.send(bytes, self.shared.line.up(self.opening)).await
    }

    /// Sends an answer of the proxy's own, as late as the server's would come.
    async fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        let line = self.shared.line;
        let delay = line.up(self.opening) + line.down();
        self.opening = false;
        self.outlet.send(bytes, delay).await
    }

    async fn server_sent(&mut self, bytes: &[u8]) -> io::Result<Option<End>> {
        let delay = self.shared.line.down();
        match &mut self.answering {
            Answering::Pass => {
                self.opening = false;
                self.outlet.send(bytes, delay).await?;
                Ok(None)
            }
            Answering::Swallow => Ok(None),
            Answering::Until { head, left, end } => {
                head.extend_from_slice(bytes);
                let Some(length) = end_of_head(head) else { return Ok(None) };
                let body = head.split_off(length);
                let (head, end) = (std::mem::take(head), *end);
                let Some(left) = inside_body(&head, &body, *left) else {
                    self.outlet.send(&head[..head.len() - 2], delay).await?;
                    return Ok(Some(end));
                };
                self.outlet.send(&head, delay).await?;
                self.answering = Answering::Body { left, end };
                self.body(&body, delay).await
            }
            Answering::Body { .. } => self.body(bytes, delay).await,
        }
    }

    async fn body(&mut self, bytes: &[u8], delay: Duration) -> io::Result<Option<End>> {
        let Answering::Body { left, end } = &mut self.answering else {
            return Ok(None);
        };
        let passing = bytes.len().min(*left);
        *left -= passing;
        if passing > 0 {
            self.outlet.send(&bytes[..passing], delay).await?;
        }
        Ok((*left == 0).then_some(*end))
    }

    async fn end(mut self, end: End, cut: &mut watch::Receiver<u64>) {
        // The server is told that its client has gone, whatever the client is told.
        self.server = None;
        match end {
            End::Reset => self.inlet.reset(),
            End::FlushAndReset => {
                let half = self.outlet.finish(false).await;
                tokio::time::sleep(BEFORE_RESET).await;
                self.inlet.reset();
                drop(half);
            }
            End::Close => {
                let half = self.outlet.finish(true).await;
                drain(&mut self.inlet, cut).await;
                drop(half);
            }
            End::Silence => drain(&mut self.inlet, cut).await,
        }
    }
}

/// Reads from a server that may not be there; then it never gives an answer.
async fn read(server: &mut Option<Server>, buffer: &mut [u8]) -> io::Result<usize> {
    match server {
        Some(server) => server.inlet.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Reads what the client still sends until it goes: closing on unread bytes would reset the connection.
async fn drain(inlet: &mut Inlet, cut: &mut watch::Receiver<u64>) {
    let mut sink = vec![0; BUFFER_BYTES];
    loop {
        tokio::select! {
            read = inlet.read(&mut sink) => if !matches!(read, Ok(1..)) { return },
            _ = cut.changed() => {
                inlet.reset();
                return;
            }
        }
    }
}

/// How many bytes of a body pass when `wanted` are to: fewer than it has, so that the end comes in its middle. `None` when
/// there is no body.
fn inside_body(head: &[u8], body: &[u8], wanted: usize) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = |name: &str| {
        head.split("\r\n")
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    if value("transfer-encoding").is_some() {
        // What ends with the last chunk is whole.
        let whole = body.ends_with(b"0\r\n\r\n") && body.len() <= wanted;
        return Some(if whole { body.len() - 5 } else { wanted });
    }
    match value("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if length > 0 => Some(wanted.min(length - 1)),
        _ => None,
    }
}
