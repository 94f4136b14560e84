//! Python interpreters, and virtual environments in the cache.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{cached, hinted};
use crate::process::{Failure, Result, output};

/// Major and minor number.
pub(crate) type Version = (u32, u32);

/// A virtual environment with `requirements`, one a line, on Python `oldest` or newer, in the cache under `name`. It is
/// made anew when `works`, a Python statement, fails in it. Gives its interpreter.
pub(crate) fn environment(name: &str, oldest: Version, requirements: &str, works: &str) -> Result<PathBuf> {
    let interpreter = |dir: &Path| dir.join("bin/python");
    let dir = cached(
        name,
        &[requirements.as_bytes()],
        |dir| output(Command::new(interpreter(dir)).args(["-c", works])),
        |dir| {
            hinted(
                "apt-get install python3-venv",
                output(Command::new(find(oldest)?).args(["-m", "venv"]).arg(dir)),
            )?;
            let list = dir.join("requirements.txt");
            fs::write(&list, requirements).map_err(Failure::io(format_args!("write `{}`", list.display())))?;
            let mut pip = Command::new(interpreter(dir));
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ]);
            output(pip.arg(&list))
        },
    )?;
    Ok(interpreter(&dir))
}

/// An interpreter of Python `oldest` or newer that runs and can make virtual environments.
///
/// Being on the path is no proof: a shim of pyenv is there for each version that was ever installed.
fn find(oldest: Version) -> Result<OsString> {
    let mut reasons = Vec::new();
    for candidate in candidates() {
        match version(&candidate) {
            Ok(found) if found >= oldest => return Ok(candidate),
            Ok((major, minor)) => reasons.push(format!("`{}` is {major}.{minor}", candidate.display())),
            Err(_) => {}
        }
    }
    if reasons.is_empty() {
        reasons.push("there is none that runs".to_owned());
    }
    let (major, minor) = oldest;
    Err(Failure::failed(format!(
        "it needs Python {major}.{minor} or newer with `venv`, but {} \
         (on Debian 13: `apt-get install python3 python3-venv`; with pyenv: `pyenv install 3.13`)",
        reasons.join(", ")
    )))
}

/// The versions that the servers were tried with first, then the machine's own, then those of pyenv, newest first.
fn candidates() -> Vec<OsString> {
    let names = ["python3.13", "python3.12", "python3.14", "python3"];
    let mut candidates: Vec<OsString> = names.map(OsString::from).into();
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let mut of_pyenv: Vec<_> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python3"))
        .collect();
    of_pyenv.sort_by_cached_key(|path| std::cmp::Reverse(version_in(path)));
    candidates.extend(of_pyenv.into_iter().map(PathBuf::into_os_string));
    candidates
}

fn version(interpreter: &OsString) -> Result<Version> {
    let mut command = Command::new(interpreter);
    command.args(["-c", "import ensurepip, sys, venv; print(*sys.version_info[:2])"]);
    let said = output(&mut command)?;
    let mut numbers = said.split_whitespace().map_while(|word| word.parse().ok());
    numbers
        .next()
        .zip(numbers.next())
        .ok_or_else(|| Failure::failed("it did not say its version"))
}

/// The numbers in `…/versions/3.13.0/bin/python3`.
fn version_in(path: &Path) -> Vec<u32> {
    let name = path.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    let name = name.to_string_lossy();
    name.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_pyenv_is_told_by_its_number() {
        let number = |name: &str| version_in(&Path::new("/h/.pyenv/versions").join(name).join("bin/python3"));
        assert!(number("3.13.0") > number("3.9.18"));
        assert!(number("3.13.0") > number("pypy3.10"));
    }

    #[test]
    fn a_version_that_nobody_has_is_an_error_that_says_what_was_found() {
        let message = find((99, 0)).unwrap_err().to_string();
        assert!(message.contains("needs Python 99.0 or newer"), "{message}");
        assert!(message.contains("apt-get install"), "{message}");
    }

    #[test]
    fn a_program_that_is_no_interpreter_has_no_version() {
        assert!(version(&OsString::from("true")).is_err());
        assert!(version(&OsString::from("no-such-program-anywhere")).is_err());
    }
}
