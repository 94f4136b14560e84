//! The names that a rotation keeps its own things under.

use keyfob_core::{Error, ErrorKind, Result, SecretName};

const JOURNAL: &str = ".keyfob-rotation";
const PENDING: &str = ".keyfob-pending";
const PREVIOUS: &str = ".keyfob-previous";

/// The reserved names of one secret.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) journal: SecretName,
    pub(crate) pending: SecretName,
    pub(crate) previous: SecretName,
}

impl Names {
    /// Those of `name`, the journal's behind `prefix`.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is itself reserved, or is too long for a suffix.
    pub(crate) fn of(name: &SecretName, prefix: &str) -> Result<Self> {
        if name.is_reserved() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the name is reserved for what keyfob keeps about other secrets",
            )
            .with("name", name.as_str()));
        }
        Ok(Self {
            journal: derived(name, prefix, JOURNAL)?,
            pending: derived(name, "", PENDING)?,
            previous: derived(name, "", PREVIOUS)?,
        })
    }
}

/// Whose journal is under this name, if it is one of those behind `prefix`. An absolute name behind a prefix has lost its slash.
pub(crate) fn rotated_by(journal: &SecretName, prefix: &str) -> Option<SecretName> {
    let name = journal.as_str().strip_prefix(prefix)?.strip_suffix(JOURNAL)?;
    SecretName::new(name).ok()
}

fn derived(name: &SecretName, prefix: &str, suffix: &str) -> Result<SecretName> {
    // An absolute name stays one where nothing stands in front of it.
    let own = match prefix {
        "" => name.as_str(),
        _ => name.as_str().trim_start_matches('/'),
    };
    SecretName::new(format!("{prefix}{own}{suffix}")).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "a secret of this name can't be rotated")
            .with("name", name.as_str())
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portable_name_gives_portable_names() {
        let name = SecretName::new("db/password").unwrap();
        let names = Names::of(&name, "azure/").unwrap();
        assert_eq!(names.journal.as_str(), "azure/db/password.keyfob-rotation");
        assert_eq!(names.pending.as_str(), "db/password.keyfob-pending");
        assert_eq!(names.previous.as_str(), "db/password.keyfob-previous");
        for name in [&names.journal, &names.pending, &names.previous] {
            assert!(name.is_portable() && name.is_reserved(), "{name}");
            assert_eq!(Names::of(name, "").unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn an_absolute_name_stays_absolute_and_goes_behind_a_prefix_without_its_slash() {
        let name = SecretName::new("/mount/x").unwrap();
        let names = Names::of(&name, "vault/").unwrap();
        assert_eq!(names.pending.as_str(), "/mount/x.keyfob-pending");
        assert_eq!(names.journal.as_str(), "vault/mount/x.keyfob-rotation");
    }

    #[test]
    fn a_name_without_room_for_a_suffix_is_refused() {
        let name = SecretName::new("x".repeat(500)).unwrap();
        assert_eq!(Names::of(&name, "").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
