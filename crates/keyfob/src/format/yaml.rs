//! YAML, one or many documents.

mod block;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag, options};

use super::offsets::{LineBreaks, OffsetMap, Rules, follow};
use super::path::Path;
use super::scan::{Fault, Literal, Scan, Scanned};
use super::{MAX_DEPTH, Slot};
use block::Block;

pub(super) use write::write;

/// How a scalar is written.
#[derive(Clone, Copy)]
pub(super) enum YamlScalar {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Block(Block),
}

pub(super) fn scan(text: &str) -> Result<Scan, Fault> {
    let mut options = options! {};
    options.set_emit_comments(false);
    let mut walk = Walk {
        text,
        path: Path::default(),
        open: Vec::new(),
        keys: 0,
        read_to: 0,
        scanned: Scanned::default(),
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| fault(text, &error))?;
        let indent = span.indent.unwrap_or_default();
        let span = span.byte_range().unwrap_or(walk.read_to..walk.read_to);
        // The other events can have the place of what comes next.
        let end = match event {
            Event::Scalar(..) | Event::Alias(_) | Event::DocumentStart(true, _) | Event::DocumentEnd => span.end,
            _ => 0,
        };
        walk.event(event, span, indent)?;
        walk.read_to = walk.read_to.max(end);
    }
    Ok(walk.scanned.finish())
}

pub(super) fn offsets(style: YamlScalar, raw: &str, text: &str) -> OffsetMap {
    let quotes = match style {
        YamlScalar::Block(block) => return block.offsets(raw, text),
        YamlScalar::Plain => 0,
        YamlScalar::SingleQuoted | YamlScalar::DoubleQuoted => 1,
    };
    let rules = Rules {
        opening: quotes,
        closing: quotes,
        escapes: matches!(style, YamlScalar::DoubleQuoted),
        doubled_quotes: matches!(style, YamlScalar::SingleQuoted),
        line_breaks: LineBreaks::Folded,
    };
    follow(raw, text, &rules)
}

struct Walk<'t> {
    text: &'t str,
    path: Path,
    open: Vec<Open>,
    /// How many of the open collections are keys.
    keys: usize,
    /// Where the last event ended.
    read_to: usize,
    scanned: Scanned,
}

/// A list or map that is being read.
struct Open {
    /// How many steps lead to it.
    depth: usize,
    is_key: bool,
    next: Next,
}

enum Next {
    Item(usize),
    Key,
    Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

impl Walk<'_> {
    fn event(&mut self, event: Event<'_>, span: Range<usize>, indent: usize) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scanned.other((anchor, tag.as_deref().map(tag_parts)));
                self.scalar(text, style, tag.is_some(), span, indent)?;
            }
            Event::Alias(anchor) => {
                self.node("*");
                self.scanned.other(("alias", anchor));
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.scanned.other(("sequence", anchor, tag.as_deref().map(tag_parts)));
                self.enter(Next::Item(0), span.start)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.scanned.other(("mapping", anchor, tag.as_deref().map(tag_parts)));
                self.enter(Next::Key, span.start)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.scanned.other("end");
                if let Some(open) = self.open.pop() {
                    self.keys -= usize::from(open.is_key);
                    self.path.truncate(open.depth);
                }
            }
            Event::DocumentStart(explicit, _) => {
                self.scanned.other(("document", explicit));
                self.path.truncate(0);
            }
            _ => {}
        }
        Ok(())
    }

    /// Goes on to the next key, value or item, which is the node that begins here.
    fn node(&mut self, key: &str) -> Role {
        let Some(open) = self.open.last_mut() else {
            return Role::Value;
        };
        match &mut open.next {
            Next::Item(index) => {
                self.path.truncate(open.depth);
                self.path.push_index(*index);
                *index += 1;
                Role::Value
            }
            Next::Key => {
                self.path.truncate(open.depth);
                self.path.push_key(key);
                open.next = Next::Value;
                Role::Key
            }
            Next::Value => {
                open.next = Next::Key;
                Role::Value
            }
        }
    }

    fn enter(&mut self, next: Next, at: usize) -> Result<(), Fault> {
        let is_key = self.node("?") == Role::Key;
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::too_deep(at));
        }
        self.keys += usize::from(is_key);
        self.open.push(Open {
            depth: self.path.depth(),
            is_key,
            next,
        });
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tagged: bool,
        span: Range<usize>,
        indent: usize,
    ) -> Result<(), Fault> {
        let is_value = self.node(&text) == Role::Value && self.keys == 0;
        let is_text = match style {
            ScalarStyle::Plain => !span.is_empty() && (tagged || is_text(&text)),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => true,
            // Without content there is nothing between the header and what comes next.
            ScalarStyle::Literal | ScalarStyle::Folded => text.contains(|character| character != '\n'),
        };
        if !is_value || !is_text {
            self.scanned.other((text, matches!(style, ScalarStyle::Plain)));
            return Ok(());
        }
        let (scalar, span) = match style {
            ScalarStyle::Plain => (YamlScalar::Plain, with_tabs_below(self.text, span)),
            ScalarStyle::SingleQuoted => (YamlScalar::SingleQuoted, span),
            ScalarStyle::DoubleQuoted => (YamlScalar::DoubleQuoted, span),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let at = span.start;
                Block::find(self.text, self.read_to, span, indent)
                    .map(|(block, span)| (YamlScalar::Block(block), span))
                    .ok_or_else(|| Fault::new(at, "a block whose `|` or `>` is not found"))?
            }
        };
        self.read_to = self.read_to.max(span.end);
        self.scanned
            .slot(Slot::new(text, span, self.path.to_key(), Literal::Yaml(scalar)));
        Ok(())
    }
}

/// With the white space behind it as far as lines begin with tabs: some readers take these as part of a plain scalar
/// and behind a quoted one for an error, so [`write`](write::write) leaves the tabs out.
fn with_tabs_below(text: &str, span: Range<usize>) -> Range<usize> {
    let rest = text.get(span.end..).unwrap_or_default();
    let space = &rest[..rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len()];
    match (space.find('\n'), space.rfind('\t')) {
        (Some(line_break), Some(tab)) if line_break < tab => span.start..span.end + tab + 1,
        _ => span,
    }
}

fn tag_parts(tag: &Tag) -> (&str, &str) {
    (tag.handle(), tag.suffix())
}

/// Whether YAML 1.2 reads a plain scalar as text, not as null, a boolean or a number.
fn is_text(plain: &str) -> bool {
    match plain {
        "" | "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return false,
        _ => {}
    }
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let number = match unsigned.as_bytes() {
        b".inf" | b".Inf" | b".INF" | b".nan" | b".NaN" | b".NAN" => true,
        [b'0', b'x', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
        [b'0', b'o', digits @ ..] => !digits.is_empty() && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)),
        [b'0'..=b'9' | b'.', ..] => unsigned.parse::<f64>().is_ok(),
        _ => false,
    };
    !number
}

fn fault(text: &str, error: &ScanError) -> Fault {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let fault = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return Fault::too_deep(at),
        // What was found is the text's own.
        ErrorKind::UnexpectedCharacter { .. } => Fault::new(at, "unexpected character"),
        ErrorKind::Custom(_) => Fault::new(at, "not understood"),
        kind => Fault::new(at, kind.to_string()),
    };
    let line_start = text[..text.floor_char_boundary(at)].rfind('\n').map_or(0, |found| found + 1);
    let line_end = text[line_start..].find('\n').map_or(text.len(), |found| line_start + found);
    if text[line_start..line_end].contains("${") {
        return fault.with_hint("put a value that holds a reference in quotes; inside `[…]` and `{…}` it must be");
    }
    fault
}
