//! What a test run's output and its report files say, as numbers and reasons.
//!
//! Two sources are read:
//!
//! - the output of `cargo test`, line by line: results, ignored tests, and the marker of a canary value, which must
//!   never be there;
//! - the files in `KEYFOB_TEST_REPORT_DIR`, into which test binaries append lines, because cargo hides what a
//!   passing test prints. A line is one of
//!   - `conformance STORE: 41 passed, 3 ignored, 0 failed`, the cases that a conformance test ran,
//!   - `ignored: CASE: REASON`, one of these ignored cases,
//!   - `table: STORE ROW CELL`, with tabs, a cell of the page of what stores can do,
//!   - `skipped: TEST: REASON`, a test that could not run here and therefore returned early: cargo counts it as
//!     passed, this summary does not,
//!   - anything else, which is shown as it stands.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::process::{Failure, Result};

/// What every canary value in the tests begins with. A value is the marker and at least
/// [`CANARY_LENGTH`] letters or digits; the bare marker may be printed.
const CANARY_MARKER: &str = "kfcanary-";
const CANARY_LENGTH: usize = 8;

/// The numbers of one run, filled line by line.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rust: Counts,
    ignored_tests: Vec<String>,
    skipped_tests: Vec<String>,
    conformance: Vec<Conformance>,
    ignored_cases: Vec<String>,
    cells: BTreeSet<String>,
    notes: Vec<String>,
    canary_lines: Vec<u64>,
    errors: Vec<String>,
    lines: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Conformance {
    line: String,
    counts: Counts,
}

/// The closing line: every Rust test and every conformance case once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: u64,
    pub(crate) failed: u64,
    skipped: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Summary {
    /// Takes in one line of the output of `cargo test`.
    pub(crate) fn output_line(&mut self, line: &str) {
        self.lines += 1;
        let line = without_colour(line);
        if holds_canary(&line) {
            self.canary_lines.push(self.lines);
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            if let Some(counts) = result.split_once(". ").and_then(|(_, counts)| parse_counts(counts)) {
                self.rust.passed += counts.passed;
                self.rust.failed += counts.failed;
                self.rust.ignored += counts.ignored;
            }
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ignored")) {
            let reason = reason.strip_prefix(", ").unwrap_or("no reason given");
            self.ignored_tests.push(format!("{name}: {reason}"));
        }
    }

    /// Takes in every report file of the directory.
    pub(crate) fn report_dir(&mut self, dir: &Path) -> Result {
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(Failure::io("list the report directory"))? {
            let path = entry.map_err(Failure::io("list the report directory"))?.path();
            let text = std::fs::read_to_string(&path).map_err(Failure::io(format_args!("read `{}`", path.display())))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        for line in &lines {
            self.report_line(line);
        }
        Ok(())
    }

    fn report_line(&mut self, line: &str) {
        self.lines += 1;
        if holds_canary(line) {
            self.canary_lines.push(self.lines);
            return;
        }
        if let Some(conformance) = parse_conformance(line) {
            self.conformance.push(conformance);
        } else if let Some(case) = line.strip_prefix("ignored: ") {
            self.ignored_cases.push(case.to_owned());
        } else if let Some(cell) = line.strip_prefix("table: ") {
            self.cells.insert(cell.to_owned());
        } else if let Some(test) = line.strip_prefix("skipped: ") {
            self.skipped_tests.push(test.to_owned());
        } else if !line.trim().is_empty() {
            self.note(line);
        }
    }

    /// The cells of the page of what stores can do, sorted.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().map(String::as_str)
    }

    /// Adds a line that is shown as it stands.
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Notes a failure that no test result shows.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        self.errors.push(message.into());
    }

    /// Decides what only the whole run can show. `in_ci`: a test that could not run is a failure.
    pub(crate) fn finish(&mut self, cargo_succeeded: bool, in_ci: bool) {
        if !cargo_succeeded && self.rust.failed == 0 {
            self.error("cargo test failed although no test did: see its output above");
        }
        if cargo_succeeded && self.rust.passed + self.rust.failed == 0 {
            self.error("no test ran");
        }
        if in_ci && !self.skipped_tests.is_empty() {
            self.error(format!(
                "{} tests could not run, and with `CI` set every test must",
                self.skipped_tests.len()
            ));
        }
        if !self.canary_lines.is_empty() {
            let lines: Vec<String> = self.canary_lines.iter().take(10).map(u64::to_string).collect();
            self.error(format!(
                "{} lines of the output hold a canary value, which nothing may print (lines {})",
                self.canary_lines.len(),
                lines.join(", ")
            ));
        }
    }

    /// The numbers of the closing line. An error that no test result shows counts as one failure.
    pub(crate) fn totals(&self) -> Totals {
        let skipped = self.skipped_tests.len() as u64;
        let mut totals = Totals {
            passed: self.rust.passed.saturating_sub(skipped),
            failed: self.rust.failed + self.errors.len() as u64,
            skipped: self.rust.ignored + skipped,
        };
        for Conformance { counts, .. } in &self.conformance {
            totals.passed += counts.passed;
            totals.failed += counts.failed;
            totals.skipped += counts.ignored;
        }
        totals
    }
}

/// Everything but the closing line.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { passed, failed, ignored } = self.rust;
        writeln!(f, "rust tests: {passed} passed, {ignored} ignored, {failed} failed")?;
        for Conformance { line, .. } in &self.conformance {
            writeln!(f, "{line}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for ignored in self.ignored_tests.iter().chain(&self.ignored_cases) {
            writeln!(f, "ignored: {ignored}")?;
        }
        for skipped in &self.skipped_tests {
            writeln!(f, "skipped: {skipped}")?;
        }
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        Ok(())
    }
}

/// Reads `41 passed; 0 failed; 3 ignored; ...` and `41 passed, 3 ignored, 0 failed`.
fn parse_counts(text: &str) -> Option<Counts> {
    let count = |word: &str| {
        text.split([';', ','])
            .find_map(|part| part.trim().strip_suffix(word)?.trim_end().parse().ok())
    };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

fn parse_conformance(line: &str) -> Option<Conformance> {
    let (_, counts) = line.strip_prefix("conformance ")?.rsplit_once(": ")?;
    Some(Conformance {
        line: line.to_owned(),
        counts: parse_counts(counts)?,
    })
}

fn holds_canary(line: &str) -> bool {
    line.match_indices(CANARY_MARKER).any(|(at, marker)| {
        let value = line.get(at + marker.len()..).unwrap_or_default();
        value.bytes().take_while(u8::is_ascii_alphanumeric).count() >= CANARY_LENGTH
    })
}

fn without_colour(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, text)| text));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(output: &str, report: &str) -> Summary {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.output_line(line));
        report.lines().for_each(|line| summary.report_line(line));
        summary
    }

    const OUTPUT: &str = "\
     Running unittests src/lib.rs (target/debug/deps/keyfob_core-1)
test name::tests::accepts ... ok
test name::tests::long_one ... ignored, takes ten minutes
test name::tests::bare ... ignored
test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished in 0.05s
test result: \u{1b}[31mFAILED\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn the_closing_line_counts_tests_and_cases() {
        let mut summary = summary_of(
            OUTPUT,
            "conformance memory: 41 passed, 3 ignored, 0 failed\nignored: memory/versions: needs versions\nskipped: node_dotenv: no node",
        );
        summary.finish(false, false);
        assert_eq!(summary.totals().to_string(), "81 passed, 2 failed, 6 skipped");
        assert_eq!(
            summary.to_string(),
            "rust tests: 41 passed, 2 ignored, 2 failed\n\
             conformance memory: 41 passed, 3 ignored, 0 failed\n\
             ignored: name::tests::long_one: takes ten minutes\n\
             ignored: name::tests::bare: no reason given\n\
             ignored: memory/versions: needs versions\n\
             skipped: node_dotenv: no node\n"
        );
    }

    #[test]
    fn a_failed_case_fails_the_run_even_when_its_test_passes() {
        let mut summary = summary_of(
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured",
            "conformance dotenv: 1 passed, 0 ignored, 1 failed, 1 known deviation",
        );
        summary.finish(true, false);
        assert_eq!(summary.totals().failed, 1);
    }

    #[test]
    fn a_run_of_nothing_is_a_failure() {
        let mut summary = summary_of(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out",
            "",
        );
        summary.finish(true, false);
        assert_eq!(summary.totals().failed, 1);
        assert!(summary.to_string().contains("error: no test ran"));
    }

    #[test]
    fn a_build_that_fails_is_a_failure() {
        let mut summary = summary_of("error: could not compile `keyfob-core`", "");
        summary.finish(false, false);
        assert_eq!(summary.totals().failed, 1);
    }

    #[test]
    fn a_skipped_test_is_a_failure_in_ci() {
        let run = |in_ci| {
            let mut summary = summary_of("test result: ok. 2 passed; 0 failed; 0 ignored", "skipped: a: no node");
            summary.finish(true, in_ci);
            summary.totals()
        };
        assert_eq!(run(false).to_string(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(run(true).failed, 1);
    }

    #[test]
    fn a_canary_value_anywhere_is_a_failure_and_is_not_repeated() {
        let canary = format!("{CANARY_MARKER}{}", "a1b2c3d4");
        for (output, report) in [(canary.as_str(), ""), ("", canary.as_str())] {
            let output = format!("error: {output}\ntest result: ok. 1 passed; 0 failed; 0 ignored");
            let mut summary = summary_of(&output, report);
            summary.finish(true, false);
            assert_eq!(summary.totals().failed, 1);
            assert!(!summary.to_string().contains(&canary));
        }
    }

    #[test]
    fn the_bare_marker_is_not_a_canary_value() {
        assert!(!holds_canary("values begin with `kfcanary-`"));
        assert!(!holds_canary("kfcanary-short"));
        assert!(holds_canary("kfcanary- kfcanary-12345678"));
        assert!(!holds_canary("kfcanary-é2345678"));
    }

    #[test]
    fn every_report_file_is_read() {
        let dir = std::env::temp_dir().join(format!("keyfob-xtask-reports-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("b"), "conformance b: 1 passed, 0 ignored, 0 failed\n").unwrap();
        std::fs::write(dir.join("a"), "conformance a: 2 passed, 1 ignored, 0 failed\nseed 7").unwrap();
        let mut summary = Summary::default();
        summary.report_dir(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(summary.totals().to_string(), "3 passed, 0 failed, 1 skipped");
        assert!(summary.to_string().contains("ignored, 0 failed\nconformance b"));
        assert!(summary.to_string().contains("\nseed 7\n"));
    }

    #[test]
    fn colours_are_removed() {
        assert_eq!(without_colour("a\u{1b}[1m\u{1b}[32mok\u{1b}[0m."), "aok.");
        assert_eq!(without_colour("\u{1b}[unfinished"), "unfinished");
    }
}
