//! `list`.

use keyfob_core::{Deleted, ListOptions, Metadata, Page, Result};

use super::Inner;
use crate::client::{Listing, MAX_PAGE, Told, not_a_token};
use crate::error::with_facts_of;

impl Inner {
    /// One page of the vault's, without what is not behind the prefix.
    pub(super) async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let listing = match options.deleted {
            Deleted::Exclude => Listing::Secrets,
            Deleted::Only => Listing::Deleted,
        };
        let token = options.page.token.as_ref().map(|token| listing.token(token)).transpose()?;
        let page = self.vault.list(listing, limit, token.as_ref()).await;
        let (told, next) = page.map_err(|failed| {
            let is_of_token = token.is_some() && failed.is_bad_request();
            let error = failed.into_error();
            match is_of_token {
                true => with_facts_of(not_a_token(), &error),
                false => error,
            }
        })?;
        let items = told.iter().filter_map(|told| self.listed(told, &options.prefix));
        Ok(Page {
            items: items.take(limit).collect(),
            next: next.map(|token| listing.page_token(&token)),
        })
    }

    /// What belongs to a certificate is left out: it is the certificate's.
    fn listed(&self, told: &Told, prefix: &str) -> Option<Metadata> {
        if told.is_managed {
            return None;
        }
        let name = self.names.name(&told.name, told.record.name.as_deref())?;
        name.as_str().starts_with(prefix).then(|| told.metadata(&name))
    }
}
