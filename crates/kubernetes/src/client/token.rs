//! The bearer token, which may change while the process runs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use keyfob_core::{Environment, Result};
use zeroize::Zeroizing;

use crate::config::{Token, invalid};

/// The kubelet renews a token when a fifth of its time is left, which is minutes at least.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 1 << 16;

/// What is sent as `Authorization`.
pub(super) enum TokenSource {
    /// None, or kube's.
    None,
    Fixed(HeaderValue),
    File(TokenFile),
}

pub(super) struct TokenFile {
    path: PathBuf,
    environment: Environment,
    last: Mutex<Last>,
}

struct Last {
    header: Option<HeaderValue>,
    read: Instant,
}

impl TokenSource {
    pub(super) fn new(token: &Token, environment: &Environment) -> Result<Self> {
        Ok(match token {
            Token::None => Self::None,
            Token::Text(text) => Self::Fixed(header(text.expose_secret()).ok_or_else(not_a_token)?),
            Token::File(path) => {
                let file = TokenFile {
                    path: path.clone(),
                    environment: environment.clone(),
                    last: Mutex::new(Last {
                        header: None,
                        read: Instant::now(),
                    }),
                };
                let first = file.read();
                if first.is_none() {
                    return Err(not_a_token().with("file", path.display().to_string()));
                }
                file.last.lock().unwrap_or_else(PoisonError::into_inner).header = first;
                Self::File(file)
            }
        })
    }

    /// What is to be sent now.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Fixed(header) => Some(header.clone()),
            Self::File(file) => file.current(READ_AGAIN_AFTER),
        }
    }

    /// What is to be sent after `refused` was refused, if that is something else.
    pub(super) fn renewed(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let Self::File(file) = self else { return None };
        file.current(Duration::ZERO).filter(|header| Some(header) != refused)
    }
}

impl TokenFile {
    fn current(&self, fresh: Duration) -> Option<HeaderValue> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.read.elapsed() >= fresh {
            // A file that is gone was taken away on purpose, perhaps: what it said is good until it is refused.
            last.header = self.read().or(last.header.take());
            last.read = Instant::now();
        }
        last.header.clone()
    }

    fn read(&self) -> Option<HeaderValue> {
        let text = self.environment.read(&self.path, MAX_BYTES).ok()?;
        header(&Zeroizing::new(text))
    }
}

/// Without the line end that files have.
fn header(token: &[u8]) -> Option<HeaderValue> {
    let token = token.trim_ascii();
    if token.is_empty() {
        return None;
    }
    let text = Zeroizing::new([b"Bearer ", token].concat());
    let mut header = HeaderValue::from_bytes(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn not_a_token() -> keyfob_core::Error {
    invalid("the token is empty, or has a character that none has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::SecretValue;

    #[test]
    fn a_line_end_belongs_to_the_file_and_not_to_the_token() {
        let environment = Environment::fake().file("/token", "kfcanary-token0001\n").build();
        let source = TokenSource::new(&Token::File("/token".into()), &environment).unwrap();
        let header = source.current().unwrap();
        assert!(header.as_bytes() == b"Bearer kfcanary-token0001" && header.is_sensitive());
        assert!(source.renewed(Some(&header)).is_none(), "nothing else is there to be sent");
    }

    #[test]
    fn a_file_is_read_again_and_its_last_token_kept_when_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "kfcanary-first0001").unwrap();
        let environment = Environment::fake().host_files().build();
        let source = TokenSource::new(&Token::File(path.clone()), &environment).unwrap();
        let first = source.current().unwrap();
        std::fs::write(&path, "kfcanary-second001\n").unwrap();
        assert!(source.current().as_ref() == Some(&first), "not read again within a minute");
        let second = source.renewed(Some(&first)).unwrap();
        assert!(second.as_bytes() == b"Bearer kfcanary-second001");
        std::fs::remove_file(&path).unwrap();
        assert!(source.renewed(Some(&first)).as_ref() == Some(&second));
    }

    #[test]
    fn what_is_no_token_is_an_error_that_does_not_repeat_it() {
        let environment = Environment::fake().file("/empty", "\n").build();
        for token in [
            Token::File("/empty".into()),
            Token::File("/missing".into()),
            Token::Text(SecretValue::from("kfcanary-a\nb0000001")),
        ] {
            let Err(error) = TokenSource::new(&token, &environment) else {
                panic!("it was taken")
            };
            assert!(!format!("{error:?}").contains("kfcanary"));
        }
    }
}
