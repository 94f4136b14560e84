//! `rotation.yaml`: what is rotated when, and how.

use std::path::Path;

use keyfob_core::{Environment, Error, ErrorKind, Result};
use keyfob_rotation::Policies;

use crate::project::trust;
use crate::select::Selection;

/// The name of the file.
pub const POLICIES_FILE_NAME: &str = "rotation.yaml";

const MAX_BYTES: usize = 1024 * 1024;

/// The policies of `file`, else of the `rotation.yaml` beside the project's `keyfob.toml`, else of that in the current directory.
/// `None` where there is no such file and none was named.
///
/// It names programs that are run, so it is believed only as `keyfob.toml` is: nobody but the user and root may be able to write it.
///
/// # Errors
/// `InvalidConfig` for what is not believed or can't be understood, `NotFound` for a file that was named, and what reading it
/// fails with.
pub fn policies(environment: &Environment, selection: &Selection, file: Option<&Path>) -> Result<Option<Policies>> {
    let project = selection.project.as_ref().and_then(|project| project.path().parent());
    let path = match (file, project) {
        (Some(file), _) => environment.absolute(file),
        (None, Some(directory)) => directory.join(POLICIES_FILE_NAME),
        (None, None) => environment.absolute(POLICIES_FILE_NAME),
    };
    let real = match trust::believed(environment, &path) {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidConfig => {
            return Err(error.with_hint(
                "it says which programs are run, so it and its directory must belong to you or root and be writable by nobody \
                 else (`chmod go-w`)",
            ));
        }
        Err(error) => return Err(error),
    };
    let shown = path.display().to_string();
    let bytes = environment.read(&real, MAX_BYTES).map_err(|error| {
        Error::new(ErrorKind::InvalidConfig, "the policies can't be read")
            .with("file", shown.clone())
            .with_source(error)
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the file is not UTF-8 text").with("file", shown.clone()))?;
    let directory = real.parent().unwrap_or(&real);
    let read = Policies::parse_in(directory, &text);
    read.map(Some).map_err(|error| error.with("file", shown))
}
