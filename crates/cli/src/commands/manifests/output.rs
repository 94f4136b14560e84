//! Where objects go: to standard output as one stream, or into a directory as a file each.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keyfob::{Error, ErrorKind, Result};

use super::object::{Application, Object};
use crate::exit::{Exit, Outcome};
use crate::printer::Printer;

/// In front of every object: how it came to be, and the mark by which a file is known as one of ours.
const MARK: &str = "# Made by `keyfob manifests ";

/// Writes the objects that the command `command` made for `application`. In a directory, what is the same already stays
/// untouched.
///
/// # Errors
/// Those of the file system; `Conflict` for a file that keyfob has not made.
pub(super) fn write(
    printer: &Printer,
    command: &str,
    application: &Application,
    objects: &[Object],
    directory: Option<&Path>,
) -> Outcome {
    let own = format!("{MARK}{command}` for `{}/{}`.", application.namespace, application.name);
    let head = format!("{own} Run it again instead of changing this.\n");
    let Some(directory) = directory else {
        let documents: Vec<String> = objects.iter().map(Object::yaml).collect();
        printer.text(&format!("{head}{}", documents.join("---\n")))?;
        return Ok(Exit::Success);
    };
    let failed = |error| failed(error, directory);
    fs::create_dir_all(directory).map_err(failed)?;
    let files: Vec<(PathBuf, String)> = objects
        .iter()
        .map(|object| (directory.join(object.file_name()), format!("{head}{}", object.yaml())))
        .collect();
    let mut changed = Vec::new();
    for (path, text) in &files {
        match fs::read_to_string(path) {
            Ok(present) if present == *text => {}
            Ok(present) if !present.starts_with(MARK) => return Err(not_ours(path).into()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(not_ours(path).into()),
            Ok(_) => changed.push((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => changed.push((path, text)),
            Err(error) => return Err(self::failed(error, path).into()),
        }
    }
    for (path, text) in &changed {
        write_file(path, text)?;
    }
    let written: BTreeSet<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    for path in fs::read_dir(directory).map_err(failed)?.flatten().map(|entry| entry.path()) {
        let is_ours = || fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&own));
        if !written.contains(path.as_path()) && path.extension().is_some_and(|extension| extension == "yaml") && is_ours() {
            printer.warning(&format!(
                "`{}` is of an earlier run, and this one has no such object",
                path.display()
            ));
        }
    }
    printer.note(format_args!(
        "{} objects in `{}`, {} of them new or changed",
        files.len(),
        directory.display(),
        changed.len()
    ));
    Ok(Exit::Success)
}

/// Complete or not at all, with the permissions of any other file.
fn write_file(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".keyfob-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| failed(error, path))
}

fn not_ours(path: &Path) -> Error {
    Error::new(ErrorKind::Conflict, "there is a file that keyfob has not made")
        .with("file", path.display().to_string())
        .with_hint("move it away, or choose another directory")
}

fn failed(error: io::Error, path: &Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    Error::new(kind, "can't write the objects")
        .with("file", path.display().to_string())
        .with_source(error)
}
