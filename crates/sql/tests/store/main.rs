//! The store against files, keys, other writers, and people who change it from outside.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod backups;
mod files;
mod keys;
mod memory;
mod support;
mod tamper;
mod writers;
