//! What came out of a run.

use std::fmt;
use std::time::Duration;

use keyfob_core::Capabilities;

use crate::case::Need;
use crate::table;

/// What came out of a run, case by case. `Display` has a line for each case and the summary as the last line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The scheme of the store.
    pub store: String,
    /// The name of the store in the table of what stores can do, if it stands there.
    pub title: Option<String>,
    /// What the store says of itself.
    pub capabilities: Capabilities,
    /// The cases, in the order in which they ran.
    pub cases: Vec<CaseReport>,
    /// What could not be cleaned up. No failure, but somebody may want to look.
    pub leftovers: Vec<String>,
}

/// What came out of one case.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case, for example `get::missing_is_not_found`.
    pub name: String,
    /// The module of the case, for example `get`.
    pub verb: String,
    /// What it needs.
    pub needs: &'static [Need],
    /// What came out.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The store kept the contract.
    Passed,
    /// The store lacks this capability.
    Ignored(String),
    /// The store broke the contract.
    Failed(Failure),
    /// The store broke the contract, as [`known_deviation`](crate::RunOptions::known_deviation) said it would.
    Deviates {
        /// The reason given there.
        why: String,
        /// What it did.
        failure: Failure,
    },
}

/// How the contract was broken.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// What went wrong; empty when only values leaked.
    pub message: String,
    /// Where the case's canary was seen.
    pub leaks: Vec<String>,
}

impl Report {
    /// How many cases passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Passed))
    }

    /// How many cases were ignored.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Ignored(_)))
    }

    /// How many cases failed, without the known deviations.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// How many cases failed in a way that was said before.
    #[must_use]
    pub fn deviating(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Deviates { .. }))
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&CaseReport, &Failure)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Failed(failure) => Some((case, failure)),
            _ => None,
        })
    }

    /// The last line, for example `conformance memory: 41 passed, 3 ignored, 0 failed`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = format!(
            "conformance {}: {} passed, {} ignored, {} failed",
            self.store,
            self.passed(),
            self.ignored(),
            self.failed()
        );
        match self.deviating() {
            0 => {}
            1 => line.push_str(", 1 known deviation"),
            many => line.push_str(&format!(", {many} known deviations")),
        }
        line
    }

    /// Prints the report to standard output, and [tells](crate::tell) the summary, what was ignored, and the cells of
    /// the table.
    #[expect(clippy::print_stdout, reason = "a test's report is for the one who runs the test")]
    pub fn print(&self) {
        println!("{self}");
        crate::tell(&self.summary());
        for case in &self.cases {
            if let Outcome::Ignored(reason) = &case.outcome {
                crate::tell(&format!("ignored: {}/{}: {reason}", self.store, case.name));
            }
        }
        let lines = self
            .title
            .iter()
            .flat_map(|title| table::lines(title, &self.cases, &self.capabilities));
        lines.for_each(|line| crate::tell(&line));
    }

    /// Panics with the list of failures if there are any.
    ///
    /// # Panics
    /// When a case failed, or when nothing ran at all.
    #[track_caller]
    pub fn assert(&self) {
        let failures: Vec<String> = self
            .failures()
            .map(|(case, failure)| format!("\n  {}: {failure}", case.name))
            .collect();
        assert!(failures.is_empty(), "{}{}", self.summary(), failures.concat());
        assert!(self.passed() > 0, "{}: nothing was proven", self.summary());
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| which(&case.outcome)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        for leftover in &self.leftovers {
            writeln!(f, "left behind: {leftover}")?;
        }
        f.write_str(&self.summary())
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ... {} [{} ms]", self.name, self.outcome, self.duration.as_millis())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Ignored(capability) => write!(f, "ignored ({capability})"),
            Self::Failed(failure) => write!(f, "FAILED: {failure}"),
            Self::Deviates { why, failure } => write!(f, "deviates ({why}): {failure}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.leaks.is_empty() {
            let between = if self.message.is_empty() { "" } else { "; " };
            write!(f, "{between}the value leaked: {}", self.leaks.join("; "))?;
        }
        Ok(())
    }
}
