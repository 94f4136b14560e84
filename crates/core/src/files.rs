//! The file system as [`Environment`](crate::Environment) shows it: the host's, or one made up for a test.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatus {
    /// What it is.
    pub kind: FileKind,
    /// The user id of its owner.
    pub owner: u32,
    /// Its permission bits, with the sticky bit (`0o1777` and below).
    pub mode: u32,
}

/// The kind of a [`FileStatus`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this path, which may be relative to the link's directory.
    Link(PathBuf),
    /// A pipe, a socket, a device.
    Other,
}

#[derive(Clone)]
pub(crate) enum Files {
    Host,
    Fake { user: u32, files: BTreeMap<PathBuf, FakeFile> },
}

#[derive(Clone)]
pub(crate) struct FakeFile {
    pub(crate) contents: Vec<u8>,
    pub(crate) owner: u32,
    pub(crate) mode: u32,
}

impl Files {
    pub(crate) fn status(&self, path: &Path) -> io::Result<FileStatus> {
        match self {
            Self::Host => {
                let metadata = fs::symlink_metadata(path)?;
                Ok(FileStatus {
                    kind: kind(path, &metadata)?,
                    owner: metadata.uid(),
                    mode: metadata.mode() & 0o1777,
                })
            }
            Self::Fake { user, files } => match files.get(path) {
                Some(file) => Ok(FileStatus {
                    kind: FileKind::File,
                    owner: file.owner,
                    mode: file.mode,
                }),
                None if files.keys().any(|file| file.starts_with(path)) => Ok(FileStatus {
                    kind: FileKind::Directory,
                    owner: *user,
                    mode: 0o755,
                }),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        match self {
            Self::Host => path.canonicalize(),
            Self::Fake { .. } => self.status(path).map(|_| path.to_owned()),
        }
    }

    pub(crate) fn is_file(&self, path: &Path) -> bool {
        match self {
            Self::Host => path.is_file(),
            Self::Fake { files, .. } => files.contains_key(path),
        }
    }

    pub(crate) fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let contents = match self {
            Self::Host => read_host(path, max_bytes)?,
            Self::Fake { files, .. } => files.get(path).ok_or(io::ErrorKind::NotFound)?.contents.clone(),
        };
        if contents.len() > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(contents)
    }
}

fn kind(path: &Path, metadata: &Metadata) -> io::Result<FileKind> {
    let file_type = metadata.file_type();
    Ok(if file_type.is_symlink() {
        FileKind::Link(fs::read_link(path)?)
    } else if file_type.is_dir() {
        FileKind::Directory
    } else if file_type.is_file() {
        FileKind::File
    } else {
        FileKind::Other
    })
}

/// Reads one byte more than allowed, so that the caller sees that there is more.
fn read_host(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut contents = Vec::new();
    file.take(limit).read_to_end(&mut contents)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn a_made_up_file_has_directories_above_it() {
        let env = Environment::fake().file_of("/run/a/key", "x", 0, 0o644).build();
        let status = env.status("/run/a/key").unwrap();
        assert_eq!((status.kind, status.owner, status.mode), (FileKind::File, 0, 0o644));
        assert_eq!(env.status("/run/a").unwrap().kind, FileKind::Directory);
        assert_eq!(env.status("/run/b").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(env.read("/run/a/key", 1).unwrap(), b"x");
        assert_eq!(env.read("/run/a/key", 0).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn the_hosts_files_are_read_up_to_the_limit_and_devices_not_at_all() {
        let env = Environment::fake().host_files().build();
        assert_eq!(env.status("/").unwrap().kind, FileKind::Directory);
        let error = env.read("/dev/zero", 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let cargo_toml = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(env.is_file(cargo_toml));
        assert_eq!(env.read(cargo_toml, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(env.read(cargo_toml, 1 << 16).unwrap().starts_with(b"[package]"));
    }
}
