//! `cargo xtask mutations`: the simulated days of the core are checked themselves. Each mutation of a list breaks a layer in a
//! copy of the crate, and some day must break a promise then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Failure, Result, cargo, root, target_dir};

const CRATE: &str = "crates/core";
const LIST: &str = "tests/mutations/list.txt";

/// Four times as many as are part of every test run.
const DAYS: &str = "128";

/// A mutation that makes the layers wait for each other ends nothing.
const LONGEST: Duration = Duration::from_secs(600);

pub(crate) fn main(texts: &[String]) -> Result {
    let list = root().join(CRATE).join(LIST);
    let text = fs::read_to_string(&list).map_err(Failure::io("read the list of mutations"))?;
    let mutations = parse(&text).map_err(Failure::Failed)?;
    let is_chosen = |mutation: &&Mutation| texts.is_empty() || texts.iter().any(|text| mutation.name.contains(text));
    let chosen: Vec<&Mutation> = mutations.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        return Err(Failure::Usage(format!("no mutation's name contains {texts:?}")));
    }
    let copy = Copy::make()?;
    if copy.simulate()? != Days::Kept {
        return Err(Failure::failed("the layers as they are break a promise: mend that first"));
    }
    let mut missed = 0;
    for mutation in &chosen {
        let began = Instant::now();
        let found = copy.with(mutation, || copy.simulate())? != Days::Kept;
        missed += usize::from(!found);
        let word = if found { "found" } else { "MISSED" };
        println!("{word:6} {} ({} s)", mutation.name, began.elapsed().as_secs());
    }
    println!("{} of {} mutations found", chosen.len() - missed, chosen.len());
    match missed {
        0 => Ok(()),
        _ => Err(Failure::failed(
            "the simulated days do not notice some mutations: a check is missing",
        )),
    }
}

/// One way to break a layer.
#[derive(Debug, PartialEq, Eq)]
struct Mutation {
    name: String,
    file: PathBuf,
    /// Stands in the file once.
    text: String,
    replacement: String,
}

/// Reads the list, whose form its own beginning tells.
fn parse(text: &str) -> Result<Vec<Mutation>, String> {
    let mut mutations: Vec<Mutation> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("# ") {
            mutations.push(Mutation {
                name: name.to_owned(),
                file: PathBuf::new(),
                text: String::new(),
                replacement: String::new(),
            });
            continue;
        }
        let Some(mutation) = mutations.last_mut() else { continue };
        let part = |text: &mut String, line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        match line.split_at_checked(1) {
            None => {}
            Some(("-", rest)) => part(&mut mutation.text, rest),
            Some(("+", rest)) => part(&mut mutation.replacement, rest),
            Some(_) if mutation.file == PathBuf::new() => mutation.file = PathBuf::from(line),
            Some(_) => return Err(format!("line {} of the list of mutations says nothing", number + 1)),
        }
    }
    for mutation in &mut mutations {
        // A part may end within a line.
        mutation.text.pop();
        mutation.replacement.pop();
        if mutation.text.is_empty() || mutation.file == PathBuf::new() {
            return Err(format!("the mutation `{}` changes nothing", mutation.name));
        }
    }
    Ok(mutations)
}

impl Mutation {
    /// The file as it is after the mutation.
    fn apply(&self, whole: &str) -> Result<String> {
        match whole.matches(&self.text).count() {
            1 => Ok(whole.replacen(&self.text, &self.replacement, 1)),
            times => Err(Failure::failed(format!(
                "the text of the mutation `{}` stands {times} times in {}, and not once: the list needs a look",
                self.name,
                self.file.display()
            ))),
        }
    }
}

/// What came of the simulated days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    /// Every promise was kept.
    Kept,
    /// One was broken.
    Broken,
    /// They did not end.
    Endless,
}

/// The crate in a workspace of its own, in a temporary directory.
struct Copy {
    root: PathBuf,
    /// What it is built into, which is kept for the next time.
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("keyfob-mutations-{}", std::process::id()));
        let copy = Self {
            target: target_dir()?.join("mutations"),
            root: directory,
        };
        let package = copy.root.join(CRATE);
        copy_directory(&root().join(CRATE), &package).map_err(Failure::io("copy the crate"))?;
        let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(Failure::io("read `Cargo.toml`"))?;
        fs::write(copy.root.join("Cargo.toml"), alone(&manifest)?).map_err(Failure::io("write `Cargo.toml`"))?;
        fs::copy(root().join("Cargo.lock"), copy.root.join("Cargo.lock")).map_err(Failure::io("copy `Cargo.lock`"))?;
        Ok(copy)
    }

    /// Does something while the mutation is in the copy.
    fn with<T>(&self, mutation: &Mutation, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(CRATE).join(&mutation.file);
        let whole = fs::read_to_string(&path).map_err(Failure::io(path.display()))?;
        fs::write(&path, mutation.apply(&whole)?).map_err(Failure::io(path.display()))?;
        let done = work().map_err(|failure| Failure::failed(format!("`{}`: {failure}", mutation.name)));
        fs::write(&path, whole).map_err(Failure::io(path.display()))?;
        done
    }

    /// Simulates days until some have broken a promise.
    fn simulate(&self) -> Result<Days> {
        let cargo = |arguments: &[&str]| {
            let simulation = [
                "test",
                "--quiet",
                "--offline",
                "--package",
                "keyfob-core",
                "--test",
                "simulation",
            ];
            let mut command = cargo(simulation.iter().chain(arguments));
            command
                .current_dir(&self.root)
                .env("CARGO_TARGET_DIR", &self.target)
                // Each is built once and runs for seconds.
                .env("CARGO_INCREMENTAL", "1")
                .env("CARGO_PROFILE_DEV_DEBUG", "0");
            command
        };
        let built = cargo(&["--no-run"]).output().map_err(Failure::io("start cargo"))?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            return Err(Failure::failed(format!("it does not compile:\n{said}")));
        }
        wait(
            cargo(&["--", "--ignored"])
                .env("KEYFOB_SIMULATION_DAYS", DAYS)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("warning: can't remove {}: {error}", self.root.display());
        }
    }
}

fn wait(command: &mut Command) -> Result<Days> {
    let mut days = command.spawn().map_err(Failure::io("start cargo"))?;
    let began = Instant::now();
    loop {
        if let Some(status) = days.try_wait().map_err(Failure::io("wait for cargo"))? {
            return Ok(if status.success() { Days::Kept } else { Days::Broken });
        }
        if began.elapsed() > LONGEST {
            days.kill().map_err(Failure::io("end cargo"))?;
            days.wait().map_err(Failure::io("wait for cargo"))?;
            return Ok(Days::Endless);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The workspace's manifest with the one crate as its only member.
fn alone(manifest: &str) -> Result<String> {
    let rest = manifest.find("[workspace.package]").map(|begin| &manifest[begin..]);
    let rest = rest.ok_or_else(|| Failure::failed("`Cargo.toml` has no `[workspace.package]`"))?;
    // Profiles may name packages that only others need.
    let end = rest.find("[profile.").unwrap_or(rest.len());
    Ok(format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"{CRATE}\"]\n\n{}",
        &rest[..end]
    ))
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_of_the_list_fits_the_sources() {
        let package = root().join(CRATE);
        let mutations = parse(&fs::read_to_string(package.join(LIST)).unwrap()).unwrap();
        assert!(mutations.len() >= 30, "{}", mutations.len());
        for mutation in mutations {
            let whole = fs::read_to_string(package.join(&mutation.file)).unwrap();
            assert_ne!(mutation.apply(&whole).unwrap(), whole, "{}", mutation.name);
        }
    }

    #[test]
    fn a_mutation_that_is_not_whole_is_an_error() {
        let whole = parse("for readers\n\n# name\nfile\n-  a\n-  b\n+c\n").unwrap();
        assert_eq!(
            whole,
            [Mutation {
                name: "name".to_owned(),
                file: "file".into(),
                text: "  a\n  b".to_owned(),
                replacement: "c".to_owned(),
            }]
        );
        assert!(whole[0].apply("  a\n  b\n  a\n  b\n").is_err());
        assert_eq!(whole[0].apply("x\n  a\n  b\ny").unwrap(), "x\nc\ny");
        for text in ["# name\nfile\n+b\n", "# name\n-a\n+b\n", "# name\nfile\nother\n-a\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
