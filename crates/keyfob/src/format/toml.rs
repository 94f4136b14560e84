//! TOML.

mod walk;

use std::fmt::Write as _;

use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{Expected, ParseError, Source};
use zeroize::Zeroizing;

use super::MAX_DEPTH;
use super::offsets::{LineBreaks, OffsetMap, Rules, follow};
use super::scan::{Fault, Scan};
use walk::Walk;

/// How a string is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TomlString {
    encoding: Encoding,
    /// The text begins on the line below the opening quotes.
    below: bool,
}

impl TomlString {
    fn of(encoding: Encoding, raw: &str) -> Self {
        let long = matches!(encoding, Encoding::MlBasicString | Encoding::MlLiteralString);
        Self {
            encoding,
            below: long
                && raw
                    .get(3..)
                    .is_some_and(|text| text.starts_with('\n') || text.starts_with("\r\n")),
        }
    }

    fn quotes(self) -> &'static str {
        match self.encoding {
            Encoding::BasicString => "\"",
            Encoding::LiteralString => "'",
            Encoding::MlBasicString => "\"\"\"",
            Encoding::MlLiteralString => "'''",
        }
    }
}

pub(super) fn scan(text: &str) -> Result<Scan, Fault> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut walk = Walk::new(source);
    let mut errors: Vec<ParseError> = Vec::new();
    {
        let mut events = |event: Event| walk.event(&event);
        let mut bounded = RecursionGuard::new(&mut events, MAX_DEPTH as u32);
        let mut checked = ValidateWhitespace::new(&mut bounded, source);
        parse_document(&tokens, &mut checked, &mut errors);
    }
    let walked = walk.finish();
    let syntax = errors.iter().chain(&walked.errors).map(|error| fault(text, error));
    match syntax.chain(walked.fault).min_by_key(|fault| fault.at) {
        Some(fault) => Err(fault),
        None => Ok(walked.scan),
    }
}

/// In the style that stands there where it can hold the value, else as a basic string, which can hold all.
pub(super) fn write(style: TomlString, value: &str) -> Zeroizing<String> {
    let style = if fits(style, value) {
        style
    } else {
        TomlString {
            encoding: Encoding::BasicString,
            below: false,
        }
    };
    // No character needs more than six times its bytes: a buffer that grows leaves copies behind.
    let mut literal = Zeroizing::new(String::with_capacity(6 * value.len() + 8));
    literal.push_str(style.quotes());
    if style.below {
        literal.push('\n');
    }
    match style.encoding {
        Encoding::LiteralString | Encoding::MlLiteralString => literal.push_str(value),
        Encoding::BasicString => escape(value, &mut literal, false),
        Encoding::MlBasicString => {
            // A line break right behind the quotes is none.
            let rest = match value.strip_prefix('\n') {
                Some(rest) if !style.below => {
                    literal.push_str("\\n");
                    rest
                }
                _ => value,
            };
            escape(rest, &mut literal, true);
        }
    }
    literal.push_str(style.quotes());
    literal
}

pub(super) fn offsets(style: TomlString, raw: &str, text: &str) -> OffsetMap {
    let quotes = style.quotes().len();
    let line_break = match raw.get(quotes..) {
        Some(text) if style.below && text.starts_with('\r') => 2,
        _ => usize::from(style.below),
    };
    let rules = Rules {
        opening: quotes + line_break,
        closing: quotes,
        escapes: matches!(style.encoding, Encoding::BasicString | Encoding::MlBasicString),
        doubled_quotes: false,
        line_breaks: LineBreaks::Kept,
    };
    follow(raw, text, &rules)
}

fn fits(style: TomlString, value: &str) -> bool {
    match style.encoding {
        Encoding::BasicString | Encoding::MlBasicString => true,
        Encoding::LiteralString => !value.contains(|character| character == '\'' || needs_escape(character)),
        Encoding::MlLiteralString => {
            let readable = |character: char| character == '\n' || !needs_escape(character);
            !value.contains("'''")
                && !value.ends_with('\'')
                && (style.below || !value.starts_with('\n'))
                && value.chars().all(readable)
        }
    }
}

/// What TOML forbids between quotes, and what is legal but not seen by people. A tab is fine.
fn needs_escape(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\n'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

fn escape(value: &str, literal: &mut Zeroizing<String>, long: bool) {
    for character in value.chars() {
        match character {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\t' => literal.push_str("\\t"),
            '\r' => literal.push_str("\\r"),
            '\n' if !long => literal.push_str("\\n"),
            '\n' => literal.push('\n'),
            _ if needs_escape(character) => {
                // Writing to a string can't fail.
                let _ = write!(literal, "\\u{:04X}", u32::from(character));
            }
            _ => literal.push(character),
        }
    }
}

fn fault(text: &str, error: &ParseError) -> Fault {
    let at = error.unexpected().or(error.context()).map_or(text.len(), |span| span.start());
    let mut problem = error.description().to_owned();
    for (index, expected) in error.expected().unwrap_or_default().iter().enumerate() {
        problem.push_str(if index == 0 { ", expected " } else { " or " });
        match expected {
            Expected::Literal("\n") => problem.push_str("a line break"),
            Expected::Literal(literal) => {
                problem.push('`');
                problem.push_str(literal);
                problem.push('`');
            }
            Expected::Description(description) => problem.push_str(description),
            _ => problem.push_str("something else"),
        }
    }
    Fault::new(at, problem)
}
