//! `list`.

use google_cloud_secretmanager_v1::model::Secret as GcpSecret;
use keyfob_core::{Deleted, Error, ErrorKind, ListOptions, Metadata, Page, PageToken, Result, SecretName};

use super::requests::id_in;
use super::{Inner, SCHEME};
use crate::notes::{LABEL, LABEL_VALUE, Notes};

/// The most secrets of one page. Google gives up to 25,000, which could be 400 MB of annotations.
const MAX_PAGE: usize = 1_000;
/// Tells our tokens from other text.
const TOKEN: &str = "list:";

impl Inner {
    pub(super) async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let token = match &options.page.token {
            Some(token) => token.as_str().strip_prefix(TOKEN).ok_or_else(not_a_token)?.to_owned(),
            None => String::new(),
        };
        let is_next = !token.is_empty();
        let page = self
            .list_page(i32::try_from(limit).unwrap_or(i32::MAX), token, self.filter(options))
            .await
            .map_err(|failed| match is_next && failed.is_invalid_argument() {
                true => not_a_token(),
                false => failed.into_error(),
            })?;
        let mut items: Vec<Metadata> = page
            .secrets
            .iter()
            .filter_map(|secret| self.metadata(secret, options.deleted == Deleted::Only))
            .filter(|metadata| metadata.name.as_str().starts_with(&options.prefix))
            .collect();
        items.sort_by(|one, other| one.name.cmp(&other.name));
        let next = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(Page {
            items,
            next: next.map(|token| PageToken::new(format!("{TOKEN}{token}"))),
        })
    }

    /// What the service can leave out: it looks for text anywhere in a name, not only at its beginning.
    fn filter(&self, options: &ListOptions) -> String {
        let mut parts = Vec::new();
        if options.deleted == Deleted::Only {
            parts.push(format!("labels.{LABEL}={LABEL_VALUE}"));
        }
        let text = self.names.common(&options.prefix);
        let text = text.trim_matches('-');
        if text.len() > 3 {
            parts.push(format!("name:{text}"));
        }
        parts.join(" AND ")
    }

    fn metadata(&self, secret: &GcpSecret, is_deleted: bool) -> Option<Metadata> {
        let notes = Notes::read(&secret.annotations, &secret.labels);
        if notes.deletion.is_some() != is_deleted {
            return None;
        }
        let name = self.listed_name(id_in(&secret.name)?)?;
        let mut metadata = Metadata::new(name, SCHEME);
        // Which version is current is not said here: this is the expiry of the newest that one is noted of.
        metadata.expires_at = notes.expiries.newest();
        metadata.deleted_at = notes.deletion.map(|deletion| deletion.at);
        metadata.description = notes.description;
        metadata.tags = notes.tags;
        Some(metadata)
    }

    fn listed_name(&self, id: &str) -> Option<SecretName> {
        let name = self.names.name(id)?;
        self.capabilities.check_name(&name).is_ok().then_some(name)
    }
}

pub(super) fn not_a_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a page token of this listing")
}
