//! What becomes of what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use keyfob_core::{DEFAULT_SCHEME, Fallback, PieceKind, Reference, Result, SecretName, SecretRef, Target, scan};
use zeroize::Zeroizing;

use super::place::{is_delimited, is_maybe_not_text, is_url_password};
use super::search::{Found, Place, Searched};
use super::words::{likeness, words};
use super::{Left, LeftReason, Replaced, RewriteOptions, Rewritten};
use crate::format::Document;

/// A part of a slot's text that becomes a reference.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) slot: usize,
    pub(super) part: Range<usize>,
    pub(super) name: SecretName,
    pub(super) is_part: bool,
}

impl Edit {
    fn new(slot: usize, part: Range<usize>, name: &SecretName, is_part: bool) -> Self {
        Self {
            slot,
            part,
            name: name.clone(),
            is_part,
        }
    }
}

/// A text with references in the place of what was found, and what it is called.
pub(super) fn carry_out(
    searched: Searched,
    options: &RewriteOptions,
    is_known: &impl Fn(&str) -> bool,
) -> Result<(String, Rewritten)> {
    let Searched {
        source, document, found, ..
    } = searched;
    let mut plan = Plan {
        document: &document,
        options,
        is_known,
        edits: BTreeMap::new(),
        left: Vec::new(),
    };
    plan.decide(&found);
    let text = plan.render().map_err(|error| error.with("file", source.clone()))?;
    let Plan { edits, mut left, .. } = plan;
    left.sort_by_key(|left| left.position);
    let edits: Vec<Edit> = edits.into_values().flatten().collect();
    let replaced = edits.iter().map(|edit| Replaced {
        position: document.position(edit.slot, edit.part.start),
        key: document.slots()[edit.slot].key().map(str::to_owned),
        name: edit.name.clone(),
        is_part: edit.is_part,
    });
    let rewritten = Rewritten {
        replaced: replaced.collect(),
        text,
        edits,
        left,
        document,
    };
    Ok((source, rewritten))
}

struct Plan<'a, K> {
    document: &'a Document,
    options: &'a RewriteOptions,
    is_known: &'a K,
    /// Of each slot, in the order of its text.
    edits: BTreeMap<usize, Vec<Edit>>,
    left: Vec<Left>,
}

/// Everything that was found in one slot.
#[derive(Default)]
struct InSlot<'f> {
    /// By where it ends.
    whole: BTreeMap<usize, Vec<&'f SecretName>>,
    parts: BTreeMap<(usize, usize), Vec<&'f SecretName>>,
}

impl<K: Fn(&str) -> bool> Plan<'_, K> {
    fn decide(&mut self, found: &[Found]) {
        let mut slots: BTreeMap<usize, InSlot<'_>> = BTreeMap::new();
        let mut around: BTreeMap<usize, Vec<&SecretName>> = BTreeMap::new();
        for Found { place, name } in found {
            match *place {
                Place::Whole { slot, end } => slots.entry(slot).or_default().whole.entry(end).or_default().push(name),
                Place::Part { slot, start, end } => {
                    slots
                        .entry(slot)
                        .or_default()
                        .parts
                        .entry((start, end))
                        .or_default()
                        .push(name);
                }
                Place::Around { at } => around.entry(at).or_default().push(name),
            }
        }
        for (slot, found) in slots {
            // With the longest value fewest line ends are left to stand behind the reference.
            match found.whole.last_key_value() {
                Some((end, names)) => self.decide_whole(slot, *end, names),
                None => self.decide_parts(slot, &found.parts),
            }
        }
        for (at, names) in around {
            self.left.push(Left {
                position: self.document.position_of(at),
                key: None,
                names: names.into_iter().cloned().collect(),
                reason: LeftReason::OutsideValues,
            });
        }
    }

    fn decide_whole(&mut self, slot: usize, end: usize, names: &[&SecretName]) {
        let is_long = end >= self.options.min_length;
        let names: Vec<&SecretName> = names
            .iter()
            .copied()
            .filter(|name| is_long || self.likeness(slot, name).0)
            .collect();
        if names.is_empty() {
            return;
        }
        let present = &self.document.slots()[slot];
        let reason = match self.choose(slot, &names) {
            _ if is_maybe_not_text(self.document.format(), self.document.text(), present) => LeftReason::MaybeNotText,
            None => LeftReason::Ambiguous,
            Some(name) => {
                let edit = Edit::new(slot, 0..end, name, false);
                if self.is_safe(slot, std::slice::from_ref(&edit)) {
                    self.edits.insert(slot, vec![edit]);
                    return;
                }
                LeftReason::Unsafe
            }
        };
        self.leave(slot, 0, &names, reason);
    }

    fn decide_parts<'n>(&mut self, slot: usize, parts: &BTreeMap<(usize, usize), Vec<&'n SecretName>>) {
        let text = self.document.slots()[slot].text();
        // What a reference is called is no value.
        let references: Vec<Range<usize>> = scan(text, self.is_known).into_iter().map(|piece| piece.span).collect();
        let overlaps = |one: &Range<usize>, other: &Range<usize>| one.start < other.end && other.start < one.end;
        let judge = |part: &Range<usize>, names: &[&'n SecretName]| match self.choose(slot, names) {
            _ if !is_delimited(text, part) => Err(LeftReason::InsideWord),
            _ if !self.options.parts && !is_url_password(text, part) => Err(LeftReason::Part),
            None => Err(LeftReason::Ambiguous),
            Some(name) => Ok(name),
        };
        let mut parts: Vec<_> = parts
            .iter()
            .map(|((start, end), names)| (*start..*end, names))
            .filter(|(part, _)| !references.iter().any(|reference| overlaps(part, reference)))
            .map(|(part, names)| (judge(&part, names), part, names))
            .collect();
        // Of those that overlap the longest that can be replaced counts, else the longest.
        parts.sort_by_key(|(name, part, _)| (name.is_err(), usize::MAX - part.len(), part.start));
        let mut passed: Vec<Range<usize>> = Vec::new();
        let mut edits: Vec<Edit> = Vec::new();
        for (name, part, names) in parts {
            if passed.iter().any(|other| overlaps(&part, other)) {
                continue;
            }
            passed.push(part.clone());
            match name {
                Ok(name) => edits.push(Edit::new(slot, part, name, true)),
                Err(reason) => self.leave(slot, part.start, names, reason),
            }
        }
        edits.sort_by_key(|edit| edit.part.start);
        if !self.is_safe(slot, &edits) {
            self.leave_edits(&edits);
        } else if !edits.is_empty() {
            self.edits.insert(slot, edits);
        }
    }

    /// The name that is most like the key; `None` when none is more than all others.
    fn choose<'n>(&self, slot: usize, names: &[&'n SecretName]) -> Option<&'n SecretName> {
        if let [name] = names {
            return Some(name);
        }
        let best = names.iter().map(|name| self.likeness(slot, name)).max()?;
        let mut likest = names.iter().filter(|name| self.likeness(slot, name) == best);
        match (likest.next(), likest.next()) {
            (Some(name), None) => Some(name),
            _ => None,
        }
    }

    fn likeness(&self, slot: usize, name: &SecretName) -> (bool, usize, usize) {
        let key = words(self.document.slots()[slot].key().unwrap_or_default());
        let name = name.as_str();
        likeness(&key, &words(name.strip_prefix(&*self.options.prefix).unwrap_or(name)))
    }

    /// Whether the references are read as such, and the text around them as before.
    fn is_safe(&self, slot: usize, edits: &[Edit]) -> bool {
        let old = self.document.slots()[slot].text();
        let new = with_references(old, edits);
        let references = edits.iter().map(|edit| (edit.part.clone(), Some(edit)));
        let pieces = scan(old, self.is_known).into_iter().map(|piece| (piece.span, None));
        let mut expected: Vec<(Range<usize>, Option<&Edit>)> = references.chain(pieces).collect();
        expected.sort_by_key(|(span, _)| span.start);
        if expected.windows(2).any(|pair| pair[1].0.start < pair[0].0.end) {
            return false;
        }
        let (mut taken, mut put) = (0, 0);
        for (span, edit) in &mut expected {
            let start = span.start + put - taken;
            let length = match edit {
                Some(edit) => {
                    let length = written(&edit.name).len();
                    (taken, put) = (taken + span.len(), put + length);
                    length
                }
                None => span.len(),
            };
            *span = start..start + length;
        }
        let scanned = scan(&new, self.is_known);
        scanned.len() == expected.len()
            && scanned.iter().zip(expected).all(|(piece, (span, edit))| {
                let means = match (&piece.kind, edit) {
                    (_, None) => true,
                    (PieceKind::Reference(Ok(found)), Some(edit)) => *found == reference(&edit.name),
                    _ => false,
                };
                means && piece.span == span
            })
    }

    /// The text with the references in it. Those that can't be written where they are to stand are left out.
    fn render(&mut self) -> Result<Zeroizing<String>> {
        let new = |edits: &Vec<Edit>, slot: usize| with_references(self.document.slots()[slot].text(), edits);
        let all: BTreeMap<usize, Zeroizing<String>> = self.edits.iter().map(|(slot, edits)| (*slot, new(edits, *slot))).collect();
        if let Ok(text) = self.document.render(&texts(&all)) {
            return Ok(text);
        }
        let mut possible = BTreeMap::new();
        let mut impossible = BTreeSet::new();
        for (slot, new) in all {
            let alone = BTreeMap::from([(slot, new.as_str())]);
            match self.document.render(&alone) {
                Ok(_) => {
                    possible.insert(slot, new);
                }
                Err(_) => {
                    impossible.insert(slot);
                }
            }
        }
        for slot in impossible {
            let edits = self.edits.remove(&slot).unwrap_or_default();
            self.leave_edits(&edits);
        }
        self.document.render(&texts(&possible))
    }

    fn leave_edits(&mut self, edits: &[Edit]) {
        for edit in edits {
            self.leave(edit.slot, edit.part.start, &[&edit.name], LeftReason::Unsafe);
        }
    }

    fn leave(&mut self, slot: usize, at: usize, names: &[&SecretName], reason: LeftReason) {
        self.left.push(Left {
            position: self.document.position(slot, at),
            key: self.document.slots()[slot].key().map(str::to_owned),
            names: names.iter().map(|name| (*name).clone()).collect(),
            reason,
        });
    }
}

fn texts(texts: &BTreeMap<usize, Zeroizing<String>>) -> BTreeMap<usize, &str> {
    texts.iter().map(|(slot, text)| (*slot, text.as_str())).collect()
}

fn reference(name: &SecretName) -> Reference {
    Reference {
        scheme: DEFAULT_SCHEME.into(),
        target: Target::Secret(SecretRef::new(name.clone())),
        fallback: Fallback::None,
    }
}

/// The reference to a secret as it stands in a text.
pub(super) fn written(name: &SecretName) -> String {
    reference(name).to_string()
}

/// The text with references in the place of its parts, which are in order.
fn with_references(text: &str, edits: &[Edit]) -> Zeroizing<String> {
    let references: Vec<String> = edits.iter().map(|edit| written(&edit.name)).collect();
    let length = text.len() + references.iter().map(String::len).sum::<usize>();
    // It never grows and leaves a copy behind.
    let mut new = Zeroizing::new(String::with_capacity(length));
    let mut at = 0;
    for (edit, reference) in edits.iter().zip(&references) {
        new.push_str(&text[at..edit.part.start]);
        new.push_str(reference);
        at = edit.part.end;
    }
    new.push_str(&text[at..]);
    new
}
