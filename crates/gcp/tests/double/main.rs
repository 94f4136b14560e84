//! The store against the strict double of Secret Manager: what the conformance suite can't ask for, because it takes another
//! tool, another user or a service that fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod permissions;
mod reading;
mod support;
mod writing;
