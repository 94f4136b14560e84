//! Rotators that speak HTTP, with servers that hear and answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_key;
mod endpoint;
mod provider;
mod server;
