//! The database of an audit log.

use std::path::Path;

use keyfob_core::StoreUrl;

/// The URL of a database that keeps an audit log: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`. It holds no password.
#[derive(Debug, Clone)]
pub struct AuditStore(StoreUrl);

impl AuditStore {
    /// Whether `text` means a database and not a directory.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = StoreUrl::parse(text).ok()?;
        let is_database = matches!(url.scheme(), "sqlite" | "postgres" | "postgresql");
        (is_database && !url.holds_secret()).then_some(Self(url))
    }

    /// The same with a relative path below `directory`.
    #[must_use]
    pub fn below(self, directory: &Path) -> Self {
        Self(self.0.with_base(directory))
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.0
    }
}

/// What is shown of the URL is all of it, since it has no secret.
impl PartialEq for AuditStore {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string() && self.0.base() == other.0.base()
    }
}

impl Eq for AuditStore {}
