//! The suite itself is tested: every deliberately wrong store is caught by exactly the cases that are meant for its
//! flaw. A row that names several cases has a flaw that breaks what each of them says.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod batches;
mod capabilities;
mod flaw;
mod leaks;
mod listings;
mod metadata;
mod reads;
mod seeds;
mod timing;
mod writes;

use std::collections::BTreeSet;

use flaw::{check, check_seeded};
use keyfob_testkit::cases;

#[tokio::test]
async fn wrong_reads_are_caught() {
    check(reads::rows()).await;
}

#[tokio::test]
async fn wrong_batches_are_caught() {
    check(batches::rows()).await;
}

#[tokio::test]
async fn wrong_writes_are_caught() {
    check(writes::rows()).await;
}

#[tokio::test]
async fn wrong_metadata_is_caught() {
    check(metadata::rows()).await;
}

#[tokio::test]
async fn wrong_listings_are_caught() {
    check(listings::rows()).await;
}

#[tokio::test]
async fn wrong_capabilities_and_names_are_caught() {
    check(capabilities::rows()).await;
}

#[tokio::test]
async fn races_and_half_writes_are_caught() {
    check(timing::rows()).await;
}

#[tokio::test]
async fn forgotten_seeds_are_caught() {
    check_seeded(seeds::rows()).await;
}

/// A case that no wrong store fails would be a case that proves nothing.
#[test]
fn every_case_catches_a_wrong_store() {
    let rows = [
        reads::rows(),
        batches::rows(),
        writes::rows(),
        metadata::rows(),
        listings::rows(),
        capabilities::rows(),
        timing::rows(),
        seeds::rows(),
    ];
    let mut catching: BTreeSet<&str> = leaks::CAUGHT_BY.into();
    for row in rows.iter().flatten() {
        catching.extend(row.caught_by);
    }
    let idle: Vec<&str> = cases::all()
        .map(|case| case.name)
        .filter(|name| !catching.contains(name))
        .collect();
    assert!(idle.is_empty(), "no wrong store is caught by {idle:?}");
}
