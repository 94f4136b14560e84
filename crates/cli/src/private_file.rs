//! Files that hold values.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keyfob::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

/// Writes a file that only its owner may access (mode 0600), complete or not at all.
///
/// The bytes go to a temporary file in the same directory, which is synced and then takes the name of the target; a
/// file that stood there is replaced, with its permissions. A symbolic link is followed, so that a linked
/// configuration file stays linked, but only if it belongs to the user or root: somebody else's link in a shared
/// directory must not choose which of the user's files is replaced. What is no regular file (a terminal, a pipe,
/// `/dev/stdout`, `/dev/fd/N`) is written as it is.
///
/// # Errors
/// Those of the file system, naming the file; `PermissionDenied` for a link that is not followed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_all([(path, bytes)])
}

/// Writes several such files: none takes its target's place before all of them are complete on the disk.
///
/// # Errors
/// Those of [`write`].
pub(crate) fn write_all<'a>(files: impl IntoIterator<Item = (&'a Path, &'a [u8])>) -> Result<()> {
    let prepared = files.into_iter().map(|(path, bytes)| Prepared::new(path, bytes));
    let prepared: Vec<Prepared<'_>> = prepared.collect::<Result<_>>()?;
    prepared.into_iter().try_for_each(Prepared::finish)
}

/// Whether both names mean one file that exists, by whatever path.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Bytes that are about to stand at a path; removed when it goes before that.
struct Prepared<'a> {
    path: &'a Path,
    content: Content<'a>,
}

enum Content<'a> {
    /// For what is no regular file.
    Bytes(&'a [u8]),
    /// Takes the place of the target.
    File { file: NamedTempFile, target: PathBuf },
}

impl<'a> Prepared<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let target = target_of(path)?;
        if is_opened_already(path) || is_special(&target) {
            let content = Content::Bytes(bytes);
            return Ok(Self { path, content });
        }
        let file = || {
            if target.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Born with mode 0600 under a random name that nobody had.
            let mut file = tempfile::Builder::new()
                .prefix(".keyfob-")
                .tempfile_in(directory_of(&target))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let file = file().map_err(|error| failed(error, path))?;
        let content = Content::File { file, target };
        Ok(Self { path, content })
    }

    fn finish(self) -> Result<()> {
        let write = || match self.content {
            Content::Bytes(bytes) => OpenOptions::new().write(true).open(self.path)?.write_all(bytes),
            Content::File { file, target } => {
                file.persist(&target).map_err(|error| error.error)?;
                File::open(directory_of(&target))?.sync_all()
            }
        };
        write().map_err(|error| failed(error, self.path))
    }
}

/// The path at the end of the links that stand at `path` itself, if they belong to the user or root.
///
/// # Errors
/// `PermissionDenied` for a link of somebody else; those of the file system.
pub(crate) fn target_of(path: &Path) -> Result<PathBuf> {
    follow_links(path, rustix::process::geteuid().as_raw())
}

/// The directory that a file is in.
pub(crate) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn follow_links(path: &Path, user: u32) -> Result<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut here = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(status) = fs::symlink_metadata(&here) else {
            return Ok(here);
        };
        if !status.is_symlink() || is_opened_already(&here) {
            return Ok(here);
        }
        let owner = status.uid();
        if owner != 0 && owner != user {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("this is a symbolic link that belongs to another user (user id {owner})"),
            )
            .with("file", here.display().to_string())
            .with_hint("write to a directory that only you can write"));
        }
        let next = fs::read_link(&here).map_err(|error| failed(error, path))?;
        here = here.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(Error::new(ErrorKind::InvalidInput, "too many symbolic links").with("file", path.display().to_string()))
}

/// Whether the path is a name for something that this process has open already.
fn is_opened_already(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|status| !status.is_file() && !status.is_dir())
}

/// What the file system said of a file that is to be written.
pub(crate) fn failed(error: io::Error, path: &Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::IsADirectory => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    };
    Error::new(kind, "can't write the file")
        .with("file", path.display().to_string())
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_the_owners_alone_even_if_it_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("real");
        fs::write(&path, "old").unwrap();
        symlink("real", directory.path().join("link")).unwrap();
        symlink("absent", directory.path().join("dangling")).unwrap();
        write(&directory.path().join("link"), b"new").unwrap();
        write(&directory.path().join("dangling"), b"made").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(directory.path().join("absent")).unwrap(), b"made");
        assert!(fs::symlink_metadata(directory.path().join("link")).unwrap().is_symlink());
        symlink("circle", directory.path().join("circle")).unwrap();
        assert!(write(&directory.path().join("circle"), b"x").is_err());
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("precious", &link).unwrap();
        let owner = fs::symlink_metadata(&link).unwrap().uid();
        assert_eq!(follow_links(&link, owner).unwrap(), directory.path().join("precious"));
        if owner == 0 {
            // Whoever is root can make the link another user's; anybody else can be another user.
            std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        }
        let error = follow_links(&link, owner + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_directory_is_refused_and_a_device_written() {
        let directory = tempfile::tempdir().unwrap();
        let error = write(directory.path(), b"x").unwrap_err();
        assert!(error.to_string().starts_with("can't write the file"), "{error}");
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(is_special(Path::new("/dev/null")));
        let missing = write(&directory.path().join("no/such"), b"x").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
