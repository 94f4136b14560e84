//! Whether a file can be believed: whether nobody but the user and root can have written it or put it there.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use keyfob_core::{Environment, Error, ErrorKind, FileKind, FileStatus, Result};

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Follows `path` step by step, as the kernel would, and gives the real path of the regular file at its end.
///
/// Every directory and link on the way must belong to the user or root, and nobody else may be able to write it;
/// a shared directory with the sticky bit (`/tmp`) will do on the way, but not as the directory of the file itself or
/// of a link to it. Access control lists count, since their mask shows as the group's bits.
pub(crate) fn believed(env: &Environment, path: &Path) -> Result<PathBuf> {
    let mut walk = Walk {
        env,
        subject: path,
        place: PathBuf::from("/"),
        ahead: components(path),
        links: 0,
    };
    walk.check_directory(Path::new("/"))?;
    while let Some(next) = walk.ahead.pop() {
        if next == ".." {
            walk.place.pop();
        } else if let Some(file) = walk.step(&next)? {
            return Ok(file);
        }
    }
    Err(walk.distrust("it is a directory"))
}

struct Walk<'a> {
    env: &'a Environment,
    subject: &'a Path,
    /// A real directory that was checked.
    place: PathBuf,
    /// What follows, the next component last.
    ahead: Vec<OsString>,
    links: usize,
}

impl Walk<'_> {
    /// Goes on to `name` in the present directory; returns the file when it is reached.
    fn step(&mut self, name: &OsString) -> Result<Option<PathBuf>> {
        let here = self.place.join(name);
        let status = self.status(&here)?;
        self.check_owner(&here, &status)?;
        let is_last = self.ahead.is_empty();
        match &status.kind {
            FileKind::Directory => {
                self.check_directory(&here)?;
                self.place = here;
                Ok(None)
            }
            FileKind::Link(target) => {
                self.links += 1;
                if self.links > MOST_LINKS {
                    return Err(self.distrust("it is a link that leads in a circle"));
                }
                if is_last {
                    self.check_own_directory()?;
                }
                if target.is_absolute() {
                    self.place = PathBuf::from("/");
                }
                self.ahead.extend(components(target));
                Ok(None)
            }
            FileKind::File if is_last => {
                self.check_own_directory()?;
                if status.mode & WRITABLE_BY_OTHERS != 0 {
                    return Err(self.distrust(format!("others may write {}", shown(&here, &status))));
                }
                Ok(Some(here))
            }
            _ => Err(self.distrust(format!("`{}` is not a regular file", here.display()))),
        }
    }

    fn check_directory(&self, directory: &Path) -> Result<()> {
        let status = self.status(directory)?;
        self.check_owner(directory, &status)?;
        // In a sticky directory nobody can replace what belongs to another, and what follows has its own check.
        if status.mode & WRITABLE_BY_OTHERS != 0 && status.mode & STICKY == 0 {
            return Err(self.distrust(format!("others may write its directory {}", shown(directory, &status))));
        }
        Ok(())
    }

    /// The directory of the file itself, or of a link to it: here a sticky bit is not enough.
    fn check_own_directory(&self) -> Result<()> {
        let status = self.status(&self.place)?;
        if status.mode & WRITABLE_BY_OTHERS != 0 {
            return Err(self.distrust(format!("others may write its directory {}", shown(&self.place, &status))));
        }
        Ok(())
    }

    fn check_owner(&self, path: &Path, status: &FileStatus) -> Result<()> {
        if status.owner != 0 && status.owner != self.env.user() {
            let path = path.display();
            return Err(self.distrust(format!("`{path}` belongs to another user (user id {})", status.owner)));
        }
        Ok(())
    }

    fn status(&self, path: &Path) -> Result<FileStatus> {
        self.env.status(path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::InvalidConfig,
            };
            Error::new(kind, format!("can't look at `{}`", path.display()))
                .with("file", self.subject.display().to_string())
                .with_source(error)
        })
    }

    fn distrust(&self, why: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("`{}` is not believed: {why}", self.subject.display()),
        )
        .with_hint(
            "it decides where credentials are sent, so it and its directory must belong to you or root and be writable \
             by nobody else (`chmod go-w`); `KEYFOB_CONFIG=none` goes on without it",
        )
    }
}

fn shown(path: &Path, status: &FileStatus) -> String {
    format!("`{}` (mode {:04o})", path.display(), status.mode)
}

/// The components of `path`, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}
