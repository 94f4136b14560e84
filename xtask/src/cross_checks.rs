//! The parsers of other people that tests compare keyfob with: installed once, outside the repository.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, output, root};

/// Variables for the tests, and what they have to do without.
#[derive(Debug, Default)]
pub(crate) struct CrossChecks {
    pub(crate) variables: Vec<(&'static str, PathBuf)>,
    pub(crate) missing: Vec<String>,
}

/// Prepares everything that can be prepared on this machine.
///
/// The tests see `KEYFOB_TEST_PYTHON`, an interpreter with the packages of `python-requirements.txt`, and
/// `KEYFOB_TEST_NODE_PATH`, for node's `NODE_PATH`: the directory with the packages of `node/package.json`.
pub(crate) fn prepare() -> CrossChecks {
    let mut checks = CrossChecks::default();
    for (variable, what, prepared) in [
        ("KEYFOB_TEST_PYTHON", "the comparisons with Python's parsers", python()),
        ("KEYFOB_TEST_NODE_PATH", "the comparison with node's dotenv", node()),
    ] {
        match prepared {
            Ok(path) => checks.variables.push((variable, path)),
            Err(failure) => checks.missing.push(format!("{what} can't run: {failure}")),
        }
    }
    checks
}

fn python() -> Result<PathBuf> {
    let requirements = root().join("xtask/python-requirements.txt");
    let interpreter = |dir: &Path| dir.join("bin/python");
    let dir = cached(
        "python",
        &[&requirements],
        |dir| output(Command::new(interpreter(dir)).args(["-c", "import yaml, ruamel.yaml, dotenv"])),
        |dir| {
            hinted(
                "apt-get install python3-venv",
                output(Command::new("python3").args(["-m", "venv"]).arg(dir)),
            )?;
            output(
                Command::new(interpreter(dir))
                    .args(["-m", "pip", "install", "--quiet", "--requirement"])
                    .arg(&requirements),
            )
        },
    )?;
    Ok(interpreter(&dir))
}

fn node() -> Result<PathBuf> {
    let manifest = root().join("xtask/node/package.json");
    let lock = root().join("xtask/node/package-lock.json");
    hinted("apt-get install nodejs npm", output(Command::new("node").arg("--version")))?;
    let dir = cached(
        "node",
        &[&manifest, &lock],
        |dir| output(Command::new("node").args(["-e", "require('dotenv')"]).current_dir(dir)),
        |dir| {
            for file in [&manifest, &lock] {
                let name = file.file_name().unwrap_or_default();
                fs::copy(file, dir.join(name)).map_err(Failure::io(format_args!("copy `{}`", file.display())))?;
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(dir);
            hinted("apt-get install npm", output(&mut npm))
        },
    )?;
    Ok(dir.join("node_modules"))
}

/// A directory of the cache, keyed by the content of `inputs`. It is built when `works` fails in it. A lock file keeps
/// two runs from building at once.
fn cached(
    name: &str,
    inputs: &[&Path],
    works: impl Fn(&Path) -> Result<String>,
    build: impl Fn(&Path) -> Result<String>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    for input in inputs {
        fs::read(input)
            .map_err(Failure::io(format_args!("read `{}`", input.display())))?
            .hash(&mut hasher);
    }
    let cache = cache_dir()?;
    let dir = cache.join(format!("{name}-{:016x}", hasher.finish()));
    fs::create_dir_all(&cache).map_err(Failure::io(format_args!("make `{}`", cache.display())))?;
    let lock_path = dir.with_extension("lock");
    let lock = File::create(&lock_path).map_err(Failure::io(format_args!("make `{}`", lock_path.display())))?;
    lock.lock()
        .map_err(Failure::io(format_args!("lock `{}`", lock_path.display())))?;

    if works(&dir).is_err() {
        eprintln!("preparing {}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(Failure::io(format_args!("remove `{}`", dir.display())))?;
        }
        fs::create_dir(&dir).map_err(Failure::io(format_args!("make `{}`", dir.display())))?;
        build(&dir)?;
        works(&dir)?;
    }
    Ok(dir)
}

fn cache_dir() -> Result<PathBuf> {
    let absolute = |variable: &str| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        path.is_absolute().then_some(path)
    };
    absolute("KEYFOB_CACHE_DIR")
        .or_else(|| absolute("XDG_CACHE_HOME"))
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .map(|base| base.join("keyfob"))
        .ok_or_else(|| {
            Failure::failed("no cache directory: none of `KEYFOB_CACHE_DIR`, `XDG_CACHE_HOME` and `HOME` is an absolute path")
        })
}

/// Adds how to install what the command belongs to.
fn hinted<T>(install: &str, result: Result<T>) -> Result<T> {
    result.map_err(|failure| Failure::failed(format!("{failure} (on Debian: `{install}`)")))
}
