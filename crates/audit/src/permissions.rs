//! Who may change a log: its owner alone.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use keyfob_core::{Error, ErrorKind, Result};

/// Makes the directory if it is missing, for its owner only, and checks it and all above it.
pub(crate) fn prepare_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| failed("make the directory of the audit log", directory, source))?;
    let real = directory
        .canonicalize()
        .map_err(|source| failed("find the directory of the audit log", directory, source))?;
    for above in real.ancestors() {
        let facts = fs::metadata(above).map_err(|source| failed("look at the directory of the audit log", above, source))?;
        // In a sticky directory like `/tmp` others can't move what is not theirs.
        let is_sticky = above != real && facts.mode() & 0o1000 != 0;
        let others = if is_sticky { 0 } else { 0o022 };
        check(&facts, above, others, above == real)?;
    }
    Ok(())
}

/// Checks an opened file of the log.
pub(crate) fn check_file(file: &File, path: &Path) -> Result<()> {
    let facts = file
        .metadata()
        .map_err(|source| failed("look at a file of the audit log", path, source))?;
    if !facts.is_file() {
        return Err(
            Error::new(ErrorKind::InvalidConfig, "a file of the audit log is not a regular file")
                .with("file", path.display().to_string()),
        );
    }
    check(&facts, path, 0o022, true)
}

fn check(facts: &Metadata, path: &Path, others: u32, must_be_own: bool) -> Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let shown = path.display();
    let refuse = |message: String, hint: String| {
        Err(Error::new(ErrorKind::InvalidConfig, message)
            .with("path", shown.to_string())
            .with_hint(hint))
    };
    if must_be_own && facts.uid() != user && facts.uid() != 0 {
        return refuse(
            format!("the audit log belongs to user {}, not to user {user} or root", facts.uid()),
            "whoever owns it can change it: use a directory of your own".to_owned(),
        );
    }
    if facts.mode() & others != 0 {
        return refuse(
            format!(
                "other users may change the audit log, its mode is {:04o}",
                facts.mode() & 0o7777
            ),
            format!("`chmod go-w {shown}`, or use a directory that is yours alone"),
        );
    }
    Ok(())
}

/// An error of the file system.
pub(crate) fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        // No waiting mends these.
        io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => ErrorKind::InvalidConfig,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, format!("can't {what}")).with("path", path.display().to_string());
    // As with a full disk somebody will see to it, and nothing else is wrong.
    let error = match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => error.with_hint("see to the disk, which is mounted read-only"),
        _ => error,
    };
    error.with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_became_read_only_is_waited_for_as_a_full_one() {
        let kind = |of: io::ErrorKind| failed("write", Path::new("/log"), of.into()).kind();
        assert_eq!(kind(io::ErrorKind::ReadOnlyFilesystem), ErrorKind::Unavailable);
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::Unavailable);
        assert_eq!(kind(io::ErrorKind::NotADirectory), ErrorKind::InvalidConfig);
        let error = failed("write", Path::new("/log"), io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(error.hint().unwrap().contains("read-only"), "{error:?}");
    }
}
