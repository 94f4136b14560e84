//! The cases, in modules by verb or by a subject that concerns all verbs. Each function checks one sentence (or two)
//! of the contract of [`SecretStore`](keyfob_core::SecretStore), and says in its documentation which.

use crate::case::Case;

pub mod cancellation;
pub mod capabilities;
pub mod concurrency;
pub mod delete;
pub mod expiry;
pub mod get;
pub mod get_many;
pub mod health;
pub mod list;
pub mod metadata;
pub mod names;
pub mod put;
pub mod restore;
pub mod secrecy;
pub mod versions;

/// Every case, in the order in which they run: the plain ones first.
pub fn all() -> impl Iterator<Item = Case> {
    [
        health::CASES,
        capabilities::CASES,
        names::CASES,
        get::CASES,
        get_many::CASES,
        put::CASES,
        metadata::CASES,
        expiry::CASES,
        versions::CASES,
        list::CASES,
        delete::CASES,
        restore::CASES,
        concurrency::CASES,
        cancellation::CASES,
        secrecy::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
