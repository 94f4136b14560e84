//! A token and its time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::client::Answer;

/// A token as it is sent, and until when.
pub(crate) struct Token {
    header: HeaderValue,
    clock: Mutex<Clock>,
}

struct Clock {
    /// `None` never expires, as far as keyfob knows.
    expires: Option<Expiry>,
    /// When the server last said that it is valid.
    valid_at: Option<Instant>,
    /// Whether the server said that it knows no such token.
    dead: bool,
}

struct Expiry {
    at: Instant,
    /// What was granted.
    lasts: Duration,
    renewable: bool,
    /// When to renew it; `None` while somebody does.
    renew_at: Option<Instant>,
}

impl Token {
    /// A token whose time is not known.
    pub(crate) fn given(token: &SecretValue) -> Result<Self> {
        Self::new(token, None)
    }

    /// A token from a log-in; a duration of zero never expires.
    pub(super) fn granted(token: &SecretValue, lasts: Duration, renewable: bool) -> Result<Self> {
        Self::new(token, Expiry::new(lasts, renewable))
    }

    fn new(token: &SecretValue, expires: Option<Expiry>) -> Result<Self> {
        let mut header = HeaderValue::from_bytes(token.expose_secret())
            .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the token has a character that no token has"))?;
        // Keeps it out of the HTTP client's `Debug`, and out of HTTP/2's compression.
        header.set_sensitive(true);
        Ok(Self {
            header,
            clock: Mutex::new(Clock {
                expires,
                valid_at: None,
                dead: false,
            }),
        })
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Whether its time has not passed yet.
    pub(super) fn may_be_valid(&self) -> bool {
        self.clock().expires.as_ref().is_none_or(|expiry| Instant::now() < expiry.at)
    }

    /// Whether a renewal is due that nobody does yet. Who is told so does it.
    pub(super) fn take_renewal(&self) -> bool {
        let mut clock = self.clock();
        let Some(expiry) = &mut clock.expires else { return false };
        expiry.renew_at.take_if(|due| Instant::now() >= *due).is_some()
    }

    /// For how long to renew it, if it can be.
    pub(super) fn renewable(&self) -> Option<Duration> {
        let clock = self.clock();
        clock
            .expires
            .as_ref()
            .filter(|expiry| expiry.renewable)
            .map(|expiry| expiry.lasts)
    }

    pub(super) fn renewed(&self, lasts: Duration, renewable: bool) {
        self.clock().expires = Expiry::new(lasts, renewable);
    }

    /// Tries a failed renewal again after a quarter of the time that is left.
    pub(super) fn postpone_renewal(&self) {
        if let Some(expiry) = &mut self.clock().expires {
            let now = Instant::now();
            let pause = expiry.at.saturating_duration_since(now) / 4;
            expiry.renew_at = Some(now + pause.max(Duration::from_millis(100)));
        }
    }

    pub(super) fn is_valid_now(&self) {
        self.clock().valid_at = Some(Instant::now());
    }

    pub(super) fn was_valid_since(&self, instant: Instant) -> bool {
        self.clock().valid_at.is_some_and(|valid_at| valid_at >= instant)
    }

    pub(super) fn is_dead_now(&self) {
        self.clock().dead = true;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.clock().dead
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expiry {
    fn new(lasts: Duration, renewable: bool) -> Option<Self> {
        let now = Instant::now();
        // A time beyond what the clock can say is none.
        let at = now.checked_add(lasts).filter(|_| !lasts.is_zero())?;
        Some(Self {
            at,
            lasts,
            renewable,
            renew_at: Some(now + lasts * 2 / 3),
        })
    }
}

/// What a server knows about the token that keyfob uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The name that the log-in method gave it, for example `approle`.
    pub display_name: String,
    /// The names of its policies.
    pub policies: Vec<String>,
    /// How long it is still valid; `None` for ever.
    pub expires_in: Option<Duration>,
    /// Whether its time can be extended.
    pub renewable: bool,
}

impl TokenInfo {
    pub(crate) fn from_answer(answer: &Answer) -> Result<Self> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            display_name: String,
            #[serde(default)]
            policies: Option<Vec<String>>,
            #[serde(default)]
            ttl: u64,
            #[serde(default)]
            renewable: bool,
        }
        let data: Data = answer.data()?;
        Ok(Self {
            display_name: data.display_name,
            policies: data.policies.unwrap_or_default(),
            expires_in: (data.ttl > 0).then(|| Duration::from_secs(data.ttl)),
            renewable: data.renewable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lasts: Duration, renewable: bool) -> Token {
        Token::granted(&SecretValue::from("kfcanary-token12345"), lasts, renewable).unwrap()
    }

    #[test]
    fn a_renewal_is_due_at_two_thirds_and_taken_once() {
        let token = token(Duration::from_millis(300), true);
        assert!(!token.take_renewal());
        std::thread::sleep(Duration::from_millis(210));
        assert!(token.may_be_valid());
        assert!(token.take_renewal());
        assert!(!token.take_renewal());
        token.postpone_renewal();
        std::thread::sleep(Duration::from_millis(110));
        assert!(token.take_renewal());
        assert!(!token.may_be_valid());
        token.renewed(Duration::from_secs(60), true);
        assert!(token.may_be_valid() && !token.take_renewal());
    }

    #[test]
    fn a_token_without_an_end_is_never_renewed() {
        for lasts in [Duration::ZERO, Duration::MAX] {
            let token = token(lasts, true);
            assert!(token.may_be_valid() && !token.take_renewal() && token.renewable().is_none());
        }
    }

    #[test]
    fn the_header_does_not_show_the_token() {
        let token = token(Duration::ZERO, true);
        assert!(!format!("{:?}", token.header()).contains("kfcanary-"));
    }
}
