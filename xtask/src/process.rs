//! What every task needs: its failure, the places of the repository, and commands that must succeed.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a task ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The task was called wrongly.
    Usage(String),
    /// The task failed, and this says why.
    Failed(String),
    /// The task failed, and its own output has said why.
    Reported,
}

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// An I/O error together with what was tried, for `map_err`.
    pub(crate) fn io(doing: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Failed(format!("can't {doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
            Self::Reported => f.write_str("see the output above"),
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo builds: the directory above the profile's directory that this program lies in, so that every way to
/// configure the target directory is obeyed.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(Failure::io("find this program"))?;
    let target = program.parent().and_then(Path::parent);
    target
        .map(Path::to_path_buf)
        .ok_or_else(|| Failure::failed("this program is not in a target directory: start it as `cargo xtask`"))
}

/// Whether this is a run in continuous integration, where everything must be able to run.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// The cargo that started this task, from the root of the repository.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs `command` with its output on the terminal.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = command
        .status()
        .map_err(Failure::io(format_args!("start {}", shown(command))))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::failed(format!("{} ended with {status}", shown(command))))
    }
}

/// Runs `command` and gives its standard output. When it fails, the error has the last line of what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::io(format_args!("start {}", shown(command))))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing");
        return Err(Failure::failed(format!(
            "{} ended with {}: {last}",
            shown(command),
            output.status
        )));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure::failed(format!("{} did not print UTF-8", shown(command))))
}

/// Builds the debug binary of the command line and gives its path.
pub(crate) fn build_keyfob() -> Result<PathBuf> {
    build("keyfob")
}

/// Builds the debug binary `name` of this workspace and gives its path.
///
/// With the features that everything has in a test run of the workspace, which a small test beside it brings about: each
/// other set of features would be another build of all that is below, of ten minutes.
pub(crate) fn build(name: &str) -> Result<PathBuf> {
    run(&mut cargo([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        name,
        "--test",
        "docker_compose",
    ]))?;
    let binary = target_dir()?
        .join("debug")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(Failure::failed(format!("cargo built no `{}`", binary.display())))
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    format!("`{}`", words.join(" "))
}

/// The names, without `.rs`, of the Rust files in a directory of the repository, sorted.
pub(crate) fn stems(dir: &str) -> Result<Vec<String>> {
    let mut stems = Vec::new();
    for entry in std::fs::read_dir(root().join(dir)).map_err(Failure::io(format_args!("list `{dir}`")))? {
        let path = entry.map_err(Failure::io(format_args!("list `{dir}`")))?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            stems.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
        }
    }
    stems.sort();
    if stems.is_empty() {
        return Err(Failure::failed(format!("there are no Rust files in `{dir}`")));
    }
    Ok(stems)
}
