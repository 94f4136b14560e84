//! Tokens: getting one, keeping it alive, noticing that it is dead.
//!
//! - One log-in however many requests wait for it, and its failure answers all of them.
//! - A log-in goes on when the request that began it is dropped: a wrapped secret id can be exchanged only once.
//! - From two thirds of its time on a token is renewed beside the requests, which don't wait for it.
//! - A refused request (403) says nothing about why. The token looks itself up: if it is dead, keyfob logs in again.

mod log_in;
mod token;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) use self::token::Token;
pub use self::token::TokenInfo;
use crate::client::{ApiPath, Call, Exchange};
use crate::config::AuthConfig;
use crate::error::Refusal;

/// The token that requests carry, and how to get another.
pub(crate) struct Session(Arc<Inner>);

struct Inner {
    auth: AuthConfig,
    exchange: Arc<Exchange>,
    state: RwLock<State>,
    /// Held by whoever gets, renews or checks a token.
    turn: Arc<Mutex<()>>,
    /// What a wrapping token was exchanged for.
    unwrapped: OnceLock<SecretValue>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// How many log-ins have ended.
    attempts: u64,
    /// Why the last of them failed.
    failure: Option<Error>,
}

/// What a refused request means.
pub(crate) enum Denied {
    /// The token is valid, and may not do this.
    TokenIsValid,
    /// The token is dead, and there is no way to get another.
    TokenIsDead,
    /// There is another token now.
    NewToken(Arc<Token>),
}

impl Session {
    /// Ready to log in. A token that is given needs none; a file is read here.
    pub(crate) fn new(auth: &AuthConfig, exchange: Arc<Exchange>) -> Result<Self> {
        let token = match auth {
            AuthConfig::Token(source) => Some(Arc::new(Token::given(&source.read(auth.method())?)?)),
            _ => None,
        };
        Ok(Self(Arc::new(Inner {
            auth: auth.clone(),
            exchange,
            state: RwLock::new(State {
                token,
                ..State::default()
            }),
            turn: Arc::default(),
            unwrapped: OnceLock::new(),
        })))
    }

    /// The token to send. Waits for a log-in only when there is no token that could be valid.
    pub(crate) async fn token(&self) -> Result<Arc<Token>> {
        let (token, attempts) = self.0.current();
        if let Some(token) = token.filter(|token| self.0.can_use(token)) {
            if token.take_renewal() {
                tokio::spawn(Arc::clone(&self.0).renew(Arc::clone(&token)));
            }
            return Ok(token);
        }
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        self.0.token_after(turn, attempts).await
    }

    /// Finds out why a request with `token` was refused, and gets another token if this one is dead.
    pub(crate) async fn denied(&self, token: &Arc<Token>) -> Result<Denied> {
        let asked = Instant::now();
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let (current, attempts) = self.0.current();
        match current {
            Some(current) if !Arc::ptr_eq(&current, token) => return Ok(Denied::NewToken(current)),
            // Another refused request has found out while this one waited.
            Some(_) if token.was_valid_since(asked) => return Ok(Denied::TokenIsValid),
            Some(_) if token.is_dead() => {}
            Some(_) => match self.0.look_up(token).await {
                Ok(()) => {
                    token.is_valid_now();
                    return Ok(Denied::TokenIsValid);
                }
                Err(error) if error.kind() == ErrorKind::Unauthenticated => token.is_dead_now(),
                Err(error) => return Err(error),
            },
            None => {}
        }
        if let AuthConfig::Token(source) = &self.0.auth {
            let again = Token::given(&source.read("token")?)?;
            if again.header() == token.header() {
                return Ok(Denied::TokenIsDead);
            }
            let again = Arc::new(again);
            self.0.ended(&Ok(Arc::clone(&again)));
            return Ok(Denied::NewToken(again));
        }
        self.0.token_after(turn, attempts).await.map(Denied::NewToken)
    }
}

impl Inner {
    fn current(&self) -> (Option<Arc<Token>>, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.token.clone(), state.attempts)
    }

    /// A token that was given is all there is, also when it is dead: it is tried again with each request.
    fn can_use(&self, token: &Token) -> bool {
        token.may_be_valid() && (!token.is_dead() || matches!(self.auth, AuthConfig::Token(_)))
    }

    /// Logs in, unless somebody did since there were `attempts` log-ins.
    async fn token_after(self: &Arc<Self>, turn: OwnedMutexGuard<()>, attempts: u64) -> Result<Arc<Token>> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = state.token.as_ref().filter(|token| self.can_use(token)) {
                return Ok(Arc::clone(token));
            }
            if let Some(failure) = state.failure.as_ref().filter(|_| state.attempts != attempts) {
                return Err(failure.clone());
            }
        }
        let session = Arc::clone(self);
        // A task of its own, so that it ends well when the request that wants it is dropped.
        let log_in = tokio::spawn(async move {
            let result = session.log_in().await;
            session.ended(&result);
            drop(turn);
            result
        });
        log_in.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the log-in was given up: the program is ending",
            ))
        })
    }

    /// Renews a token, or logs in when it can't be.
    async fn renew(self: Arc<Self>, token: Arc<Token>) {
        let _turn = self.turn.lock().await;
        if self.current().0.is_none_or(|current| !Arc::ptr_eq(&current, &token)) {
            return;
        }
        let renewed = match token.renewable() {
            Some(asked) => self.renew_self(&token, asked).await,
            None => Ok(false),
        };
        let result = match renewed {
            Ok(true) => return,
            // Refused, or the token's last time begins: the next is due.
            Ok(false) => self.log_in().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(new) => self.ended(&Ok(new)),
            // The old token is good for a while.
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "the token could not be renewed yet");
                token.postpone_renewal();
            }
        }
    }

    /// Whether the token now has the whole of its time before it again.
    async fn renew_self(&self, token: &Token, asked: Duration) -> Result<bool> {
        #[derive(serde::Serialize)]
        struct Increment {
            increment: String,
        }
        let path = ApiPath::of("auth/token/renew-self");
        let increment = Increment {
            increment: format!("{}s", asked.as_secs()),
        };
        let call = Call::post(&path).body(&increment)?.reads_only();
        let answer = match self.exchange.send_in_time(&call, Some(token.header())).await {
            Ok(answer) if !answer.is_missing() => answer,
            Ok(_) => return Ok(false),
            Err(error) if error.kind().is_retryable() => return Err(error),
            Err(_) => return Ok(false),
        };
        let granted = log_in::Granted::from_answer(&answer)?;
        let is_whole = granted.lasts() >= asked;
        if is_whole {
            token.renewed(granted.lasts(), granted.renewable);
            tracing::debug!("renewed the token");
        }
        Ok(is_whole)
    }

    /// # Errors
    /// `Unauthenticated` when the token is dead.
    async fn look_up(&self, token: &Token) -> Result<()> {
        let path = ApiPath::of("auth/token/lookup-self");
        let call = Call::get(&path).refusals(LOOK_UP_REFUSALS);
        match self.exchange.send_in_time(&call, Some(token.header())).await {
            // It is known to the server, and only its policies don't let it look itself up.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            other => other.map(drop),
        }
    }

    fn ended(&self, result: &Result<Arc<Token>>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.attempts += 1;
        match result {
            Ok(token) => {
                state.token = Some(Arc::clone(token));
                state.failure = None;
            }
            Err(error) => state.failure = Some(error.clone()),
        }
    }
}

const fn refusal(text: &'static str, kind: ErrorKind) -> Refusal {
    Refusal {
        status: 403,
        text,
        kind,
        message: "the token can't be looked up",
        hint: "",
    }
}

/// How Vault and OpenBao say that they don't know a token; a token that is only not allowed gets `1 error occurred`.
const LOOK_UP_REFUSALS: &[Refusal] = &[
    refusal("invalid token", ErrorKind::Unauthenticated),
    refusal("bad token", ErrorKind::Unauthenticated),
    refusal("1 error occurred", ErrorKind::PermissionDenied),
    refusal("", ErrorKind::Unauthenticated),
];
