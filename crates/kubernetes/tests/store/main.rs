//! What the conformance suite doesn't ask: objects of other tools, rights, changes, faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod credentials;
mod faults;
mod foreign;
mod keys;
mod limits;
mod rights;
mod service;
mod watch;
mod watch_faults;

use keyfob_core::{Error, ListOptions, SecretName, SecretStore};

const CANARY: &str = "kfcanary-kubernetes01";

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

async fn listed(store: &dyn SecretStore) -> Vec<String> {
    let page = store.list(&ListOptions::default()).await.unwrap();
    assert!(page.next.is_none());
    page.items.into_iter().map(|item| item.name.to_string()).collect()
}

/// Nothing that is secret in a test shows in an error.
fn assert_harmless(error: &Error) {
    let texts = [
        error.to_string(),
        format!("{error:?}"),
        error.hint().unwrap_or_default().to_owned(),
    ];
    assert!(
        !texts.iter().any(|text| text.contains("kfcanary")),
        "an error shows a value or a credential"
    );
}
