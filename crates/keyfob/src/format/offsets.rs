//! Where a byte of a decoded text stands in its literal.

/// Pairs of offsets, in the decoded text and in the literal. Behind each pair both go on in step.
pub(super) struct OffsetMap(Vec<(usize, usize)>);

impl OffsetMap {
    /// The literal is the text.
    pub(super) fn direct() -> Self {
        Self(vec![(0, 0)])
    }

    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Says that the byte `decoded` of the text stands at the byte `source` of the literal.
    pub(super) fn push(&mut self, decoded: usize, source: usize) {
        let in_step = self
            .0
            .last()
            .is_some_and(|(text, literal)| decoded - text == source - literal);
        if !in_step {
            self.0.push((decoded, source));
        }
    }

    pub(super) fn source(&self, decoded: usize) -> usize {
        let index = self.0.partition_point(|(text, _)| *text <= decoded);
        match index.checked_sub(1).and_then(|index| self.0.get(index)) {
            Some((text, literal)) => literal + (decoded - text),
            None => 0,
        }
    }
}

/// What a quoted or plain literal does with its characters.
pub(super) struct Rules {
    /// Bytes of the opening and of the closing quote.
    pub(super) opening: usize,
    pub(super) closing: usize,
    /// `\n`, `\u00e9` and their like.
    pub(super) escapes: bool,
    /// `''` is one quote.
    pub(super) doubled_quotes: bool,
    pub(super) line_breaks: LineBreaks,
}

/// What becomes of the line breaks of a literal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineBreaks {
    /// They are kept; behind a `\` all white space goes. As TOML has it.
    Kept,
    /// With the blanks around them they become a space, or one break less. As YAML has it.
    Folded,
}

/// Follows `text` through the literal `raw` that it was decoded from.
///
/// An escape stands for one character whatever it says, so the decoded text tells how many bytes it made.
pub(super) fn follow(raw: &str, text: &str, rules: &Rules) -> OffsetMap {
    let mut map = OffsetMap::new();
    let mut at = rules.opening;
    let end = raw.len().saturating_sub(rules.closing);
    let mut decoded = 0;
    while at < end
        && decoded < text.len()
        && let (Some(rest), Some(text)) = (raw.get(at..end), text.get(decoded..))
    {
        let (length, made) = step(rest, text, rules);
        if made > 0 {
            map.push(decoded, at);
        }
        at += length;
        decoded += made;
    }
    map
}

/// How many bytes the next element of a literal has, and how many bytes of text it makes.
fn step(rest: &str, text: &str, rules: &Rules) -> (usize, usize) {
    let one = text.chars().next().map_or(0, char::len_utf8);
    if rules.escapes
        && let Some(escaped) = rest.strip_prefix('\\')
    {
        let (length, made) = escape(escaped, one, rules.line_breaks);
        return (1 + length, made);
    }
    if rules.doubled_quotes && rest.starts_with("''") {
        return (2, 1);
    }
    if rules.line_breaks == LineBreaks::Folded {
        let (length, breaks) = white_space(rest);
        if length > 0 {
            return (
                length,
                if breaks > 1 {
                    breaks - 1
                } else if breaks == 1 {
                    1
                } else {
                    length
                },
            );
        }
    }
    if rest.starts_with("\r\n") {
        return (2, 1);
    }
    (rest.chars().next().map_or(1, char::len_utf8), one)
}

/// The same for what stands behind a `\`.
fn escape(rest: &str, one: usize, line_breaks: LineBreaks) -> (usize, usize) {
    match rest.bytes().next() {
        Some(b'x') => (3, one),
        Some(b'u') if is_high_surrogate(&rest[1..]) => (11, one),
        Some(b'u') => (5, one),
        Some(b'U') => (9, one),
        Some(b' ' | b'\t' | b'\r' | b'\n') => match (line_breaks, white_space(rest)) {
            (LineBreaks::Kept, (length, 1..)) => (length, 0),
            (LineBreaks::Folded, (length, breaks @ 1..)) if !rest.starts_with([' ', '\t']) => (length, breaks - 1),
            _ => (1, one),
        },
        _ => (rest.chars().next().map_or(0, char::len_utf8), one),
    }
}

fn is_high_surrogate(digits: &str) -> bool {
    digits
        .get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .is_some_and(|unit| unit & 0xFC00 == 0xD800)
}

/// The white space at the beginning: its bytes and its line breaks.
fn white_space(rest: &str) -> (usize, usize) {
    let length = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    let space = &rest[..length];
    (length, line_breaks(space))
}

fn line_breaks(space: &str) -> usize {
    space.matches(['\r', '\n']).count() - space.matches("\r\n").count()
}
