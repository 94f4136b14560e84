//! Where values of secrets stand in texts.

use std::ops::Range;

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};
use memchr::memmem;
use zeroize::Zeroizing;

use super::{RewriteOptions, RewriteText, Rewritten, plan};
use crate::flatten::not_a_document;
use crate::format::{Document, Slot};

/// More of them can't be told to anybody, and thousands of equal secrets must not fill the memory.
const MOST_FOUND: usize = 200_000;

/// Texts, and what was found in them. It keeps the names of what was found, no values but those of the texts.
pub(super) struct Search<'a> {
    options: &'a RewriteOptions,
    texts: Vec<Searched>,
    searched: usize,
}

/// A text, and where values of secrets stand in it.
pub(super) struct Searched {
    pub(super) source: String,
    pub(super) document: Document,
    /// The slots in the order of their texts, for finding one by its text.
    by_text: Vec<usize>,
    values: Joined,
    around: Joined,
    pub(super) found: Vec<Found>,
}

/// A place where the value of a secret stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) name: SecretName,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A slot's text up to this byte, behind which there are only line ends.
    Whole { slot: usize, end: usize },
    /// These bytes of a slot's text.
    Part { slot: usize, start: usize, end: usize },
    /// Outside of all slots, at this byte of the text.
    Around { at: usize },
}

impl<'a> Search<'a> {
    pub(super) fn new(options: &'a RewriteOptions, texts: Vec<RewriteText>) -> Result<Self> {
        let texts = texts.into_iter().map(Searched::new).collect::<Result<_>>()?;
        Ok(Self {
            options,
            texts,
            searched: 0,
        })
    }

    /// How many values were looked for.
    pub(super) fn searched(&self) -> usize {
        self.searched
    }

    /// Notes where the value stands. What is empty or no text stands nowhere.
    pub(super) fn look_for(&mut self, name: &SecretName, value: &SecretValue) -> Result<()> {
        self.searched += 1;
        let value = match value.expose_str() {
            Ok(value) if !value.is_empty() => value,
            _ => return Ok(()),
        };
        for text in &mut self.texts {
            text.look_for(name, value, self.options.min_length);
        }
        let found: usize = self.texts.iter().map(|text| text.found.len()).sum();
        if found > MOST_FOUND {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("values of secrets stand in the texts more than {MOST_FOUND} times"),
            )
            .with_hint("look for fewer secrets, with a prefix, or in fewer texts at once"));
        }
        Ok(())
    }

    /// The texts with references in the place of what was found.
    pub(super) fn finish(self, is_known: impl Fn(&str) -> bool) -> Result<Vec<(String, Rewritten)>> {
        let finish = |mut text: Searched| {
            text.found.sort();
            plan::carry_out(text, self.options, &is_known)
        };
        self.texts.into_iter().map(finish).collect()
    }
}

impl Searched {
    fn new(RewriteText { source, format, text }: RewriteText) -> Result<Self> {
        let document = Document::parse(format, text).map_err(|error| not_a_document(format, Some(&source), &error))?;
        let slots = document.slots();
        let mut by_text: Vec<usize> = (0..slots.len()).collect();
        by_text.sort_by_key(|slot| without_line_ends(slots[*slot].text()));
        let values = Joined::of(slots.iter().map(|slot| (0, slot.text())));
        let around = Joined::of(around(&document));
        Ok(Self {
            source,
            by_text,
            values,
            around,
            found: Vec::new(),
            document,
        })
    }

    fn look_for(&mut self, name: &SecretName, value: &str, min_length: usize) {
        let slots = self.document.slots();
        let mut found = |place| {
            self.found.push(Found {
                place,
                name: name.clone(),
            });
        };
        // A value may itself end with line ends, so what is looked up is what any text with it begins with.
        let text = |slot: &usize| without_line_ends(slots[*slot].text());
        let from = self.by_text.partition_point(|slot| text(slot) < without_line_ends(value));
        let same = self.by_text[from..]
            .iter()
            .take_while(|slot| text(slot) == without_line_ends(value));
        let mut whole: Vec<usize> = same.copied().filter(|slot| slots[*slot].text().starts_with(value)).collect();
        whole.sort_unstable();
        for slot in &whole {
            found(Place::Whole {
                slot: *slot,
                end: value.len(),
            });
        }
        if value.len() < min_length {
            return;
        }
        for (slot, Range { start, end }) in self.values.find(value) {
            if whole.binary_search(&slot).is_err() {
                found(Place::Part { slot, start, end });
            }
        }
        for (_, Range { start, .. }) in self.around.find(value) {
            found(Place::Around { at: start });
        }
    }
}

/// The text without line ends at its end.
pub(super) fn without_line_ends(text: &str) -> &str {
    text.trim_end_matches('\n')
}

/// What of the text is in no slot, and where it begins.
fn around(document: &Document) -> impl Iterator<Item = (usize, &str)> + Clone {
    let text = document.text();
    let ends = std::iter::once(0).chain(document.slots().iter().map(|slot| slot.span().end));
    let starts = document.slots().iter().map(Slot::span).map(|span| span.start);
    ends.zip(starts.chain([text.len()]))
        .map(move |(from, to)| (from, &text[from..to]))
}

/// Texts that are searched together: thousands of short ones cost one search.
struct Joined {
    bytes: Zeroizing<Vec<u8>>,
    /// Where each text begins in the bytes, and at which offset of its own.
    starts: Vec<(usize, usize)>,
}

impl Joined {
    fn of<'t>(texts: impl Iterator<Item = (usize, &'t str)> + Clone) -> Self {
        let length = texts.clone().map(|(_, text)| text.len() + 1).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        let mut starts = Vec::new();
        for (offset, text) in texts {
            starts.push((bytes.len(), offset));
            bytes.extend_from_slice(text.as_bytes());
            // No UTF-8 has it, so nothing is found across two texts.
            bytes.push(0xFF);
        }
        Self { bytes, starts }
    }

    /// Every occurrence: the number of the text, and the bytes of it.
    fn find<'s>(&'s self, value: &'s str) -> impl Iterator<Item = (usize, Range<usize>)> + 's {
        memmem::find_iter(&self.bytes, value).map(|at| {
            let text = self.starts.partition_point(|(start, _)| *start <= at) - 1;
            let (start, offset) = self.starts[text];
            let at = at - start + offset;
            (text, at..at + value.len())
        })
    }
}
