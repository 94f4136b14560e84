//! The real binary in a home of its own, with no variable of the user's.

#![expect(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keyfob");

/// A home directory, removed when it goes.
pub(crate) struct Sandbox(TempDir);

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("keyfob-cli-").tempdir().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        Self(home)
    }

    /// One with a store.
    pub(crate) fn with_store() -> Self {
        let sandbox = Self::new();
        sandbox.run(&["init"]).succeeds();
        sandbox
    }

    pub(crate) fn home(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.home().join("work")
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .stdin(Stdio::null());
        command
    }

    /// Runs `keyfob` with nothing on standard input.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        self.finish(&self.command(BINARY).args(arguments).output().unwrap())
    }

    /// Runs `keyfob` with a variable.
    pub(crate) fn run_with(&self, variable: (&str, &str), arguments: &[&str]) -> Answer {
        let output = self.command(BINARY).env(variable.0, variable.1).args(arguments).output();
        self.finish(&output.unwrap())
    }

    /// Runs `keyfob` with `input` piped in.
    pub(crate) fn pipe(&self, input: impl AsRef<[u8]>, arguments: &[&str]) -> Answer {
        let mut command = self.command(BINARY);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        self.finish(&child.wait_with_output().unwrap())
    }

    /// Runs a line of shell in which `keyfob` is `$K`.
    pub(crate) fn shell(&self, line: &str) -> Answer {
        let output = self.command("bash").env("K", BINARY).args(["-c", line]).output();
        self.finish(&output.unwrap())
    }

    /// The home directory's random name shows as `~`.
    fn finish(&self, output: &Output) -> Answer {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.home().display().to_string(), "~");
        Answer {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Ends with `code` and says this on standard error, and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, err: &str) -> Self {
        assert_eq!((self.code, self.err.as_str(), self.out.as_str()), (code, err, ""));
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The keys of a JSON object, in the order in which they stand there.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A test that can't run says so, and is a failure where it must be able to run.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must see it")]
pub(crate) fn ignore(why: &str) {
    println!("ignored: {why}");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "must not be ignored in CI: {why}"
    );
}
