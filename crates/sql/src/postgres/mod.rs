//! PostgreSQL: one schema of a database that a team shares.
//!
//! The rows are those of every store of this crate. What authenticates them differs, so that writers don't queue behind
//! one row: see [`record`].

#[cfg(feature = "audit")]
pub(crate) mod audit_table;
mod check;
mod columns;
mod config;
mod connection;
mod create;
mod dial;
mod engine;
mod error;
mod fetch;
mod listing;
mod password;
mod record;
mod remembered;
mod rotate;
#[cfg(feature = "rotation")]
mod rotator;
mod schema;
mod seen_store;
#[cfg(feature = "rotation")]
mod server;
mod snapshot;
mod statements;
mod store;
mod tls;
mod wanted;

pub use config::{PostgresConfig, PostgresTls};
#[cfg(feature = "rotation")]
pub use rotator::PostgresRotator;
#[cfg(feature = "rotation")]
pub use server::PostgresServer;
pub use store::PostgresStore;

/// The scheme of the store's URLs, and what metadata calls it.
pub(crate) const SCHEME: &str = "postgres";
