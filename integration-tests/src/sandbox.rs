//! A scratch directory in which the real binary runs, cut off from the user's own files and variables.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home directory of its own; removed when it goes.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    /// An empty one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making one touches the disk")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("keyfob-test-")
            .tempdir()
            .expect("a temporary directory");
        let sandbox = Self { directory };
        std::fs::create_dir_all(sandbox.path().join("work")).expect("a working directory");
        sandbox
    }

    /// Its root, which is `$HOME` inside.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where commands run.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// Writes a file below the working directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }

    /// Reads a file below the working directory.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.work().join(name)).expect("a file")
    }

    /// Any program, in the sandbox's environment.
    #[must_use]
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            binary().parent().expect("a directory").display()
        );
        command
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// The `keyfob` binary with these arguments.
    #[must_use]
    pub fn keyfob<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.program(binary());
        command.args(arguments);
        command
    }

    /// A line of shell.
    #[must_use]
    pub fn shell(&self, line: &str) -> Command {
        let mut command = self.program("sh");
        command.arg("-c").arg(line);
        command
    }

    /// Runs a line of shell that must succeed and gives its standard output.
    ///
    /// # Panics
    /// When it fails, with what it said.
    #[must_use]
    pub fn succeed(&self, line: &str) -> String {
        let output = self.shell(line).output().expect("sh");
        assert!(output.status.success(), "`{line}` failed:\n{}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Both outputs and the exit status, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// The binary that `cargo test --workspace` built beside the tests.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    let binary = tests.ancestors().nth(2).expect("a target directory").join("keyfob");
    assert!(
        binary.exists(),
        "no `keyfob` binary beside the tests; build it with `cargo build -p keyfob-cli`"
    );
    binary
}
