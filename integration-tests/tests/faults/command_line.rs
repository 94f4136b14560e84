//! The command line in front of a dead network: it ends in time, says what is wrong, and leaves nothing half done.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use keyfob_integration_tests::fault_proxy::{Fault, FaultProxy, Rule};
use keyfob_integration_tests::sandbox::{Sandbox, said};

const CREDENTIAL: &str = "kf-credential-8fa14cdd754f";
const VALUE: &str = "kfcanary-commandline42";
/// One second for the store and plenty for starting on a machine that is busy.
const IN_TIME: Duration = Duration::from_secs(5);

/// What a dead network is, and what a person is told of it.
const DEAD: &[(Dead, &str)] = &[(Dead::Refused, "unavailable"), (Dead::Silent, "timeout")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    Refused,
    Silent,
}

#[test]
fn commands_end_in_time_with_a_report_and_leave_nothing() {
    for provider in ["aws", "vault"] {
        for (dead, kind) in DEAD {
            let world = World::new(provider, *dead);
            world.all(kind);
        }
    }
}

#[test]
fn verbose_commands_show_no_value_and_no_credential() {
    let test = "verbose_commands_show_no_value_and_no_credential";
    for (provider, variable) in [("aws", "KEYFOB_TEST_LOCALSTACK_URL"), ("vault", "KEYFOB_TEST_OPENBAO_URL")] {
        let Some(address) = keyfob_testkit::server(test, variable) else {
            return;
        };
        let Some(token) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TOKEN") else {
            return;
        };
        let world = World::at(provider, FaultProxy::to(&address).unwrap().start().unwrap(), &token);
        world.sandbox.write("value", VALUE);
        world.sandbox.write("app.yaml", "a: ${secret:verbose/secret}\n");
        for (arguments, shows) in [
            (&["set", "verbose/secret", "--from-file", "value"][..], false),
            (&["get", "verbose/secret"], true),
            (&["resolve", "app.yaml"], true),
            (&["list"], false),
            (&["versions", "verbose/secret"], false),
            (&["delete", "verbose/secret", "--permanent", "--yes"], false),
        ] {
            let mut command = world.keyfob(arguments);
            command.arg("-vvv").env("RUST_LOG", "trace").env("AWS_SDK_LOG", "trace");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{provider} {arguments:?}: {:?}", output.status);
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(out.contains(VALUE), shows, "{provider} {arguments:?}");
            assert!(
                !err.is_empty(),
                "{provider} {arguments:?} says nothing although it was asked to"
            );
            for secret in [VALUE, CREDENTIAL, token.as_str()] {
                assert!(
                    !err.contains(secret),
                    "{provider} {arguments:?} shows a value or a credential"
                );
            }
        }
    }
}

struct World {
    sandbox: Sandbox,
    proxy: FaultProxy,
    store: String,
    token: String,
}

impl World {
    fn new(provider: &str, dead: Dead) -> Self {
        let proxy = FaultProxy::alone().start().unwrap();
        match dead {
            Dead::Refused => proxy.refuse(),
            Dead::Silent => proxy.add(Rule::new(Fault::Hang)),
        }
        Self::at(provider, proxy, CREDENTIAL)
    }

    fn at(provider: &str, proxy: FaultProxy, token: &str) -> Self {
        let prefix = format!("keyfob-faults-cli-{}/", std::process::id());
        let address = proxy.url();
        let store = match provider {
            "aws" => format!("aws://us-east-1?endpoint={address}&prefix={prefix}&timeout=1"),
            _ => format!("vault:secret?address={address}&prefix={prefix}&timeout=1"),
        };
        Self {
            sandbox: Sandbox::new(),
            proxy,
            store,
            token: token.to_owned(),
        }
    }

    fn keyfob(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.keyfob(arguments);
        command
            .env("SECRET_PROVIDER", &self.store)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("VAULT_TOKEN", &self.token)
            .stdin(Stdio::null());
        command
    }

    fn all(&self, kind: &str) {
        self.sandbox
            .write("app.yaml", "a: ${secret:db/password}\nb: plain\nc: ${secret:db/user}\n");
        self.sandbox.write("before.yaml", "before: true\n");
        let names = self.names();

        let err = self.fails(&["get", "db/password"], 1);
        assert_has(&err, &["db/password"]);
        let err = self.fails(&["resolve", "app.yaml", "--output", "out.yaml"], 1);
        assert_has(&err, &["app.yaml:1:4", "app.yaml:3:4", "2 of 2", kind]);
        self.fails(&["resolve", "app.yaml", "--output", "before.yaml"], 1);
        assert_eq!(self.sandbox.read("before.yaml"), "before: true\n");
        let err = self.fails(&["check", "app.yaml"], 1);
        assert_has(&err, &["app.yaml:1:4", kind]);
        let err = self.ended(
            self.keyfob(&["run", "--", "touch", "started"])
                .env("SECRET", "${secret:db/password}"),
            125,
        );
        assert_has(&err, &["SECRET", kind]);
        self.fails(&["list"], 1);
        self.fails(&["export", "--format", "json", "--output", "out.json"], 1);
        assert_eq!(self.names(), names, "something was left behind");
    }

    fn fails(&self, arguments: &[&str], code: i32) -> String {
        self.ended(&mut self.keyfob(arguments), code)
    }

    /// Ended so, in time, without output; gives the report.
    fn ended(&self, command: &mut Command, code: i32) -> String {
        let start = Instant::now();
        let output: Output = command.output().unwrap();
        let elapsed = start.elapsed();
        let what = format!("{command:?} on {}: {}", self.proxy.url(), said(&output));
        let err = text(&output.stderr);
        assert!(
            !err.contains(CREDENTIAL) && !err.contains("kfcanary-"),
            "a credential or a value is shown"
        );
        assert!(elapsed < IN_TIME, "{elapsed:?}: {what}");
        assert_eq!(output.status.code(), Some(code), "{what}");
        assert!(output.stdout.is_empty(), "{what}");
        assert!(
            err.contains("error") && !err.contains("panicked") && err.lines().count() < 20,
            "{what}"
        );
        err
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.sandbox.work()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
