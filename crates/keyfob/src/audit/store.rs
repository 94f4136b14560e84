//! The database of an audit log.

use std::path::Path;

use keyfob_core::StoreUrl;

/// The URL of a database that keeps an audit log: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`. It holds no password.
#[derive(Debug, Clone)]
pub struct AuditStore {
    /// As it was written: what is shown of a URL leaves out the user.
    text: String,
    url: StoreUrl,
}

impl AuditStore {
    /// Whether `text` means a database and not a directory.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = StoreUrl::parse(text).ok()?;
        let is_database = matches!(url.scheme(), "sqlite" | "postgres" | "postgresql");
        (is_database && !url.holds_secret()).then(|| Self {
            text: text.to_owned(),
            url,
        })
    }

    /// The same with a relative path below `directory`.
    #[must_use]
    pub fn below(self, directory: &Path) -> Self {
        Self {
            url: self.url.with_base(directory),
            ..self
        }
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }
}

impl PartialEq for AuditStore {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.url.base() == other.url.base()
    }
}

impl Eq for AuditStore {}
