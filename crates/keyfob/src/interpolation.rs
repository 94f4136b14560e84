//! One text with references in it.

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Location, Occurrence, Piece, PieceKind, Reference, Resolved, Result, scan};
use zeroize::Zeroizing;

/// What in a text is not plain.
#[derive(Debug)]
pub(crate) struct Interpolation(Vec<Piece>);

impl Interpolation {
    /// Finds the references of `text`; `None` when it is plain.
    pub(crate) fn of(text: &str, is_known: impl Fn(&str) -> bool) -> Option<Self> {
        let pieces = scan(text, is_known);
        (!pieces.is_empty()).then_some(Self(pieces))
    }

    /// Its references; `locate` says where an offset of the text stands.
    pub(crate) fn occurrences<'a>(
        &'a self,
        text: &'a str,
        directory: Option<&'a Arc<Path>>,
        locate: impl Fn(usize) -> Location + 'a,
    ) -> impl Iterator<Item = Occurrence> + 'a {
        self.0.iter().filter_map(move |piece| match &piece.kind {
            PieceKind::Escape => None,
            PieceKind::Reference(reference) => Some(Occurrence {
                written: written(reference, &text[piece.span.clone()]),
                reference: reference.clone(),
                location: locate(piece.span.start),
                directory: directory.cloned(),
            }),
        })
    }

    /// The text with every reference replaced by what it stands for and every `$${…}` by what it means.
    pub(crate) fn fill(&self, text: &str, directory: Option<&Arc<Path>>, resolved: &Resolved) -> Result<Zeroizing<String>> {
        let mut parts = Vec::with_capacity(2 * self.0.len() + 1);
        let mut at = 0;
        for piece in &self.0 {
            parts.push(&text[at..piece.span.start]);
            at = piece.span.end;
            if let PieceKind::Reference(reference) = &piece.kind {
                let reference = reference.as_ref().map_err(Clone::clone)?;
                let answer = resolved.answer(reference, directory).ok_or_else(|| {
                    Error::new(ErrorKind::Other, "the reference was not resolved").with("reference", reference.to_string())
                })?;
                parts.push(answer.value.expose_str()?);
            }
        }
        parts.push(&text[at..]);
        // One allocation of the right size: a buffer that grows leaves copies of its content behind.
        let mut filled = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.into_iter().for_each(|part| filled.push_str(part));
        Ok(filled)
    }
}

/// What a report shows: the reference without its default, or the beginning of what is malformed.
fn written(reference: &Result<Reference>, text: &str) -> String {
    if let Ok(reference) = reference {
        return reference.to_string();
    }
    const MOST: usize = 80;
    let (shown, default) = text.split_once(":-").map_or((text, false), |(shown, _)| (shown, true));
    let cut = default || shown.chars().count() > MOST;
    let shown: String = shown.chars().take(MOST).flat_map(char::escape_debug).collect();
    if cut { shown + "…" } else { shown }
}
