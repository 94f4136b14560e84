//! Text as YAML scalars that readers of YAML 1.1 and 1.2 take for the same string.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::YamlScalar;
use super::block::{Block, Header};

/// The literal for `value` in the place of `raw`, whose text is `present`.
///
/// Quotes stay where they can hold the value, and so do blocks, but a folded one of several lines becomes a literal
/// one. All else is written in double quotes on one line, which hold everything; a comment behind a block's header
/// stays behind the quotes.
pub(in super::super) fn write(style: YamlScalar, raw: &str, present: &str, value: &str) -> Zeroizing<String> {
    match style {
        YamlScalar::SingleQuoted if value.chars().all(is_printable) => single_quoted(value),
        YamlScalar::SingleQuoted | YamlScalar::DoubleQuoted => double_quoted(value, ""),
        YamlScalar::Plain => {
            let below = &raw[raw.trim_end_matches([' ', '\t', '\r', '\n']).len()..];
            double_quoted(value, &below.replace('\t', ""))
        }
        YamlScalar::Block(block) => {
            let header = Header::of(raw);
            block_lines(block, &header, present, value).unwrap_or_else(|| double_quoted(value, header.comment))
        }
    }
}

fn single_quoted(value: &str) -> Zeroizing<String> {
    let mut literal = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    literal.push('\'');
    for character in value.chars() {
        if character == '\'' {
            literal.push('\'');
        }
        literal.push(character);
    }
    literal.push('\'');
    literal
}

fn double_quoted(value: &str, behind: &str) -> Zeroizing<String> {
    // No character needs more than six times its bytes: a buffer that grows leaves copies behind.
    let mut literal = Zeroizing::new(String::with_capacity(6 * value.len() + 2 + behind.len()));
    literal.push('"');
    for character in value.chars() {
        // Writing to a string can't fail.
        let _ = match (character, u32::from(character)) {
            ('"' | '\\', _) => write!(literal, "\\{character}"),
            ('\n', _) => literal.write_str("\\n"),
            ('\r', _) => literal.write_str("\\r"),
            ('\t', _) => literal.write_str("\\t"),
            _ if is_printable(character) => literal.write_char(character),
            (_, code @ ..=0xFF) => write!(literal, "\\x{code:02X}"),
            (_, code @ ..=0xFFFF) => write!(literal, "\\u{code:04X}"),
            (_, code) => write!(literal, "\\U{code:08X}"),
        };
    }
    literal.push('"');
    literal.push_str(behind);
    literal
}

/// The value as lines of the block, if every reader gets it back from there.
fn block_lines(block: Block, header: &Header<'_>, present: &str, value: &str) -> Option<Zeroizing<String>> {
    let body = value.trim_end_matches('\n');
    // The line breaks behind the block stay as they are, so the value must end as the present text does.
    let same_end = value.len() - body.len() == present.len() - present.trim_end_matches('\n').len();
    let chomped = header.indicators.contains('-');
    if !same_end || block.indent == 0 || block.unterminated && !chomped {
        return None;
    }
    let has_indent = header.indicators.contains(|character: char| character.is_ascii_digit());
    let first = body.split('\n').find(|line| !line.is_empty())?;
    if first.starts_with(' ') && !has_indent || !body.split('\n').all(is_safe_line) {
        return None;
    }
    let one_line = !body.contains('\n') && !body.starts_with(' ');
    let folded = header.indicators.starts_with('>');
    let indicators = header.indicators.trim_start_matches(['|', '>']);
    let lines = body.split('\n').count();
    let head = 1 + indicators.len() + header.comment.len();
    let capacity = head + body.len() + lines * (block.indent + header.line_break.len());
    let mut literal = Zeroizing::new(String::with_capacity(capacity));
    literal.push(if folded && one_line { '>' } else { '|' });
    literal.push_str(indicators);
    literal.push_str(header.comment);
    for line in body.split('\n') {
        literal.push_str(header.line_break);
        if !line.is_empty() {
            literal.extend(std::iter::repeat_n(' ', block.indent));
            literal.push_str(line);
        }
    }
    Some(literal)
}

fn is_safe_line(line: &str) -> bool {
    let blank = line.trim_matches([' ', '\t']).is_empty();
    (line.is_empty() || !blank)
        && !line.starts_with('\t')
        && line.chars().all(|character| character == '\t' || is_printable(character))
}

/// Whether a character may stand in YAML as it is, and is no line break in either version, no byte order mark and no
/// tab.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{A0}'..='\u{FFFD}' | '\u{10000}'..)
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}
