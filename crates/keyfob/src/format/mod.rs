//! Documents whose string values can be replaced while every other byte stays.
//!
//! Nothing is printed anew: a format only has to find its string literals. [`Document::render`] puts new literals in
//! their place, in the style of the old ones where that style can hold the new text, then reads the result back and
//! refuses it unless exactly the expected texts changed.

mod dotenv;
mod json;
mod kind;
mod offsets;
mod path;
mod place;
mod scan;
mod toml;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

pub use kind::Format;
pub use place::Position;
pub use scan::SyntaxError;

use offsets::OffsetMap;
use place::Lines;
use scan::{Literal, Scan};

/// How deep lists and maps may be nested. No reader of these formats takes much more, and none of ours may run out
/// of stack.
const MAX_DEPTH: usize = 100;

/// A text of some [`Format`] and its string values, the [slots](Self::slots).
///
/// The text is wiped when it goes, `Debug` prints only sizes.
pub struct Document {
    format: Format,
    text: Zeroizing<String>,
    scan: Scan,
    lines: OnceLock<Lines>,
}

impl Document {
    /// Finds the string values of `text`.
    ///
    /// Duplicate keys and undefined tags are left to the program that reads the file; lists and maps may be nested
    /// 100 deep.
    ///
    /// # Errors
    /// Where and why the text is not of this format, without quoting it.
    pub fn parse(format: Format, text: impl Into<Zeroizing<String>>) -> Result<Self, SyntaxError> {
        let text = text.into();
        let scan = match format {
            Format::Text => Ok(Scan::whole(&text)),
            Format::Dotenv => dotenv::scan(&text),
            Format::Json => json::scan(&text),
            Format::Yaml => yaml::scan(&text),
            Format::Toml => toml::scan(&text),
        };
        let scan = scan.map_err(|fault| {
            let position = Lines::of(&text).position(&text, fault.at);
            SyntaxError::new(format, position, fault)
        })?;
        Ok(Self {
            format,
            text,
            scan,
            lines: OnceLock::new(),
        })
    }

    /// The format that it was parsed as.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What was parsed, byte for byte.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every string value, in the order of the text. Keys, comments, numbers, booleans and nulls are none; an alias
    /// shows what stands at its anchor and is none either. Of plain text the whole is one slot.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.scan.slots
    }

    /// Where the byte `offset` of the text of the slot number `slot` is written: past quotes, escapes, folded lines
    /// and indentation. Beyond the text it is the end of the literal, and of a slot that isn't there the end of the
    /// document.
    #[must_use]
    pub fn position(&self, slot: usize, offset: usize) -> Position {
        let at = match self.scan.slots.get(slot) {
            Some(slot) => slot.source_offset(&self.text, offset),
            None => self.text.len(),
        };
        self.position_of(at)
    }

    /// Where the byte `at` of the text stands.
    pub(crate) fn position_of(&self, at: usize) -> Position {
        self.lines.get_or_init(|| Lines::of(&self.text)).position(&self.text, at)
    }

    /// Whether both have the same structure, keys and values, however they are written.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let slots = || self.slots().iter().zip(other.slots());
        self.format == other.format
            && self.scan.outline == other.scan.outline
            && self.slots().len() == other.slots().len()
            && slots().all(|(one, other)| one.key == other.key && one.text == other.text)
    }

    /// The text with new values in the slots that `replacements` names by number. Every other byte stays.
    ///
    /// A value is always a string for whoever reads the result: `5432`, `yes` and the empty text are quoted where
    /// the format would see something else. Takes time linear in the text and the values.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when the format can't hold a value (a NUL in a `.env` file), when there is no such slot,
    /// or when the result doesn't read back as expected. Never with a value in the message.
    pub fn render(&self, replacements: &BTreeMap<usize, impl AsRef<str>>) -> Result<Zeroizing<String>> {
        if let Some((slot, _)) = replacements.range(self.scan.slots.len()..).next() {
            return Err(Error::new(ErrorKind::Other, "there is no such value in the document").with("value", slot.to_string()));
        }
        let mut edits = Vec::with_capacity(replacements.len());
        for (&index, value) in replacements {
            let slot = &self.scan.slots[index];
            let literal = self
                .literal(slot, value.as_ref())
                .map_err(|error| self.locate(error, index))?;
            edits.push((index, literal));
        }
        let length = edits.iter().fold(self.text.len(), |length, (index, literal)| {
            length + literal.len() - self.scan.slots[*index].span.len()
        });
        // One allocation of the right size: a buffer that grows leaves copies of its content behind.
        let mut rendered = Zeroizing::new(String::with_capacity(length));
        let mut starts = Vec::with_capacity(edits.len());
        let mut copied = 0;
        for (index, literal) in &edits {
            let span = &self.scan.slots[*index].span;
            rendered.push_str(&self.text[copied..span.start]);
            starts.push(rendered.len());
            rendered.push_str(literal);
            copied = span.end;
        }
        rendered.push_str(&self.text[copied..]);
        self.verify(&rendered, replacements, &starts)?;
        Ok(rendered)
    }

    fn literal(&self, slot: &Slot, value: &str) -> Result<Zeroizing<String>> {
        let raw = &self.text[slot.span.clone()];
        Ok(match slot.literal {
            Literal::Whole => Zeroizing::new(value.to_owned()),
            Literal::Dotenv(_) => dotenv::write(raw, value)?,
            Literal::Json => json::write(value),
            Literal::Toml(style) => toml::write(style, value),
            Literal::Yaml(style) => yaml::write(style, raw, &slot.text, value),
        })
    }

    /// Reads the result back: the same structure, the same other values, and the new texts in their places.
    fn verify(
        &self,
        rendered: &Zeroizing<String>,
        replacements: &BTreeMap<usize, impl AsRef<str>>,
        starts: &[usize],
    ) -> Result<()> {
        if self.format == Format::Text {
            return Ok(());
        }
        let broken = |index: Option<usize>| {
            let error = Error::new(ErrorKind::Other, "a value can't be written safely here")
                .with_hint("put the reference in quotes, or on a line of its own");
            match index.or_else(|| replacements.keys().next().copied()) {
                Some(index) => self.locate(error, index),
                None => error,
            }
        };
        let Ok(read) = Self::parse(self.format, rendered.clone()) else {
            return Err(broken(None));
        };
        if read.scan.outline != self.scan.outline || read.slots().len() != self.slots().len() {
            return Err(broken(None));
        }
        let mut starts = starts.iter();
        for (index, (now, before)) in read.slots().iter().zip(self.slots()).enumerate() {
            let as_expected = now.key == before.key
                && match replacements.get(&index) {
                    Some(value) => *now.text == value.as_ref() && starts.next() == Some(&now.span.start),
                    None => now.text == before.text,
                };
            if !as_expected {
                return Err(broken(Some(index)));
            }
        }
        Ok(())
    }

    fn locate(&self, error: Error, slot: usize) -> Error {
        let position = self.position(slot, 0);
        let error = match self.scan.slots.get(slot).and_then(Slot::key) {
            Some(key) => error.with("key", key.to_owned()),
            None => error,
        };
        error
            .with("line", position.line.to_string())
            .with("column", position.column.to_string())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("format", &self.format)
            .field("bytes", &self.text.len())
            .field("slots", &self.scan.slots.len())
            .finish_non_exhaustive()
    }
}

/// A string value of a [`Document`].
pub struct Slot {
    text: Zeroizing<String>,
    span: Range<usize>,
    key: Option<String>,
    literal: Literal,
    offsets: OnceLock<OffsetMap>,
}

impl Slot {
    fn new(text: impl Into<String>, span: Range<usize>, key: Option<String>, literal: Literal) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            span,
            key,
            literal,
            offsets: OnceLock::new(),
        }
    }

    /// The value: without quotes, escapes decoded.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the [text](Document::text) that a new value replaces: the literal with its quotes, of a block
    /// scalar its header and lines. Anchors and tags stand before it.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where it stands in the structure, for people: `services[0].db.password`. `None` for plain text and for a
    /// document that is nothing but this value.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn source_offset(&self, source: &str, offset: usize) -> usize {
        let map = self.offsets.get_or_init(|| {
            let raw = &source[self.span.clone()];
            match self.literal {
                Literal::Whole => OffsetMap::direct(),
                Literal::Dotenv(quoting) => dotenv::offsets(quoting, raw, &self.text),
                Literal::Json => json::offsets(raw, &self.text),
                Literal::Toml(style) => toml::offsets(style, raw, &self.text),
                Literal::Yaml(style) => yaml::offsets(style, raw, &self.text),
            }
        });
        if offset >= self.text.len() {
            return self.span.end;
        }
        (self.span.start + map.source(offset)).min(self.span.end)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("key", &self.key)
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
