//! What the manager does with configuration texts.

use std::path::{Path, PathBuf};

use keyfob_core::{Error, ErrorKind, FILE_SCHEME, Occurrence, Report, Resolved, Result, Stores as _};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::format::Format;
use crate::load::deserialize;
use crate::manager::SecretManager;
use crate::template::Template;

/// The largest configuration file that is read, in bytes.
pub const MAX_CONFIGURATION_BYTES: u64 = 64 << 20;

impl SecretManager {
    /// Whether `${scheme:…}` is a reference here; anything else in `${…}` is text.
    #[must_use]
    pub fn is_reference_scheme(&self, scheme: &str) -> bool {
        scheme == FILE_SCHEME || self.has_scheme(scheme)
    }

    /// Resolves references, of any number of texts, in one concurrent round: each store is asked once.
    ///
    /// # Errors
    /// One [`Report`] of everything that failed. Nothing half resolved is handed out.
    pub async fn resolve(&self, occurrences: &[Occurrence]) -> Result<Resolved, Report> {
        keyfob_core::resolve(self, self.allowed_schemes(), occurrences).await
    }

    /// Reads a configuration file and finds its references.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Unavailable` when the file can't be read; `NotText` when it is not UTF-8;
    /// those of [`Template::parse`].
    pub fn template(&self, path: impl AsRef<Path>) -> Result<Template> {
        let path = path.as_ref();
        let text = read_configuration(path)?;
        let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Template::parse(
            path.display().to_string(),
            Some(&directory),
            Format::of_path(path),
            text,
            |scheme| self.is_reference_scheme(scheme),
        )
    }

    /// Reads a configuration file into a type, with everything that it refers to resolved.
    ///
    /// The format follows from the file's name: `.json`, `.yaml`, `.toml` or `.env`. Give fields that hold secrets the
    /// type [`SecretValue`](crate::SecretValue): they stay redacted in `Debug` and are wiped when they go.
    ///
    /// # Errors
    /// Those of [`template`](Self::template); `InvalidInput` when the document does not fit the type, naming the key
    /// and never a value; when references fail, the kind of the first failure, with the whole [`Report`] as message and
    /// as [source](std::error::Error::source).
    pub async fn load<T: DeserializeOwned>(&self, path: impl AsRef<Path>) -> Result<T> {
        let path = path.as_ref();
        let template = self.template(path)?;
        let resolved = self.resolve(&template.occurrences()).await.map_err(unresolved)?;
        deserialize(&template, &resolved).map_err(|error| error.with("file", path.display().to_string()))
    }
}

/// Reads a configuration file into a type: [`SecretManager::from_env`], then [`SecretManager::load`].
///
/// # Errors
/// Those of both.
pub async fn load<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    SecretManager::from_env().await?.load(path).await
}

/// Reads a text file of bounded size into memory that is wiped.
///
/// # Errors
/// `NotFound`, `PermissionDenied` or `Unavailable` when it can't be read, `InvalidInput` when it is too large, `NotText`
/// when it is not UTF-8.
pub fn read_configuration(path: &Path) -> Result<Zeroizing<String>> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| {
        let (kind, message) = match error.kind() {
            std::io::ErrorKind::NotFound => (ErrorKind::NotFound, "no such file"),
            std::io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, "the file can't be read"),
            _ => (ErrorKind::Unavailable, "the file can't be read"),
        };
        Error::new(kind, message)
            .with("file", path.display().to_string())
            .with_source(error)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len().min(MAX_CONFIGURATION_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(MAX_CONFIGURATION_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_CONFIGURATION_BYTES {
        let message = format!("the file has more than {MAX_CONFIGURATION_BYTES} bytes");
        return Err(Error::new(ErrorKind::InvalidInput, message).with("file", path.display().to_string()));
    }
    String::from_utf8(std::mem::take(&mut bytes))
        .map(Zeroizing::new)
        .map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            let _wiped = Zeroizing::new(error.into_bytes());
            Error::new(ErrorKind::NotText, "the file is not UTF-8 text").with("at", format!("{}:{line}", path.display()))
        })
}

fn unresolved(report: Report) -> Error {
    let kind = report
        .failures
        .first()
        .map_or(ErrorKind::Other, |failure| failure.error.kind());
    Error::new(kind, report.to_string()).with_source(report)
}
