//! A store, and what it has to be like after a rotation.

use std::process::{Command, Output, Stdio};

use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_integration_tests::servers::{self, Provider};
use serde_json::Value;

use crate::LEASE;

/// Where the secrets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Sqlite,
    OpenBao,
    LocalStack,
}

impl Place {
    fn provider(self) -> Option<Provider> {
        match self {
            Self::Sqlite => None,
            Self::OpenBao => Some(Provider::Vault),
            Self::LocalStack => Some(Provider::Aws),
        }
    }
}

pub(crate) struct Bed {
    pub(crate) place: Place,
    sandbox: Sandbox,
    variables: Vec<(&'static str, String)>,
}

/// What `keyfob rotation status` says of a secret.
pub(crate) struct Status(Value);

impl Status {
    /// The phase of a rotation that is not over.
    pub(crate) fn phase(&self) -> Option<&str> {
        self.0["under_way"]["phase"].as_str()
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.0["lease"].is_null()
    }

    /// How many leases there were.
    pub(crate) fn fence(&self) -> u64 {
        self.0["fence"].as_u64().unwrap()
    }

    pub(crate) fn ended(&self) -> Option<&str> {
        self.0["last"]["ended"].as_str()
    }
}

impl Bed {
    /// `None`, said once, where there is no such server.
    pub(crate) fn new(test: &str, place: Place) -> Option<Self> {
        let variables = match place.provider() {
            None => Vec::new(),
            Some(provider) => servers::variables(test, provider)?,
        };
        let bed = Self {
            place,
            sandbox: Sandbox::new(),
            variables,
        };
        if place == Place::Sqlite {
            bed.succeed(&["init", "--quiet", "--no-project"]);
        }
        Some(bed)
    }

    /// Another machine at the same server.
    pub(crate) fn other_machine(&self) -> Self {
        assert_ne!(self.place, Place::Sqlite, "a file is on one machine");
        Self {
            place: self.place,
            sandbox: Sandbox::new(),
            variables: self.variables.clone(),
        }
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        self.sandbox.write(name, content);
    }

    pub(crate) fn write_program(&self, name: &str, content: &str) {
        self.sandbox.write(name, content);
        let _ = self.sandbox.succeed(&format!("chmod 755 {name}"));
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.sandbox.work().join(name).exists()
    }

    pub(crate) fn keyfob(&self, arguments: &[&str]) -> Command {
        let store = self.place.provider().map_or("sqlite:?versions=1000", Provider::name);
        let mut command = self.sandbox.keyfob(["--store", store]);
        command
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("SECRET_ROTATION_LEASE", LEASE.as_millis().to_string())
            .env("SECRET_ROTATION_CLOCK_SKEW", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.keyfob(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.sandbox.write("input", value);
        let mut set = self.keyfob(&["set", "--quiet", name]);
        let input = std::fs::File::open(self.sandbox.work().join("input")).unwrap();
        let output = set.stdin(input).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The current value.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> String {
        self.succeed(&["get", name])
    }

    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> Status {
        Status(json(&self.succeed(&["rotation", "status", name, "--json"])))
    }

    /// Every version that the store tells of: which, whether it is current, and its labels.
    #[track_caller]
    pub(crate) fn versions(&self, name: &str) -> Vec<Value> {
        json(&self.succeed(&["versions", name, "--json"])).as_array().unwrap().clone()
    }

    /// Everything that a rotation may write, without values: what a run that has no lease any more must not change.
    #[track_caller]
    pub(crate) fn everything(&self, name: &str) -> String {
        let kept = ["", ".keyfob-pending", ".keyfob-rotation"].map(|suffix| self.versions(&format!("{name}{suffix}")));
        format!("{kept:?} {}", self.succeed(&["rotation", "status", name, "--json"]))
    }

    /// Nothing that a rotation keeps is where it must not be once it is over.
    #[track_caller]
    pub(crate) fn is_at_rest(&self, name: &str) {
        let status = self.status(name);
        assert_eq!((status.phase(), status.is_held()), (None, false), "{}", status.0);
        assert_eq!(status.ended(), Some("completed"), "{}", status.0);
        let listed = json(&self.succeed(&["list", "--reserved", "--json", name]));
        let mut names: Vec<&str> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| secret["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        let slot = format!("{name}.keyfob-pending");
        assert_eq!(names, [name, &slot, &format!("{name}.keyfob-rotation")]);
        assert!(
            self.value(&slot).starts_with("keyfob-rotation: empty"),
            "a value was left in `{slot}`"
        );
        for name in [name, &slot] {
            let versions = self.versions(name);
            let current = versions.iter().filter(|version| version["current"] == true).count();
            assert_eq!(current, 1, "{versions:?}");
            let labels = labels_of(&versions);
            let is_kept = |labels: &Vec<&str>| labels.iter().any(|label| ["AWSCURRENT", "AWSPREVIOUS"].contains(label));
            let is_known = self.place != Place::LocalStack || labels.len() <= 2 && labels.iter().all(is_kept);
            assert!(is_known, "a version was left behind: {labels:?}");
        }
    }

    /// Whatever killed writes marked, the next write has taken the mark away.
    #[track_caller]
    pub(crate) fn has_no_marks(&self, name: &str) {
        for suffix in ["", ".keyfob-pending", ".keyfob-rotation"] {
            let versions = self.versions(&format!("{name}{suffix}"));
            let labels = labels_of(&versions);
            let has_mark = labels.iter().flatten().any(|label| label.starts_with("keyfob-pending"));
            assert!(!has_mark, "a label was left behind in `{name}{suffix}`: {labels:?}");
        }
    }

    /// Takes away what rotations keep of a secret: nothing but the secret is left.
    #[track_caller]
    pub(crate) fn forget(&self, name: &str) {
        self.succeed(&["rotation", "forget", name]);
        let listed = json(&self.succeed(&["list", "--reserved", "--json", name]));
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    }
}

fn labels_of(versions: &[Value]) -> Vec<Vec<&str>> {
    let labels = versions.iter().map(|version| version["labels"].as_array().unwrap());
    labels
        .map(|labels| labels.iter().map(|label| label.as_str().unwrap()).collect())
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a command that had to fail said.
#[track_caller]
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    String::from_utf8(output.stderr.clone()).unwrap()
}
