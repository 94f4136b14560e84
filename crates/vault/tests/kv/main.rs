//! What is particular to KV, on a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod listing;
#[path = "../mounts/mod.rs"]
mod mounts;
mod policies;
mod reading;
#[path = "../support/mod.rs"]
mod support;
mod writing;

use keyfob_core::{ErrorKind, GetOptions, ListOptions, SecretStore};
use keyfob_vault::VaultStore;

use mounts::name;

async fn read(store: &VaultStore, secret: &str) -> String {
    let secret = store.get(&name(secret), &GetOptions::default()).await.unwrap();
    secret.value.expose_str().unwrap().to_owned()
}

async fn kind(store: &VaultStore, secret: &str) -> ErrorKind {
    store.get(&name(secret), &GetOptions::default()).await.unwrap_err().kind()
}

async fn all(store: &VaultStore, options: &ListOptions) -> Vec<String> {
    let (mut options, mut names) = (options.clone(), Vec::new());
    loop {
        let page = store.list(&options).await.unwrap();
        assert!(page.items.len() <= options.page.limit.unwrap_or(usize::MAX));
        names.extend(page.items.into_iter().map(|item| item.name.as_str().to_owned()));
        match page.next {
            Some(next) => options.page.token = Some(next),
            None => return names,
        }
    }
}
