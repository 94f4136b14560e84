//! The store in a real PostgreSQL: `KEYFOB_TEST_POSTGRES_URL` names a server and a role that may make schemas and roles.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod conformance;
mod faults;
mod limits;
mod logs;
mod names;
mod proxy;
mod rotation;
mod round_trips;
mod support;
mod tampering;
mod writers;
