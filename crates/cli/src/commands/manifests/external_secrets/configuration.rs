//! What configuration files refer to, and what stands around the references.

use std::ops::Range;
use std::path::{Path, PathBuf};

use keyfob::format::{Document, Format};
use keyfob::{
    DEFAULT_SCHEME, Error, ErrorKind, FILE_SCHEME, Fallback, PieceKind, Reference, Result, SecretManager, SecretRef, Target, scan,
};

use crate::references::{STANDARD_INPUT, text};

/// The files, and every secret that they refer to, once.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) files: Vec<File>,
    pub(super) secrets: Vec<Used>,
}

/// One file, its values cut up.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

/// A value in which something stands that is not plain text.
#[derive(Debug)]
pub(super) struct Value {
    /// Where it stands in the file, quotes included.
    pub(super) span: Range<usize>,
    pub(super) key: Option<String>,
    /// The line and column of its first reference, for people.
    pub(super) place: String,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    /// A secret, by its number, and what stands in for it.
    Secret(usize, Fallback),
}

/// A secret, and where it stands first.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) secret: SecretRef,
    pub(super) place: String,
}

impl Value {
    pub(super) fn has_secret(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Secret(..)))
    }
}

/// What can't be expressed, each with its place: told together, so that a configuration is mended in one go.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn add(&mut self, place: &str, what: impl std::fmt::Display) {
        self.0.push(format!("{place}: {what}"));
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::new(
                ErrorKind::Unsupported,
                format!("External Secrets can't do this: {one}"),
            )),
            all => {
                let message = format!("External Secrets can't do {} things: {}", all.len(), all.join("; "));
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

impl Configuration {
    /// Reads the files. References must be to the store that `manager` has as its default.
    ///
    /// # Errors
    /// Those of reading and of the formats. What can't be expressed goes to `problems`.
    pub(super) fn read(
        manager: &SecretManager,
        paths: &[PathBuf],
        format: Option<Format>,
        problems: &mut Problems,
    ) -> Result<Self> {
        let mut configuration = Self::default();
        for path in paths {
            let format = format.unwrap_or_else(|| match path == Path::new(STANDARD_INPUT) {
                true => Format::Text,
                false => Format::of_path(path),
            });
            let content = text(path)?;
            let source = path.display().to_string();
            let document = Document::parse(format, content.as_str().to_owned()).map_err(|error| {
                let message = format!("not a valid {format} document: {}", error.problem());
                Error::new(ErrorKind::InvalidInput, message).with("at", format!("{source}:{}:{}", error.line(), error.column()))
            })?;
            let mut values = Vec::new();
            for (index, slot) in document.slots().iter().enumerate() {
                let pieces = scan(slot.text(), |scheme| manager.is_reference_scheme(scheme));
                let Some(first) = pieces.first() else { continue };
                let place = |offset: usize| {
                    let position = document.position(index, offset);
                    format!("{source}:{}:{}", position.line, position.column)
                };
                let mut parts = Vec::new();
                let mut at = 0;
                for piece in &pieces {
                    let before = &slot.text()[at..piece.span.start];
                    if !before.is_empty() {
                        parts.push(Part::Text(before.to_owned()));
                    }
                    at = piece.span.end;
                    let PieceKind::Reference(reference) = &piece.kind else {
                        continue;
                    };
                    let here = place(piece.span.start);
                    match reference
                        .as_ref()
                        .map_err(ToString::to_string)
                        .and_then(|reference| of_store(manager, reference))
                    {
                        Ok((secret, fallback)) => parts.push(Part::Secret(configuration.number(secret, &here), fallback)),
                        Err(problem) => problems.add(&here, problem),
                    }
                }
                if at < slot.text().len() {
                    parts.push(Part::Text(slot.text()[at..].to_owned()));
                }
                values.push(Value {
                    span: slot.span(),
                    key: slot.key().map(str::to_owned),
                    place: place(first.span.start),
                    parts,
                });
            }
            configuration.files.push(File {
                path: path.clone(),
                format,
                text: content.as_str().to_owned(),
                values,
            });
        }
        Ok(configuration)
    }

    fn number(&mut self, secret: &SecretRef, place: &str) -> usize {
        let known = self.secrets.iter().position(|used| used.secret == *secret);
        known.unwrap_or_else(|| {
            self.secrets.push(Used {
                secret: secret.clone(),
                place: place.to_owned(),
            });
            self.secrets.len() - 1
        })
    }

    /// Whether something may be absent.
    pub(super) fn has_fallback(&self) -> bool {
        let values = self.files.iter().flat_map(|file| &file.values);
        values.flat_map(|value| &value.parts).any(Part::may_be_absent)
    }
}

impl Part {
    pub(super) fn may_be_absent(&self) -> bool {
        matches!(self, Self::Secret(_, Fallback::Empty | Fallback::Text(_)))
    }
}

/// The secret of the default store that a reference is to; else why it isn't one.
fn of_store<'r>(manager: &SecretManager, reference: &'r Reference) -> Result<(&'r SecretRef, Fallback), String> {
    let scheme = &*reference.scheme;
    let Target::Secret(secret) = &reference.target else {
        return Err(format!("`${{{FILE_SCHEME}:…}}` is a file, and no secret of a store"));
    };
    let place = |scheme: &str| manager.location_of(scheme).map_err(|error| error.to_string());
    if scheme != DEFAULT_SCHEME && place(scheme)? != place(DEFAULT_SCHEME)? {
        return Err(format!(
            "`{reference}` is not of the store that the objects are made for: name it with `--store`, in a run of its own"
        ));
    }
    Ok((secret, reference.fallback.clone()))
}
