//! Answers: of bounded size, wiped when they go.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use keyfob_core::adapter::WipedBuffer;
use keyfob_core::{Error, ErrorKind};
use kube::client::Body;
use zeroize::Zeroizing;

use crate::error::{broken, write_unsettled};

/// The largest answer that is read. A Secret has 1 MiB, which is 1.4 MiB in base64; a list of metadata can be larger.
const MAX_BYTES: usize = 32 << 20;
/// The longest line of a watch: metadata with annotations of 256 KiB, each character perhaps escaped.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Why an answer could not be read.
pub(super) enum Problem {
    TooLarge,
    Broken(kube::Error),
}

impl Problem {
    pub(super) fn error(&self, writes: bool) -> Error {
        match self {
            Self::TooLarge => Error::new(
                ErrorKind::Other,
                "the answer is larger than any answer of an API server should be (32 MiB)",
            ),
            Self::Broken(_) if writes => write_unsettled(),
            Self::Broken(error) => broken(error),
        }
    }
}

/// Reads a body to its end.
pub(super) async fn read(response: Response<Body>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    if announced > MAX_BYTES {
        return Err(Problem::TooLarge);
    }
    let mut body = response.into_body();
    let mut buffer = WipedBuffer::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Problem::Broken)?.into_data() else {
            continue;
        };
        if buffer.len() + data.len() > MAX_BYTES {
            return Err(Problem::TooLarge);
        }
        buffer.extend(&data);
    }
    Ok(buffer.into_inner())
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

/// The lines of an answer that goes on, as they come.
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn of(response: Response<Body>) -> Self {
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Problem::TooLarge.error(false));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
