//! `cargo xtask fuzz`: coverage-guided fuzzing of the parsers.
//!
//! What libFuzzer finds interesting goes to fuzz/target/corpus, which is not committed. The committed seeds in
//! fuzz/corpus stay few and readable; `cargo test` runs them on every build.

use std::fs;
use std::process::Command;

use crate::process::{Failure, Result, output, root, run, stems};

/// Longer inputs find nothing new in parsers of lines and names, only slower.
const LONGEST_INPUT: usize = 4096;

pub(crate) fn main(arguments: &[String]) -> Result {
    let known = stems("fuzz/fuzz_targets")?;
    let plan = Plan::parse(arguments, &known)?;
    for tool in [
        &["run", "nightly", "cargo", "--version"][..],
        &["run", "nightly", "cargo", "fuzz", "--version"],
    ] {
        output(Command::new("rustup").args(tool)).map_err(|failure| {
            Failure::failed(format!(
                "fuzzing needs a nightly compiler and cargo-fuzz: {failure}\n\
                 hint: `rustup toolchain install nightly && cargo install cargo-fuzz`"
            ))
        })?;
    }
    for target in &plan.targets {
        println!("\n== {target}, {} s", plan.seconds);
        fuzz(target, plan.seconds)?;
    }
    Ok(())
}

fn fuzz(target: &str, seconds: u64) -> Result {
    let found = root().join("fuzz/target/corpus").join(target);
    fs::create_dir_all(&found).map_err(Failure::io(format_args!("make `{}`", found.display())))?;
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", target]);
    // libFuzzer writes into the first directory and only reads the second.
    command.arg(&found).arg(root().join("fuzz/corpus").join(target));
    command
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST_INPUT}"));
    run(command.current_dir(root())).map_err(|failure| {
        Failure::failed(format!(
            "{failure}\nhint: the input is in fuzz/artifacts/{target}: fix what it shows, then keep it in fuzz/corpus/{target}"
        ))
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    targets: Vec<String>,
    seconds: u64,
}

impl Plan {
    fn parse(arguments: &[String], known: &[String]) -> Result<Self> {
        let mut plan = Self {
            targets: Vec::new(),
            seconds: 60,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seconds" {
                plan.seconds = arguments
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|seconds| *seconds > 0)
                    .ok_or_else(|| Failure::Usage("`--seconds` needs a whole number above 0".to_owned()))?;
            } else if known.contains(argument) {
                plan.targets.push(argument.clone());
            } else {
                let known = known.join("`, `");
                return Err(Failure::Usage(format!(
                    "there is no fuzz target `{argument}`, only `{known}`"
                )));
            }
        }
        if plan.targets.is_empty() {
            plan.targets = known.to_vec();
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Plan> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Plan::parse(&owned(arguments), &owned(&["name", "url"]))
    }

    #[test]
    fn without_a_name_every_target_is_fuzzed() {
        let plan = parse(&["--seconds", "600"]).unwrap();
        assert_eq!((plan.targets.len(), plan.seconds), (2, 600));
        assert_eq!(parse(&["url"]).unwrap().targets, ["url"]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for arguments in [&["urls"][..], &["--seconds"], &["--seconds", "0"], &["--seconds", "1m"]] {
            assert!(matches!(parse(arguments), Err(Failure::Usage(_))), "{arguments:?}");
        }
    }
}
