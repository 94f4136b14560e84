//! Writes: to the first store, and then to the others if they are replicas.

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::backend::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::failover::Inner;
use crate::failover::member::{Member, Missed};
use crate::failover::options::FailoverWrites;
use crate::name::SecretName;
use crate::options::{DeleteMode, DeleteOptions, PutMode, PutRequest};
use crate::secret::{Metadata, Replica, Version};
use crate::sending::{Sending, not_sent};
use crate::store::SecretStore;

/// What each store of a failover list has of a replicated write that the first one took and another one did not.
///
/// It stands below the error of such a write:
///
/// ```
/// use keyfob_core::{Error, ReplicationError};
///
/// fn lacking(error: &Error) -> Vec<&str> {
///     let report = std::error::Error::source(error).and_then(|source| source.downcast_ref::<ReplicationError>());
///     let failed = report.into_iter().flat_map(|report| &report.replicas).filter(|replica| replica.outcome.is_err());
///     failed.map(|replica| &*replica.member).collect()
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplicationError {
    /// The label of the first store, which has the write.
    pub first: Arc<str>,
    /// What the first store said of the secret afterwards; `None` for a delete.
    pub metadata: Option<Box<Metadata>>,
    /// The other stores, in the order of the list.
    pub replicas: Vec<Replica>,
    errors: Vec<Error>,
}

/// The errors of the replicas.
impl fmt::Display for ReplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.errors.iter().map(Error::to_string).collect();
        f.write_str(&errors.join("; "))
    }
}

impl std::error::Error for ReplicationError {}

/// What is done to every store.
#[derive(Debug, Clone)]
enum Write {
    Put(PutRequest),
    Delete(DeleteOptions),
    Restore,
}

impl Inner {
    pub(super) async fn put(inner: &Arc<Self>, name: &SecretName, mut request: PutRequest) -> Result<Metadata> {
        inner.info.capabilities.check_put(name, &request)?;
        if let PutMode::Match(version) = &request.mode {
            request.mode = PutMode::Match(inner.of_first(name, version)?);
        }
        let metadata = Self::write(inner, name, Write::Put(request)).await?;
        metadata.ok_or_else(|| Error::new(ErrorKind::Other, "a put without metadata").with("name", name.as_str()))
    }

    pub(super) async fn delete(inner: &Arc<Self>, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        inner.info.capabilities.check_delete(name, options)?;
        Self::write(inner, name, Write::Delete(*options)).await.map(drop)
    }

    pub(super) async fn restore(inner: &Arc<Self>, name: &SecretName) -> Result<Metadata> {
        inner.info.capabilities.check_restore(name)?;
        let metadata = Self::write(inner, name, Write::Restore).await?;
        metadata.ok_or_else(|| Error::new(ErrorKind::Other, "a restore without metadata").with("name", name.as_str()))
    }

    /// A version as the first store calls it.
    fn of_first(&self, name: &SecretName, version: &Version) -> Result<Version> {
        match self.labels.version_in(version) {
            Some((0, version)) => Ok(version),
            other => {
                let owner = other.map_or("none", |(rank, _)| self.labels.get(rank));
                let message = "the version is one of another store than the one that writes go to";
                Err(Error::new(ErrorKind::Conflict, message)
                    .with("name", name.as_str())
                    .with("version", version.as_str())
                    .with("version_of", owner)
                    .with("writes_to", &**self.labels.get(0))
                    .with_hint("read the secret again when that store can answer"))
            }
        }
    }

    async fn write(inner: &Arc<Self>, name: &SecretName, write: Write) -> Result<Option<Metadata>> {
        if inner.options.writes == FailoverWrites::First || inner.members.len() == 1 {
            return inner.write_first(name, &write).await;
        }
        let write = inner.for_all(write);
        let to_replicas = write.clone().without_precondition();
        for member in &inner.members {
            to_replicas.check(member, name)?;
        }
        let (all, secret) = (Arc::clone(inner), name.clone());
        let replicated = async move {
            let written = all.write_first(&secret, &write).await?;
            all.write_replicas(&secret, &to_replicas, written).await
        };
        inner.writes.alone(name, "failover", replicated).await
    }

    /// The same outcome in every store, where each would choose by itself.
    fn for_all(&self, write: Write) -> Write {
        match write {
            Write::Delete(DeleteOptions {
                mode: DeleteMode::StoreDefault,
            }) => Write::Delete(DeleteOptions {
                mode: match self.info.capabilities.delete_recoverable {
                    true => DeleteMode::Recoverable { window: None },
                    false => DeleteMode::Permanent,
                },
            }),
            other => other,
        }
    }

    async fn write_first(&self, name: &SecretName, write: &Write) -> Result<Option<Metadata>> {
        let member = &self.members[0];
        match self.ask_to_write(member, name, write).await {
            Ok(metadata) => Ok(metadata.map(|mut metadata| {
                self.mark(&mut metadata, 0, Vec::new());
                metadata
            })),
            Err(missed) => {
                let is_unknown = missed.passed.kind == ErrorKind::Timeout;
                let error = member.own(missed).with("name", name.as_str());
                match error.hint() {
                    None if is_unknown => Err(error.with_hint("read the secret to see whether it was written")),
                    _ => Err(error),
                }
            }
        }
    }

    /// Asks one store. When its time is over before the write was sent, its outcome is known.
    async fn ask_to_write(&self, member: &Member, name: &SecretName, write: &Write) -> Result<Option<Metadata>, Missed> {
        let (limit, sending) = (self.options.write_timeout, Sending::new());
        let written = self.ask(member, limit, sending.run(write.to(&*member.store, name))).await;
        match written {
            Err(_) if sending.is_unsent() => Err(member.missed(not_sent(limit).with("store", &*member.scheme), false)),
            written => written,
        }
    }

    async fn write_replicas(&self, name: &SecretName, write: &Write, written: Option<Metadata>) -> Result<Option<Metadata>> {
        let replicas = self.members.iter().enumerate().skip(1).map(async |(rank, member)| {
            let answer = self.ask_to_write(member, name, write).await;
            let (outcome, error) = match answer {
                Ok(metadata) => (Ok(self.replica_version(rank, metadata)), None),
                // It is gone there too.
                Err(missed) if missed.passed.kind == ErrorKind::NotFound && matches!(write, Write::Delete(_)) => (Ok(None), None),
                Err(missed) => {
                    member.meters.lacks_write(missed.passed.kind);
                    (Err(missed.passed.kind), Some(member.own(missed)))
                }
            };
            let replica = Replica {
                store: Arc::clone(&member.scheme),
                member: Arc::clone(&member.label),
                outcome,
            };
            (replica, error)
        });
        let (replicas, errors): (Vec<Replica>, Vec<Option<Error>>) = join_all(replicas).await.into_iter().unzip();
        let errors: Vec<Error> = errors.into_iter().flatten().collect();
        let written = written.map(|mut metadata| {
            metadata.origin.replicas.clone_from(&replicas);
            metadata
        });
        if errors.is_empty() {
            return Ok(written);
        }
        let first = Arc::clone(self.labels.get(0));
        let shown: Vec<String> = replicas.iter().map(Replica::to_string).collect();
        let message = format!("`{first}` has the write, but not every replica has");
        let error = Error::new(ErrorKind::Other, message)
            .with("name", name.as_str())
            .with("stores", format!("{first}: written; {}", shown.join("; ")))
            .with_hint("nothing has to be undone: write it again, without a precondition, when all stores can serve");
        Err(error.with_source(ReplicationError {
            first,
            metadata: written.map(Box::new),
            replicas,
            errors,
        }))
    }

    fn replica_version(&self, rank: usize, metadata: Option<Metadata>) -> Option<Version> {
        let version = metadata?.version?;
        self.labels.version_out(rank, &version)
    }
}

impl Write {
    /// What goes to a replica: the first store has seen to the precondition.
    fn without_precondition(self) -> Self {
        match self {
            Self::Put(request) => Self::Put(request.mode(PutMode::Upsert)),
            other => other,
        }
    }

    fn check(&self, member: &Member, name: &SecretName) -> Result<()> {
        let can = member.can();
        let checked = match self {
            Self::Put(request) => can.check_put(name, request),
            Self::Delete(options) => can.check_delete(name, options),
            Self::Restore => can.check_restore(name),
        };
        checked.map_err(|error| error.with("member", &*member.label))
    }

    fn to<'a>(&'a self, store: &'a dyn SecretStore, name: &'a SecretName) -> BoxFuture<'a, Result<Option<Metadata>>> {
        Box::pin(async move {
            match self {
                Self::Put(request) => store.put(name, request.clone()).await.map(Some),
                Self::Delete(options) => store.delete(name, options).await.map(|()| None),
                Self::Restore => store.restore(name).await.map(Some),
            }
        })
    }
}
