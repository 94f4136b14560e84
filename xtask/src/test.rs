//! `cargo xtask test`: everything that a contributor has to run.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, PipeReader, Write, pipe};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::capabilities::{self, Kept};
use crate::cross_checks;
use crate::process::{Failure, Result, build_keyfob, cargo, in_ci, target_dir};
use crate::summary::{Summary, Totals};
use crate::testbed;

/// How long the output may stay open after cargo has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(20);

pub(crate) fn main(arguments: &[String]) -> Result {
    let totals = run(&Selection::parse(arguments)?)?;
    println!("{totals}");
    if totals.failed == 0 { Ok(()) } else { Err(Failure::Reported) }
}

/// Which tests to run; by default all of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    packages: Vec<String>,
    filter: Option<String>,
    binary_arguments: Vec<String>,
}

/// Runs the tests and prints everything but the closing line, which the caller puts where it is last.
fn run(selection: &Selection) -> Result<Totals> {
    let start = Instant::now();
    let checks = cross_checks::prepare();
    let servers = testbed::Session::start(&selection.packages)?;
    for missing in checks.missing.iter().chain(&servers.missing) {
        eprintln!("warning: {missing}");
    }
    let reports = target_dir()?.join(format!("test-reports-{}", std::process::id()));
    fs::create_dir_all(&reports).map_err(Failure::io(format_args!("make `{}`", reports.display())))?;

    let mut command = cargo(["test", "--no-fail-fast"]);
    command.args(selection.cargo_arguments());
    command.env("KEYFOB_TEST_REPORT_DIR", &reports);
    command.envs(checks.variables.iter().map(|(name, path)| (name, path)));
    command.envs(servers.variables.iter().map(|(name, value)| (name, value)));
    if selection.needs_binary() {
        command.env("KEYFOB_TEST_BINARY", build_keyfob()?);
    }
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }

    let (mut summary, succeeded) = watch(command, std::io::stdout())?;
    summary.report_dir(&reports)?;
    fs::remove_dir_all(&reports).map_err(Failure::io(format_args!("remove `{}`", reports.display())))?;
    let first_line = |missing: &String| missing.lines().next().unwrap_or_default().to_owned();
    for missing in checks.missing.iter().chain(&servers.missing).map(first_line) {
        if in_ci() {
            summary.error(missing);
        } else {
            summary.note(missing);
        }
    }
    // Only what everything was asked for is the whole table.
    if succeeded && selection.is_everything() && servers.missing.is_empty() {
        match capabilities::keep(summary.cells(), in_ci())? {
            Kept::Same => {}
            Kept::Written => summary.note(format!("wrote `{}`", capabilities::PAGE)),
            Kept::Stale(difference) => summary.error(difference),
        }
    }
    summary.finish(succeeded, in_ci());
    print!("\n{summary}");
    println!("took {:.0} s", start.elapsed().as_secs_f64());
    Ok(summary.totals())
}

/// Runs `command`, copies its output to `terminal` as it comes, and reads the numbers out of it.
fn watch(mut command: Command, terminal: impl Write + Send + 'static) -> Result<(Summary, bool)> {
    let (reader, writer) = pipe().map_err(Failure::io("make a pipe"))?;
    // One pipe for both streams keeps the order in which cargo and the tests wrote.
    let both = writer.try_clone().map_err(Failure::io("make a pipe"))?;
    let mut child = command
        .stdout(writer)
        .stderr(both)
        .spawn()
        .map_err(Failure::io("start cargo"))?;
    // The command holds the writing end: while it lives, the reader sees no end.
    drop(command);

    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody receives it only when the time was up, and then this task has failed anyway.
        let _ = sender.send(read(reader, terminal));
    });
    let status = child.wait().map_err(Failure::io("wait for cargo"))?;
    let summary = receiver.recv_timeout(LEFT_BEHIND).map_err(|_| {
        Failure::failed("a process that a test started still runs and holds the output open; a test must end what it starts")
    })??;
    Ok((summary, status.success()))
}

fn read(reader: PipeReader, mut terminal: impl Write) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .read_until(b'\n', &mut line)
            .map_err(Failure::io("read the tests' output"))?
            == 0
        {
            return Ok(summary);
        }
        // The numbers count also when nobody looks any more (`cargo xtask test | head`).
        let _ = terminal.write_all(&line).and_then(|()| terminal.flush());
        summary.output_line(String::from_utf8_lossy(&line).trim_end());
    }
}

impl Selection {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut selection = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--" => selection.binary_arguments = arguments.by_ref().cloned().collect(),
                "-p" | "--package" => {
                    let package = arguments.next();
                    let package = package.ok_or_else(|| Failure::Usage(format!("`{argument}` needs the name of a package")))?;
                    selection.packages.push(package.clone());
                }
                option if option.starts_with('-') => {
                    return Err(Failure::Usage(format!("`test` has no option `{option}`")));
                }
                filter => {
                    if let Some(first) = selection.filter.replace(filter.to_owned()) {
                        return Err(Failure::Usage(format!(
                            "`test` takes one filter, but got `{first}` and `{filter}`"
                        )));
                    }
                }
            }
        }
        Ok(selection)
    }

    fn cargo_arguments(&self) -> Vec<&str> {
        let mut arguments = Vec::new();
        if self.packages.is_empty() {
            arguments.push("--workspace");
        }
        for package in &self.packages {
            arguments.extend(["--package", package]);
        }
        arguments.extend(self.filter.as_deref());
        if !self.binary_arguments.is_empty() {
            arguments.push("--");
            arguments.extend(self.binary_arguments.iter().map(String::as_str));
        }
        arguments
    }

    fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filter.is_none() && self.binary_arguments.is_empty()
    }

    /// Whether tests are among them that start the command line from another package.
    fn needs_binary(&self) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|package| package == "keyfob-integration-tests")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Selection> {
        Selection::parse(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_everything_runs() {
        let selection = parse(&[]).unwrap();
        assert_eq!(selection.cargo_arguments(), ["--workspace"]);
        assert!(selection.needs_binary());
    }

    #[test]
    fn packages_filter_and_arguments_reach_cargo() {
        let selection = parse(&["-p", "keyfob-core", "name", "--", "--nocapture", "-p"]).unwrap();
        assert_eq!(
            selection.cargo_arguments(),
            ["--package", "keyfob-core", "name", "--", "--nocapture", "-p"]
        );
        assert!(!selection.needs_binary());
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for arguments in [&["-p"][..], &["--release"], &["one", "two"]] {
            assert!(matches!(parse(arguments), Err(Failure::Usage(_))), "{arguments:?}");
        }
    }

    #[test]
    fn both_streams_are_read_and_the_status_is_kept() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo 'test result: ok. 3 passed; 0 failed; 1 ignored'; echo 'test result: ok. 4 passed; 0 failed; 0 ignored' >&2; exit 3",
        ]);
        let (summary, succeeded) = watch(command, std::io::sink()).unwrap();
        assert!(!succeeded);
        assert_eq!(summary.totals().to_string(), "7 passed, 0 failed, 1 skipped");
    }
}
