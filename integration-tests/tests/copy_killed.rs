//! A copy to a server that is killed, and run again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_integration_tests::servers::{self, Provider};

const SECRETS: usize = 60;

/// The embedded store with secrets that have all metadata, and a server with none.
struct World {
    sandbox: Sandbox,
    variables: Vec<(&'static str, String)>,
    provider: Provider,
}

impl World {
    fn new(test: &str, provider: Provider) -> Option<Self> {
        let variables = servers::variables(test, provider)?;
        let sandbox = Sandbox::new();
        if provider == Provider::Postgres {
            let mut init = sandbox.keyfob(["init", "-q", "--no-project", "--store", "postgres"]);
            let made = init
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", said(&made));
        }
        let set =
            "printf kfcanary-killed%04d $i | keyfob set -q app/s$i --tag team=web --expires 30d --description \"number $i\"";
        let _ = sandbox.succeed(&format!("keyfob init -q; for i in $(seq {SECRETS}); do {set}; done"));
        Some(Self {
            sandbox,
            variables,
            provider,
        })
    }

    fn copy(&self) -> Command {
        let to = format!("{}:", self.provider.name());
        let mut command = self.sandbox.keyfob(["copy", "--from", "sqlite:", "--to", &to, "--json"]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What the server has: whether each secret expires.
    fn target(&self) -> BTreeMap<String, bool> {
        let mut command = self
            .sandbox
            .keyfob(["list", "--json", "--store", &format!("{}:", self.provider.name())]);
        let output = command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let secrets = list.as_array().or_else(|| list["secrets"].as_array()).unwrap();
        secrets
            .iter()
            // What has no version has no value yet.
            .filter(|secret| !secret["version"].is_null())
            .map(|secret| (secret["name"].as_str().unwrap().to_owned(), !secret["expires"].is_null()))
            .collect()
    }
}

fn a_killed_copy_is_finished_by_another(test: &str, provider: Provider, wait: Duration) {
    let Some(world) = World::new(test, provider) else { return };
    for after in [150, 300, 450] {
        let mut child = world.copy().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();
        let without_expiry: Vec<String> = world
            .target()
            .into_iter()
            .filter(|(_, expires)| !expires)
            .map(|(name, _)| name)
            .collect();
        assert!(
            without_expiry.is_empty(),
            "values stand without their expiry: {without_expiry:?}"
        );
    }
    std::thread::sleep(wait);
    let output = world.copy().output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.target().len(), SECRETS);
    let output = world.copy().output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unchanged"].as_array().unwrap().len(), SECRETS, "{}", said(&output));
}

/// A secret that was begun and has no value is left alone for a minute: its writer could be alive.
#[test]
fn to_aws() {
    a_killed_copy_is_finished_by_another("to_aws", Provider::Aws, Duration::from_secs(62));
}

#[test]
fn to_vault() {
    a_killed_copy_is_finished_by_another("to_vault", Provider::Vault, Duration::ZERO);
}

#[test]
fn to_postgres() {
    a_killed_copy_is_finished_by_another("to_postgres", Provider::Postgres, Duration::ZERO);
}

impl Drop for World {
    fn drop(&mut self) {
        servers::remove(&self.variables);
    }
}
