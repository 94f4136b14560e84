//! The main job, as a user does it at a shell: resolve, check, run, import, export, explain.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod at_once;
mod audit;
mod audit_opening;
mod audit_proof;
mod data_key;
mod failover;
mod import_export;
mod manifests;
mod migrate;
mod resolve;
mod rewrite;
mod rotation;
mod run;
mod signals;
mod snapshot;
mod supervised;
mod sync;
mod watch;
mod which_store;

use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use keyfob_integration_tests::sandbox::Sandbox;
use serde_json::Value;

/// A sandbox with a store whose secret `db/password` is a value that no standard error may ever show.
struct World {
    sandbox: Sandbox,
    canary: String,
}

/// What a line of shell did.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl World {
    fn new() -> Self {
        let world = Self::empty();
        world
            .sh(&format!(
                "keyfob init -q && printf %s '{}' | keyfob set -q db/password",
                world.canary
            ))
            .ok();
        world
    }

    /// Without a store.
    fn empty() -> Self {
        let random = RandomState::new().hash_one(0_u8);
        Self {
            sandbox: Sandbox::new(),
            canary: format!("kfcanary-{random:016x}"),
        }
    }

    /// With nothing on standard input and no terminal.
    #[track_caller]
    fn sh(&self, line: &str) -> Answer {
        let output = self
            .sandbox
            .program("bash")
            .args(["-c", line])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let answer = Answer {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!answer.err.contains(&self.canary), "`{line}` shows a value: {}", answer.err);
        answer
    }

    fn write(&self, name: &str, content: &str) {
        self.sandbox.write(name, content);
    }

    fn exists(&self, name: &str) -> bool {
        self.sandbox.work().join(name).exists()
    }

    /// The names in a directory, hidden ones too.
    fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.sandbox.work().join(directory)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(&self, name: &str) -> u32 {
        let status = std::fs::metadata(self.sandbox.work().join(name)).unwrap();
        status.permissions().mode() & 0o777
    }
}

impl Answer {
    /// Succeeded; gives standard output.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Ended so, with nothing on standard output; gives standard error.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.err
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
