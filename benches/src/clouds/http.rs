//! The barest HTTP/1.1 client: no pool, no TLS, no retries. It writes the data, and it is the floor.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;

/// A server, or the proxy in front of one.
#[derive(Clone, Copy)]
pub(super) struct Endpoint(SocketAddr);

impl Endpoint {
    /// Of `http://HOST:PORT`, which must be an address and not a name: looking one up is not what is measured.
    pub(super) fn parse(url: &str) -> Outcome<Self> {
        let authority = url.strip_prefix("http://").ok_or("not an `http` URL")?;
        let authority = authority.trim_end_matches('/').replace("localhost", "127.0.0.1");
        Ok(Self(
            authority
                .parse()
                .map_err(|_| format!("`{url}` is not `http://ADDRESS:PORT`"))?,
        ))
    }

    /// A connection of its own.
    pub(super) async fn connect(self) -> Outcome<Connection> {
        let stream = TcpStream::connect(self.0).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            host: self.0,
            received: Vec::new(),
        })
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    received: Vec<u8>,
}

impl Connection {
    /// Sends a request and gives the answer's status and body. `headers` are whole lines.
    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Outcome<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") {
                break end;
            }
            self.receive().await?;
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).ok_or("the answer is not HTTP")?.parse()?;
        let header = |name: &str| {
            head.lines()
                .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let body = if header("transfer-encoding").is_some() {
            self.chunks().await?
        } else {
            let length = header("content-length").map_or(Ok(0), str::parse)?;
            self.take(length).await?
        };
        Ok((status, String::from_utf8(body)?))
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// The answers to two requests on one connection.
    fn answers(bytes: &'static [u8]) -> Outcome<Vec<(u16, String)>> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr()?))?;
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
