//! What is refused before any request.

use keyfob_core::{Change, Error, ErrorKind, PutRequest, Result, SecretName};

use crate::error::about;
use crate::notes::Notes;

/// Google takes less than 16 KiB of annotations, keys and values together. What is left is for the note of a deletion.
const MOST_NOTES: usize = 15 << 10;

/// Refuses a description and tags that can't fit.
pub(super) fn check(name: &SecretName, request: &PutRequest) -> Result<()> {
    let mut alone = Notes::default();
    if let Change::Set(description) = &request.description {
        alone.description = Some(description.clone());
    }
    if let Change::Set(tags) = &request.tags {
        alone.tags.clone_from(tags);
    }
    check_notes(name, &alone)
}

/// Refuses annotations that don't fit together with those that are there.
pub(super) fn check_notes(name: &SecretName, notes: &Notes) -> Result<()> {
    let size = notes.size();
    if size <= MOST_NOTES {
        return Ok(());
    }
    let message = format!("description, tags and other annotations have {size} bytes, a secret takes {MOST_NOTES}");
    Err(about(Error::new(ErrorKind::InvalidInput, message), name))
}
