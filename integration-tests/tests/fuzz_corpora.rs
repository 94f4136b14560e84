//! The fuzz targets over the committed inputs, with the ordinary compiler.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use keyfob_integration_tests::fuzzing::TARGETS;

#[test]
fn every_committed_input_keeps_its_parsers_promises() {
    let mut broken = Vec::new();
    for (target, body) in TARGETS {
        let mut inputs = 0;
        for path in files(&fuzz_dir().join("corpus").join(target)) {
            let input = fs::read(&path).unwrap();
            inputs += 1;
            if panic::catch_unwind(|| body(&input)).is_err() {
                broken.push(format!("{target}: {}", path.display()));
            }
        }
        assert!(inputs >= 10, "{target} has only {inputs} inputs");
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_has_a_body_a_program_and_a_corpus() {
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz_dir().join("fuzz_targets")), bodies);
    assert_eq!(names(&fuzz_dir().join("corpus")), bodies);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not a program"
        );
        let program = fs::read_to_string(fuzz_dir().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(")), "{name} calls another body");
    }
}

#[test]
fn cut_and_changed_inputs_keep_the_promises_too() {
    for (target, body) in TARGETS {
        for path in files(&fuzz_dir().join("corpus").join(target)) {
            let input = fs::read(&path).unwrap();
            for cut in 0..input.len() {
                body(&input[..cut]);
                body(&input[cut..]);
                let mut changed = input.clone();
                changed[cut] ^= 0x20;
                body(&changed);
            }
        }
    }
}

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn names(dir: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(dir).into_iter().map(stem).collect()
}
