#![doc = include_str!("../README.md")]

pub mod adapter;
mod audit;
mod backend;
mod cache;
mod capabilities;
mod changes;
mod clock;
pub mod copy;
mod deadline;
mod environment;
mod error;
mod failover;
mod field;
mod file_reference;
mod files;
mod layer;
mod limit;
mod maybe_ready;
mod memory;
mod metrics;
mod name;
mod nearest;
mod options;
mod random;
mod reference;
mod report;
mod resolver;
mod retry;
mod scanner;
#[cfg(test)]
mod scripted;
mod secret;
mod sending;
mod store;
mod trace;
mod url;
mod value;
mod verb;

pub use audit::{
    Actor, AuditFilter, AuditLayer, AuditOutcome, AuditReceipt, AuditRecord, AuditSink, AuditedStore, Intent, MemoryAudit,
    Reason, with_reason,
};
pub use backend::{Backend, BoxFuture, Connect, Connected, Identity, Parameter, Place};
pub use cache::{
    CacheLayer, CacheNames, CacheTimes, CacheUsage, CachedStore, SharedAnswer, SharedCache, SharedEntry, SharedPermit,
    SharedRead, SharedSecret,
};
pub use capabilities::{Capabilities, NameKey, NameRule, ValueRule};
pub use changes::{ChangeSource, ChangeStream, StoreChange};
pub use clock::{Clock, SystemClock, VirtualClock};
pub use environment::{Environment, FakeEnvironment};
pub use error::{Error, ErrorKind, Result};
pub use failover::{
    BreakerOptions, BreakerState, Failover, FailoverOptions, FailoverStore, FailoverWrites, MemberStatus, ReplicationError,
    Transition,
};
pub use field::Field;
pub use file_reference::MAX_FILE_BYTES;
pub use files::{FileKind, FileStatus};
pub use layer::{Layer, stack};
pub use limit::{LimitLayer, LimitOptions, LimitStats};
pub use maybe_ready::MaybeReady;
pub use memory::MemoryStore;
pub use metrics::MetricsLayer;
pub use name::SecretName;
pub use nearest::nearest;
pub use options::{
    Change, DeleteMode, DeleteOptions, Deleted, Expired, GetOptions, GetRequest, ListOptions, Page, PageRequest, PageToken,
    PutMode, PutRequest, VersionSelector,
};
pub use random::Random;
pub use reference::{DEFAULT_SCHEME, FILE_SCHEME, Fallback, Reference, SecretRef, Target, is_scheme};
pub use report::{Failure, Location, Report};
pub use resolver::{AllowedSchemes, Answer, Occurrence, Resolved, Stores, resolve};
pub use retry::{RetryLayer, RetryOptions, RetryStats};
pub use scanner::{MAX_REFERENCE_BYTES, Piece, PieceKind, scan};
pub use secret::{Freshness, Metadata, Origin, PassedOver, Replica, Secret, Version, VersionInfo};
pub use store::{Health, SecretStore, StoreInfo};
pub use trace::TraceLayer;
pub use url::{Parameters, StoreUrl};
pub use value::SecretValue;
pub use verb::Verb;

/// Re-exported for implementors of [`SecretStore`].
pub use async_trait::async_trait;
