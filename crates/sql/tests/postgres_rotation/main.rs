//! Passwords of roles of a real PostgreSQL: `KEYFOB_TEST_POSTGRES_URL` names a server and a role that may make roles.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kills;
mod load;
mod proxy;
mod refusals;
mod steps;
mod support;
