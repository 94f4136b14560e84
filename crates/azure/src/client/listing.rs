//! Listings, a page at a time.

use azure_core::http::Response;
use azure_core::http::pager::{PagerContinuation, PagerOptions};
use azure_security_keyvault_secrets::models::{
    ListDeletedSecretPropertiesResult, ListSecretPropertiesResult, SecretClientListDeletedSecretPropertiesOptions,
    SecretClientListSecretPropertiesOptions, SecretClientListSecretPropertiesVersionsOptions,
};
use futures_util::TryStreamExt as _;
use keyfob_core::{Error, ErrorKind, PageToken, Result};
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

use super::{Told, Vault};
use crate::error::{Failed, failed};
use crate::names::AzureName;
use crate::permissions::Permission;

/// What the vault gives at once.
pub(crate) const MAX_PAGE: usize = 25;

/// What is listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listing<'a> {
    Secrets,
    Deleted,
    Versions(&'a AzureName),
}

/// Where a page begins, as the vault says it: the query of its address. The rest of the address is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Listing<'_> {
    fn path(&self) -> String {
        match self {
            Self::Secrets => "/secrets".to_owned(),
            Self::Deleted => "/deletedsecrets".to_owned(),
            Self::Versions(name) => format!("/secrets/{}/versions", name.as_str()),
        }
    }

    fn mark(&self) -> &'static str {
        match self {
            Self::Secrets => "secrets?",
            Self::Deleted => "deleted?",
            Self::Versions(_) => "versions?",
        }
    }

    /// The token in one that was given out for this listing.
    pub(crate) fn token(&self, token: &PageToken) -> Result<Token> {
        let query = token.as_str().strip_prefix(self.mark());
        let is_query = |query: &&str| !query.is_empty() && query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        query
            .filter(is_query)
            .map(|query| Token(query.to_owned()))
            .ok_or_else(not_a_token)
    }

    pub(crate) fn page_token(&self, token: &Token) -> PageToken {
        PageToken::new(format!("{}{}", self.mark(), token.0))
    }
}

impl Vault {
    /// One page, and where the next one begins.
    pub(crate) async fn list(
        &self,
        listing: Listing<'_>,
        limit: usize,
        token: Option<&Token>,
    ) -> Result<(Vec<Told>, Option<Token>), Failed> {
        let maxresults = i32::try_from(limit.min(MAX_PAGE)).ok();
        let continuation = match token {
            None => None,
            Some(token) => {
                let mut url = self.url.clone();
                url.set_path(&listing.path());
                url.set_query(Some(&token.0));
                Some(PagerContinuation::Link(url))
            }
        };
        let method_options = PagerOptions {
            continuation,
            ..PagerOptions::default()
        };
        let (items, next): (Option<Vec<Told>>, _) = match listing {
            Listing::Secrets => {
                let options = SecretClientListSecretPropertiesOptions {
                    maxresults,
                    method_options,
                };
                let pager = self.client.list_secret_properties(Some(options)).map_err(failed)?;
                let page = self
                    .ask(Permission::List, async move { pager.into_pages().try_next().await })
                    .await?;
                let page: ListSecretPropertiesResult = page_of(page)?;
                (page.value.iter().map(Told::of_item).collect(), page.next_link)
            }
            Listing::Deleted => {
                let options = SecretClientListDeletedSecretPropertiesOptions {
                    maxresults,
                    method_options,
                };
                let pager = self.client.list_deleted_secret_properties(Some(options)).map_err(failed)?;
                let page = self
                    .ask(Permission::List, async move { pager.into_pages().try_next().await })
                    .await?;
                let page: ListDeletedSecretPropertiesResult = page_of(page)?;
                (page.value.iter().map(Told::of_deleted_item).collect(), page.next_link)
            }
            Listing::Versions(name) => {
                let options = SecretClientListSecretPropertiesVersionsOptions {
                    maxresults,
                    method_options,
                };
                let pager = self.client.list_secret_properties_versions(name.as_str(), Some(options));
                let pager = pager.map_err(failed)?;
                let page = self
                    .ask(Permission::List, async move { pager.into_pages().try_next().await })
                    .await?;
                let page: ListSecretPropertiesResult = page_of(page)?;
                let is_version = |told: &Told| told.is(name, None) && told.version.is_some();
                let items = page.value.iter().map(|item| Told::of_item(item).filter(is_version));
                (items.collect(), page.next_link)
            }
        };
        let items = items.ok_or_else(Failed::incomprehensible)?;
        let next = match next.as_deref() {
            None | Some("") => None,
            Some(next) => Some(self.next(listing, next)?),
        };
        Ok((items, next))
    }

    /// The token in the address of a next page, which must be one of the same listing of the same vault.
    fn next(&self, listing: Listing<'_>, next: &str) -> Result<Token, Failed> {
        let next: Url = self.url.join(next).map_err(|_| Failed::incomprehensible())?;
        let query = next.query().filter(|query| !query.is_empty());
        let path = next.path().trim_end_matches('/');
        match query {
            Some(query) if next.origin() == self.url.origin() && path.eq_ignore_ascii_case(&listing.path()) => {
                Ok(Token(query.to_owned()))
            }
            _ => Err(Failed::incomprehensible()),
        }
    }
}

/// The page in an answer. The SDK takes an answer that says nothing for an empty page.
fn page_of<T: DeserializeOwned>(answer: Option<Response<T>>) -> Result<T, Failed> {
    #[derive(serde::Deserialize)]
    struct Page {
        #[expect(dead_code, reason = "only that it is there counts")]
        value: Vec<IgnoredAny>,
    }
    let body = answer.ok_or_else(Failed::incomprehensible)?.into_body();
    serde_json::from_slice::<Page>(&body).map_err(|_| Failed::incomprehensible())?;
    serde_json::from_slice(&body).map_err(|_| Failed::incomprehensible())
}

pub(crate) fn not_a_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a page token of this listing")
}
