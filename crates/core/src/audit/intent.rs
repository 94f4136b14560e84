//! What is about to be asked of a store.

use std::sync::Arc;

use crate::name::SecretName;
use crate::options::{GetRequest, VersionSelector};
use crate::verb::Verb;

/// What is about to be asked of a store: said before the store is opened, so that an access which never reaches it, because
/// it is refused or the store can't be opened, is recorded as what it would have been.
///
/// ```
/// use keyfob_core::{Intent, SecretName, Verb};
///
/// let name = SecretName::new("db/password")?;
/// let write = Intent::of(Verb::Put, &name);
/// let listing = Intent::new(Verb::List).prefix("db/");
/// # let _ = (write, listing);
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Intent {
    pub(super) verb: Verb,
    pub(super) subjects: Vec<Subject>,
}

/// One secret, or the prefix of a listing.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) name: Arc<str>,
    pub(super) version: Option<Arc<str>>,
}

impl Intent {
    /// Asks for this and names no secret: a listing of everything, or with [`Verb::Health`] nothing but a store that is open.
    pub fn new(verb: Verb) -> Self {
        Self {
            verb,
            subjects: Vec::new(),
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Asks for this, of one secret.
    pub fn of(verb: Verb, name: &SecretName) -> Self {
        Self::new(verb).secret(name, &VersionSelector::Current)
    }

    /// Reads these secrets as one batch.
    pub fn get_many(requests: &[GetRequest]) -> Self {
        let batch = Self::new(Verb::GetMany);
        let add = |intent: Self, request: &GetRequest| intent.secret(&request.name, &request.options.version);
        requests.iter().fold(batch, add)
    }

    /// The same of one more secret, in this version. Each has a record of its own.
    pub fn secret(mut self, name: &SecretName, version: &VersionSelector) -> Self {
        self.subjects.push(Subject {
            name: name.shared(),
            version: asked(version),
        });
        self
    }

    /// The same for names that begin so. An empty prefix is none.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.subjects.extend((!prefix.is_empty()).then(|| Subject {
            name: prefix.into(),
            version: None,
        }));
        self
    }
}

/// The version that is asked for, where it is not simply the current one.
pub(super) fn asked(version: &VersionSelector) -> Option<Arc<str>> {
    match version {
        VersionSelector::Current => None,
        VersionSelector::Previous => Some("previous".into()),
        VersionSelector::Exact(version) => Some(version.shared()),
    }
}
