//! Listings in pages, by name.

use keyfob_core::{Error, ErrorKind, Metadata, Page, PageRequest, PageToken, Result, SecretName};

const MAX_PAGE: usize = 1000;
/// Tells our tokens from other text, most of which would be a name.
const TOKEN: &str = "after:";

/// The name behind which the page begins.
pub(crate) fn after(request: &PageRequest) -> Result<Option<SecretName>> {
    let Some(token) = &request.token else { return Ok(None) };
    token
        .as_str()
        .strip_prefix(TOKEN)
        .and_then(|name| SecretName::new(name).ok())
        .map(Some)
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a page token of this store"))
}

/// A page of what comes, which is in order and begins behind [`after`].
pub(crate) fn page(items: impl Iterator<Item = Metadata>, request: &PageRequest) -> Result<Page<Metadata>> {
    let limit = request.limit_up_to(MAX_PAGE)?;
    let mut items: Vec<Metadata> = items.take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| PageToken::new(format!("{TOKEN}{}", last.name)));
    Ok(Page { items, next })
}
