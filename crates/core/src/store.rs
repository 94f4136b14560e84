//! The contract of every store and layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::maybe_ready::MaybeReady;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};

/// A place that keeps secrets, or a [`Layer`](crate::Layer) over one.
///
/// This documentation is the contract. The conformance suite of `keyfob-testkit` checks it, sentence by sentence,
/// against every store and every layer. No verb has a default: a layer that forgets one does not compile.
///
/// # For every verb
///
/// - **Capabilities first.** What [`info`](Self::info) says the store can't do is refused with
///   [`Unsupported`](crate::ErrorKind::Unsupported) (or the kind that [`Capabilities`]' checks name) before any I/O.
///   No option is ignored in silence.
/// - **Read your writes.** After a write returned `Ok`, every later call through any handle of this store sees it,
///   as far as the service promises that; where a service is eventually consistent, the adapter's page says so.
/// - **Durable.** `Ok` from a write means that the service has acknowledged it as durable.
/// - **Errors.** Any verb may fail with `Unauthenticated`, `PermissionDenied`, `RateLimited`, `Timeout`,
///   `Unavailable`, `Corrupt`, `InvalidConfig` or `Other`. `Timeout` on a write means that the outcome is *unknown*:
///   settle it by reading, don't guess. Kinds with a meaning of their own are named at each verb.
///   An error names the store and the secret, never a value.
/// - **No retries.** A store does each request once. The retry layer owns retries.
/// - **Cancellation.** A dropped future of a read has no effect. A dropped future of a write may have happened
///   completely or not at all, never in half.
/// - **Names.** Two different names never reach the same secret, and a name's answer is never another name's value.
///   A store that reads what others wrote under a documented name map (variables) may give one variable several
///   spellings for reading; what keyfob itself wrote answers only to the name it was written under.
/// - **Panics.** None, whatever the service answers.
#[async_trait]
pub trait SecretStore: Send + Sync + fmt::Debug {
    /// Who this is and what it can do. Constant for the lifetime of the store, no I/O.
    fn info(&self) -> &StoreInfo;

    /// Reads one secret.
    ///
    /// The answer's `metadata.name` is `name`, and `metadata.version` is the version that the value belongs to, never
    /// the selector that was asked for. A write that runs at the same time is seen as a whole or not at all.
    ///
    /// # Errors
    /// - `NotFound`: no secret of that name, no such version, no previous version, or the secret is deleted, even if
    ///   it can be restored (the hint says so).
    /// - `Expired`: the expiry of the version that was asked for has passed and `options.expired` says
    ///   [`Refuse`](crate::Expired::Refuse).
    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret>;

    /// The same as [`get`](Self::get), but begins at once, and gives an answer that is at hand without a future, whose memory
    /// is much of the cost of such an answer.
    ///
    /// It is no verb of its own, and has a default, because a store or a layer that leaves it out is only slower. A layer that
    /// can answer from memory, or that stands over one, has it, and makes its `get` of it.
    fn get_maybe_ready<'f>(&'f self, name: &'f SecretName, options: &'f GetOptions) -> MaybeReady<'f> {
        MaybeReady::Pending(self.get(name, options))
    }

    /// Reads many secrets in as few round trips as the service allows.
    ///
    /// Returns exactly one answer per request, **in the order of the requests**, each as [`get`](Self::get) would
    /// give it; a request that stands there twice is answered twice. One request's failure does not touch the others.
    /// The answers need not come from one moment. An empty batch is an empty answer.
    ///
    /// Values, versions and expiry are those of `get`. Description and tags may be left out where the service's batch
    /// answer does not have them and they would cost a request for each secret; the adapter's page says so.
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>>;

    /// Writes a value, metadata, or both, and returns the metadata as it is afterwards.
    ///
    /// - With a value: makes a new version, which becomes current, even if the bytes are the same. What
    ///   [`Change::Keep`](crate::Change::Keep) leaves is carried over from the current version.
    /// - Without a value: changes the metadata of the current version. Whether the version token changes is up to the
    ///   store.
    /// - [`PutMode::Create`](crate::PutMode::Create) and [`PutMode::Match`](crate::PutMode::Match) are atomic: of many
    ///   that run at once with the same precondition exactly one succeeds.
    /// - Not idempotent: an upsert that is sent twice makes two versions.
    /// - On a secret that is deleted but recoverable: `Conflict` where `deleted_reserves_name`, with a hint to restore
    ///   or to delete for good. Elsewhere as if there were none.
    ///
    /// # Errors
    /// - `AlreadyExists`: `Create`, and the name is taken.
    /// - `Conflict`: `Match`, and another version is current; or the name is reserved.
    /// - `NotFound`: `Match` or no value, and there is no such secret.
    /// - `InvalidInput`, `NotText`, `Unsupported`: see [`Capabilities::check_put`].
    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata>;

    /// Deletes a secret with all its versions.
    ///
    /// Afterwards `get`, `versions` and a normal `list` don't know it. Deleting so that it can be restored what is
    /// already deleted is `NotFound`; deleting it for good is not.
    ///
    /// # Errors
    /// - `NotFound`: no secret of that name.
    /// - `Unsupported`, `InvalidInput`: see [`Capabilities::check_delete`].
    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()>;

    /// Brings back a deleted secret, with its versions and metadata as they were, and returns its metadata.
    ///
    /// Idempotent: restoring a secret that is not deleted changes nothing and succeeds.
    ///
    /// # Errors
    /// - `NotFound`: no secret of that name, or it is gone for good.
    async fn restore(&self, name: &SecretName) -> Result<Metadata>;

    /// Lists secrets, a page at a time, without values.
    ///
    /// Over all pages every secret whose name begins with `options.prefix` comes exactly once, in the byte order of
    /// names unless the adapter's page says otherwise. A secret that is made or deleted while the pages are read may
    /// or may not be seen. Expired secrets are listed. The prefix is text, not a path: `db` also finds `dbx/y`.
    ///
    /// # Errors
    /// - `InvalidInput`: a limit of zero, or a page token that this store did not give out.
    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>>;

    /// Lists the versions of a secret, newest first, a page at a time. Exactly one is current.
    ///
    /// # Errors
    /// - `NotFound`: no secret of that name, or it is deleted.
    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>>;

    /// Asks the service whether it can serve: the cheapest authenticated request there is.
    ///
    /// `Ok` means that a read could work now. Says nothing about permissions on single secrets.
    async fn health(&self) -> Result<Health>;
}

/// Who a store is and what it can do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The scheme of its URL and of references to it, for example `sqlite`.
    pub scheme: Arc<str>,
    /// What metrics and spans call it: its scheme, or the name that [`MetricsLayer::of_store`](crate::MetricsLayer::of_store)
    /// gives it. Of a failover list the labels of its stores, with commas.
    pub label: Arc<str>,
    /// Where it is, safe to show: no credentials, no query that could hold some.
    pub location: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether a write goes to several stores, so that reading it back proves nothing about all of them.
    pub replicates: bool,
    /// Of a failover list its stores, in its order, each with its label in the list; else empty.
    pub members: Vec<Self>,
    /// How long a call takes at most, its waiting and what is asked again included, where a
    /// [`RetryLayer`](crate::RetryLayer) sees to that. The layers over it keep to it with what they add: a second call of
    /// the cache, the wait for an audit record.
    pub deadline: Option<Duration>,
}

impl StoreInfo {
    /// Describes a store.
    #[must_use]
    pub fn new(scheme: impl Into<Arc<str>>, location: impl Into<String>, capabilities: Capabilities) -> Self {
        let scheme = scheme.into();
        Self {
            label: Arc::clone(&scheme),
            scheme,
            location: location.into(),
            capabilities,
            replicates: false,
            members: Vec::new(),
            deadline: None,
        }
    }
}

/// What a healthy store said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Facts worth showing, safe to show, for example `("version", "2.7.2")`.
    pub details: Vec<(&'static str, String)>,
    /// Things that work but should be mended, as sentences for the user.
    pub warnings: Vec<String>,
}
