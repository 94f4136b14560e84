//! The examples run and say what they should.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use keyfob_integration_tests::servers::{self, Provider};

fn run(program: &str, variables: &[(&str, &str)]) -> (bool, String) {
    run_with(program, &[], variables)
}

fn run_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory.path())
        .env_clear()
        .env("HOME", directory.path())
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), said)
}

#[test]
fn typed_configuration() {
    let program = env!("CARGO_BIN_EXE_typed_configuration");
    let (good, said) = run(program, &[("DB_USER", "app"), ("DB_PASSWORD", "kfcanary")]);
    assert!(good, "{said}");
    assert!(said.contains("listening on 0.0.0.0:8080 with plain, none"), "{said}");
    assert!(
        said.contains("a password of 8 bytes") && said.contains("[REDACTED]") && !said.contains("kfcanary"),
        "{said}"
    );

    let (good, said) = run(program, &[("DB_USER", "app")]);
    assert!(!good && said.contains("app.yaml:5:13 (database.password)"), "{said}");
}

#[test]
fn rotate_by_hand() {
    let (good, said) = run(env!("CARGO_BIN_EXE_rotate_by_hand"), &[]);
    assert!(good, "{said}");
    assert_eq!(said, "writer one: written\nwriter two: somebody was faster, read again\n");
}

#[test]
fn own_layer() {
    assert_eq!(run(env!("CARGO_BIN_EXE_own_layer"), &[]), (true, "3 reads\n".to_owned()));
}

#[test]
fn aws_secrets_manager() {
    let Some(variables) = servers::variables("aws_secrets_manager", Provider::Aws) else {
        return;
    };
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (good, said) = run(env!("CARGO_BIN_EXE_aws_secrets_manager"), &variables);
    assert!(good, "{said}");
    let expected = "db/user: 20 bytes, expires: true\ndb/password: 24 bytes, expires: true\nmail/token: 23 bytes, expires: true\n\
                    resource policy: none\n";
    assert_eq!(said, expected);
}

/// The lease is a role of the real PostgreSQL.
#[test]
fn vault_lease() {
    let test = "vault_lease";
    let (Some(variables), Some(postgres)) = (
        servers::variables(test, Provider::Vault),
        keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_URL"),
    ) else {
        return;
    };
    let of = |name| variables.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
    let mount = format!("{}-database", of("VAULT_PREFIX"));
    let write = |path: &str, body: serde_json::Value| {
        let url = format!("{}/v1/{path}", of("VAULT_ADDR"));
        let _ = servers::send("POST", &url, &[("X-Vault-Token", of("VAULT_TOKEN"))], &body.to_string());
    };
    write(&format!("sys/mounts/{mount}"), serde_json::json!({"type": "database"}));
    let connection = serde_json::json!({
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "app",
        "connection_url": format!("{postgres}?sslmode=disable"),
    });
    write(&format!("{mount}/config/bed"), connection);
    let role = serde_json::json!({
        "db_name": "bed",
        "creation_statements": ["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"],
        "revocation_statements": ["DROP ROLE IF EXISTS \"{{name}}\""],
        "default_ttl": "60s",
    });
    write(&format!("{mount}/roles/app"), role);
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = format!("/{mount}/creds/app");
    let (good, said) = run_with(env!("CARGO_BIN_EXE_vault_lease"), &[&path], &variables);
    assert!(good, "{said}");
    assert!(
        said.starts_with("db/password: 10 bytes, the version that was written: true\n"),
        "{said}"
    );
    assert!(said.ends_with("renewed and revoked\n"), "{said}");
}

/// A program that runs until the test ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_metrics() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prometheus_metrics"));
    command
        .env_clear()
        .env("DB_PASSWORD", "kfcanary-examples1")
        .stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut said = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..3 {
        assert_eq!(said.next().unwrap(), "a password of 18 bytes");
    }
    assert_eq!(said.next().unwrap(), "not_found");
    let address = said.next().unwrap();
    let page = servers::send("GET", &address, &[], "");
    for line in [
        "# TYPE keyfob_cache_reads_total counter",
        r#"keyfob_cache_reads_total{store="env",result="hit"} 2"#,
        r#"keyfob_cache_reads_total{store="env",result="miss"} 2"#,
        r#"keyfob_cache_entries{store="env",kind="value"} 1"#,
        r#"keyfob_requests_total{store="env",verb="get",outcome="ok"} 3"#,
        r#"keyfob_requests_total{store="env",verb="get",outcome="not_found"} 1"#,
        r#"keyfob_store_requests_total{store="env",verb="get",outcome="ok"} 1"#,
        r#"keyfob_request_duration_seconds_bucket{store="env",verb="get",le="10"} 4"#,
        r#"keyfob_concurrency_limit{store="env"} 16"#,
        r#"keyfob_in_flight{store="env"} 0"#,
    ] {
        assert!(page.lines().any(|told| told == line), "{line}\n{page}");
    }
    assert!(!page.contains("kfcanary") && !page.contains("PASSWORD"), "{page}");
}

#[test]
fn opentelemetry() {
    let (good, said) = run(env!("CARGO_BIN_EXE_opentelemetry"), &[("DB_PASSWORD", "kfcanary-examples2")]);
    assert!(good, "{said}");
    let count = |text: &str| said.matches(text).count();
    // Three reads, of which the first one goes to the store.
    assert_eq!(count("Name         : keyfob.get\n"), 3, "{said}");
    assert_eq!(count("Name         : keyfob.store.get\n"), 1, "{said}");
    assert_eq!(count("Kind         : Client\n"), 1, "{said}");
    for name in [
        "keyfob_requests_total",
        "keyfob_cache_reads_total",
        "keyfob_store_request_duration_seconds",
    ] {
        assert!(said.contains(name), "{name}\n{said}");
    }
    assert!(!said.contains("kfcanary") && !said.contains("PASSWORD"), "{said}");
}
