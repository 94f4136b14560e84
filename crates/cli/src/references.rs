//! Configuration texts from files and standard input, and what their references stand for.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use clap::Args;
use keyfob::format::Format;
use keyfob::{Error, ErrorKind, FILE_SCHEME, Occurrence, Resolved, Result, SecretManager, Template, read_configuration};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::embedded;
use crate::exit::Failure;

// What references may use. No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReferenceArgs {
    /// Let references use these schemes only, for example `secret,env`
    ///
    /// Others are failures. Without it, `[references] allow` of `keyfob.toml` decides, and else all are allowed
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',')]
    allow: Option<Vec<String>>,
}

impl ReferenceArgs {
    /// The stores, with these schemes allowed.
    ///
    /// # Errors
    /// Those of [`Context::manager`]; a usage error for a scheme that means nothing.
    pub(crate) fn manager(&self, context: &Context) -> Result<SecretManager, Failure> {
        let allow: Option<BTreeSet<String>> = self.allow.as_ref().map(|schemes| schemes.iter().cloned().collect());
        let manager = context.manager_allowing(allow.clone())?;
        let is_unknown = |scheme: &&String| !manager.is_reference_scheme(scheme);
        if let Some(unknown) = allow.iter().flatten().find(is_unknown) {
            let message = format!("`--allow` names the scheme `{}`, which means nothing", unknown.escape_debug());
            let near = keyfob::nearest(unknown, manager.schemes().chain([FILE_SCHEME]));
            let hint = match near.first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "known are: `{FILE_SCHEME}`, `{}`",
                    manager.schemes().collect::<Vec<_>>().join("`, `")
                ),
            };
            return Err(Failure::usage(message, hint));
        }
        Ok(manager)
    }
}

/// The name of standard input on the command line.
pub(crate) const STANDARD_INPUT: &str = "-";

/// Reads a configuration text and finds its references; `-` is standard input.
///
/// # Errors
/// Those of [`read_configuration`] and [`Template::parse`].
pub(crate) fn template(manager: &SecretManager, path: &Path, format: Option<Format>) -> Result<Template> {
    parse(manager, path, format, text(path)?)
}

/// Finds the references of a configuration text that has been read; `-` is standard input.
///
/// # Errors
/// Those of [`Template::parse`].
pub(crate) fn parse(manager: &SecretManager, path: &Path, format: Option<Format>, text: Zeroizing<String>) -> Result<Template> {
    let is_known = |scheme: &str| manager.is_reference_scheme(scheme);
    if path == Path::new(STANDARD_INPUT) {
        return Template::parse("<stdin>", None, format.unwrap_or(Format::Text), text, is_known);
    }
    let format = format.unwrap_or_else(|| Format::of_path(path));
    Template::parse(path.display().to_string(), path.parent(), format, text, is_known)
}

/// Reads a text; `-` is standard input.
///
/// # Errors
/// Those of [`read_configuration`].
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>> {
    if path != Path::new(STANDARD_INPUT) {
        return read_configuration(path);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let failed = |error| Error::new(ErrorKind::Other, "standard input can't be read").with_source(error);
    let limit = keyfob::MAX_CONFIGURATION_BYTES;
    std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("standard input has more than {limit} bytes"),
        ));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Error::new(ErrorKind::NotText, "standard input is not UTF-8 text")),
    }
}

/// Resolves everything in one round; says how to make a store where there is none.
///
/// # Errors
/// One report of all that failed.
pub(crate) async fn resolve(manager: &SecretManager, occurrences: &[Occurrence]) -> Result<Resolved, Failure> {
    manager.resolve(occurrences).await.map_err(|mut report| {
        for failure in &mut report.failures {
            // A store that was not asked could not be opened.
            if failure.store.is_none() && failure.error.context().any(|(key, _)| key == "store") {
                failure.error = embedded::hint_at_init(failure.error.clone());
            }
        }
        Failure::Report(Box::new(report))
    })
}

/// The format as the command line names it.
pub(crate) fn parse_format(name: &str) -> Result<Format, String> {
    name.parse().map_err(|error: Error| error.to_string())
}
