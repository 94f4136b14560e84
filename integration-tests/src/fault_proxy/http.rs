//! As much of HTTP/1.1 as is needed to tell requests apart.

use std::fmt;

/// A head that is longer is not HTTP to us.
const MOST_HEAD_BYTES: usize = 256 << 10;
/// So much of a body is kept for assertions.
const MOST_BODY_BYTES: usize = 4 << 20;

/// A request that came. `Debug` prints neither values of headers nor the body.
#[derive(Clone)]
pub struct Request {
    connection: usize,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// On which connection it came, counted from 0.
    #[must_use]
    pub fn connection(&self) -> usize {
        self.connection
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its path with the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a header, whose name may be written in any case. Of several the first.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The names of its headers, in lower case.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// Its body, at most 4 MiB of it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether this text stands anywhere in it: in the path, in a header or in the body.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.path.contains(text)
            || self
                .headers
                .iter()
                .any(|(name, value)| name.contains(text) || value.contains(text))
            || (!text.is_empty() && self.body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.header_names().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What the bytes that came so far are.
#[derive(Debug)]
pub(super) enum Parsed {
    /// More is needed.
    Incomplete {
        /// The client waits for `100 Continue` before it sends the body.
        continues: bool,
    },
    /// A whole request and how many bytes it takes.
    Whole(Request, usize),
    /// No HTTP/1.1.
    Foreign,
}

/// Reads the request that `bytes` begin with.
pub(super) fn parse(bytes: &[u8], connection: usize) -> Parsed {
    let more = Parsed::Incomplete { continues: false };
    let Some(head_length) = end_of_head(bytes) else {
        return if looks_like_http(bytes) { more } else { Parsed::Foreign };
    };
    let Some(mut request) = parse_head(&bytes[..head_length], connection) else {
        return Parsed::Foreign;
    };
    let rest = &bytes[head_length..];
    let chunked = request
        .header("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = if chunked {
        dechunk(rest)
    } else {
        let length = match request.header("content-length").map(str::parse) {
            None => 0,
            Some(Ok(length)) => length,
            Some(Err(_)) => return Parsed::Foreign,
        };
        rest.get(..length).map(|body| (body.to_vec(), length))
    };
    match body {
        Some((mut body, taken)) => {
            body.truncate(MOST_BODY_BYTES);
            request.body = body;
            Parsed::Whole(request, head_length + taken)
        }
        None => Parsed::Incomplete {
            continues: request
                .header("expect")
                .is_some_and(|value| value.eq_ignore_ascii_case("100-continue")),
        },
    }
}

/// The length of the head that `bytes` begin with, the empty line included.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|position| position + 4)
}

/// Whether these can be the first bytes of an HTTP/1.1 request: a method in capitals, then something printable.
fn looks_like_http(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let rest = &bytes[method..];
    bytes.len() <= MOST_HEAD_BYTES && (rest.is_empty() || (method > 0 && rest[0] == b' '))
}

fn parse_head(head: &[u8], connection: usize) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path, version) = (first.next()?, first.next()?, first.next()?);
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Request {
        connection,
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers.collect(),
        body: Vec::new(),
    })
}

/// The content of a body in chunks and how many bytes it takes, or nothing while it is not whole.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2;
        if size == 0 {
            // Trailers end with an empty line, as a head does; mostly there are none.
            let trailers = &bytes[at..];
            let end = if trailers.starts_with(b"\r\n") {
                2
            } else {
                end_of_head(trailers)?
            };
            return Some((body, at + end));
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        if at > bytes.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Request {
        // Whatever is cut off, more is asked for and nothing is misread.
        for end in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..end], 0), Parsed::Incomplete { .. }), "{end}");
        }
        match parse(bytes, 0) {
            Parsed::Whole(request, taken) => {
                assert_eq!(taken, bytes.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_requests_with_and_without_a_body() {
        let request = whole(b"LIST /v1/a?x=y HTTP/1.1\r\nHost: a\r\nX-Vault-Token: t\r\n\r\n");
        assert_eq!((request.method(), request.path()), ("LIST", "/v1/a?x=y"));
        assert_eq!(request.header("x-vault-token"), Some("t"));
        assert!(!format!("{request:?}").contains("\"t\""));

        let request = whole(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(request.body(), b"abc");
        let request = whole(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
        assert_eq!(request.body(), b"abcde");
        assert!(request.contains("bcd") && !request.contains("bce"));
    }

    #[test]
    fn two_requests_are_told_apart() {
        let one = b"PUT /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx";
        let both = [&one[..], b"GET /b HTTP/1.1\r\n\r\n"].concat();
        let Parsed::Whole(_, taken) = parse(&both, 0) else {
            panic!("not whole")
        };
        assert_eq!(taken, one.len());
    }

    #[test]
    fn what_is_no_http_is_said_to_be_none() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"PRI * HTTP/2.0\r\n\r\n",
            b"get / HTTP/1.1",
            b"GET / HTTP/2\r\n\r\n",
        ] {
            assert!(matches!(parse(bytes, 0), Parsed::Foreign), "{bytes:?}");
        }
    }
}
