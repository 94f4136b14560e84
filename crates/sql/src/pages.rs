//! Where a page of a listing begins.

use keyfob_core::{Error, ErrorKind, PageToken, Result, SecretName, Version};

use crate::rows::SecretRow;

/// The most items on a page of a listing.
pub(crate) const MAX_PAGE: usize = 1000;

/// The part of the catalog from the prefix, or from behind `after`, on.
pub(crate) fn from<'c>(catalog: &'c [SecretRow], prefix: &str, after: Option<&str>) -> &'c [SecretRow] {
    let begin =
        catalog.partition_point(|row| row.name.as_str() < prefix || after.is_some_and(|after| row.name.as_str() <= after));
    catalog.get(begin..).unwrap_or_default()
}

// A token says of which listing it is, so that another listing's is refused.

pub(crate) fn token_after(name: &SecretName) -> PageToken {
    PageToken::new(format!("after:{name}"))
}

pub(crate) fn name_after(token: &PageToken) -> Result<String> {
    let name = token
        .as_str()
        .strip_prefix("after:")
        .and_then(|name| SecretName::new(name).ok());
    name.map(|name| name.as_str().to_owned()).ok_or_else(not_a_token)
}

pub(crate) fn token_below(version: &Version) -> PageToken {
    PageToken::new(format!("below:{version}"))
}

pub(crate) fn number_below(token: &PageToken) -> Result<u64> {
    let number = token.as_str().strip_prefix("below:").and_then(|number| number.parse().ok());
    number.ok_or_else(not_a_token)
}

fn not_a_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a page token of this listing")
}
