//! `list`.

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, SortByType, SortOrderType};
use keyfob_core::{Deleted, Error, ErrorKind, ListOptions, Metadata, Page, PageToken, Result, SecretName, Version};

use super::metadata::{current, description, tags, time};
use super::{Inner, SCHEME};
use crate::config::is_name_byte;
use crate::error::{Failed, failed};
use crate::names::MAX_NAME_BYTES;
use crate::stages;

/// What ListSecrets gives at once.
const MAX_PAGE: usize = 100;
/// Tells our tokens from other text, which some services answer with an internal error.
const TOKEN: &str = "list:";

impl Inner {
    pub(super) async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let token = match &options.page.token {
            Some(token) => Some(token.as_str().strip_prefix(TOKEN).ok_or_else(not_a_token)?.to_owned()),
            None => None,
        };
        let begins_with = format!("{}{}", self.names.prefix(), options.prefix);
        let nothing = Page {
            items: Vec::new(),
            next: None,
        };
        // No name has such a prefix, and the service would refuse it.
        if begins_with.len() > MAX_NAME_BYTES || !begins_with.bytes().all(|byte| is_name_byte(byte) || byte == b'!') {
            return Ok(nothing);
        }
        let mut request = self
            .client
            .list_secrets()
            .max_results(i32::try_from(limit).unwrap_or(i32::MAX))
            .sort_by(SortByType::Name)
            .sort_order(SortOrderType::Asc)
            .include_planned_deletion(options.deleted == Deleted::Only)
            .set_next_token(token);
        // A `!` in front would mean "not".
        if !begins_with.is_empty() && !begins_with.starts_with('!') {
            let filter = Filter::builder().key(FilterNameStringType::Name).values(&begins_with).build();
            request = request.filters(filter);
        }
        let page = request.send().await.map_err(|error| failed(error).into_error())?;
        let Some(entries) = page.secret_list else {
            return Err(Failed::incomprehensible().into_error());
        };
        let items = entries
            .iter()
            .filter(|entry| entry.name().is_some_and(|name| name.starts_with(&begins_with)))
            .filter(|entry| entry.deleted_date().is_some() == (options.deleted == Deleted::Only))
            .filter_map(|entry| Some(metadata(self.listed(entry.name()?)?, entry)))
            .collect();
        let next = page.next_token.filter(|token| !token.is_empty());
        Ok(Page {
            items,
            next: next.map(|token| PageToken::new(format!("{TOKEN}{token}"))),
        })
    }

    fn listed(&self, name: &str) -> Option<SecretName> {
        let listed = self.names.name(name);
        if listed.is_none() {
            tracing::warn!(target: "keyfob", name = %name.escape_debug(), "a secret is left out of the listing: keyfob can't express its name");
        }
        listed
    }
}

fn metadata(name: SecretName, entry: &SecretListEntry) -> Metadata {
    let mut metadata = Metadata::new(name, SCHEME);
    if let Some((version, labels)) = entry.secret_versions_to_stages().and_then(current) {
        metadata.version = Version::new(version).ok();
        metadata.expires_at = stages::expiry_of(labels);
    }
    metadata.updated = entry.last_changed_date().and_then(time);
    metadata.deleted_at = entry.deleted_date().and_then(time);
    metadata.description = description(entry.description());
    metadata.tags = tags(entry.tags());
    metadata
}

pub(super) fn not_a_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a page token of this listing")
}
