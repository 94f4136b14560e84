//! Literal values of configuration texts, replaced by references to the secrets that hold them.

mod diff;
mod place;
mod plan;
mod read;
mod search;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use keyfob_core::{DEFAULT_SCHEME, Error, ErrorKind, Intent, Report, Result, SecretName, Verb};
use zeroize::Zeroizing;

use crate::format::{Document, Format, Position};
use crate::manager::SecretManager;
use crate::template::Template;
use search::Search;

/// What is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewriteOptions {
    /// Only secrets whose names begin with this text; it counts as no part of them where names and keys are compared.
    pub prefix: String,
    /// The shortest value, in bytes, that is replaced wherever it stands. Default 8. A shorter one is replaced only as
    /// the whole value of a key that says the secret's name: `DB_PORT=5432` where the secret `db/port` is `5432`.
    pub min_length: usize,
    /// Whether a secret that is only a part of a value is replaced wherever it stands between characters that are no
    /// letters and no digits. Else only the password of a URL is: `postgres://app:PASSWORD@host`.
    pub parts: bool,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            min_length: 8,
            parts: false,
        }
    }
}

/// A text that is to be rewritten. `Debug` does not print it.
pub struct RewriteText {
    /// What it is called in answers and errors, for example its path.
    pub source: String,
    /// How it is written.
    pub format: Format,
    /// The text.
    pub text: Zeroizing<String>,
}

impl fmt::Debug for RewriteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewriteText")
            .field("source", &self.source)
            .field("format", &self.format)
            .field("bytes", &self.text.len())
            .finish()
    }
}

/// What a rewriting came to. Nothing has been written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rewriting {
    /// The texts, in the order in which they were given.
    pub texts: Vec<Rewritten>,
    /// How many secrets were looked for.
    pub searched: usize,
    /// Secrets that can't be looked for, and why.
    pub unread: Vec<(SecretName, Error)>,
}

/// A text with references in the place of values. `Debug` prints no text.
pub struct Rewritten {
    document: Document,
    text: Zeroizing<String>,
    edits: Vec<plan::Edit>,
    replaced: Vec<Replaced>,
    left: Vec<Left>,
}

impl Rewritten {
    /// The new text: the old one, byte for byte, but for the values that were replaced.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether anything was replaced.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// What was replaced, in the order of the text.
    #[must_use]
    pub fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// Where values of secrets still stand, in the order of the text.
    #[must_use]
    pub fn left(&self) -> &[Left] {
        &self.left
    }
}

impl fmt::Debug for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewritten")
            .field("replaced", &self.replaced)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// A reference that stands in the place of a value now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// Where the value began in the old text.
    pub position: Position,
    /// The key in a structured document.
    pub key: Option<String>,
    /// The secret that it refers to.
    pub name: SecretName,
    /// Whether anything else stands beside it.
    pub is_part: bool,
}

/// A place where the value of a secret still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Where it begins in the old text.
    pub position: Position,
    /// The key of the value that it stands in.
    pub key: Option<String>,
    /// The secrets that have this value.
    pub names: Vec<SecretName>,
    /// Why it was left.
    pub reason: LeftReason,
}

/// Why a value was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftReason {
    /// Several secrets have this value, and the key is not more like one of their names than like the others.
    Ambiguous,
    /// It is a part of a value, and no password of a URL.
    Part,
    /// It is a part of a word.
    InsideWord,
    /// It stands in a comment, a key, or a number or boolean, which would become text.
    OutsideValues,
    /// It is not in quotes, and some readers of YAML take it for a number, a date or a boolean, which would become text.
    MaybeNotText,
    /// The text around it would change what a reference means, or the reference what the text means.
    Unsafe,
}

impl LeftReason {
    /// A stable, harmless word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Part => "part",
            Self::InsideWord => "inside-word",
            Self::OutsideValues => "outside-values",
            Self::MaybeNotText => "maybe-not-text",
            Self::Unsafe => "unsafe",
        }
    }
}

/// Says it in a sentence.
impl fmt::Display for LeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ambiguous => "several secrets have this value, and the key does not say which is meant",
            Self::Part => "it is only a part of the value",
            Self::InsideWord => "it is a part of a word",
            Self::OutsideValues => "it is not in a text value, but in a comment, a key, a number or the like",
            Self::MaybeNotText => "without quotes some readers of YAML take it for something else than text",
            Self::Unsafe => "a reference would mean something else beside the text around it",
        })
    }
}

/// Finds the values of the default store's secrets in texts and puts references in their place.
///
/// The values of the store are read a page at a time and none is kept. What comes back has been proven: the new texts,
/// with their references resolved by `manager`, say exactly what the old ones do, in the same structure. References that
/// stand in the old texts stay.
///
/// `progress` is told how many secrets have been looked for.
///
/// # Errors
/// `InvalidInput` when a text is not of its format, with line and column; `Unsupported` when the store can't list its
/// names; those of listing; `Conflict` when a secret changed meanwhile; when references of the old texts to the default
/// store can't be resolved, the kind of the first failure, with the [`Report`] as source.
pub async fn rewrite(
    manager: &SecretManager,
    options: &RewriteOptions,
    texts: Vec<RewriteText>,
    progress: impl FnMut(usize),
) -> Result<Rewriting> {
    let mut search = Search::new(options, texts)?;
    let intent = Intent::new(Verb::List).prefix(&options.prefix);
    let store = manager.store_for(DEFAULT_SCHEME, &intent).await?;
    let unread = read::every_secret(&*store, options, &mut search, progress).await?;
    let searched = search.searched();
    let texts = search.finish(|scheme| manager.is_reference_scheme(scheme))?;
    prove(manager, &texts).await?;
    Ok(Rewriting {
        texts: texts.into_iter().map(|(_, rewritten)| rewritten).collect(),
        searched,
        unread,
    })
}

/// Resolves the old and the new texts and compares what they say.
async fn prove(manager: &SecretManager, texts: &[(String, Rewritten)]) -> Result<()> {
    let template = |source: &str, format: Format, text: &str| {
        // What refers to anything else is text here, the same in the old and the new one: `${env:X}` need not be set.
        let is_known = |scheme: &str| scheme == DEFAULT_SCHEME;
        Template::parse(source, None, format, Zeroizing::new(text.to_owned()), is_known)
    };
    let mut pairs = Vec::new();
    for (source, rewritten) in texts.iter().filter(|(_, rewritten)| rewritten.is_changed()) {
        let format = rewritten.document.format();
        let old = template(source, format, rewritten.document.text())?;
        let new = template(source, format, &rewritten.text)?;
        pairs.push((source, old, new));
    }
    let occurrences: Vec<_> = pairs
        .iter()
        .flat_map(|(_, old, new)| old.occurrences().into_iter().chain(new.occurrences()))
        .collect();
    let resolved = manager.resolve(&occurrences).await.map_err(unresolved)?;
    for (source, old, new) in pairs {
        let says =
            |template: &Template| -> Result<Document> { Ok(Document::parse(template.format(), template.render(&resolved)?)?) };
        if !says(&old)?.says_the_same_as(&says(&new)?) {
            let problem = "the new text does not say what the old one does: a secret has another value now";
            return Err(Error::new(ErrorKind::Conflict, problem)
                .with("file", source.clone())
                .with_hint("begin again"));
        }
    }
    Ok(())
}

fn unresolved(report: Report) -> Error {
    let kind = report
        .failures
        .first()
        .map_or(ErrorKind::Other, |failure| failure.error.kind());
    Error::new(
        kind,
        "what the texts refer to can't be resolved, so nothing can be proven of them",
    )
    .with_source(report)
}
