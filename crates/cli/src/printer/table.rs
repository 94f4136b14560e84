//! Columns.

use std::fmt;

use super::{FAINT, STRONG};
use crate::text::escape_untrusted;

/// A table of short texts. Cells are escaped: they may come from a store.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many cells as there are headings. An empty cell shows as `-`.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        let escape = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                escape_untrusted(&cell).into_owned()
            }
        };
        self.rows.push(cells.into_iter().map(escape).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        let widths = self.widths();
        let last = widths.len() - 1;
        for (index, (heading, width)) in self.headings.iter().zip(&widths).enumerate() {
            let width = if index == last { 0 } else { *width };
            let gap = if index == last { "\n" } else { "  " };
            write!(f, "{STRONG}{heading:width$}{STRONG:#}{gap}")?;
        }
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let width = if index == last { 0 } else { *width };
                let gap = if index == last { "\n" } else { "  " };
                if cell == "-" {
                    write!(f, "{FAINT}{cell:width$}{FAINT:#}{gap}")?;
                } else {
                    write!(f, "{cell:width$}{gap}")?;
                }
            }
        }
        Ok(())
    }
}
