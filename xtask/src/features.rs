//! `cargo xtask check-features`: the facade with no backend and with each alone.

use std::fs;
use std::process::Stdio;

use crate::process::{Failure, Result, cargo, root, run};

const MANIFEST: &str = "crates/keyfob/Cargo.toml";

/// Compiles each, where a warning is a failure, and tests the facade without any backend: only then there are absent ones
/// to speak of. With `--test` its tests run with each backend too.
pub(crate) fn main(arguments: &[String]) -> Result {
    let test = match arguments {
        [] => false,
        [option] if option == "--test" => true,
        _ => return Err(Failure::Usage("`check-features` takes only `--test`".to_owned())),
    };
    let manifest = fs::read_to_string(root().join(MANIFEST)).map_err(Failure::io("read the facade's manifest"))?;
    let features = features(&manifest);
    if features.is_empty() {
        return Err(Failure::failed(
            "the facade's manifest has no features: each backend should be one",
        ));
    }
    for feature in std::iter::once("").chain(features.iter().copied()) {
        let mut line = vec!["--locked", "--package", "keyfob", "--no-default-features"];
        if !feature.is_empty() {
            line.extend(["--features", feature]);
        }
        check(&line)?;
        if feature.is_empty() {
            run(cargo(["test", "--quiet", "--lib"]).args(&line))?;
        } else if test {
            run(cargo(["test"]).args(&line))?;
        }
    }
    println!("check-features: no backend, and {} alone", features.join(", "));
    Ok(())
}

/// A warning of `cargo check` is no error of its own, and cargo repeats the warnings of what it need not compile again.
fn check(line: &[&str]) -> Result {
    println!("$ cargo check {}", line.join(" "));
    let output = cargo(["check"])
        .args(line)
        .stdout(Stdio::inherit())
        .output()
        .map_err(Failure::io("start cargo"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && !warns(&said) {
        return Ok(());
    }
    print!("{said}");
    Err(Failure::failed(format!(
        "`cargo check {}` is not without errors and warnings",
        line.join(" ")
    )))
}

fn warns(said: &str) -> bool {
    said.lines().any(|line| line.trim_start().starts_with("warning"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_found() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = [\"a\"]\n# b = [\"c\"]\na = [\n  \"dep:x\",\n]\nb = []\n\n[dependencies]\nc = [\"d\"]\n";
        assert_eq!(features(manifest), ["a", "b"]);
    }

    #[test]
    fn the_facade_has_a_feature_for_each_backend() {
        let manifest = fs::read_to_string(root().join(MANIFEST)).unwrap();
        for backend in ["aws", "azure", "gcp", "kubernetes", "postgres", "sqlite", "vault"] {
            assert!(features(&manifest).contains(&backend), "{backend}");
        }
    }

    #[test]
    fn a_warning_is_seen() {
        assert!(warns("    Checking keyfob v0.1.0\nwarning: unused import: `x`\n"));
        assert!(!warns("    Checking keyfob v0.1.0\n    Finished `dev` profile\n"));
    }
}
