//! `cargo xtask ci`: what a change must pass. `.ci/run` prepares the machine and calls this.

use std::time::{Duration, Instant};

use crate::process::{Result, cargo, run};

/// Runs every step in order and stops at the first that fails. The tests come last, so that their closing line is the
/// last line.
pub(crate) fn main() -> Result {
    let steps = steps();
    let mut times: Vec<(String, Duration)> = Vec::new();
    for (index, Step { line, rustdoc_flags }) in steps.iter().enumerate() {
        if index + 1 == steps.len() {
            print_times(&times);
        }
        println!("\n$ cargo {}", line.join(" "));
        let start = Instant::now();
        let mut command = cargo(line);
        if let Some(flags) = rustdoc_flags {
            command.env("RUSTDOCFLAGS", flags);
        }
        run(&mut command)?;
        times.push((line.join(" "), start.elapsed()));
    }
    Ok(())
}

/// Arguments to cargo.
struct Step {
    line: Vec<String>,
    rustdoc_flags: Option<&'static str>,
}

impl Step {
    fn new(line: &str) -> Self {
        Self {
            line: line.split(' ').map(str::to_owned).collect(),
            rustdoc_flags: None,
        }
    }
}

fn steps() -> Vec<Step> {
    vec![
        Step::new("fmt --all --check"),
        Step::new("fmt --manifest-path fuzz/Cargo.toml --check"),
        Step::new("xtask check-deps"),
        Step::new("clippy --locked --workspace --all-targets -- -D warnings"),
        Step {
            rustdoc_flags: Some("-D warnings"),
            ..Step::new("doc --locked --workspace --no-deps")
        },
        Step::new("xtask check-features"),
        Step::new("xtask docs --check"),
        // The README's commands, as they stand there.
        Step::new("xtask demo"),
        // That the measurements run, and find what they expect; the figures of such a build mean nothing.
        Step::new("xtask bench --quick"),
        Step::new("xtask test"),
    ]
}

fn print_times(times: &[(String, Duration)]) {
    println!("\nseconds  step");
    for (step, time) in times {
        println!("{:7.1}  {step}", time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_come_last() {
        let steps = steps();
        assert_eq!(steps.last().unwrap().line, ["xtask", "test"]);
    }
}
