//! Which requests something happens to, and what.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::http::Request;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request passes, so that a rule before others can make an exception.
    Pass,
    /// No answer ever comes, and the server doesn't get the request.
    Hang,
    /// The server gets the request and acts on it, its answer never comes.
    LoseAnswer,
    /// The connection is reset (RST), and the server doesn't get the request.
    Reset,
    /// The head of the answer and so many bytes of its body come, then the connection is reset (RST).
    ResetAfter(usize),
    /// The head of the answer and so many bytes of its body come, then the connection is closed (FIN).
    CloseAfter(usize),
    /// The head of the answer and so many bytes of its body come. The server's side of the connection is closed, and the client is not told: for it the
    /// connection is open and silent.
    HalfOpenAfter(usize),
    /// This comes instead of the server's answer, and the server doesn't get the request.
    Answer(Answer),
    /// The head of this answer comes without a length, then its body again and again for as long as the client reads.
    Endless(Answer),
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// An answer that takes the place of the server's.
#[derive(Clone)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// An empty answer with this status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Sends the client to another address, method and body included.
    #[must_use]
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::new(307).header("location", location)
    }

    /// The same with one header more. `Content-Length` comes by itself.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The head as it goes over the line, with the length of the body if it has one.
    pub(super) fn head(&self, length: Option<usize>) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} fault\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match length {
            Some(length) => head.push_str(&format!("content-length: {length}\r\n\r\n")),
            None => head.push_str("connection: close\r\n\r\n"),
        }
        head.into_bytes()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

type Condition = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// A fault and the requests that it happens to: all of them, or those that fit every condition added.
#[derive(Clone)]
pub struct Rule {
    fault: Fault,
    conditions: Vec<Condition>,
    /// Which of the requests that fit, counted from 1.
    which: RangeInclusive<usize>,
    seen: usize,
}

impl Rule {
    /// On every request.
    #[must_use]
    pub fn new(fault: impl Into<Fault>) -> Self {
        Self {
            fault: fault.into(),
            conditions: Vec::new(),
            which: 1..=usize::MAX,
            seen: 0,
        }
    }

    /// Only on requests for which this holds.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Only on requests with this method.
    #[must_use]
    pub fn method(self, method: impl Into<String>) -> Self {
        let method = method.into();
        self.when(move |request| request.method() == method)
    }

    /// Only on requests whose path, query included, contains this text.
    #[must_use]
    pub fn path(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.when(move |request| request.path().contains(&part))
    }

    /// Only on requests with this value of this header.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.when(move |request| request.header(&name) == Some(&value))
    }

    /// Only on the `n`-th request that fits, counted from 1 and from the moment that the rule is added.
    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        self.which(n..=n)
    }

    /// Only on these of the requests that fit, counted from 1 and from the moment that the rule is added.
    #[must_use]
    pub fn which(mut self, which: RangeInclusive<usize>) -> Self {
        self.which = which;
        self
    }

    pub(super) fn judge(&mut self, request: &Request) -> Option<Fault> {
        if !self.conditions.iter().all(|condition| condition(request)) {
            return None;
        }
        self.seen += 1;
        self.which.contains(&self.seen).then(|| self.fault.clone())
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("fault", &self.fault)
            .field("which", &self.which)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
