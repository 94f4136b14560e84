//! A `.env` file that is read and changed without touching anything else in it.

use std::fmt;
use std::ops::Range;

use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::parse::{Parsed, Quoting, Record, SyntaxError, decode, parse};
use super::position::Position;
use super::quote::{quote, quote_like};
use crate::names::is_variable_name;

/// The text of a `.env` file and the entries in it. What isn't changed stays byte for byte as it was.
///
/// Text and values are wiped when it goes. `Debug` shows names and places, never values.
///
/// ```
/// use keyfob_env::dotenv::Document;
///
/// let mut document = Document::parse("# the database\nexport DB_USER=app # us\nDB_PASSWORD='old'\n")?;
/// assert_eq!(document.get("DB_USER").unwrap().value(), "app");
/// document.set("DB_PASSWORD", "new")?;
/// document.set("API_KEY", "it's")?;
/// document.remove("DB_USER")?;
/// assert_eq!(document.text(), "# the database\nDB_PASSWORD='new'\nAPI_KEY=\"it's\"\n");
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Document {
    text: Zeroizing<String>,
    parsed: Parsed,
}

impl Document {
    /// A document without a line.
    #[must_use]
    pub fn new() -> Self {
        let parsed = Parsed {
            records: Vec::new(),
            newline: "\n",
        };
        Self {
            text: Zeroizing::default(),
            parsed,
        }
    }

    /// Reads `text`.
    ///
    /// # Errors
    /// Where and why it isn't a `.env` file of [this dialect](crate::dotenv), never what stands there. It turns into
    /// [`ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let parsed = parse(text)?;
        let text = Zeroizing::new(text.to_owned());
        Ok(Self { text, parsed })
    }

    /// The file, to be written. Byte for byte what was parsed when nothing was changed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every entry, in the order of the file. A variable that stands there twice comes twice; the last one counts.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> + ExactSizeIterator {
        self.parsed.records.iter().enumerate().map(|(index, record)| Entry {
            text: &self.text,
            record,
            index,
        })
    }

    /// The entry of this variable that counts: the last one.
    #[must_use]
    pub fn get(&self, variable: &str) -> Option<Entry<'_>> {
        self.entries().rev().find(|entry| entry.name() == variable)
    }

    /// Gives a variable a value.
    ///
    /// Where it stands already, only the value (of the entry that counts) is replaced: indentation, `export`, the
    /// comment behind it and, if it can hold the new value for every program, the quoting stay. Else a line is added
    /// at the end, with the file's own line ends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a value with a NUL character, and for a new variable whose name is not
    /// `[A-Za-z_][A-Za-z0-9_]*`. The document is then as it was.
    pub fn set(&mut self, variable: &str, value: &str) -> Result<()> {
        let Some(entry) = self.get(variable) else {
            return self.append(None, variable, value);
        };
        let literal = quote_like(value, entry.quoting()).map_err(|error| error.with("variable", variable))?;
        self.splice(entry.span(), &literal)
    }

    /// Gives new values to many entries at once, by entry and not by name: for every entry `replacement` is asked,
    /// and where it says `None` the entry stays as it is. The rest of the file stays too, and quoting as in
    /// [`set`](Self::set).
    ///
    /// ```
    /// use keyfob_env::dotenv::Document;
    ///
    /// let mut document = Document::parse("A=${secret:a} # first\nB='kept'\n")?;
    /// document.replace_values(|entry| entry.value().contains("${secret:").then_some("it's"))?;
    /// assert_eq!(document.text(), "A=\"it's\" # first\nB='kept'\n");
    /// # Ok::<(), keyfob_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with variable and line for a value with a NUL character. The document is then as
    /// it was.
    pub fn replace_values<S: AsRef<str>>(&mut self, mut replacement: impl FnMut(Entry<'_>) -> Option<S>) -> Result<()> {
        let mut edits = Vec::new();
        for entry in self.entries() {
            let Some(value) = replacement(entry) else { continue };
            let literal = quote_like(value.as_ref(), entry.quoting()).map_err(|error| {
                error
                    .with("variable", entry.name())
                    .with("line", entry.position().line.to_string())
            })?;
            edits.push((entry.span(), literal));
        }
        self.apply(&edits)
    }

    /// Removes every line of a variable, so that no older one comes to count, and says whether there was one.
    /// Comments stay.
    ///
    /// # Errors
    /// None that a caller can bring about.
    pub fn remove(&mut self, variable: &str) -> Result<bool> {
        self.remove_with_comment(variable, |_| false)
    }

    /// The same, with the comment line directly above where `also` says so.
    pub(crate) fn remove_with_comment(&mut self, variable: &str, also: impl Fn(&str) -> bool) -> Result<bool> {
        let edits: Vec<_> = self
            .entries()
            .filter(|entry| entry.name() == variable)
            .map(|entry| {
                let lines = entry.record.lines.clone();
                match &entry.record.comment {
                    Some(comment) if entry.comment().is_some_and(&also) => comment.start..lines.end,
                    _ => lines,
                }
            })
            .map(|lines| (lines, Zeroizing::default()))
            .collect();
        self.apply(&edits)?;
        Ok(!edits.is_empty())
    }

    /// Adds a line at the end, and above it the comment.
    pub(crate) fn append(&mut self, comment: Option<&str>, variable: &str, value: &str) -> Result<()> {
        if !is_variable_name(variable) {
            return Err(Error::new(ErrorKind::InvalidInput, "not a variable name")
                .with("variable", variable.escape_debug().to_string())
                .with_hint("letters, digits and `_`, without a digit at the start"));
        }
        let literal = quote(value).map_err(|error| error.with("variable", variable))?;
        let newline = self.parsed.newline;
        let unfinished = !self.text.trim_start_matches('\u{FEFF}').is_empty() && !self.text.ends_with('\n');
        let mut lines = Zeroizing::new(String::with_capacity(
            variable.len() + literal.len() + comment.map_or(0, str::len) + 16,
        ));
        if unfinished {
            lines.push_str(newline);
        }
        for part in comment.into_iter().flat_map(|comment| ["# ", comment, newline]) {
            lines.push_str(part);
        }
        for part in [variable, "=", &literal, newline] {
            lines.push_str(part);
        }
        let end = self.text.len();
        self.splice(end..end, &lines)
    }

    /// Replaces the text of the comment line directly above the entry of `variable` that counts.
    pub(crate) fn set_comment(&mut self, variable: &str, comment: &str) -> Result<()> {
        let Some(place) = self.get(variable).and_then(|entry| entry.comment_span()) else {
            return Ok(());
        };
        self.splice(place, &format!(" {comment}"))
    }

    fn splice(&mut self, place: Range<usize>, text: &str) -> Result<()> {
        self.apply(&[(place, Zeroizing::new(text.to_owned()))])
    }

    /// Makes edits that are in order and don't overlap.
    fn apply(&mut self, edits: &[(Range<usize>, Zeroizing<String>)]) -> Result<()> {
        let added: usize = edits.iter().map(|(_, text)| text.len()).sum();
        // With room for everything, so that no outgrown copy is left behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + added));
        let mut kept = 0;
        for (place, replacement) in edits {
            text.push_str(&self.text[kept..place.start]);
            text.push_str(replacement);
            kept = place.end;
        }
        text.push_str(&self.text[kept..]);
        self.parsed = parse(&text)?;
        self.text = text;
        Ok(())
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// One `NAME=value` of a [`Document`].
#[derive(Clone, Copy)]
pub struct Entry<'d> {
    text: &'d str,
    record: &'d Record,
    index: usize,
}

impl<'d> Entry<'d> {
    /// The variable's name.
    #[must_use]
    pub fn name(&self) -> &'d str {
        &self.text[self.record.name.clone()]
    }

    /// The value: without quotes, escapes decoded, nothing expanded.
    #[must_use]
    pub fn value(&self) -> &'d str {
        &self.record.value
    }

    /// How the value is written.
    #[must_use]
    pub fn quoting(&self) -> Quoting {
        self.record.quoting
    }

    /// Its number among the [entries](Document::entries), from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The bytes of [`Document::text`] where the value stands, with its quotes. Empty where no value stands.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.record.raw.clone()
    }

    /// Where the name stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::of(self.text, self.record.name.start)
    }

    /// Where the byte `offset` of the [value](Self::value) stands in the file: past quotes and escapes, so that one
    /// can point at something inside a value. An offset beyond the value is its end.
    ///
    /// ```
    /// use keyfob_env::dotenv::Document;
    ///
    /// let document = Document::parse("URL=\"one\\ntwo\nthree\"\n")?;
    /// let entry = document.get("URL").unwrap();
    /// let place = entry.position_of(entry.value().find("two").unwrap());
    /// assert_eq!((place.line, place.column), (1, 11));
    /// assert_eq!(entry.position_of(entry.value().find("three").unwrap()).to_string(), "line 2, column 1");
    /// # Ok::<(), keyfob_core::Error>(())
    /// ```
    #[must_use]
    pub fn position_of(&self, offset: usize) -> Position {
        Position::of(self.text, self.text_offset(offset))
    }

    /// The byte of [`Document::text`] where the byte `offset` of the [value](Self::value) is written.
    #[must_use]
    pub fn text_offset(&self, offset: usize) -> usize {
        let raw = &self.text[self.record.raw.clone()];
        let mut decoded = 0;
        for (place, character) in decode(raw, self.record.quoting) {
            decoded += character.map_or(0, char::len_utf8);
            if decoded > offset || character.is_none() {
                return self.record.raw.start + place;
            }
        }
        self.record.raw.end
    }

    /// The comment line directly above, without its `#` and the blanks around.
    #[must_use]
    pub fn comment(&self) -> Option<&'d str> {
        self.comment_span().map(|place| self.text[place].trim())
    }

    /// Behind the `#`, up to the end of the line.
    fn comment_span(&self) -> Option<Range<usize>> {
        let lines = self.record.comment.clone()?;
        let line = self.text[lines.clone()].trim_end_matches(['\r', '\n']);
        let hash = line.find('#')?;
        Some(lines.start + hash + 1..lines.start + line.len())
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name())
            .field("quoting", &self.quoting())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
