//! What a second level of the cache is, which the machines of a fleet share.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::name::SecretName;
use crate::options::VersionSelector;
use crate::secret::Secret;

/// A second level of the cache, which several machines share: what one of them has read, the others need not ask the store
/// for. [`CacheLayer::shared`](crate::CacheLayer::shared) puts it between memory and the store.
///
/// # Contract
/// - **It never fails the caller and never holds it up** for longer than a short deadline of its own. What can't be done is
///   left out: a read finds nothing, an answer is not kept. It does not panic.
/// - **A name's answer is never another name's**, nor that of another version or another store, whoever runs the place
///   where it is kept.
/// - **Ages are never too small.** [`SharedSecret::age`] is at least the time that has passed since the answer left the
///   store, whichever machine asked it.
/// - **No older answer comes back.** A [`SharedPermit`] is given to a read before it asks the store, and
///   [`close`](Self::close) and [`forget`](Self::forget) end all permits for their name that were given before. What comes
///   to [`keep`](Self::keep) with a permit that has ended is not kept, and neither is what was asked for before what is
///   already there.
/// - **A value is never kept in the clear** outside this process.
/// - **[`close`](Self::close) and [`forget`](Self::forget) are done also when nobody waits** for them any more, once they were
///   polled: the deadline of a call holds for its part in here too.
#[async_trait]
pub trait SharedCache: Send + Sync + fmt::Debug {
    /// Looks for answers, in one round trip. One answer a read, in order; none at all when it can't be asked.
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer>;

    /// Keeps answers of the store, each for as long as its permit holds and its lifetime lasts.
    async fn keep(&self, entries: Vec<SharedEntry<'_>>);

    /// A write of this name begins: what is kept of it goes, and until [`forget`](Self::forget) nobody gets a permit. If
    /// that never comes (the write was cancelled, its outcome is unknown, the machine died), for long enough that the
    /// write is over one way or the other.
    async fn close(&self, name: &SecretName);

    /// Forgets a name, with all its versions. What can't be done now is done as soon as possible.
    async fn forget(&self, name: &SecretName);
}

/// One read of a [`SharedCache`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SharedRead<'a> {
    /// The secret.
    pub name: &'a SecretName,
    /// Which version, as it was asked for.
    pub version: &'a VersionSelector,
}

impl<'a> SharedRead<'a> {
    /// Asks for this version of `name`.
    #[must_use]
    pub fn new(name: &'a SecretName, version: &'a VersionSelector) -> Self {
        Self { name, version }
    }
}

/// What a [`SharedCache`] has for a read.
#[derive(Debug, Default)]
pub struct SharedAnswer {
    /// What is kept.
    pub found: Option<SharedSecret>,
    /// What it takes to keep a newer answer; none while the name is being written.
    pub permit: Option<SharedPermit>,
}

/// An answer of the store that a [`SharedCache`] kept.
#[derive(Debug)]
pub struct SharedSecret {
    /// The answer.
    pub secret: Secret,
    /// At least the time since the store was asked for it.
    pub age: Duration,
}

/// Says what state of a name a read saw before it asked the store. Only the [`SharedCache`] that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPermit(Box<[u8]>);

impl SharedPermit {
    /// Wraps what says the state.
    #[must_use]
    pub fn new(state: impl Into<Box<[u8]>>) -> Self {
        Self(state.into())
    }

    /// What says the state.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An answer of the store that a [`SharedCache`] is to keep.
#[derive(Debug)]
#[non_exhaustive]
pub struct SharedEntry<'a> {
    /// What was asked for.
    pub read: SharedRead<'a>,
    /// The answer, by the store itself.
    pub secret: &'a Secret,
    /// The age at which it is of no use to anybody, counted from when the permit was given.
    pub lifetime: Duration,
    /// The permit that was given before the store was asked.
    pub permit: SharedPermit,
}

impl<'a> SharedEntry<'a> {
    /// An answer to `read`, to be kept up to the age of `lifetime`.
    #[must_use]
    pub fn new(read: SharedRead<'a>, secret: &'a Secret, lifetime: Duration, permit: SharedPermit) -> Self {
        Self {
            read,
            secret,
            lifetime,
            permit,
        }
    }
}
