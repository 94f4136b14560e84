//! The text of a `.env` file as entries.

use std::fmt;
use std::ops::Range;

use keyfob_core::{Error, ErrorKind};
use zeroize::Zeroizing;

use super::position::Position;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quoting {
    /// `NAME=value`
    Unquoted,
    /// `NAME='value'`
    Single,
    /// `NAME="value"`
    Double,
}

/// Why a text is not a `.env` file, and where. Never says what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    position: Position,
    problem: &'static str,
    hint: &'static str,
}

impl SyntaxError {
    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.position.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.position.column
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &'static str {
        self.problem
    }

    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }

    /// As an error of the given kind: [`ErrorKind::InvalidInput`] for what a caller gave, [`ErrorKind::Corrupt`] for
    /// what a store keeps.
    pub(crate) fn into_error(self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("not a `.env` file: {}", self.problem))
            .with("line", self.position.line.to_string())
            .with("column", self.position.column.to_string())
            .with_hint(self.hint)
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.problem)
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Self {
        error.into_error(ErrorKind::InvalidInput)
    }
}

/// What the parser found. All ranges are bytes of the text.
#[derive(Clone)]
pub(super) struct Parsed {
    pub(super) records: Vec<Record>,
    /// How the file ends its lines, by the first that has an end.
    pub(super) newline: &'static str,
}

/// One `NAME=value`.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) name: Range<usize>,
    /// The value as written, with its quotes. Empty, right behind the `=`, where nothing stands.
    pub(super) raw: Range<usize>,
    pub(super) quoting: Quoting,
    pub(super) value: Zeroizing<String>,
    /// The lines it takes, with the last one's end.
    pub(super) lines: Range<usize>,
    /// The comment line directly above, with its end.
    pub(super) comment: Option<Range<usize>>,
}

const QUOTE_HINT: &str =
    "write the value in single quotes, or in double quotes with `\\\"`, `\\\\`, `\\$`, `` \\` ``, `\\n` and `\\r`";

pub(super) fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    refuse_bytes(text)?;
    let mut scanner = Scanner {
        text,
        at: if text.starts_with('\u{FEFF}') {
            '\u{FEFF}'.len_utf8()
        } else {
            0
        },
        newline: None,
    };
    let mut records = Vec::new();
    let mut comment: Option<Range<usize>> = None;
    while scanner.peek().is_some() {
        let start = scanner.at;
        scanner.skip_blanks();
        match scanner.peek() {
            None | Some(b'\r' | b'\n') => {
                scanner.end_line();
                comment = None;
            }
            Some(b'#') => {
                scanner.end_line();
                comment = Some(start..scanner.at);
            }
            Some(_) => {
                let mut record = scanner.record()?;
                scanner.end_line();
                record.lines = start..scanner.at;
                record.comment = comment.take();
                records.push(record);
            }
        }
    }
    Ok(Parsed {
        records,
        newline: scanner.newline.unwrap_or("\n"),
    })
}

/// The characters of a value with their offsets in `raw`, the literal that stands for it, and at last `None` with the
/// offset where the value ends.
pub(super) fn decode(raw: &str, quoting: Quoting) -> impl Iterator<Item = (usize, Option<char>)> {
    let quotes = usize::from(quoting != Quoting::Unquoted);
    let end = raw.len() - quotes;
    let mut at = quotes;
    let mut ended = false;
    std::iter::from_fn(move || {
        let rest = &raw[at..end];
        let start = at;
        let Some(first) = rest.chars().next() else {
            return (!std::mem::replace(&mut ended, true)).then_some((start, None));
        };
        let (length, character) = if rest.starts_with("\r\n") {
            (2, '\n')
        } else {
            escape(rest, quoting).map_or((first.len_utf8(), first), |character| (2, character))
        };
        at += length;
        Some((start, Some(character)))
    })
}

/// What the escape at the beginning of `rest` stands for, if there is one.
fn escape(rest: &str, quoting: Quoting) -> Option<char> {
    if quoting != Quoting::Double {
        return None;
    }
    match rest.strip_prefix('\\')?.chars().next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        itself @ ('\\' | '"' | '$' | '`') => Some(itself),
        _ => None,
    }
}

/// What no place of a file may hold, since every reader makes something else of it.
fn refuse_bytes(text: &str) -> Result<(), SyntaxError> {
    let bytes = text.as_bytes();
    for (offset, byte) in bytes.iter().enumerate() {
        let (problem, hint) = match byte {
            0 => ("a NUL character", "no environment variable can hold it"),
            b'\r' if bytes.get(offset + 1) != Some(&b'\n') => (
                "a carriage return without a line feed",
                "inside a value write `\\r` in double quotes",
            ),
            _ => continue,
        };
        return Err(SyntaxError {
            position: Position::of(text, offset),
            problem,
            hint,
        });
    }
    Ok(())
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    newline: Option<&'static str>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn at_line_end(&self) -> bool {
        matches!(self.peek(), None | Some(b'\r' | b'\n'))
    }

    fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// Goes behind the end of the line, whatever still stands on it.
    fn end_line(&mut self) {
        let rest = &self.text[self.at..];
        let Some(length) = rest.find('\n') else {
            self.at = self.text.len();
            return;
        };
        let newline = if rest[..length].ends_with('\r') { "\r\n" } else { "\n" };
        self.newline.get_or_insert(newline);
        self.at += length + 1;
    }

    fn error(&self, offset: usize, problem: &'static str, hint: &'static str) -> SyntaxError {
        SyntaxError {
            position: Position::of(self.text, offset),
            problem,
            hint,
        }
    }

    fn record(&mut self) -> Result<Record, SyntaxError> {
        let mut name = self.name()?;
        if &self.text[name.clone()] == "export" && self.skip_blanks() && self.peek() != Some(b'=') {
            name = self.name()?;
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'=') => self.at += 1,
            Some(b':') => return Err(self.error(self.at, "`:` after the variable name", "write `NAME=value`")),
            _ => return Err(self.error(self.at, "no `=` after the variable name", "write `NAME=value`")),
        }
        let behind_equals = self.at;
        let blank = self.skip_blanks();
        let (raw, quoting) = match self.peek() {
            Some(b'\'') => (self.quoted(b'\'')?, Quoting::Single),
            Some(b'"') => (self.quoted(b'"')?, Quoting::Double),
            Some(b'`') => {
                let problem = "a value that begins with a backtick, which is a quote for some tools and not for others";
                return Err(self.error(self.at, problem, QUOTE_HINT));
            }
            _ => (self.unquoted(behind_equals, blank), Quoting::Unquoted),
        };
        let mut value = Zeroizing::new(String::with_capacity(raw.len()));
        value.extend(decode(&self.text[raw.clone()], quoting).filter_map(|(_, character)| character));
        Ok(Record {
            name,
            raw,
            quoting,
            value,
            lines: 0..0,
            comment: None,
        })
    }

    fn name(&mut self) -> Result<Range<usize>, SyntaxError> {
        let start = self.at;
        if !self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            let hint = "a line is empty, a comment that begins with `#`, or `NAME=value`; a value of several lines needs quotes";
            return Err(self.error(start, "no variable name", hint));
        }
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        {
            self.at += 1;
        }
        Ok(start..self.at)
    }

    fn quoted(&mut self, quote: u8) -> Result<Range<usize>, SyntaxError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut close = start + 1;
        loop {
            match bytes.get(close) {
                None => return Err(self.error(start, "a quote that is never closed", QUOTE_HINT)),
                Some(byte) if *byte == quote => break,
                // The second byte may begin a longer character; its other bytes are neither a quote nor a `\`.
                Some(b'\\') if quote == b'"' => close += 2,
                Some(_) => close += 1,
            }
        }
        self.at = close + 1;
        let blank = self.skip_blanks();
        if self.at_line_end() || blank && self.peek() == Some(b'#') {
            return Ok(start..close + 1);
        }
        let problem = if quote == b'\'' && bytes[close - 1] == b'\\' {
            "`\\'` between single quotes, which is an escape for some tools and not for others"
        } else {
            "text behind the closing quote"
        };
        Err(self.error(close, problem, QUOTE_HINT))
    }

    /// Up to the end of the line or a `#` behind a blank, without the blanks at the end.
    fn unquoted(&mut self, behind_equals: usize, blank: bool) -> Range<usize> {
        let start = self.at;
        let mut end = start;
        let mut behind_blank = blank;
        while !(self.at_line_end() || behind_blank && self.peek() == Some(b'#')) {
            behind_blank = matches!(self.peek(), Some(b' ' | b'\t'));
            self.at += 1;
            if !behind_blank {
                end = self.at;
            }
        }
        if end == start {
            behind_equals..behind_equals
        } else {
            start..end
        }
    }
}
