//! The key of the embedded store in Vault's transit engine and in AWS KMS, by the command line alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_integration_tests::servers::{self, Provider};

/// Commands with the variables of both servers.
struct User {
    sandbox: Sandbox,
    variables: Vec<(&'static str, String)>,
    mount: String,
    alias: String,
}

impl User {
    fn new(test: &str) -> Option<Self> {
        let vault = servers::variables(test, Provider::Vault)?;
        let aws = servers::variables(test, Provider::Aws)?;
        let of =
            |variables: &[(&'static str, String)], name| variables.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        let (address, token) = (of(&vault, "VAULT_ADDR"), of(&vault, "VAULT_TOKEN"));
        let mount = of(&vault, "VAULT_PREFIX");
        let headers = [("X-Vault-Token", token.as_str())];
        let _ = servers::send(
            "POST",
            &format!("{address}/v1/sys/mounts/{mount}"),
            &headers,
            r#"{"type":"transit"}"#,
        );
        let _ = servers::send("POST", &format!("{address}/v1/{mount}/keys/app"), &headers, "{}");

        let endpoint = of(&aws, "AWS_ENDPOINT_URL");
        let kms = |action: &str, body: &str| {
            let target = format!("TrentService.{action}");
            let credential =
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0";
            let headers = [
                ("X-Amz-Target", target.as_str()),
                ("Content-Type", "application/x-amz-json-1.1"),
                ("Authorization", credential),
            ];
            servers::send("POST", &endpoint, &headers, body)
        };
        let made: serde_json::Value = serde_json::from_str(&kms("CreateKey", "{}")).unwrap();
        let alias = format!("alias/{mount}");
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
        let _ = kms("CreateAlias", &format!(r#"{{"AliasName":"{alias}","TargetKeyId":"{key}"}}"#));

        let variables = vault.into_iter().chain(aws).collect();
        Some(Self {
            sandbox: Sandbox::new(),
            variables,
            mount,
            alias,
        })
    }

    fn transit(&self) -> String {
        format!("vault-transit:app@{}", self.mount)
    }

    fn kms(&self) -> String {
        format!("aws-kms:{}", self.alias)
    }

    /// Runs a line that must succeed, and gives all that it said.
    fn succeed(&self, line: &str) -> String {
        let output = self.shell(line);
        assert!(output.status.success(), "`{line}`: {}", said(&output));
        said(&output)
    }

    fn fail(&self, line: &str) -> String {
        let output = self.shell(line);
        assert!(!output.status.success(), "`{line}` should fail: {}", said(&output));
        said(&output)
    }

    fn shell(&self, line: &str) -> std::process::Output {
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        self.sandbox
            .shell(line)
            .envs(variables)
            .env("SECRET_PROVIDER", "")
            .output()
            .unwrap()
    }

    fn reads_its_secret(&self) {
        let seen = self.succeed("test \"$(keyfob get db/password)\" = kfcanary-keysource01 && echo same");
        assert!(seen.contains("same"), "{seen}");
    }
}

#[test]
fn a_store_opens_with_transit_then_with_kms_then_with_a_file() {
    let Some(user) = User::new("a_store_opens_with_transit_then_with_kms_then_with_a_file") else {
        return;
    };
    let (transit, kms) = (user.transit(), user.kms());
    user.succeed(&format!("keyfob init --key-source {transit}"));
    assert!(
        user.sandbox.read("keyfob.toml").contains("key-source"),
        "{}",
        user.sandbox.read("keyfob.toml")
    );
    user.succeed("printf kfcanary-keysource01 | keyfob set db/password");
    user.reads_its_secret();
    assert!(user.succeed("keyfob key status").contains("vault-transit:"));
    assert!(user.succeed("keyfob doctor").contains("vault-transit:"));
    let keyless = user.fail("VAULT_ADDR=http://127.0.0.1:1 keyfob get db/password");
    assert!(!keyless.contains("kfcanary"), "an error shows a value");

    user.succeed(&format!("keyfob key rotate --to-key-source {kms}"));
    let _ = user.fail("keyfob get db/password");
    user.sandbox.write(
        "keyfob.toml",
        format!("default = \"s\"\n[stores.s]\nurl = \"sqlite:?key-source={kms}\"\n"),
    );
    user.reads_its_secret();
    assert!(user.succeed("keyfob key status").contains("aws-kms:"));

    user.succeed("keyfob key rotate --to-key-file there");
    user.sandbox.write(
        "keyfob.toml",
        "default = \"s\"\n[stores.s]\nurl = \"sqlite:?key-file=there\"\n",
    );
    user.reads_its_secret();
}

#[test]
fn snapshots_open_with_a_key_in_a_service_only() {
    let Some(user) = User::new("snapshots_open_with_a_key_in_a_service_only") else {
        return;
    };
    user.succeed("keyfob init");
    user.succeed("printf kfcanary-keysource01 | keyfob set db/password");
    for source in [user.transit(), user.kms()] {
        let with_key = format!("export SECRET_SNAPSHOTS_KEY_SOURCE={source}");
        let made = user.succeed(&format!("{with_key}; keyfob snapshot create --parent none"));
        assert!(!made.contains("kfcanary"), "a command shows a value");
        user.succeed("printf other | keyfob set db/password");
        user.succeed(&format!(
            "{with_key}; keyfob snapshot verify latest && keyfob snapshot restore latest"
        ));
        user.reads_its_secret();
        // Neither with the key file of the store, nor where the service does not answer.
        assert!(user.fail("keyfob snapshot restore latest").contains("the key does not fit"));
        let keyless = format!("{with_key} VAULT_ADDR=http://127.0.0.1:1 AWS_ENDPOINT_URL=http://127.0.0.1:1");
        let _ = user.fail(&format!("{keyless} SECRET_RETRY_ATTEMPTS=1; keyfob snapshot restore latest"));
        user.succeed(&format!(
            "{keyless}; keyfob snapshot show latest && keyfob snapshot verify --no-key"
        ));
    }
}

#[test]
fn a_key_source_that_is_none_is_refused_with_what_there_is() {
    let sandbox = Sandbox::new();
    for source in ["vault-transit:", "aws-kms:", "gcp-kms:x", "x", "vault-transit:a/../b"] {
        let output = sandbox.keyfob(["init", "--key-source", source]).output().unwrap();
        assert!(!output.status.success(), "{source}: {}", said(&output));
        assert!(!sandbox.work().join("keyfob.toml").exists(), "{source} left a project file");
    }
}
