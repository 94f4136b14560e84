//! What only Key Vault has, on the double: who logs in, names of other tools, soft delete, refusals.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod credentials;
mod deleting;
mod names;
mod refusals;
mod support;
