//! The parsers of other people that tests compare keyfob with: installed once, outside the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{cached, hinted};
use crate::process::{Failure, Result, output, root};
use crate::python;

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
    let requirements =
        fs::read_to_string(&requirements).map_err(Failure::io(format_args!("read `{}`", requirements.display())))?;
    python::environment("python", (3, 9), &requirements, "import yaml, ruamel.yaml, dotenv")
}

fn node() -> Result<PathBuf> {
    let manifest = root().join("xtask/node/package.json");
    let lock = root().join("xtask/node/package-lock.json");
    hinted("apt-get install nodejs npm", output(Command::new("node").arg("--version")))?;
    let read = |file: &Path| fs::read(file).map_err(Failure::io(format_args!("read `{}`", file.display())));
    let dir = cached(
        "node",
        &[&read(&manifest)?, &read(&lock)?],
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
