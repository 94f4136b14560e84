//! Key files: who may own them, who may read them, how they are made.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use keyfob_core::{Error, ErrorKind, Result};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// Reads the text of a key file, after the checks that [`RawKey::from_file`](crate::RawKey::from_file) promises.
pub(crate) fn read(path: &Path) -> Result<Text> {
    // Without NONBLOCK a pipe of that name would make us wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|source| failed("open the key file", path, source.into()))?;
    let mut file = File::from(opened);
    let metadata = file.metadata().map_err(|source| failed("read the key file", path, source))?;
    let facts = Facts {
        regular: metadata.is_file(),
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
        length: metadata.len(),
    };
    facts.check(path, rustix::process::geteuid().as_raw())?;
    Text::read(&mut file).map_err(|source| failed("read the key file", path, source))
}

/// Makes a key file that appears complete, with mode 0600, or not at all.
pub(crate) fn create(path: &Path, text: &[u8]) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(taken(path));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directories(directory)?;
    let write = || -> io::Result<()> {
        // Born with mode 0600, under a random name; it takes the final name only if nobody has it.
        let mut file = tempfile::Builder::new().prefix(".keyfob-key-").tempfile_in(directory)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        sync_directory(directory)
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => failed("write the key file", path, source),
    })
}

/// The bytes of a key file, wiped when they go. Never on a heap that may grow and leave copies.
pub(crate) struct Text {
    bytes: Zeroizing<[u8; MAX_BYTES]>,
    length: usize,
}

impl Text {
    fn read(file: &mut File) -> io::Result<Self> {
        let mut text = Self {
            bytes: Zeroizing::new([0; MAX_BYTES]),
            length: 0,
        };
        while text.length < MAX_BYTES {
            match file.read(&mut text.bytes[text.length..]) {
                Ok(0) => break,
                Ok(count) => text.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// More than any spelling of 32 bytes needs.
const MAX_BYTES: usize = 256;

/// What the opened file is.
struct Facts {
    regular: bool,
    owner: u32,
    mode: u32,
    length: u64,
}

impl Facts {
    fn check(&self, path: &Path, user: u32) -> Result<()> {
        let shown = path.display();
        let refuse = |message: String, hint: String| {
            Err(Error::new(ErrorKind::InvalidConfig, message)
                .with("file", shown.to_string())
                .with_hint(hint))
        };
        if !self.regular {
            return refuse(
                "the key file is not a regular file".to_owned(),
                "name a file that holds the key".to_owned(),
            );
        }
        if self.owner != user && self.owner != 0 {
            return refuse(
                format!("the key file belongs to user {}, not to user {user} or root", self.owner),
                format!("whoever owns the file can change the key: `chown {user} {shown}`, or make a new key"),
            );
        }
        if self.mode & 0o077 != 0 {
            return refuse(
                format!("other users may access the key file, its mode is {:04o}", self.mode),
                format!("if nobody can have read it, `chmod 600 {shown}`; if somebody can, make a new key"),
            );
        }
        if self.length > MAX_BYTES as u64 {
            return refuse(
                format!("the key file has {} bytes, no key is longer than {MAX_BYTES}", self.length),
                "name a file that holds the key and nothing else".to_owned(),
            );
        }
        Ok(())
    }
}

/// Makes what is missing of a directory's path, for its owner only, and writes the new entries to the disk.
fn create_directories(directory: &Path) -> Result<()> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    let make = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for made in missing {
            match made.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent)?,
                _ => sync_directory(Path::new("."))?,
            }
        }
        Ok(())
    };
    make().map_err(|source| failed("make the directory of the key file", directory, source))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn taken(path: &Path) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        "there is already a file where the key file should go",
    )
    .with("file", path.display().to_string())
    .with_hint("use that key, or name another file: without its key a store can't be opened again")
}

fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("can't {what}"))
        .with("file", path.display().to_string())
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        regular: true,
        owner: 1000,
        mode: 0o600,
        length: 45,
    };

    fn problem(facts: &Facts) -> Error {
        let error = facts.check(Path::new("/k"), 1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error
    }

    #[test]
    fn the_owner_must_be_the_user_or_root() {
        GOOD.check(Path::new("/k"), 1000).unwrap();
        Facts { owner: 0, ..GOOD }.check(Path::new("/k"), 1000).unwrap();
        let error = problem(&Facts { owner: 1001, ..GOOD });
        assert!(error.message().contains("belongs to user 1001"), "{error}");
        assert!(error.hint().unwrap().contains("chown 1000 /k"));
    }

    #[test]
    fn no_bit_for_others_is_taken() {
        for bit in [0o1, 0o2, 0o4, 0o10, 0o20, 0o40] {
            let error = problem(&Facts {
                mode: 0o600 | bit,
                ..GOOD
            });
            assert!(error.hint().unwrap().contains("`chmod 600 /k`"), "{error:?}");
        }
        Facts { mode: 0o400, ..GOOD }.check(Path::new("/k"), 1000).unwrap();
    }

    #[test]
    fn only_small_regular_files_are_taken() {
        problem(&Facts { regular: false, ..GOOD });
        problem(&Facts { length: 257, ..GOOD });
    }
}
