//! `keyfob copy`

mod sandbox;

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sandbox::{BINARY, Sandbox, keys};

/// The embedded store with `same`, `other` and `new`, and a file `to.env` with the first two.
fn both() -> Sandbox {
    let sandbox = Sandbox::with_store();
    for name in ["same", "other", "new"] {
        sandbox.pipe("kfcanary-copycli1", &["set", name]).succeeds();
    }
    for (name, value) in [("same", "kfcanary-copycli1"), ("other", "kfcanary-copycli2")] {
        sandbox.pipe(value, &["--store", "dotenv:to.env", "set", name]).succeeds();
    }
    sandbox
}

fn in_target(sandbox: &Sandbox, name: &str) -> String {
    sandbox.run(&["--store", "dotenv:to.env", "get", name]).succeeds().out
}

const COPY: [&str; 5] = ["copy", "--from", "local", "--to", "dotenv:to.env"];

fn copy<'a>(more: &[&'a str]) -> Vec<&'a str> {
    COPY.iter().chain(more).copied().collect()
}

#[test]
fn a_dry_run_shows_everything_and_does_nothing() {
    let sandbox = both();
    let before = fs::read(sandbox.work().join("to.env")).unwrap();
    let shown = sandbox.run(&copy(&["--dry-run"])).succeeds();
    assert_eq!(
        shown.out,
        "NAME   ACTION   WHY\n\
         new    create   -\n\
         other  leave    the target has another value\n\
         same   nothing  the target has the same\n"
    );
    assert_eq!(
        shown.err,
        "would be: 1 created, 0 changed, 1 unchanged, 1 left, 0 failed\n\
         hint: what differs in the target was left alone; `--overwrite` replaces it\n"
    );
    let shown = sandbox.run(&copy(&["--dry-run", "--overwrite"])).succeeds();
    assert!(
        shown.out.contains("other  change   the target has another value\n"),
        "{shown:?}"
    );
    assert_eq!(fs::read(sandbox.work().join("to.env")).unwrap(), before);
}

#[test]
fn what_differs_is_kept_unless_it_is_to_be_overwritten() {
    let sandbox = both();
    let copied = sandbox.run(&COPY).succeeds();
    assert_eq!(
        (copied.out.as_str(), copied.err.as_str()),
        (
            "",
            "left `other`: the target has another value\n\
             1 created, 0 changed, 1 unchanged, 1 left, 0 failed\n\
             hint: what differs in the target was left alone; `--overwrite` replaces it\n"
        )
    );
    assert!(in_target(&sandbox, "new") == "kfcanary-copycli1");
    assert!(in_target(&sandbox, "other") == "kfcanary-copycli2");
    let copied = sandbox.run(&copy(&["--overwrite"])).succeeds();
    assert_eq!(copied.err, "0 created, 1 changed, 2 unchanged, 0 left, 0 failed\n");
    assert!(in_target(&sandbox, "other") == "kfcanary-copycli1");
    let again = sandbox.run(&copy(&["--overwrite", "--quiet"])).succeeds();
    assert_eq!((again.out.as_str(), again.err.as_str()), ("", ""));
}

#[test]
fn json_has_a_stable_shape() {
    let sandbox = both();
    sandbox
        .pipe("kfcanary-copycli3", &["set", "tagged", "--tag", "team=db"])
        .succeeds();
    let copied = sandbox.run(&copy(&["--json"]));
    assert_eq!(copied.code, 1);
    let json = copied.json();
    assert_eq!(keys(&json), ["dry_run", "created", "changed", "unchanged", "left", "failed"]);
    assert_eq!(keys(&json["failed"][0]), ["name", "kind", "why", "hint"]);
    assert_eq!(
        json,
        serde_json::json!({
            "dry_run": false, "created": ["new"], "changed": [], "unchanged": ["same"], "left": ["other"],
            "failed": [{
                "name": "tagged",
                "kind": "unsupported",
                "why": "the target keeps no tags, which the secret has (name `tagged`, store `dotenv`)",
                "hint": "`--drop-metadata` copies without what the target can't keep",
            }],
        })
    );
    let dry = sandbox
        .run(&copy(&["--json", "--dry-run", "--drop-metadata"]))
        .succeeds()
        .json();
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["created"], serde_json::json!(["tagged"]));
}

#[test]
fn what_cannot_be_copied_is_told_once_and_the_rest_is_copied() {
    let sandbox = both();
    sandbox
        .pipe("kfcanary-copycli3", &["set", "tagged", "--tag", "team=db"])
        .succeeds();
    let copied = sandbox.run(&copy(&["--overwrite", "--quiet"]));
    assert_eq!(
        (copied.code, copied.err.as_str()),
        (
            1,
            "warning: `tagged` is not copied: the target keeps no tags, which the secret has (name `tagged`, store `dotenv`)\n"
        )
    );
    assert!(in_target(&sandbox, "new") == "kfcanary-copycli1");
}

#[test]
fn a_prefix_selects() {
    let sandbox = both();
    sandbox.run(&copy(&["--prefix", "ne"])).succeeds();
    assert!(in_target(&sandbox, "new") == "kfcanary-copycli1");
    let none = sandbox.run(&copy(&["--prefix", "nothing/"])).succeeds();
    assert_eq!(none.err, "there is nothing to copy\n");
}

#[test]
fn two_different_stores_are_needed() {
    let sandbox = both();
    sandbox.run(&["copy", "--from", "local", "--to", "sqlite"]).fails(
        1,
        "error: `--from` and `--to` are the same store (store `~/.local/share/keyfob/secrets.db`)\n",
    );
    std::os::unix::fs::symlink("to.env", sandbox.work().join("link.env")).unwrap();
    let refused = sandbox.run(&["copy", "--from", "dotenv:link.env", "--to", "dotenv:to.env"]);
    assert!(refused.code == 1 && refused.err.contains("the same store"), "{refused:?}");
    sandbox.run(&copy(&["--store", "local"])).fails(
        2,
        "error: a copy has two stores\nhint: name them with `--from` and `--to` instead of `--store`\n",
    );
    assert_eq!(sandbox.run(&["copy", "--from", "local"]).code, 2);
    assert_eq!(sandbox.run(&copy(&["-j", "0"])).code, 2);
    sandbox.run(&["copy", "--from", "local", "--to", "lcoal"]).fails(
        1,
        "error: there is no store or provider `lcoal` (chosen by `the command line`, option `--to`)
\
         hint: did you mean `local`?
",
    );
}

#[test]
fn a_target_that_is_read_only_is_refused() {
    let sandbox = both();
    sandbox
        .run(&["copy", "--from", "local", "--to", "env"])
        .fails(1, "error: the target is read-only (store `the process environment`)\n");
}

#[test]
fn killed_in_the_middle_nothing_is_lost_and_a_second_copy_finishes() {
    const COUNT: usize = 300;
    let sandbox = Sandbox::with_store();
    sandbox.run(&["init", "--path", "to.db", "--no-project"]).succeeds();
    let mut file = String::new();
    for index in 0..COUNT {
        writeln!(file, "S_{index:03}=kfcanary-copykill{index}").unwrap();
    }
    fs::write(sandbox.work().join("from.env"), file).unwrap();
    let line = ["copy", "--from", "dotenv:from.env", "--to", "sqlite:to.db"];
    let there = || {
        let list = sandbox.run(&["--store", "sqlite:to.db", "list", "--json"]).succeeds().json();
        list.as_array().unwrap().clone()
    };
    let mut child = Killed(
        sandbox
            .command(BINARY)
            .args(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let end = Instant::now() + Duration::from_secs(60);
    while there().len() < 10 {
        assert!(Instant::now() < end, "nothing is copied");
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let copied = there().len();
    assert!(copied < COUNT, "it was killed too late");
    let again = sandbox.run(&line).succeeds();
    assert_eq!(
        again.err,
        format!(
            "{} created, 0 changed, {copied} unchanged, 0 left, 0 failed\n",
            COUNT - copied
        )
    );
    let all = there();
    assert_eq!(all.len(), COUNT);
    // Versions count from one: each was written once.
    assert!(all.iter().all(|secret| secret["version"] == "1"));
    for index in [0, copied - 1, COUNT - 1] {
        let value = sandbox.run(&["--store", "sqlite:to.db", "get", &format!("S_{index:03}")]);
        assert!(value.succeeds().out == format!("kfcanary-copykill{index}"));
    }
}

/// Ends with the test, whatever becomes of that.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
