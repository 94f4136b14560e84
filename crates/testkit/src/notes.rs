//! What a test run tells the one who started it, past the runner that hides the output of passing tests.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Directory to which test processes append lines, each to a file of its own; `cargo xtask test` shows them at the end.
pub const REPORT_DIR: &str = "KEYFOB_TEST_REPORT_DIR";

/// Prints a line, and keeps it for the end of the run.
#[expect(clippy::print_stdout, reason = "a test's report is for the one who runs the test")]
pub fn tell(line: &str) {
    println!("{line}");
    let Some(directory) = std::env::var_os(REPORT_DIR).map(PathBuf::from) else {
        return;
    };
    let file = directory.join(format!("{}.txt", std::process::id()));
    let appended = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&file)
        .and_then(|mut file| writeln!(file, "{line}"));
    assert!(appended.is_ok(), "the report file {} can't be written", file.display());
}

/// What the variable `KEYFOB_TEST_…` says about a server of the test bed: an address, a token, a file. `None`, after
/// [`skip`], when there is no such server.
///
/// ```no_run
/// let Some(address) = keyfob_testkit::server("reads_a_secret", "KEYFOB_TEST_OPENBAO_URL") else { return };
/// ```
///
/// # Panics
/// With `CI` set and the variable not: there a test that does not run is a failure.
#[must_use]
#[track_caller]
pub fn server(test: &str, variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skip(
            test,
            &format!("`{variable}` is not set: `cargo xtask test` starts the servers"),
        );
    }
    value
}

/// Says that a test can't run here, and why.
///
/// # Panics
/// With `CI` set: there a test that does not run is a failure.
#[track_caller]
pub fn skip(test: &str, reason: &str) {
    tell(&format!("skipped: {test}: {reason}"));
    assert!(std::env::var_os("CI").is_none(), "{test} must run in CI: {reason}");
}
