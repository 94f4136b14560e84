//! The store and its configuration, against a service that answers as a test wants and against LocalStack.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod config;
mod faults;
mod live;
mod support;
