//! The double of Secret Manager, told a story by Google's own client for Python, which nobody here wrote.
//!
//! `KEYFOB_TEST_GCP_PYTHON` names an interpreter that has the packages of `stories/gcp/requirements.txt`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Every part of the story that must be told, in order.
const PARTS: &[&str] = &[
    "values and checksums",
    "states of versions",
    "updates, etags and expiry",
    "regional secrets",
    "pages and filters",
    "rights",
    "credentials of a service account that signs for itself",
    "credentials of a machine",
    "credentials of a service account that asks for a token",
    "credentials of a user",
    "faults",
    "the end",
];

#[test]
fn googles_client_for_python_finds_what_google_documents() {
    let test = "googles_client_for_python_finds_what_google_documents";
    let Some(python) = std::env::var_os("KEYFOB_TEST_GCP_PYTHON") else {
        keyfob_testkit::skip(test, "no Python with Google's client: `cargo xtask test` prepares one");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let _double = Double::start(directory.path());
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories/gcp/story.py");
    let said = Command::new(python)
        // A proxy of the caller's would get what is for this machine.
        .env("NO_PROXY", "*")
        .env_remove("GOOGLE_APPLICATION_CREDENTIALS")
        .arg(story)
        .arg(directory.path().join("double.json"))
        .output()
        .unwrap();
    let parts = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.status.success(),
        "after {parts:?}: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert_eq!(parts.lines().collect::<Vec<_>>(), PARTS);
}

#[test]
fn without_its_switch_nobody_gets_in_without_a_token_and_files_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let double = Double::start(directory.path());
    for file in ["double.json", "service-account.json", "authorized-user.json"] {
        let mode = directory.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let line: serde_json::Value = serde_json::from_str(&double.line).unwrap();
    let address = line["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request = format!("GET /v1/projects/my-project/secrets HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(
        answer.contains("www-authenticate: Bearer") && answer.contains("CREDENTIALS_MISSING"),
        "{answer}"
    );
}

#[test]
fn an_option_that_there_is_not_is_no_start() {
    let said = Command::new(env!("CARGO_BIN_EXE_keyfob-double"))
        .args(["gcp", "--anonymus"])
        .output()
        .unwrap();
    assert!(!said.status.success() && said.stdout.is_empty());
    assert!(String::from_utf8_lossy(&said.stderr).contains("`--anonymus` is not known"));
}

/// Ends with its owner.
struct Double {
    process: Child,
    /// What it says of itself.
    line: String,
}

impl Double {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_keyfob-double"))
            .args(["gcp", "--port", "0", "--directory"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it ended");
        Self { process, line }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
