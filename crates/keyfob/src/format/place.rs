//! Lines and columns.

use std::fmt;

use memchr::memchr_iter;

/// A place in a text, as editors count: both from 1, the column in characters. A byte order mark has no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// So many bytes are counted anew for each column; the rest is remembered.
const BLOCK: usize = 4096;

/// What makes positions cheap: also for thousands of them on one line of ten megabytes.
pub(super) struct Lines {
    starts: Vec<usize>,
    /// How many characters begin before each block.
    characters: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let first = if text.starts_with('\u{FEFF}') {
            '\u{FEFF}'.len_utf8()
        } else {
            0
        };
        let starts = std::iter::once(first)
            .chain(memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1))
            .collect();
        let characters = text
            .as_bytes()
            .chunks(BLOCK)
            .scan(0, |total, block| Some(std::mem::replace(total, *total + characters(block))))
            .collect();
        Self { starts, characters }
    }

    /// Where the byte `offset` of the same text stands; beyond its end, its end.
    pub(super) fn position(&self, text: &str, offset: usize) -> Position {
        let offset = offset.min(text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1].min(offset);
        // Up to the character that the offset is in, not past it.
        let offset = text.floor_char_boundary(offset);
        let column = self.before(text, offset).saturating_sub(self.before(text, start)) + 1;
        Position { line, column }
    }

    fn before(&self, text: &str, offset: usize) -> usize {
        let block = offset / BLOCK;
        match self.characters.get(block) {
            Some(before) => before + characters(&text.as_bytes()[block * BLOCK..offset]),
            None => self.characters.last().map_or(0, |before| {
                before + characters(&text.as_bytes()[(self.characters.len() - 1) * BLOCK..offset])
            }),
        }
    }
}

fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_like_a_slow_counter() {
        let line = "aé😀\t".repeat(3000);
        for text in [
            "",
            "a",
            "\n",
            "\u{FEFF}ab\né\r\n😀x\n",
            &format!("x\n{line}\n{line}"),
            &"a".repeat(BLOCK),
        ] {
            let lines = Lines::of(text);
            for offset in (0..=text.len()).filter(|offset| offset % 7 == 0 || text.len() < 50) {
                let before = &text[..text.floor_char_boundary(offset)];
                let start = before.rfind('\n').map_or(0, |at| at + 1);
                let expected = Position {
                    line: before.matches('\n').count() + 1,
                    column: before[start..].trim_start_matches('\u{FEFF}').chars().count() + 1,
                };
                assert_eq!(lines.position(text, offset), expected, "{offset} of {} bytes", text.len());
            }
        }
    }
}
