//! Every example of every command's help is run, as `docs/src/commands.md` shows them.
//!
//! Each runs with `bash` in a sandbox of its own in which the secrets and files that the examples name exist, and in
//! which small programs stand for those of other people. They read what they are given and fail when that is nothing,
//! or still holds a reference.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyfob_integration_tests::sandbox::{Sandbox, said};

/// Examples that ask a person or a service, and what they say when nobody is there. A terminal's answers are tested with
/// the command itself (`crates/cli/tests/terminal.rs`), and so are those of services (`crates/cli/tests/aws.rs`,
/// `key_sources.rs` beside this file).
const NEED_SOMEBODY: &[(&str, &str)] = &[
    ("keyfob init --passphrase", "there is no terminal to ask at"),
    ("keyfob set db/password", "nobody is there to ask"),
    ("keyfob delete db/password --permanent", "there is nobody to confirm"),
    ("keyfob key rotate --to-passphrase", "there is no terminal to ask at"),
    ("keyfob backup restore secrets-monday.db", "there is nobody to confirm"),
    (
        "keyfob init --key-source vault-transit:app",
        "no address of the server is given",
    ),
    ("keyfob init --key-source aws-kms:alias/app", "there is no AWS region"),
    (
        "keyfob init --store postgres://app@db.example/secrets",
        "the connection to the database can't be made",
    ),
    (
        "keyfob audit init postgres://audit@db.example/logs --key-file audit.key",
        "the connection to the database can't be made",
    ),
    (
        "keyfob key rotate --to-key-source vault-transit:app",
        "no address of the server is given",
    ),
    ("keyfob snapshot delete latest", "there is nobody to confirm"),
    ("keyfob aws replicate db/password eu-central-1 us-east-1", NOT_AWS),
    ("keyfob aws rotate db/password", NOT_AWS),
    (
        "keyfob aws rotate db/password --lambda arn:aws:lambda:eu-west-1:123456789012:function:rotate --every-days 30",
        NOT_AWS,
    ),
    ("keyfob aws policy db/password", NOT_AWS),
    ("keyfob aws policy db/password | jq .Statement", NOT_AWS),
    ("keyfob aws policy db/password --json | jq .Statement", NOT_AWS),
];

const NOT_AWS: &str = "only AWS Secrets Manager can do this";

/// What must have happened before an example makes sense.
const BEFORE: &[(&str, &str)] = &[
    (
        "keyfob set db/password --create",
        "keyfob delete db/password --permanent --yes",
    ),
    ("keyfob restore", "keyfob delete db/password"),
    ("keyfob backup restore", "keyfob backup create secrets-monday.db"),
    ("keyfob snapshot show", "keyfob snapshot create -q"),
    ("keyfob snapshot diff", "keyfob snapshot create -q"),
    ("keyfob snapshot restore", "keyfob snapshot create -q"),
    ("keyfob snapshot verify", "keyfob snapshot create -q"),
    ("keyfob snapshot delete", "keyfob snapshot create -q"),
    (
        "keyfob completions bash",
        "mkdir -p ~/.local/share/bash-completion/completions",
    ),
    ("keyfob completions zsh", "mkdir -p ~/.zfunc"),
    ("keyfob completions fish", "mkdir -p ~/.config/fish/completions"),
    ("keyfob man ~", "mkdir -p ~/.local/share/man/man1"),
    ("keyfob rotation rollback", "keyfob rotate -q app/token --make uuid"),
    ("keyfob rotation forget", "keyfob rotate -q app/token --make uuid --grace 0s"),
    // Values that refer to others are not copied.
    ("keyfob migrate", "echo MAIL_TOKEN=plain > .env"),
    ("keyfob sync", "echo MAIL_TOKEN=plain > .env"),
    ("keyfob copy", "echo MAIL_TOKEN=plain > .env"),
    ("keyfob import", "echo MAIL_TOKEN=plain > .env"),
    ("keyfob migrate report", "keyfob migrate -q --from .env --to sqlite:"),
    ("keyfob migrate rollback", "keyfob migrate -q --from .env --to sqlite:"),
    ("keyfob sync sqlite: dotenv:old.env", "printf 'OLD=1\\n' > old.env"),
    ("keyfob audit init /var/log", "mkdir -p /var/log/app"),
    ("keyfob audit tail", LOG),
    ("keyfob audit verify", LOG),
    ("keyfob audit export", LOG),
    ("keyfob audit checkpoint", LOG),
];

/// A log with something in it, a checkpoint that was kept, and places for copies.
const LOG: &str = "keyfob audit init -q audit && keyfob get db/password --output out && keyfob audit checkpoint > kept.jsonl \
                   && mkdir -p /backup /mnt/auditors && cp -r audit /backup/audit";

/// The programs of other people.
const STUBS: &[(&str, &str)] = &[
    ("psql-login", "grep -q ."),
    ("pwgen", "echo 0123456789abcdefghijklmnopqrstuvwxyzABCD"),
    ("sops", r#"echo '{"mail":{"user":"me","password":"long"}}'"#),
    ("npm", r#"[ "$DB_URL" = postgres://app:kf-example-value@db ]"#),
    ("docker", r#"grep -q '^DB_PASSWORD=kf-example-value$' "$3""#),
    ("man", "grep -q keyfob"),
    ("jq", "cat"),
    ("ssh", "grep -q signature"),
    // With a configuration file, or the variable that the example sets.
    (
        "app",
        r#"if [ $# -gt 0 ]; then text=$(cat "$2"); else text=$DB; fi
case $text in (*'${'*) exit 1 ;; (*kf-example-value*) ;; (*) exit 1 ;; esac"#,
    ),
];

/// How many examples run at the same time.
const AT_ONCE: usize = 4;

#[test]
fn every_example_of_the_help_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/commands.md");
    let examples = examples(&fs::read_to_string(page).unwrap());
    assert!(examples.len() > 50, "only {} examples were found", examples.len());
    for (example, _) in NEED_SOMEBODY {
        assert!(examples.iter().any(|line| line == example), "no example is `{example}`");
    }
    for (beginning, _) in BEFORE {
        let is_used = examples.iter().any(|line| line.starts_with(beginning));
        assert!(is_used, "no example begins with `{beginning}`");
    }
    let failures: Vec<String> = std::thread::scope(|scope| {
        let several = examples.chunks(examples.len().div_ceil(AT_ONCE));
        let threads = several.map(|some| scope.spawn(|| some.iter().filter_map(|line| run(line).err()).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!("{} examples", examples.len());
}

#[test]
fn an_example_is_what_stands_before_its_explanation() {
    let page = "Usage\n\nExamples:\n\n```text\nkeyfob a --b 'c d'    what it does\nkeyfob e\n```\n\n```text\nno example\n```\n";
    assert_eq!(examples(page), ["keyfob a --b 'c d'", "keyfob e"]);
}

/// The lines of the blocks below `Examples:`, without what is said about them behind two spaces.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("Examples:\n\n```text\n").skip(1);
    let lines = blocks.filter_map(|block| block.split("```").next()).flat_map(str::lines);
    lines
        .filter_map(|line| line.split("  ").next())
        .map(|line| line.trim().to_owned())
        .collect()
}

fn run(line: &str) -> Result<(), String> {
    let sandbox = Sandbox::new();
    write_stubs(&sandbox);
    if !line.starts_with("keyfob init") {
        prepare(&sandbox);
    }
    for (beginning, before) in BEFORE {
        if line.starts_with(beginning) {
            let output = bash(&sandbox, before, false);
            assert!(output.status.success(), "`{before}`: {}", said(&output));
        }
    }
    let output = bash(&sandbox, line, line.contains("--from-file -"));
    let said = said(&output);
    if String::from_utf8_lossy(&output.stderr).contains("kf-example-value") {
        return Err(format!("`{line}` shows a value: {said}"));
    }
    match NEED_SOMEBODY.iter().find(|(example, _)| *example == line) {
        Some((_, answer)) if output.status.success() || !said.contains(answer) => {
            Err(format!("`{line}` should miss somebody and say `{answer}`: {said}"))
        }
        None if !output.status.success() => Err(format!("`{line}`: {said}")),
        _ => Ok(()),
    }
}

/// The secrets and files that the examples name.
fn prepare(sandbox: &Sandbox) {
    let config = "password: ${secret:db/password}\n";
    sandbox.write(
        "keyfob.toml",
        "default = \"team\"\n[stores.team]\nurl = \"sqlite:\"\n[env.production]\n",
    );
    sandbox.write("app.yaml", config);
    sandbox.write("theirs.yaml", config);
    sandbox.write("deploy/one.yaml", config);
    sandbox.write("deploy/two.yaml", config);
    sandbox.write("db.toml", "password = \"${secret:db/password}\"\n");
    sandbox.write("app.json", "{\"password\": \"${secret:db/password}\"}\n");
    sandbox.write(".env", "DB_URL=postgres://app:${secret:db/password}@db\n");
    sandbox.write("secrets.yaml", "db:\n  password: other\n");
    sandbox.write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    sandbox.write("phrase.txt", "a phrase that nobody guesses\n");
    let owner_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(sandbox.work().join("phrase.txt"), owner_only).unwrap();
    sandbox.write(
        "rotation.yaml",
        "policies:\n  - { name: app, secrets: [\"app/*\"], every: 30d, make: uuid }\n",
    );
    sandbox.write("run/app/old", "");
    let values = r#"{"db":{"password":"first"},"mail":{"login":"{\"user\":\"me\"}"},"app":{"token":"x"},"ci":{"token":"y"}}"#;
    sandbox.write("values.json", values);
    let set = "keyfob set -q db/password";
    let line = format!("keyfob init -q && keyfob import -q values.json && echo second | {set} && echo kf-example-value | {set}");
    let output = bash(sandbox, &line, false);
    assert!(output.status.success(), "{}", said(&output));
}

fn write_stubs(sandbox: &Sandbox) {
    let directory = sandbox.path().join("stubs");
    fs::create_dir(&directory).unwrap();
    for (name, script) in STUBS {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Directories that the examples name, which are inside the sandbox.
const PLACES: &[&str] = &["/run/app", "/var/log/app", "/backup", "/mnt/auditors"];

/// Without a terminal, even where the tests have one. What goes on for ever is ended, which is its success.
fn bash(sandbox: &Sandbox, line: &str, has_input: bool) -> Output {
    let work = sandbox.work().display().to_string();
    let mut line = line.to_owned();
    for place in PLACES {
        line = line.replace(place, &format!("{work}{place}"));
    }
    if line.contains("--follow") {
        line = format!("timeout 3 {line} || [ $? = 124 ]");
    }
    let path = sandbox
        .program("sh")
        .get_envs()
        .find_map(|(name, value)| (name == "PATH").then(|| value.unwrap().to_owned()));
    let mut command: Command = sandbox.program("setsid");
    command
        .args(["--wait", "bash", "-c"])
        .arg(format!("set -o pipefail\n{line}"))
        .env(
            "PATH",
            format!("{}:{}", sandbox.path().join("stubs").display(), path.unwrap().display()),
        )
        .env("GITHUB_ENV", sandbox.work().join("github.env"))
        .stdin(if has_input { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"from standard input\n").unwrap();
    }
    child.wait_with_output().unwrap()
}
