//! The barest HTTP client: no pool, no retries. It writes the data, and it is the floor.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::tls;
use crate::Outcome;

/// A server, or the proxy in front of one.
#[derive(Clone)]
pub(super) struct Endpoint {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// Of `http://HOST:PORT`, or of `https://HOST:PORT` with the authority in the file `ca`. The host must be an address and
    /// not a name: looking one up is not what is measured.
    pub(super) fn parse(url: &str, ca: Option<&Path>) -> Outcome<Self> {
        let (authority, ca) = match (url.strip_prefix("http://"), url.strip_prefix("https://"), ca) {
            (Some(authority), _, _) => (authority, None),
            (_, Some(authority), Some(ca)) => (authority, Some(ca)),
            _ => return Err(format!("`{url}` is not an `http` URL, and no authority is known for it").into()),
        };
        let authority = authority.trim_end_matches('/').replace("localhost", "127.0.0.1");
        Ok(Self {
            address: authority
                .parse()
                .map_err(|_| format!("`{url}` is not an address and a port"))?,
            tls: ca.map(tls::client).transpose()?,
        })
    }

    /// A connection of its own, for HTTP/1.1.
    pub(super) async fn connect(&self) -> Outcome<Connection> {
        Ok(Connection {
            stream: self.open(b"http/1.1").await?,
            host: self.address,
            received: Vec::new(),
        })
    }

    /// A connection of its own, for any number of requests at the same time.
    pub(super) async fn multiplex(&self) -> Outcome<Multiplexed> {
        let stream = TokioIo::new(self.open(b"h2").await?);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        Ok(Multiplexed {
            sender,
            host: self.address,
        })
    }

    async fn open(&self, protocol: &[u8]) -> Outcome<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let mut config = ClientConfig::clone(config);
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = self.address.ip().into();
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// HTTP/2.
#[derive(Clone)]
pub(super) struct Multiplexed {
    sender: SendRequest<Empty<&'static [u8]>>,
    host: SocketAddr,
}

impl Multiplexed {
    /// Gives the answer's status and body.
    pub(super) async fn get(&mut self, path: &str, authorization: &str) -> Outcome<(u16, String)> {
        let request = hyper::Request::get(format!("https://{}{path}", self.host))
            .header("authorization", authorization)
            .body(Empty::new())?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.into())?))
    }
}

/// HTTP/1.1.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    host: SocketAddr,
    received: Vec<u8>,
}

impl Connection {
    /// Sends a request and gives the answer's status and body. `headers` are whole lines.
    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Outcome<(u16, String)> {
        let headers = format!("Host: {}\r\n{headers}", self.host);
        let answer = self.exchange(method, path, &headers, body.as_bytes()).await?;
        Ok((answer.status, String::from_utf8(answer.body)?))
    }

    /// The same with all headers but the length of the body given.
    pub(super) async fn exchange(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") {
                break end;
            }
            self.receive().await?;
        };
        let head = String::from_utf8(self.take(end + 4).await?)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut answer = Answer {
            status: status.ok_or("the answer is not HTTP")?.parse()?,
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        };
        answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
            (Some(_), _) => self.chunks().await?,
            (None, Some(length)) => self.take(length.parse()?).await?,
            (None, None) => Vec::new(),
        };
        Ok(answer)
    }

    async fn chunks(&mut self) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = memchr::memmem::find(&self.received, b"\r\n") {
                    break end;
                }
                self.receive().await?;
            };
            let line = self.take(end + 2).await?;
            let length = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
            // Each chunk, the last and empty one too, ends with a line break.
            let mut chunk = self.take(length + 2).await?;
            if length == 0 {
                return Ok(body);
            }
            chunk.truncate(length);
            body.append(&mut chunk);
        }
    }

    async fn take(&mut self, length: usize) -> Outcome<Vec<u8>> {
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    async fn receive(&mut self) -> Outcome {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            return Err("the server closed the connection in the middle of an answer".into());
        }
        Ok(())
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn header(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == wanted)?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// The answers to two requests on one connection.
    fn answers(bytes: &'static [u8]) -> Outcome<Vec<(u16, String)>> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr()?), None)?;
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // In pieces, so that nothing relies on where one ends.
            for piece in bytes.chunks(7) {
                stream.write_all(piece).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let answers = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async {
                let mut connection = endpoint.connect().await?;
                let first = connection.send("GET", "/", "", "").await?;
                Ok(vec![first, connection.send("GET", "/", "", "").await?])
            });
        server.join().unwrap();
        answers
    }

    #[test]
    fn bodies_with_a_length_and_bodies_in_chunks_are_read() {
        let answers = answers(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
              HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(answers.unwrap(), [(200, "abc".to_owned()), (404, "abcde".to_owned())]);
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        let first = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert!(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").is_err());
        assert!(answers(first.as_bytes()).is_err());
    }
}
