//! `cargo xtask ci`: what a change must pass. `.ci/run` prepares the machine and calls this.

use std::fs;
use std::time::{Duration, Instant};

use crate::process::{Failure, Result, cargo, root, run};

/// Runs every step in order and stops at the first that fails. The tests come last, so that their closing line is the
/// last line.
pub(crate) fn main() -> Result {
    let steps = steps()?;
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

fn steps() -> Result<Vec<Step>> {
    let manifest =
        fs::read_to_string(root().join("crates/keyfob/Cargo.toml")).map_err(Failure::io("read the facade's manifest"))?;
    let mut steps = vec![
        Step::new("fmt --all --check"),
        Step::new("fmt --manifest-path fuzz/Cargo.toml --check"),
        Step::new("xtask check-deps"),
        Step::new("clippy --locked --workspace --all-targets -- -D warnings"),
        Step {
            rustdoc_flags: Some("-D warnings"),
            ..Step::new("doc --locked --workspace --no-deps")
        },
        Step::new("check --locked --package keyfob --no-default-features"),
    ];
    let features = features(&manifest);
    if features.is_empty() {
        return Err(Failure::failed(
            "the facade's manifest has no features: each backend should be one",
        ));
    }
    for feature in features {
        steps.push(Step::new(&format!(
            "check --locked --package keyfob --no-default-features --features {feature}"
        )));
    }
    // The README's commands, as they stand there.
    steps.extend([
        Step::new("xtask docs --check"),
        Step::new("xtask demo"),
        // That the measurements run, and find what they expect; the figures of such a build mean nothing.
        Step::new("xtask bench --quick"),
        Step::new("xtask test"),
    ]);
    Ok(steps)
}

/// The features of a manifest but `default`.
fn features(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = [")?.0.trim()))
        .filter(|name| *name != "default" && !name.starts_with('#'))
        .collect()
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
    fn every_feature_is_found() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = [\"a\"]\n# b = [\"c\"]\na = [\n  \"dep:x\",\n]\nb = []\n\n[dependencies]\nc = [\"d\"]\n";
        assert_eq!(features(manifest), ["a", "b"]);
    }

    #[test]
    fn the_tests_come_last() {
        let steps = steps().unwrap();
        assert_eq!(steps.last().unwrap().line, ["xtask", "test"]);
        assert!(steps.iter().any(|step| step.line.contains(&"sqlite".to_owned())));
    }
}
