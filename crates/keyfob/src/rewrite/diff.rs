//! What changes, for people: no old value, and nothing of the text that could be one.

use std::fmt::Write as _;
use std::ops::Range;

use super::plan::{Edit, written};
use super::{Replaced, Rewritten};
use crate::format::Document;

/// What stands for an old value, whatever its length.
const MASK: &str = "****";
/// What stands for text that is not shown.
const HIDDEN: &str = "…";

impl Rewritten {
    /// What changes, as lines that begin with `-`, `+` or `@@`; empty when nothing does.
    ///
    /// Old values are masked. Of a line, what stands before the value is shown if it is no more than a key; what stands
    /// behind it, and beside a part of a value, is not. Keys are as they stand in the text, control characters included.
    #[must_use]
    pub fn diff(&self) -> String {
        let mut diff = String::new();
        let Ok(new) = Document::parse(self.document.format(), self.text.clone()) else {
            return diff;
        };
        for (edit, replaced) in self.edits.iter().zip(&self.replaced) {
            // Writing to a string can't fail.
            let _ = self.hunk(&new, edit, replaced, &mut diff);
        }
        diff
    }

    fn hunk(&self, new: &Document, edit: &Edit, replaced: &Replaced, diff: &mut String) -> std::fmt::Result {
        write!(diff, "@@ {}", replaced.position)?;
        if let Some(key) = &replaced.key {
            write!(diff, ": {key}")?;
        }
        diff.push('\n');
        let old = &self.document.slots()[edit.slot];
        let begins_here = self.document.position(edit.slot, edit.part.start).line == self.document.position(edit.slot, 0).line;
        let before = match line_before(self.document.text(), old.span()) {
            before if begins_here && is_only_a_key(before) && !self.has_value_in(before, old.span().start) => before,
            _ => HIDDEN,
        };
        let behind = behind(self.document.text(), old.span());
        if edit.is_part {
            writeln!(diff, "-{before}{HIDDEN}{MASK}{HIDDEN}")?;
            return writeln!(diff, "+{before}{HIDDEN}{}{HIDDEN}", written(&edit.name));
        }
        writeln!(diff, "-{before}{MASK}{behind}")?;
        let literal = &new.text()[new.slots()[edit.slot].span()];
        for (number, line) in literal.lines().enumerate() {
            writeln!(diff, "+{}{line}", if number == 0 { before } else { "" })?;
        }
        // The last line end is not the value's.
        diff.truncate(diff.trim_end_matches('\n').len());
        writeln!(diff, "{behind}")
    }

    /// Whether the value of a secret was found in `before`, which ends at the byte `end`.
    fn has_value_in(&self, before: &str, end: usize) -> bool {
        let from = self.document.position_of(end - before.len());
        let to = self.document.position_of(end);
        self.left.iter().any(|left| (from..=to).contains(&left.position))
    }
}

/// The line in which the value begins, up to it.
fn line_before(text: &str, span: Range<usize>) -> &str {
    let before = &text[..span.start];
    &before[before.rfind('\n').map_or(0, |at| at + 1)..]
}

/// Whether nothing but a key, its separator, and the marks of its format can be in it: no second value, no comment.
fn is_only_a_key(before: &str) -> bool {
    !before.contains([',', '#', '/']) && before.matches([':', '=']).count() <= 1
}

/// What closes the line, if it is no more than that.
fn behind(text: &str, span: Range<usize>) -> &str {
    let rest = text[span.end..].lines().next().unwrap_or_default().trim_end();
    match rest.chars().all(|character| ",]}".contains(character)) {
        true => rest,
        false => " …",
    }
}
