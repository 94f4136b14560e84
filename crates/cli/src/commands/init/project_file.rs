//! The `keyfob.toml` that `keyfob init` writes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use keyfob::project::FILE_NAME;
use keyfob::{Environment, Error, ErrorKind, Project, Result};

/// Writes a `keyfob.toml` into the current directory that makes `url` the default store.
///
/// # Errors
/// `AlreadyExists`, those of the file system, and why the file would not be believed there; then it is gone again.
pub(super) fn write(environment: &Environment, url: &str) -> Result<PathBuf> {
    let path = environment.absolute(FILE_NAME);
    let text = format!(
        "# Which store keyfob uses in this directory and below. It holds no secrets and may be committed.\n\
         default = \"local\"\n\n\
         [stores.local]\n\
         url = \"{url}\"\n"
    );
    // Not what a lax umask would make of it: what others may write is not believed.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
    let written = created.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        Error::new(kind, format!("can't write it: {}", error.kind())).with("file", path.display().to_string())
    })?;
    match Project::load(environment, &path) {
        Ok(_) => Ok(path),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// The store URL of a file, as it may stand in `keyfob.toml`.
pub(super) fn url_of_file(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    // Two slashes would begin a host.
    let leading = bytes.iter().take_while(|byte| **byte == b'/').count();
    format!("sqlite:{}", encoded(&bytes[leading.saturating_sub(1)..]))
}

/// Percent-encodes all but letters, digits and what paths often have.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use keyfob::StoreUrl;

    use super::*;

    #[test]
    fn the_url_of_a_file_leads_to_the_file() {
        let environment = Environment::fake().build();
        for path in ["a.db", "./a b.db", "/x/y?z#%.db", "//x/y.db", "ä/\"q\".db", "x:y.db"] {
            let url = StoreUrl::parse(&url_of_file(Path::new(path))).unwrap();
            let file = url.file_path(&environment).unwrap().unwrap();
            assert_eq!(file, environment.absolute(path), "{path}");
            assert!(!url.to_string().contains('"'));
        }
    }
}
