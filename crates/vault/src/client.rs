//! The connection to a Vault or OpenBao server: its HTTP API, with a log-in.

mod answer;
mod call;
mod exchange;
mod health;
mod lookup;
mod path;
mod transport;

use std::fmt;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use serde::Serialize;

pub(crate) use self::answer::Answer;
pub(crate) use self::call::Call;
pub(crate) use self::exchange::Exchange;
pub use self::health::ServerHealth;
pub(crate) use self::path::ApiPath;
use crate::auth::{Denied, Session, TokenInfo};
use crate::config::VaultConfig;

/// A connection to one Vault or OpenBao server: address, namespace, log-in. Cheap to clone.
///
/// It logs in when the first request needs it, once however many requests wait, renews the token at two thirds of its
/// time, and logs in again when the token can't be renewed or is refused. Each request is sent once and answered
/// within [`VaultConfig::timeout`]. `Debug` shows the address only.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    exchange: Arc<Exchange>,
    session: Session,
    warnings: Vec<String>,
}

impl Vault {
    /// Makes a connection ready. Sends nothing: the first request connects and, if needed, logs in.
    ///
    /// # Errors
    /// `InvalidConfig` when a certificate, a credential or its file can't be read or used.
    #[expect(
        clippy::unused_async,
        reason = "connecting may come to need I/O, and callers await it anyway"
    )]
    pub async fn connect(config: &VaultConfig) -> Result<Self> {
        let exchange = Arc::new(Exchange::new(config)?);
        let session = Session::new(&config.auth, Arc::clone(&exchange))?;
        Ok(Self(Arc::new(Inner {
            exchange,
            session,
            warnings: config.warnings(),
        })))
    }

    /// The address, for example `https://vault.example:8200`. Safe to show.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.exchange.address()
    }

    /// The namespace that every request names, if any.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.exchange.namespace()
    }

    /// What is known about the token that requests carry. Logs in if that has not happened.
    ///
    /// # Errors
    /// `Unauthenticated` when the token is not valid, `PermissionDenied` when it may not look itself up, and what any
    /// request can fail with.
    pub async fn token_info(&self) -> Result<TokenInfo> {
        let answer = self.get(&ApiPath::of("auth/token/lookup-self")).await?;
        TokenInfo::from_answer(&answer)
    }

    /// What the server says about itself; needs no log-in. A standby node counts as able to serve.
    ///
    /// # Errors
    /// `Unavailable` when the server is sealed, not initialized or can't be reached.
    pub async fn server_health(&self) -> Result<ServerHealth> {
        ServerHealth::ask(&self.0.exchange).await
    }

    /// What works but should be mended, as sentences for the user: an unencrypted or unverified connection.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Reads a path.
    pub(crate) async fn get(&self, path: &ApiPath) -> Result<Answer> {
        self.request(Call::get(path)).await
    }

    /// Lists the keys directly below a path.
    pub(crate) async fn list(&self, path: &ApiPath) -> Result<Answer> {
        self.request(Call::list(path)).await
    }

    /// Sends `body` with POST.
    pub(crate) async fn post(&self, path: &ApiPath, body: &(impl Serialize + Sync)) -> Result<Answer> {
        self.request(Call::post(path).body(body)?).await
    }

    /// Sends `body` as a JSON merge patch.
    pub(crate) async fn patch(&self, path: &ApiPath, body: &(impl Serialize + Sync)) -> Result<Answer> {
        self.request(Call::patch(path).body(body)?).await
    }

    /// Deletes what a path names.
    pub(crate) async fn delete(&self, path: &ApiPath) -> Result<Answer> {
        self.request(Call::delete(path)).await
    }

    /// Sends a request with the token, once; once more with a new token when the server refused the old one.
    ///
    /// `Ok` is a success, or a 404: see [`Answer::is_missing`].
    ///
    /// # Errors
    /// - `Unauthenticated`: the log-in failed, or the token is not valid and there is no way to log in again.
    /// - `PermissionDenied`: the token is valid and may not do this.
    /// - `InvalidInput`, `Unsupported`: the server says that the request is wrong, or that the path takes no such.
    /// - `RateLimited`, with the time to wait if the server said it.
    /// - `Timeout`: no answer came within the deadline; for a [write](Call::writes) also when the connection broke
    ///   after the request was sent.
    /// - `Unavailable`: the server can't be reached, is sealed, or can't serve now.
    /// - `Other`: what answered doesn't speak Vault's API, or not correctly.
    pub(crate) async fn request(&self, call: Call<'_>) -> Result<Answer> {
        let exchange = &self.0.exchange;
        exchange.within_deadline(&call, self.request_without_deadline(&call)).await
    }

    async fn request_without_deadline(&self, call: &Call<'_>) -> Result<Answer> {
        let Inner { exchange, session, .. } = &*self.0;
        let token = session.token().await?;
        let refused = match exchange.send(call, Some(token.header())).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
            other => return other,
        };
        match session.denied(&token).await? {
            Denied::TokenIsValid => Err(refused),
            Denied::TokenIsDead => Err(dead(&refused)),
            Denied::NewToken(token) => exchange.send(call, Some(token.header())).await,
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

fn dead(refused: &Error) -> Error {
    let error = Error::new(
        ErrorKind::Unauthenticated,
        "the server refused the token: it is not valid, or not any more",
    )
    .with_hint("log in again (`vault login`, `bao login`), or set `VAULT_TOKEN` to a token that is valid on this server");
    refused.context().fold(error, |error, (key, value)| error.with(key, value))
}
