//! A configuration text with references, and the finished text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Location, Occurrence, Resolved, Result};
use zeroize::Zeroizing;

use crate::flatten::not_a_document;
use crate::format::{Document, Format};
use crate::interpolation::Interpolation;

/// A text, its format, and the references that stand in its values.
///
/// Nothing but those references changes when it is [rendered](Self::render): comments, layout, keys and every other
/// value stay byte for byte.
#[derive(Debug)]
pub struct Template {
    source: Arc<str>,
    directory: Option<Arc<Path>>,
    format: Format,
    document: Document,
    /// The slots in which something stands that is not plain text.
    slots: BTreeMap<usize, Interpolation>,
}

impl Template {
    /// Finds the references of `text`.
    ///
    /// `source` names it in reports, `directory` is what `${file:…}` is relative to (`None`: the working directory),
    /// and `is_known` says which schemes mean a store. A malformed reference is not an error here: it becomes a
    /// failure of the report, like everything else that can't be resolved.
    ///
    /// # Errors
    /// `InvalidInput` when the text is not of that format, with line and column, without quoting it.
    pub fn parse(
        source: impl Into<Arc<str>>,
        directory: Option<&Path>,
        format: Format,
        text: Zeroizing<String>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let source = source.into();
        let document = Document::parse(format, text).map_err(|error| not_a_document(format, Some(&source), &error))?;
        let slots = document
            .slots()
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, Interpolation::of(slot.text(), &is_known)?)))
            .collect();
        Ok(Self {
            source,
            directory: directory.map(Arc::from),
            format,
            document,
            slots,
        })
    }

    /// The format of the text.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Every reference and where it stands, in order.
    #[must_use]
    pub fn occurrences(&self) -> Vec<Occurrence> {
        let occurrences = self.slots.iter().flat_map(|(index, interpolation)| {
            let slot = &self.document.slots()[*index];
            interpolation.occurrences(slot.text(), self.directory.as_ref(), |offset| {
                let position = self.document.position(*index, offset);
                let mut location = Location::new(self.source.clone(), position.line, position.column);
                location.key = slot.key().map(str::to_owned);
                location
            })
        });
        occurrences.collect()
    }

    /// The finished text: every reference replaced by its value, every `$${…}` by what it stands for.
    ///
    /// # Errors
    /// `Other` when `resolved` does not answer a reference of this text, or a value can't be written in this format
    /// so that it is read back byte for byte (a NUL in a `.env` file).
    pub fn render(&self, resolved: &Resolved) -> Result<Zeroizing<String>> {
        let mut replacements = BTreeMap::new();
        for (index, interpolation) in &self.slots {
            replacements.insert(*index, self.fill(*index, interpolation, resolved)?);
        }
        self.document
            .render(&replacements)
            .map_err(|error| error.with("file", &*self.source))
    }

    /// The values that hold references, finished, in the order of the text; see [`with_placeholders`](Self::with_placeholders).
    pub(crate) fn values(&self, resolved: &Resolved) -> Result<Vec<Zeroizing<String>>> {
        self.slots
            .iter()
            .map(|(index, interpolation)| self.fill(*index, interpolation, resolved))
            .collect()
    }

    /// The text with `prefix` and a number in place of each value that holds references: the same structure, no secret.
    pub(crate) fn with_placeholders(&self, prefix: &str) -> Result<Zeroizing<String>> {
        let placeholders: BTreeMap<usize, String> = self
            .slots
            .keys()
            .enumerate()
            .map(|(number, index)| (*index, format!("{prefix}{number}")))
            .collect();
        self.document.render(&placeholders)
    }

    /// Whether `text` stands anywhere in the document.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.document.text().contains(text)
    }

    fn fill(&self, index: usize, interpolation: &Interpolation, resolved: &Resolved) -> Result<Zeroizing<String>> {
        interpolation.fill(self.document.slots()[index].text(), self.directory.as_ref(), resolved)
    }
}
