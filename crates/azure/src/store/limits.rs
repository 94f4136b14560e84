//! What Key Vault takes in a write, as far as the capabilities don't say it.
//!
//! <https://learn.microsoft.com/azure/key-vault/secrets/about-secrets>

use std::time::SystemTime;

use keyfob_core::{Change, Error, ErrorKind, PutRequest, Result, SecretName};

use crate::client::{Tags, is_own, never};

/// 25 KB.
pub(super) const MAX_VALUE_BYTES: usize = 25 * 1024;
/// A secret has 15. keyfob's own keep the name, the order of versions and the description.
pub(super) const MAX_TAGS: usize = ALL_TAGS - 3;
const ALL_TAGS: usize = 15;
/// In the name of a tag and in its value.
const MAX_TAG_CHARS: usize = 256;

/// Checks before any I/O what the capabilities don't say.
pub(super) fn check(name: &SecretName, request: &PutRequest) -> Result<()> {
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
    if let Change::Set(text) = &request.description
        && text.chars().count() > MAX_TAG_CHARS
    {
        return invalid(format!(
            "the description has {} characters, Azure takes {MAX_TAG_CHARS}",
            text.chars().count()
        ));
    }
    if let Change::Set(at) = request.expires_at
        && !(SystemTime::UNIX_EPOCH..never()).contains(&at)
    {
        return invalid("Azure keeps an expiry from 1970 to 9998".to_owned());
    }
    let Change::Set(tags) = &request.tags else { return Ok(()) };
    for (key, value) in tags {
        let shown = key.escape_debug();
        if key.is_empty() || key.chars().count() > MAX_TAG_CHARS || value.chars().count() > MAX_TAG_CHARS {
            return invalid(format!(
                "the tag `{shown:.40}` is too long or has no name: Azure takes {MAX_TAG_CHARS} characters, and as many in its value"
            ));
        }
        if is_own(key) {
            return invalid(format!(
                "the tag `{shown}` begins with `keyfob-`, which is kept for keyfob itself"
            ));
        }
    }
    Ok(())
}

/// Checks that all tags together have room: a secret that another tool made can have up to 15 of its own.
pub(super) fn check_all(name: &SecretName, tags: &Tags) -> Result<()> {
    if tags.len() <= ALL_TAGS {
        return Ok(());
    }
    let message = format!(
        "{} tags with keyfob's own, and Azure keeps {ALL_TAGS} of a secret",
        tags.len()
    );
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with("name", name.as_str())
        .with("store", super::SCHEME)
        .with_hint("take tags away: keyfob needs two, and one more for a description"))
}
