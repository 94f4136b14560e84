//! The double of Key Vault, told a story by Microsoft's own SDKs for Python and Go, which nobody here wrote. Both have to
//! see the same: `stories/azure/expected.txt`.
//!
//! `KEYFOB_TEST_AZURE_PYTHON` names an interpreter that has the packages of `stories/azure/python/requirements.txt`,
//! `KEYFOB_TEST_AZURE_GO` the program that is built of `stories/azure/go`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

#[test]
fn microsofts_sdk_for_python_sees_what_the_service_does() {
    let test = "microsofts_sdk_for_python_sees_what_the_service_does";
    let Some(python) = keyfob_testkit::server(test, "KEYFOB_TEST_AZURE_PYTHON") else {
        return;
    };
    let mut command = Command::new(python);
    command.arg(stories().join("python/story.py"));
    tell(command);
}

#[test]
fn microsofts_sdk_for_go_sees_what_the_service_does() {
    let test = "microsofts_sdk_for_go_sees_what_the_service_does";
    let Some(program) = keyfob_testkit::server(test, "KEYFOB_TEST_AZURE_GO") else {
        return;
    };
    tell(Command::new(program));
}

#[test]
fn what_the_double_says_on_start_is_in_its_file_and_secrets_are_for_their_owner() {
    let double = Double::start(&[]);
    let said: Value = serde_json::from_str(&double.line).unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(double.path("double.json")).unwrap()).unwrap();
    assert_eq!(said, written);
    for file in ["double.json", "server.key", "client.pem", "federated-token"] {
        let mode = double.path(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(said["ca"], double.path("ca.pem").display().to_string());
    let kept: Vec<_> = double
        .directory
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!kept.contains(&"ca.key".into()), "nobody else may be vouched for: {kept:?}");
}

#[test]
fn what_is_given_on_the_command_line_is_what_it_says() {
    let arguments = [
        "--tenant-id",
        "t",
        "--client-id",
        "c",
        "--client-secret",
        "kfcanary-doubles02",
    ];
    let double = Double::start(&arguments);
    let said: Value = serde_json::from_str(&double.line).unwrap();
    let all = &said["principals"]["all"];
    assert_eq!((&said["tenant_id"], &all["client_id"]), (&"t".into(), &"c".into()));
    assert_eq!(all["client_secret"], "kfcanary-doubles02");
}

#[test]
fn an_option_that_there_is_not_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_keyfob-double"))
        .args(["azure", "--purge-protected", "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(!said.status.success() && said.stdout.is_empty());
    assert!(String::from_utf8_lossy(&said.stderr).contains("`--purge-protected` is not known"));
}

/// Has a story told to a double of its own, and compares what it says.
fn tell(mut story: Command) {
    // Longer than a slow machine needs for the two requests that have to fall into it.
    let double = Double::start(&["--settle-ms", "1500"]);
    let told = story
        .arg(double.path("double.json"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", double.directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    let complained = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}{complained}");
    let expected = std::fs::read_to_string(stories().join("expected.txt")).unwrap();
    for (line, (said, expected)) in said.lines().zip(expected.lines()).enumerate() {
        assert_eq!(said, expected, "line {}", line + 1);
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{said}");
}

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories/azure")
}

/// Ends with its owner.
struct Double {
    process: Child,
    directory: TempDir,
    /// What it said when it was ready.
    line: String,
}

impl Double {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_keyfob-double"))
            .args(["azure", "--directory"])
            .arg(directory.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self {
            process,
            directory,
            line,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
