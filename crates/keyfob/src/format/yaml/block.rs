//! Block scalars: where they begin and end, and where their characters stand.

use std::ops::Range;

use super::super::offsets::OffsetMap;

/// A literal or folded block. Its span goes from the `|` or `>` to the end of the last line that has content; the
/// line breaks behind that are not part of it.
#[derive(Clone, Copy)]
pub(in super::super) struct Block {
    /// How many spaces each line begins with.
    pub(super) indent: usize,
    /// The text ends inside the block without a line break, which some readers add and others don't.
    pub(super) unterminated: bool,
}

impl Block {
    /// The block whose content is at `content`, and its span. `None` when it has no content.
    ///
    /// The parser tells where the content begins, not where the header does. Between `after`, the end of what stands
    /// before, and the content there are only indicators, tags, anchors, comments and white space.
    pub(super) fn find(text: &str, after: usize, content: Range<usize>, indent: usize) -> Option<(Self, Range<usize>)> {
        let mut line_start = start_of_line(text, after, content.start);
        let header_line = loop {
            let above = text.get(after..line_start)?.strip_suffix(['\n', '\r'])?;
            let end = after + above.len();
            line_start = start_of_line(text, after, end);
            if !text[line_start..end].trim_matches([' ', '\t']).is_empty() {
                break line_start..end;
            }
        };
        let start = header_line.start + header_in(&text[header_line])?;
        let first = start + Header::of(&text[start..]).length();
        let end = lines(text, first..content.end).filter(|line| line.len() > indent).last()?.end;
        let unterminated = content.end >= text.len() && !text.ends_with(['\n', '\r']);
        Some((Self { indent, unterminated }, start..end))
    }

    pub(super) fn offsets(self, raw: &str, text: &str) -> OffsetMap {
        let mut map = OffsetMap::new();
        let mut decoded = 0;
        let content = lines(raw, Header::of(raw).length()..raw.len()).filter(|line| line.len() > self.indent);
        for (index, line) in content.enumerate() {
            let rest = text.get(decoded..).unwrap_or_default();
            let breaks = rest.len() - rest.trim_start_matches('\n').len();
            // A fold made one space of the line break; a line that begins with a space is never folded.
            decoded += if breaks == 0 && index > 0 { 1 } else { breaks };
            let begin = line.start + self.indent;
            map.push(decoded, begin);
            decoded += line.end - begin;
        }
        map
    }
}

/// The first line of a block.
pub(super) struct Header<'t> {
    /// `|2-`
    pub(super) indicators: &'t str,
    /// The blanks and the comment behind that.
    pub(super) comment: &'t str,
    pub(super) line_break: &'t str,
}

impl<'t> Header<'t> {
    pub(super) fn of(block: &'t str) -> Self {
        let (line, rest) = block.split_at(block.find(['\n', '\r']).unwrap_or(block.len()));
        let (indicators, comment) = line.split_at(line.find([' ', '\t']).unwrap_or(line.len()));
        Self {
            indicators,
            comment,
            line_break: line_break(rest),
        }
    }

    fn length(&self) -> usize {
        self.indicators.len() + self.comment.len() + self.line_break.len()
    }
}

/// Where in its line a header begins: behind a key, a dash, a tag or an anchor, which never begin with `|` or `>`.
fn header_in(line: &str) -> Option<usize> {
    let mut at = 0;
    for word in line.split([' ', '\t']) {
        if word.starts_with(['|', '>']) {
            return Some(at);
        }
        at += word.len() + 1;
    }
    None
}

fn start_of_line(text: &str, after: usize, at: usize) -> usize {
    let line = text.get(after..at).unwrap_or_default();
    after + line.rfind(['\n', '\r']).map_or(0, |found| found + 1)
}

/// The lines of a part of `text`, without their line breaks.
fn lines(text: &str, part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = part.start;
    std::iter::from_fn(move || {
        let rest = text.get(at..part.end).filter(|rest| !rest.is_empty())?;
        let line = at..at + rest.find(['\n', '\r']).unwrap_or(rest.len());
        at = line.end + line_break(&text[line.end..part.end]).len();
        Some(line)
    })
}

fn line_break(rest: &str) -> &str {
    let length = if rest.starts_with("\r\n") {
        2
    } else {
        usize::from(rest.starts_with(['\n', '\r']))
    };
    &rest[..length]
}
