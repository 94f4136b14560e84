//! How each store of a list is, by itself.

use std::time::Duration;

use futures_util::future::join_all;
use keyfob_core::{AuditedStore, Clock as _, Error, ErrorKind, Health, Result, StoreUrl, SystemClock};
use tokio::time::Instant;

use super::failover::Member;
use super::opener::Opener;
use super::{Opening, SecretManager, connecting};

/// How one store of a failover list is when it is asked alone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberHealth {
    /// What tells it apart from the others: its name in `keyfob.toml`, else its scheme.
    pub label: String,
    /// Where it is.
    pub url: StoreUrl,
    /// As whom it is asked, where there is somebody to be.
    pub identity: Option<String>,
    /// What it says, or why it can't serve.
    pub health: Result<Health>,
    /// How long that took, with opening it.
    pub took: Duration,
}

impl SecretManager {
    /// Asks every store of the failover list that `scheme` means, all at once and each alone, whether it can serve; empty when it
    /// means one store. Each has `read_timeout` of the list for it, and no more than `deadline` of the retries, with opening it; none
    /// is asked twice.
    ///
    /// # Errors
    /// `InvalidConfig` when the scheme means nothing, and why the log of accesses can't be opened. What is wrong with a store
    /// stands in its answer.
    pub async fn health_of_members(&self, scheme: &str) -> Result<Vec<MemberHealth>> {
        let Opening::List(openers) = &self.slot(scheme)?.opening else {
            return Ok(Vec::new());
        };
        // Opened first, so that it is not each store that is said to be ill when it can't be.
        self.open_audit().await?;
        Ok(join_all(openers.iter().map(|opener| self.health_of_member(opener))).await)
    }

    async fn health_of_member(&self, opener: &Opener) -> MemberHealth {
        let Member { label, url } = &opener.member;
        let begun = Instant::now();
        let health = self.ask_member(opener).await;
        MemberHealth {
            label: label.clone(),
            url: url.clone(),
            // What is wrong with it, opening the store has said.
            identity: self.identity(url).ok().flatten(),
            health,
            took: begun.elapsed(),
        }
    }

    async fn ask_member(&self, opener: &Opener) -> Result<Health> {
        let setup = self.setup();
        let limit = setup.layers.failover.read_timeout.min(setup.layers.retry.deadline);
        let begun = Instant::now();
        let open = opener.open(&setup, limit);
        let Member { label, url } = &opener.member;
        let connected = match self.audit_of(self.identity(url).ok().flatten()).await? {
            Some(layer) => {
                let store = AuditedStore::new(&**label, url.scheme(), self.place(url)?);
                layer.opening(store, &connecting(), open).await?
            }
            None => open.await?,
        };
        let late = SystemClock::new();
        tokio::select! {
            biased;
            health = connected.store.health() => health,
            () = late.sleep(limit.saturating_sub(begun.elapsed())) => {
                let message = format!("no answer within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, message).with("store", url.to_string()))
            }
        }
    }
}
