//! `cargo xtask`: the development tasks of keyfob.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task's job is to talk to the person who started it"
)]

mod bench;
mod cache;
mod capabilities;
mod check_deps;
mod ci;
mod cross_checks;
mod demo;
mod docs;
mod features;
mod fuzz;
mod go;
mod mutations;
mod peers;
mod process;
mod python;
mod summary;
mod test;
mod testbed;

use std::process::ExitCode;

use process::{Failure, Result};

const HELP: &str = "\
Development tasks of keyfob

Usage: cargo xtask TASK [ARGUMENTS]

Tasks:
  test [FILTER] [-p PACKAGE]... [-- ARGUMENTS]
                          Run the tests and end with their numbers. FILTER runs the tests whose name
                          contains it, -p the tests of one package, ARGUMENTS go to the test binaries.
                          Servers that they need are started, and stopped afterwards
  testbed up|down|status|env
                          Start the servers that the tests speak to; stop them; show them; print their
                          variables for a shell, `eval \"$(cargo xtask testbed env)\"`
  demo                    Show the main job in a scratch directory: store, resolve, run, report
  check-deps              Check Cargo.lock: one TLS stack, one HTTP stack, not too many packages
  check-features [--test] Compile the facade without a backend and with each alone, without warnings,
                          and test it without; --test also tests it with each
  docs [--check]          Write the generated pages of docs/; --check only compares
  bench [--write] [--quick] [--peers | --no-peers] [--only-clouds | --only-layers | --only-rotation]
                          Run the measurements of benches/ in release mode; --write writes the pages of
                          docs/, --quick shows that they run, --no-peers installs no program of others
  fuzz [TARGET] [--seconds N]
                          Fuzz one target or all, each N seconds (default 60)
  mutations [TEXT]...     Break the layers in one way after the other, and see that the simulated days notice
                          it; TEXT runs those whose name contains it. Takes a quarter of an hour
  ci                      Everything that .ci/run checks, in its order
  help                    Show this text

Variables:
  CI                      When set and not empty, a test that can't run here is a failure
  KEYFOB_CACHE_DIR        Where downloads for the tests are kept (default $XDG_CACHE_HOME or ~/.cache)
  KEYFOB_TEST_*           Servers of your own: those are not started. `docker-compose.yml` names some
";

/// Exit codes are the command line's own: 1 when something failed, 2 when it was called wrongly.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, arguments)) = arguments.split_first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    match run(task, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}\nhint: `cargo xtask help` lists the tasks and their arguments");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
    }
}

fn run(task: &str, arguments: &[String]) -> Result {
    match task {
        "test" => test::main(arguments),
        "testbed" => testbed::main(arguments),
        "demo" => no_arguments(task, arguments).and_then(|()| demo::main()),
        "check-deps" => no_arguments(task, arguments).and_then(|()| check_deps::main()),
        "check-features" => features::main(arguments),
        "docs" => docs::main(arguments),
        "bench" => bench::main(arguments),
        "fuzz" => fuzz::main(arguments),
        "mutations" => mutations::main(arguments),
        "ci" => no_arguments(task, arguments).and_then(|()| ci::main()),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => Err(Failure::Usage(format!("there is no task `{unknown}`"))),
    }
}

fn no_arguments(task: &str, arguments: &[String]) -> Result {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::Usage(format!("`{task}` takes no arguments, but got `{argument}`"))),
    }
}
