//! The verbs of the contract, as logs, records and metrics call them.

/// A verb of [`SecretStore`](crate::SecretStore) that asks a store something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// One secret is read.
    Get,
    /// Secrets are read as a batch.
    GetMany,
    /// A value or metadata is written.
    Put,
    /// A secret is deleted.
    Delete,
    /// A deleted secret is brought back.
    Restore,
    /// A page of names is listed.
    List,
    /// A page of a secret's versions is listed.
    Versions,
    /// The store is asked whether it can serve.
    Health,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::GetMany,
        Self::Put,
        Self::Delete,
        Self::Restore,
        Self::List,
        Self::Versions,
        Self::Health,
    ];

    /// The stable token of this verb, for example `get_many`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::List => "list",
            Self::Versions => "versions",
            Self::Health => "health",
        }
    }

    /// The verb with this token.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == token)
    }

    /// Whether it changes the store.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Restore)
    }
}
