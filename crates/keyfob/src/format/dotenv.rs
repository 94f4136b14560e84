//! `.env` files, as [`keyfob_env::dotenv`] reads and writes them.

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_env::dotenv::{Document, Quoting};
use zeroize::Zeroizing;

use super::Slot;
use super::offsets::OffsetMap;
use super::scan::{Fault, Literal, Scan, Scanned};

pub(super) fn scan(text: &str) -> Result<Scan, Fault> {
    let document = Document::parse(text)
        .map_err(|error| Fault::new(offset_of(text, error.line(), error.column()), error.problem()).with_hint(error.hint()))?;
    let mut scanned = Scanned::default();
    for entry in document.entries() {
        scanned.other(entry.name());
        let literal = Literal::Dotenv(entry.quoting());
        scanned.slot(Slot::new(entry.value(), entry.span(), Some(entry.name().to_owned()), literal));
    }
    Ok(scanned.finish())
}

/// The literal for `value` in the place of `raw`.
pub(super) fn write(raw: &str, value: &str) -> Result<Zeroizing<String>> {
    let write = || {
        let mut line = Document::parse(&Zeroizing::new(format!("V={raw}")))?;
        line.set("V", value)?;
        let literal = line.entries().next().map(|entry| &line.text()[entry.span()]);
        Ok(Zeroizing::new(literal.unwrap_or_default().to_owned()))
    };
    write().map_err(|error: Error| {
        let other = Error::new(ErrorKind::Other, error.message().to_owned());
        match error.hint() {
            Some(hint) => other.with_hint(hint.to_owned()),
            None => other,
        }
    })
}

pub(super) fn offsets(quoting: Quoting, raw: &str, text: &str) -> OffsetMap {
    let mut map = OffsetMap::new();
    let mut at = usize::from(quoting != Quoting::Unquoted);
    for (decoded, character) in text.char_indices() {
        map.push(decoded, at);
        let rest = raw.get(at..).unwrap_or_default();
        // A `\` in front of a character that it doesn't escape is a `\`.
        let escaped = quoting == Quoting::Double && rest.starts_with('\\') && (character != '\\' || rest.starts_with("\\\\"));
        at += if escaped || rest.starts_with("\r\n") {
            2
        } else {
            character.len_utf8()
        };
    }
    map
}

/// The byte at a line and column, which a byte order mark has none of.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[start..];
    let unmarked = if start == 0 {
        rest.trim_start_matches('\u{FEFF}')
    } else {
        rest
    };
    let into = unmarked
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(unmarked.len(), |(at, _)| at);
    start + (rest.len() - unmarked.len()) + into
}
