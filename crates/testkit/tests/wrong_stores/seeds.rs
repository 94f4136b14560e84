//! Stores that forget what was there before the suite came.

use keyfob_core::{
    GetOptions, GetRequest, ListOptions, MemoryStore, Metadata, Page, Result, Secret, SecretName, SecretStore, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        ReadsOnlyItsOwn => ["get::seeded_secrets_are_read"],
        BatchReadsOnlyItsOwn => ["get_many::seeded_secrets_are_read"],
        ListsOnlyItsOwn => ["list::seeded_secrets_are_listed"],
    ]
}

fn is_seed(name: &SecretName) -> bool {
    name.as_str().starts_with("seeded/")
}

fn elsewhere(name: &SecretName) -> SecretName {
    SecretName::new(format!("elsewhere/{name}")).unwrap()
}

struct ReadsOnlyItsOwn;
#[async_trait]
impl Flaw for ReadsOnlyItsOwn {
    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        if is_seed(name) {
            return right.get(&elsewhere(name), options).await;
        }
        right.get(name, options).await
    }
}

struct BatchReadsOnlyItsOwn;
#[async_trait]
impl Flaw for BatchReadsOnlyItsOwn {
    async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut requests = requests.to_vec();
        for request in requests.iter_mut().filter(|request| is_seed(&request.name)) {
            request.name = elsewhere(&request.name);
        }
        right.get_many(&requests).await
    }
}

struct ListsOnlyItsOwn;
#[async_trait]
impl Flaw for ListsOnlyItsOwn {
    async fn list(&self, right: &MemoryStore, options: &ListOptions) -> Result<Page<Metadata>> {
        let mut page = right.list(options).await?;
        page.items.retain(|item| !is_seed(&item.name));
        Ok(page)
    }
}
