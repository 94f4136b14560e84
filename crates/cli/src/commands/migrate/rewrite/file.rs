//! A file that gets a new text and keeps a copy of the old one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use keyfob::{Error, ErrorKind, Result, read_configuration};
use zeroize::Zeroizing;

use crate::private_file::{self, failed};

/// A file, and what it held when it was read. A symbolic link stays one: the file at its end is meant.
pub(super) struct TextFile {
    /// As the command line names it.
    pub(super) shown: PathBuf,
    path: PathBuf,
    text: Zeroizing<String>,
    status: Metadata,
}

impl TextFile {
    /// # Errors
    /// Those of [`read_configuration`]; `InvalidInput` for what is no regular file, and for a file that has other names,
    /// under which the values would stay.
    pub(super) fn read(shown: &Path) -> Result<Self> {
        let refused = |message| Err(Error::new(ErrorKind::InvalidInput, message).with("file", shown.display().to_string()));
        let path = private_file::target_of(shown)?;
        let status = fs::metadata(&path).map_err(|error| failed(error, shown))?;
        if !status.is_file() {
            return refused("only a regular file can be rewritten");
        }
        if status.nlink() > 1 {
            return refused("the file has other names (hard links), under which the values would stay");
        }
        Ok(Self {
            shown: shown.to_owned(),
            text: read_configuration(&path)?,
            path,
            status,
        })
    }

    /// What it holds.
    pub(super) fn text(&self) -> &Zeroizing<String> {
        &self.text
    }

    /// Where it is, past links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one file.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.status.dev(), self.status.ino()) == (other.status.dev(), other.status.ino())
    }

    /// Where the copy goes: beside the file, with `.bak` behind its name.
    pub(super) fn backup(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".bak");
        path.into()
    }

    /// # Errors
    /// `AlreadyExists` when there is something where the copy is to go.
    pub(super) fn check_backup(&self) -> Result<()> {
        match fs::symlink_metadata(self.backup()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(self.backup_exists()),
        }
    }

    /// Puts the old text into a copy that only the user may read, and the new one into the file, complete or not at all. The
    /// permissions and the owner of the file stay.
    ///
    /// # Errors
    /// `Conflict` when the file is not what was read any more; `AlreadyExists` when there is a copy; those of the file
    /// system. Nothing is left behind then.
    pub(super) fn rewrite(&self, text: &str) -> Result<()> {
        let wrong = |error| failed(error, &self.shown);
        let file = self.prepare(text).map_err(wrong)?;
        let backup = self.back_up()?;
        if !self.is_unchanged() {
            return Err(Error::new(ErrorKind::Conflict, "the file was changed meanwhile")
                .with("file", self.shown.display().to_string())
                .with_hint("begin again"));
        }
        file.persist(&self.path).map_err(|error| wrong(error.error))?;
        backup.keep();
        // What was renamed is there, whether or not its directory can be synced.
        let _ = File::open(private_file::directory_of(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }

    /// The new text in a file beside this one.
    fn prepare(&self, text: &str) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new()
            .prefix(".keyfob-")
            .tempfile_in(private_file::directory_of(&self.path))?;
        file.write_all(text.as_bytes())?;
        let made = file.as_file().metadata()?;
        if (made.uid(), made.gid()) != (self.status.uid(), self.status.gid()) {
            fchown(file.as_file(), Some(self.status.uid()), Some(self.status.gid()))?;
        }
        // After the owner: a new one takes some of the permissions away.
        file.as_file()
            .set_permissions(Permissions::from_mode(self.status.mode() & 0o7777))?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn back_up(&self) -> Result<Backup> {
        let path = self.backup();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.backup_exists(),
            _ => failed(error, &path),
        })?;
        let backup = Backup { path, is_kept: false };
        let written = file.write_all(self.text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| failed(error, &backup.path))?;
        Ok(backup)
    }

    fn is_unchanged(&self) -> bool {
        let same_file = |status: Metadata| (status.dev(), status.ino()) == (self.status.dev(), self.status.ino());
        fs::metadata(&self.path).is_ok_and(same_file) && read_configuration(&self.path).is_ok_and(|text| *text == *self.text)
    }

    fn backup_exists(&self) -> Error {
        Error::new(ErrorKind::AlreadyExists, "the copy of the old text is there already")
            .with("file", self.backup().display().to_string())
            .with_hint("it may hold values: look what it is, then delete or move it")
    }
}

/// A copy that is taken away when its original was not rewritten.
struct Backup {
    path: PathBuf,
    is_kept: bool,
}

impl Backup {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_new_text_takes_the_place_of_the_old_one_which_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.yaml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        symlink("app.yaml", directory.path().join("link")).unwrap();
        let file = TextFile::read(&directory.path().join("link")).unwrap();
        file.check_backup().unwrap();
        file.rewrite("new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o640));
        let backup = directory.path().join("app.yaml.bak");
        assert_eq!((fs::read_to_string(&backup).unwrap().as_str(), mode(&backup)), ("old", 0o600));
        assert!(fs::symlink_metadata(directory.path().join("link")).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.yaml");
        fs::write(&path, "old").unwrap();
        let file = TextFile::read(&path).unwrap();
        fs::write(&path, "other").unwrap();
        assert_eq!(file.rewrite("new").unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_that_is_there_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.yaml");
        fs::write(&path, "old").unwrap();
        fs::write(directory.path().join("app.yaml.bak"), "older").unwrap();
        let file = TextFile::read(&path).unwrap();
        assert_eq!(file.check_backup().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(file.rewrite("new").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_to_string(directory.path().join("app.yaml.bak")).unwrap(), "older");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_would_keep_the_values_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.yaml");
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, directory.path().join("other")).unwrap();
        let refused = |path: &Path| TextFile::read(path).err().map(|error| error.kind());
        assert_eq!(refused(&path), Some(ErrorKind::InvalidInput));
        assert_eq!(refused(Path::new("/dev/null")), Some(ErrorKind::InvalidInput));
        assert_eq!(refused(&directory.path().join("absent")), Some(ErrorKind::NotFound));
    }
}
