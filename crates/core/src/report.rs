//! One report of everything that could not be resolved.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// Where a reference stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, or for example `<stdin>`.
    pub source: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key in a structured document, for example `services[0].password`.
    pub key: Option<String>,
}

impl Location {
    /// A place without a key.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>, line: usize, column: usize) -> Self {
        Self {
            source: source.into(),
            line,
            column,
            key: None,
        }
    }
}

/// `file:line:column`, with the key if there is one.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.escape_debug(), self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(f, " ({})", key.escape_debug())?;
        }
        Ok(())
    }
}

/// Why one reference could not be resolved, and everywhere it stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The reference as written, a default shown as `…`.
    pub reference: String,
    /// Everywhere it stands, in order.
    pub locations: Vec<Location>,
    /// Which store was asked, as `scheme (location)`; `None` when none was.
    pub store: Option<String>,
    /// What went wrong.
    pub error: Error,
    /// The nearest names that exist, best first.
    pub nearest: Vec<String>,
}

/// Every reference that could not be resolved, in the order of where they first stand.
///
/// `Display` is the report for people, many lines, without any value.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What failed; never empty.
    pub failures: Vec<Failure>,
    /// How many different references there were.
    pub references: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.references == 1 { "reference" } else { "references" };
        write!(f, "{} of {} {plural} can't be resolved", self.failures.len(), self.references)?;
        for failure in &self.failures {
            writeln!(f)?;
            for location in &failure.locations {
                write!(f, "\n  {location}")?;
            }
            write!(
                f,
                "\n    {}: {}: {}",
                failure.reference,
                failure.error.kind().words(),
                failure.error
            )?;
            let mut below = std::error::Error::source(&failure.error);
            while let Some(error) = below {
                write!(f, "\n    caused by: {}", on_one_line(&error.to_string()))?;
                below = error.source();
            }
            if let Some(store) = &failure.store {
                write!(f, "\n    asked: {store}")?;
            }
            match failure.nearest.as_slice() {
                [] => {}
                names => write!(f, "\n    hint: did you mean {}?", quoted(names))?,
            }
            if let Some(hint) = failure.error.hint() {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Text of somebody else, without what a terminal acts on. Quotation marks are read by people here.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::on_one_line;

    #[test]
    fn a_cause_reads_as_it_was_written_and_stays_on_its_line() {
        assert_eq!(on_one_line("can't \"a\\b\"\n\u{1b}[2J"), "can't \"a\\b\"\\n\\u{1b}[2J");
    }
}
