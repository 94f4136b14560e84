//! One application, every store: `keyfob copy` fills them, `SECRET_PROVIDER` chooses one, and the application sees the
//! same bytes each time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output, Stdio};

use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_integration_tests::servers::{Provider, remove, store, variables};
use serde_json::Value;

/// The secrets, as somebody has set them, and what else is said about them.
const SECRETS: &[(&str, &str, &[&str])] = &[
    (
        "db/password",
        "kfcanary-switching1 it's \"quoted\" \\n $HOME ${secret:no} #x",
        &["--description", "the application's role", "--tag", "team=db"],
    ),
    ("greeting", "kfcanary-switching2 Grüße, 世界 🔑 \u{e9}e\u{301}", &[]),
    (
        "tls/key",
        "-----BEGIN PRIVATE KEY-----\nkfcanary-switching3\n\n  indented\r\n-----END PRIVATE KEY-----\n",
        &["--expires", "2099-01-01"],
    ),
    (
        "smtp",
        r#"{"user":"kfcanary-switching4","password":"p:ä #\"x\"","pool":{"size":5}}"#,
        &[],
    ),
];

/// The application's own files; they name no store.
const FILES: &[(&str, &str)] = &[
    (
        "keyfob.toml",
        "# Where the secrets are is chosen outside.\n[references]\nallow = [\"secret\", \"env\"]\n",
    ),
    (
        "app.yaml",
        "# The layout stays.\ngreeting: ${secret:greeting}\nkey: ${secret:tls/key}\nsmtp:\n  user: ${secret:smtp#user}\n  \
         size: ${secret:smtp#/pool/size}\ncache: ${secret:cache/url:-redis://localhost}\nflag: '${secret:feature/flag?}'\n",
    ),
    (
        ".env",
        "DB_PASSWORD=${secret:db/password}\nGREETING=${secret:greeting}\nTLS_KEY=${secret:tls/key}\n\
         SMTP_PASSWORD=${secret:smtp#password}\nCACHE=${secret:cache/url:-redis://localhost}\nFLAG=${secret:feature/flag?}\n",
    ),
    // What it gets, as digests: the values themselves may not be printed.
    (
        "app.sh",
        "set -e\nfor name in DB_PASSWORD GREETING TLS_KEY SMTP_PASSWORD CACHE FLAG; do\n  printf '%s ' \"$name\"; \
         printenv -0 \"$name\" | sha256sum\ndone\nprintf 'file '; sha256sum < resolved.yaml\n",
    ),
];

/// An application's directory, its embedded store, and the variables of the other stores.
struct World {
    sandbox: Sandbox,
    variables: Vec<(&'static str, String)>,
    /// What `--store` takes, of each store that may be filled.
    filled: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            variables: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// With the variables of a server; `None`, told, when there is none.
    fn with(mut self, test: &str, provider: Provider) -> Option<Self> {
        let variables = variables(test, provider)?;
        let name = store(&variables, provider);
        // Which store is asked is each command's to say.
        self.variables
            .extend(variables.into_iter().filter(|(name, _)| *name != "SECRET_PROVIDER"));
        if provider == Provider::Postgres {
            self.succeed("keyfob --store postgres init --quiet --no-project");
        }
        self.filled.push(format!("'{name}'"));
        Some(self)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.sandbox.shell(line);
        command
            .stdin(Stdio::null())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Nothing that keyfob says may hold a value.
    #[track_caller]
    fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            let shows = stream.windows(8).any(|window| window == b"kfcanary");
            assert!(!shows, "`{line}` shows a value");
        }
        output
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "`{line}`: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.succeed(line)).unwrap()
    }

    fn set_secrets(&self) {
        self.succeed("keyfob init --quiet --no-project");
        for (name, value, options) in SECRETS {
            self.sandbox.write("value", value);
            let options: Vec<String> = options.iter().map(|option| format!("\"{option}\"")).collect();
            self.succeed(&format!(
                "keyfob --store sqlite: set --quiet --keep-newline --from-file value {} {name}",
                options.join(" ")
            ));
        }
        fs::remove_file(self.sandbox.work().join("value")).unwrap();
    }

    /// What the application sees.
    #[track_caller]
    fn run_application(&self, provider: &str) -> String {
        let seen = self.succeed(&format!(
            "SECRET_PROVIDER={provider} keyfob run --env-file .env --config app.yaml:resolved.yaml -- sh app.sh"
        ));
        fs::remove_file(self.sandbox.work().join("resolved.yaml")).unwrap();
        seen
    }

    /// The digest of a value with the NUL that `printenv -0` writes after it.
    fn digest(&self, value: &str) -> String {
        self.sandbox.write("expected", format!("{value}\0"));
        let digest = self.succeed("sha256sum < expected; rm expected");
        digest.trim().to_owned()
    }

    /// Names, descriptions, tags and expiries of a store, which are the same everywhere.
    #[track_caller]
    fn known(&self, store: &str) -> Vec<Value> {
        let listed = self.json(&format!("keyfob --store {store} list --json"));
        let secrets = listed.as_array().unwrap().iter();
        let mut known: Vec<Value> = secrets
            .map(|secret| serde_json::json!([secret["name"], secret["description"], secret["tags"], secret["expires"]]))
            .collect();
        // AWS lists in an order of its own.
        known.sort_by_key(|secret| secret[0].to_string());
        known
    }
}

/// The servers keep nothing of ours.
impl Drop for World {
    fn drop(&mut self) {
        for store in &self.filled {
            let line = format!(
                "keyfob --store {store} list --json | grep '^ *\"name\":' | cut -d'\"' -f4 | while read -r name; do \
                 keyfob --store {store} delete --quiet --permanent --yes \"$name\"; done"
            );
            let _ = self.command(&line).output();
        }
        remove(&self.variables);
    }
}

#[test]
fn one_application_sees_the_same_bytes_whichever_store_it_runs_with() {
    let test = "one_application_sees_the_same_bytes_whichever_store_it_runs_with";
    let providers = [
        Provider::Aws,
        Provider::Gcp,
        Provider::Azure,
        Provider::Vault,
        Provider::Kubernetes,
        Provider::Postgres,
    ];
    see_the_same_bytes(test, &providers);
}

/// `K8S_SECRET_NAME` makes another store of `k8s`.
#[test]
fn one_application_sees_the_same_bytes_in_the_keys_of_one_object() {
    let test = "one_application_sees_the_same_bytes_in_the_keys_of_one_object";
    see_the_same_bytes(test, &[Provider::KubernetesObject]);
}

/// KV 1 keeps values and nothing else.
#[test]
fn one_application_sees_the_same_bytes_in_kv_1() {
    let test = "one_application_sees_the_same_bytes_in_kv_1";
    let Some(world) = World::new().with(test, Provider::VaultKv1) else {
        return;
    };
    for (name, text) in FILES {
        world.sandbox.write(name, text);
    }
    world.set_secrets();
    let [store] = world.filled.as_slice() else {
        panic!("one store")
    };
    world.succeed(&format!("keyfob copy --quiet --from sqlite: --to {store} --drop-metadata"));
    assert_eq!(world.run_application(store), world.run_application("sqlite"));
}

fn see_the_same_bytes(test: &str, providers: &[Provider]) {
    let world = providers
        .iter()
        .try_fold(World::new(), |world, provider| world.with(test, *provider));
    let Some(world) = world else {
        return;
    };
    for (name, text) in FILES {
        world.sandbox.write(name, text);
    }
    world.set_secrets();

    // Nothing is there yet, and the application does not start.
    for provider in &world.filled {
        let line = format!("SECRET_PROVIDER={provider} keyfob run --env-file .env -- touch started");
        assert_eq!(world.run(&line).status.code(), Some(125), "{provider}");
        assert!(!world.sandbox.work().join("started").exists());
    }

    let names = serde_json::json!(["db/password", "greeting", "smtp", "tls/key"]);
    // Each store is filled from the one before, and the last one fills a `.env` file, which keeps less.
    let mut from = "sqlite:".to_owned();
    for to in &world.filled {
        let copy = format!("keyfob copy --from {from} --to {to} --json");
        let planned = world.json(&format!("{copy} --dry-run"));
        assert_eq!(
            (&planned["created"], &planned["failed"]),
            (&names, &serde_json::json!([])),
            "{from} {to}"
        );
        let copied = world.json(&copy);
        assert_eq!(copied["created"], names, "{from} {to}: {copied}");
        assert_eq!(world.json(&format!("{copy} --overwrite"))["unchanged"], names, "{from} {to}");
        from.clone_from(to);
    }
    let copied = world.json(&format!(
        "keyfob copy --from {from} --to dotenv:secrets.env --drop-metadata --json"
    ));
    assert_eq!(copied["created"], names, "{copied}");

    let seen = world.run_application("sqlite");
    // And it is what was set, not the same mistake everywhere.
    let [password, greeting, key, _] = SECRETS else {
        panic!("four secrets")
    };
    for (variable, value) in [
        ("DB_PASSWORD", password.1),
        ("GREETING", greeting.1),
        ("TLS_KEY", key.1),
        ("SMTP_PASSWORD", "p:ä #\"x\""),
        ("CACHE", "redis://localhost"),
        ("FLAG", ""),
    ] {
        let line = format!("{variable} {}\n", world.digest(value));
        assert!(seen.contains(&line), "the application got another value of `{variable}`");
    }
    let known = world.known("sqlite:");
    for store in &world.filled {
        assert_eq!(world.run_application(store), seen, "{store}");
        assert_eq!(world.known(store), known, "{store}");
    }
    assert_eq!(world.run_application("dotenv:secrets.env"), seen);
    // The process environment is filled by whoever starts the process.
    let exported = "keyfob --store dotenv:secrets.env export --format shell --output all.sh && set -a && . ./all.sh && set +a";
    let seen_there = world.succeed(&format!(
        "{exported} && SECRET_PROVIDER=env keyfob run --env-file .env --config app.yaml:resolved.yaml -- sh app.sh"
    ));
    assert_eq!(seen_there, seen);
}

#[test]
fn a_change_in_one_store_reaches_the_application_after_the_next_copy() {
    let test = "a_change_in_one_store_reaches_the_application_after_the_next_copy";
    let Some(world) = World::new().with(test, Provider::Vault) else {
        return;
    };
    for (name, text) in FILES {
        world.sandbox.write(name, text);
    }
    world.set_secrets();
    world.succeed("keyfob copy --quiet --from sqlite: --to vault");
    let before = world.run_application("vault");
    world.succeed("printf kfcanary-switching5 | keyfob --store sqlite: set --quiet greeting");
    let kept = world.json("keyfob copy --from sqlite: --to vault --json");
    assert_eq!(kept["left"], serde_json::json!(["greeting"]));
    assert_eq!(world.run_application("vault"), before);
    let changed = world.json("keyfob copy --from sqlite: --to vault --json --overwrite");
    assert_eq!(changed["changed"], serde_json::json!(["greeting"]));
    let after = world.run_application("vault");
    assert_ne!(after, before);
    assert_eq!(after, world.run_application("sqlite"));
}

#[test]
fn bytes_go_to_aws_as_they_are_and_are_refused_for_vault_before_anything_is_written() {
    let test = "bytes_go_to_aws_as_they_are_and_are_refused_for_vault_before_anything_is_written";
    let world = World::new().with(test, Provider::Aws);
    let Some(world) = world.and_then(|world| world.with(test, Provider::Vault)) else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).chain(*b"kfcanary-switching6").collect();
    world.sandbox.write("bytes", &bytes);
    world.succeed(
        "keyfob init --quiet --no-project && keyfob --store sqlite: set --quiet keystore --keep-newline --from-file bytes",
    );
    world.succeed("keyfob copy --quiet --from sqlite: --to aws");
    world.succeed("keyfob --store aws get keystore --output read && cmp read bytes");
    let line = "keyfob copy --from aws --to vault --json";
    for line in [line.to_owned(), format!("{line} --dry-run")] {
        let refused = world.run(&line);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        let json: Value = serde_json::from_slice(&refused.stdout).unwrap();
        assert_eq!(
            (&json["failed"][0]["name"], &json["failed"][0]["kind"]),
            (&"keystore".into(), &"not_text".into())
        );
    }
    assert_eq!(world.known("vault"), Vec::<Value>::new());
}

/// A test server of AWS takes twelve digits in the place of a key for the number of an account.
#[test]
fn two_accounts_at_one_place_are_two_stores() {
    let test = "two_accounts_at_one_place_are_two_stores";
    let Some(mut world) = World::new().with(test, Provider::Aws) else {
        return;
    };
    world
        .variables
        .retain(|(name, _)| !name.starts_with("AWS_ACCESS") && !name.starts_with("AWS_SECRET_ACCESS"));
    let profile = |name: &str, account: &str| format!("[{name}]\naws_access_key_id = {account}\naws_secret_access_key = test\n");
    let directory = world.sandbox.path().join(".aws");
    fs::create_dir(&directory).unwrap();
    let profiles = profile("old", "111111111111") + &profile("new", "222222222222");
    fs::write(directory.join("credentials"), profiles).unwrap();
    let (old, new) = ("'aws://us-east-1?profile=old'", "'aws://us-east-1?profile=new'");
    world.filled = vec![old.to_owned(), new.to_owned()];
    world.succeed(&format!("printf kfcanary-switching7 | keyfob --store {old} set --quiet a"));
    let copied = world.json(&format!("keyfob copy --from {old} --to {new} --json"));
    assert_eq!(copied["created"], serde_json::json!(["a"]));
    world.succeed(&format!("test \"$(keyfob --store {new} get a)\" = kfcanary-switching7"));
    let refused = world.run(&format!("keyfob copy --from {old} --to {old}"));
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
}
