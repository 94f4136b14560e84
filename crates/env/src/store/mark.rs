//! The comment that keyfob writes above the entries it makes, and version tokens.

use data_encoding::HEXLOWER;
use keyfob_core::{Error, ErrorKind, Result, SecretName, Version};
use sha2::{Digest, Sha256};

use super::file::Identity;
use crate::dotenv::Entry;
use crate::names::variable_for;

/// `# keyfob:name=db/password rev=4f0c2e...`: the exact name that the variable is for, and a random number that is
/// new with every put.
///
/// The number makes versions of values: a digest over number and value changes with either, and tells nothing to who
/// has not the number, which stands only where the value stands too.
pub(super) struct Mark {
    pub(super) name: SecretName,
    revision: Option<String>,
}

const NAME: &str = "keyfob:name=";
const REVISION: &str = "rev=";
const REVISION_BYTES: usize = 12;

impl Mark {
    /// A mark for a value that is written now.
    pub(super) fn new(name: SecretName) -> Result<Self> {
        let mut bytes = [0; REVISION_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::new(ErrorKind::Unavailable, "the system gives no random numbers").with_source(error))?;
        let revision = Some(HEXLOWER.encode(&bytes));
        Ok(Self { name, revision })
    }

    /// The mark above an entry. A mark for a name that this variable can't be for (somebody renamed the variable) is
    /// a comment like any other.
    pub(super) fn of(entry: &Entry<'_>) -> Option<Self> {
        let mark = Self::parse(entry.comment()?)?;
        (variable_for(&mark.name).as_deref() == Some(entry.name())).then_some(mark)
    }

    /// Whether a comment is a mark.
    pub(super) fn is_mark(comment: &str) -> bool {
        Self::parse(comment).is_some()
    }

    fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.strip_prefix(NAME)?.split_ascii_whitespace();
        let name = SecretName::new(words.next()?).ok()?;
        // A number that somebody made up could be guessed, and with it the value from the version.
        let revision = words
            .next()
            .and_then(|word| word.strip_prefix(REVISION))
            .filter(|revision| {
                HEXLOWER
                    .decode(revision.as_bytes())
                    .is_ok_and(|bytes| bytes.len() == REVISION_BYTES)
            })
            .map(str::to_owned);
        Some(Self { name, revision })
    }

    /// The comment's text.
    pub(super) fn comment(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{NAME}{} {REVISION}{revision}", self.name),
            None => format!("{NAME}{}", self.name),
        }
    }
}

/// The version token of an entry.
///
/// Without a number above it there is nothing secret that could be mixed with the value, so the token is made from
/// the identity of the file: it also changes when another entry does, never the other way round.
pub(super) fn version(entry: &Entry<'_>, mark: Option<&Mark>, file: &Identity) -> Result<Version> {
    let mut digest = Sha256::new();
    match mark.and_then(|mark| mark.revision.as_deref()) {
        Some(revision) => {
            digest.update(b"keyfob .env value 1\0");
            digest.update(revision);
            digest.update(entry.value());
        }
        None => {
            digest.update(b"keyfob .env file 1\0");
            digest.update(file.to_bytes());
            digest.update(entry.name());
        }
    }
    Version::new(HEXLOWER.encode(&digest.finalize()[..16]))
}
