//! Which log is meant, and which keys prove it.

use std::path::{Path, PathBuf};

use clap::Args;
use keyfob::{AuditSettings, Error, ErrorKind, Result, read_configuration};
use keyfob_audit::PublicKey;

use crate::context::Context;
use crate::exit::Failure;

// The log on the command line. No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// The directory of the log. Without it, the one in which accesses are recorded here
    directory: Option<PathBuf>,
}

// The keys that prove it.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyArgs {
    /// A file with the public key of the log's writer; can be given several times
    ///
    /// Without it, the one that `keyfob audit init` made beside the signing key, which proves nothing to somebody who doubts
    /// whoever can write there
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
}

impl LogArgs {
    /// The directory.
    pub(super) fn directory(&self, context: &Context) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory {
            return Ok(context.environment().absolute(directory));
        }
        let configured = settings(context)?.directory;
        configured.ok_or_else(|| {
            Failure::usage(
                "no audit log is named, and none is kept here",
                "name its directory; `keyfob audit init DIRECTORY` makes one",
            )
        })
    }
}

impl KeyArgs {
    /// The keys.
    pub(super) fn keys(&self, log: &LogArgs, context: &Context) -> Result<Vec<PublicKey>, Failure> {
        if !self.public_key.is_empty() {
            return Ok(self.public_key.iter().map(|file| public_key(file)).collect::<Result<_>>()?);
        }
        let mut settings = settings(context)?;
        let directory = log.directory(context)?;
        // The key that is set is that of the log that is set.
        if settings.directory.as_ref() != Some(&directory) {
            settings.directory = Some(directory);
            settings.key_file = None;
        }
        let beside = settings.signing_key_file().map(|file| public_key_file(&file));
        match beside.filter(|file| file.exists()) {
            Some(file) => Ok(vec![public_key(&file)?]),
            None => Err(Failure::usage(
                "the log can't be proven without the public key of its writer",
                "give `--public-key FILE`, the file that `keyfob audit init` made beside the signing key",
            )),
        }
    }
}

/// What is set for this directory and user, with absolute paths.
pub(super) fn settings(context: &Context) -> Result<AuditSettings> {
    let environment = context.environment();
    let mut settings = context.selection()?.layers.audit;
    for path in [&mut settings.directory, &mut settings.key_file, &mut settings.name_key_file] {
        *path = path.take().map(|path| environment.absolute(path));
    }
    Ok(settings)
}

/// Where the public half of a signing key stands.
pub(super) fn public_key_file(signing_key: &Path) -> PathBuf {
    signing_key.with_extension("pub")
}

fn public_key(file: &Path) -> Result<PublicKey> {
    let wrong = |error: Error| error.with("file", file.display().to_string());
    read_configuration(file)?.parse().map_err(wrong)
}

/// The lines of a text file that are not empty.
pub(super) fn lines(file: &Path) -> Result<Vec<String>> {
    let text = read_configuration(file)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the file is empty").with("file", file.display().to_string()));
    }
    Ok(lines)
}
