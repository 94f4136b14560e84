//! Finds references in text.

use std::ops::{Range, RangeFrom};

use memchr::{memchr, memchr_iter};

use crate::error::{Error, ErrorKind, Result};
use crate::reference::{MAX_SCHEME_BYTES, Reference};

/// The longest reference, in bytes.
pub const MAX_REFERENCE_BYTES: usize = 4096;

/// A part of a text that is not plain text.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// What it is.
    pub kind: PieceKind,
}

/// What a part of a text is.
#[derive(Debug, Clone)]
pub enum PieceKind {
    /// The `$` of `$${scheme:…}`, which is left out: what follows it is plain text.
    Escape,
    /// A reference, or why what begins like one isn't.
    Reference(Result<Reference>),
}

/// Finds every reference of `text` whose scheme `is_known`, and every escape, in order.
///
/// Anything else in `${…}` or `$<…>` is plain text: `${HOME}`, `${FOO:-x}`, `${env:-x}`, `${unknown:x}`. A reference
/// stands on one line and has at most [`MAX_REFERENCE_BYTES`] bytes. Takes time linear in the text.
pub fn scan(text: &str, is_known: impl Fn(&str) -> bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut passed = 0;
    let bytes = text.as_bytes();
    for start in memchr_iter(b'$', bytes) {
        // The common case, a `$` of another tool, costs two looks at the next bytes.
        let next = bytes.get(start + 1).copied();
        if start < passed || !matches!(next, Some(b'{' | b'<' | b'$')) {
            continue;
        }
        if next == Some(b'$') {
            // `$${secret:x}`: leave out this `$`, and pass over the reference that it makes literal.
            if let Some(opening) = opening(bytes, start + 1).filter(|opening| is_known(opening.scheme(text))) {
                pieces.push(Piece {
                    span: start..start + 1,
                    kind: PieceKind::Escape,
                });
                passed = opening.body.start;
            }
        } else if let Some(opening) = opening(bytes, start).filter(|opening| is_known(opening.scheme(text))) {
            let (end, reference) = reference(text, start, &opening);
            pieces.push(Piece {
                span: start..end,
                kind: PieceKind::Reference(reference),
            });
            passed = end;
        }
    }
    pieces
}

/// The `${scheme:` of a reference.
struct Opening {
    close: u8,
    scheme: Range<usize>,
    /// What follows, to the end of the text.
    body: RangeFrom<usize>,
}

impl Opening {
    fn scheme<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.scheme.clone()).unwrap_or_default()
    }
}

/// Whether `${scheme:` or `$<scheme:` begins at the `$` at `start`, followed by something that can be a name.
#[inline]
fn opening(bytes: &[u8], start: usize) -> Option<Opening> {
    let close = match bytes.get(start + 1)? {
        b'{' => b'}',
        b'<' => b'>',
        _ => return None,
    };
    let scheme_start = start + 2;
    if !bytes.get(scheme_start)?.is_ascii_lowercase() {
        return None;
    }
    let is_scheme_byte = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let length = bytes[scheme_start..]
        .iter()
        .take(MAX_SCHEME_BYTES + 1)
        .take_while(|byte| is_scheme_byte(byte))
        .count();
    let scheme_end = scheme_start + length;
    if length > MAX_SCHEME_BYTES || bytes.get(scheme_end) != Some(&b':') {
        return None;
    }
    // A shell's `${env:-x}`, `${env:+x}`, `${env:?x}`, `${env:=x}` stays what it is.
    if matches!(bytes.get(scheme_end + 1), Some(b'-' | b'+' | b'?' | b'=')) {
        return None;
    }
    Some(Opening {
        close,
        scheme: scheme_start..scheme_end,
        body: scheme_end + 1..,
    })
}

fn reference(text: &str, start: usize, opening: &Opening) -> (usize, Result<Reference>) {
    let body_start = start + 2;
    let window_end = floor_char_boundary(text, start + MAX_REFERENCE_BYTES);
    let window = &text[body_start..window_end];
    let line = &window[..memchr(b'\n', window.as_bytes()).unwrap_or(window.len())];
    match close(line, opening.close) {
        Some(length) => (body_start + length + 1, Reference::parse(&line[..length])),
        None => {
            let problem = if window_end < text.len() && line.len() == window.len() {
                format!(
                    "unclosed reference: no `{}` within {MAX_REFERENCE_BYTES} bytes",
                    char::from(opening.close)
                )
            } else {
                format!("unclosed reference: no `{}` on its line", char::from(opening.close))
            };
            let hint = "close it, or write `$${` if it is meant as text";
            (
                opening.body.start,
                Err(Error::new(ErrorKind::InvalidInput, problem).with_hint(hint)),
            )
        }
    }
}

/// Where the reference closes. Inside a default, braces may stand in pairs: `${secret:x:-{"a":1}}`.
fn close(line: &str, close: u8) -> Option<usize> {
    let first = memchr(close, line.as_bytes())?;
    let Some(default) = line[..first].find(":-").filter(|_| close == b'}') else {
        return Some(first);
    };
    let mut depth = 0_usize;
    for (index, byte) in line.bytes().enumerate().skip(default + 2) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    // Braces that don't pair: the first one closes, as without a default.
    Some(first)
}

pub(crate) fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(scheme: &str) -> bool {
        matches!(scheme, "secret" | "env" | "file" | "aws")
    }

    /// The text with every reference shown in brackets and every escape carried out.
    fn shown(text: &str) -> String {
        let (mut out, mut at) = (String::new(), 0);
        for piece in scan(text, known) {
            out.push_str(&text[at..piece.span.start]);
            at = piece.span.end;
            match piece.kind {
                PieceKind::Escape => {}
                PieceKind::Reference(Ok(reference)) => out.push_str(&format!("[{reference}]")),
                PieceKind::Reference(Err(_)) => out.push_str("[!]"),
            }
        }
        out.push_str(&text[at..]);
        out
    }

    #[test]
    fn finds_references_and_leaves_the_rest() {
        for (text, expected) in [
            ("a ${secret:x} b", "a [${secret:x}] b"),
            ("$<secret:x>", "[${secret:x}]"),
            ("${secret:a}${env:B}", "[${secret:a}][${env:B}]"),
            (
                "${HOME} ${FOO:-x} ${env:-x} ${env:+x} ${env:?x} ${env:=x} $HOME $",
                "${HOME} ${FOO:-x} ${env:-x} ${env:+x} ${env:?x} ${env:=x} $HOME $",
            ),
            (
                "${unknown:x} ${{ secrets.X }} $(secret:x)",
                "${unknown:x} ${{ secrets.X }} $(secret:x)",
            ),
            ("$${secret:x}", "${secret:x}"),
            ("$$<secret:x>", "$<secret:x>"),
            ("$${HOME} $$", "$${HOME} $$"),
            ("$$${secret:x}", "$${secret:x}"),
            ("$${secret:${secret:y}}", "${secret:[${secret:y}]}"),
            ("${secret:x:-{\"a\":{}}}", "[${secret:x:-…}]"),
            ("${secret:x:-}}", "[${secret:x:-…}]}"),
            ("${secret:x:-{}", "[${secret:x:-…}]"),
            ("$<secret:x:-}>", "[${secret:x:-…}]"),
            ("${secret:}", "[!]"),
            ("${secret:a b}", "[!]"),
            ("${secret:x", "[!]x"),
            ("${secret:x\n}", "[!]x\n}"),
            ("${secret:x ${env:Y}", "[!]"),
            ("é${secret:é}é", "é[${secret:é}]é"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn an_unclosed_reference_costs_a_bounded_time() {
        let text = "${secret:".repeat(100_000);
        assert_eq!(scan(&text, known).len(), 100_000);
        let cut = format!("${{secret:{}", "é".repeat(MAX_REFERENCE_BYTES));
        assert!(matches!(scan(&cut, known)[0].kind, PieceKind::Reference(Err(_))));
    }

    proptest! {
        #[test]
        fn pieces_are_in_order_and_inside(text in "([${}<>:a-z?@#%\n é-]|\\$\\{secret:|\\$\\{env:){0,60}") {
            let mut at = 0;
            for piece in scan(&text, known) {
                prop_assert!(piece.span.start >= at && piece.span.end > piece.span.start && piece.span.end <= text.len());
                prop_assert!(text.is_char_boundary(piece.span.start) && text.is_char_boundary(piece.span.end));
                at = piece.span.end;
            }
        }

        #[test]
        fn an_escaped_text_is_itself(name in "[a-z/]{1,10}") {
            let text = format!("${{secret:{name}}}");
            prop_assert_eq!(shown(&format!("${text}")), text);
        }
    }
}
