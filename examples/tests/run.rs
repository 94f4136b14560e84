//! The examples run and say what they should.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

fn run(program: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
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
