//! Finds references in text.

use std::ops::Range;

use memchr::memchr;

use crate::error::{Error, ErrorKind, Result};
use crate::reference::{Reference, is_scheme};

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
    let mut at = 0;
    while let Some(found) = memchr(b'$', &text.as_bytes()[at..]) {
        let start = at + found;
        at = start + 1;
        if let Some(opening) = opening(&text[start + 1..], &is_known) {
            // `$${secret:x}`: leave out this `$`, and pass over the reference that it makes literal.
            pieces.push(Piece {
                span: start..start + 1,
                kind: PieceKind::Escape,
            });
            at = start + 1 + opening.head;
        } else if let Some(opening) = opening_at(text, start, &is_known) {
            let (end, reference) = reference(text, start, opening);
            pieces.push(Piece {
                span: start..end,
                kind: PieceKind::Reference(reference),
            });
            at = end;
        }
    }
    pieces
}

#[derive(Clone, Copy)]
struct Opening {
    close: u8,
    /// How many bytes `${scheme:` has.
    head: usize,
}

fn opening_at(text: &str, start: usize, is_known: &impl Fn(&str) -> bool) -> Option<Opening> {
    opening(&text[start..], is_known)
}

/// Whether `text` begins with `${scheme:` or `$<scheme:` of a known scheme and something that can be a name.
fn opening(text: &str, is_known: &impl Fn(&str) -> bool) -> Option<Opening> {
    let bytes = text.as_bytes();
    let close = match bytes.get(..2)? {
        b"${" => b'}',
        b"$<" => b'>',
        _ => return None,
    };
    let scheme_end = 2 + bytes[2..]
        .iter()
        .take(65)
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))?;
    let scheme = &text[2..scheme_end];
    if bytes[scheme_end] != b':' || !is_scheme(scheme) || !is_known(scheme) {
        return None;
    }
    // A shell's `${env:-x}`, `${env:+x}`, `${env:?x}`, `${env:=x}` stays what it is.
    if matches!(bytes.get(scheme_end + 1), Some(b'-' | b'+' | b'?' | b'=')) {
        return None;
    }
    Some(Opening {
        close,
        head: scheme_end + 1,
    })
}

fn reference(text: &str, start: usize, opening: Opening) -> (usize, Result<Reference>) {
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
                start + opening.head,
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

fn floor_char_boundary(text: &str, at: usize) -> usize {
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
