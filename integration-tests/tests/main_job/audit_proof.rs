//! What `keyfob audit verify` finds, and how it ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_audit::{FileAudit, FileAuditOptions, SigningKey};
use keyfob_core::{BoxFuture, Clock};
use serde_json::Value;

use crate::audit::audited;
use crate::{World, assert_has};

#[test]
fn a_change_of_the_log_is_found_and_the_record_named() {
    let world = audited("");
    for _ in 0..3 {
        world.sh("keyfob get db/password >/dev/null").ok();
    }
    world.sh("keyfob audit checkpoint > kept.jsonl").ok();
    let log = world.log();
    let edited = log.replacen("\"user\":\"", "\"user\":\"x", 2);
    // Of the first access alone.
    let line = log.lines().position(|line| line.contains("\"kind\":\"access\"")).unwrap() + 1;
    world.write("audit/audit-00000001.jsonl", &edited);
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1));
    assert_has(
        &answer.out,
        &["changed", &format!("audit-00000001.jsonl:{line}: record {line}:")],
    );
    let answer = world.sh("keyfob audit verify --json");
    assert_eq!((answer.code, &answer.json()["finding"]["record"]), (Some(1), &line.into()));

    // Cut off at the end: only the checkpoint knows, and the machine that has signed it.
    let cut: String = log.lines().take(line + 1).map(|line| format!("{line}\n")).collect();
    world.write("audit/audit-00000001.jsonl", &cut);
    world.sh("KEYFOB_STATE_DIR=/dev/null/x keyfob audit verify").ok();
    let answer = world.sh("KEYFOB_STATE_DIR=/dev/null/x keyfob audit verify --checkpoint kept.jsonl");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["cut off"]);

    world.write("audit/audit-00000001.jsonl", &log);
    world
        .sh("keyfob audit verify --checkpoint kept.jsonl --public-key audit.pub")
        .ok();
    world.sh("keyfob audit init -q other").ok();
    assert_eq!(world.sh("keyfob audit verify audit --public-key other.pub").code, Some(1));
}

#[test]
fn of_two_logs_both_are_proven() {
    let world = audited("store = \"sqlite:audit.db\"");
    world.sh("keyfob get db/password --reason '=1+1' >/dev/null").ok();
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_has(&answer.out, &["/audit:", "audit.db:"]);
    assert_eq!(answer.out.matches("intact").count(), 2);
    let answer = world.sh("keyfob audit verify --json | jq -r '[.log, .intact, .kept_expired] | @csv' | sed 's|.*/||'");
    assert_eq!(answer.out, "audit\",true,0\n\"sqlite:audit.db\",true,0\n");
    // The others say of which log they are.
    for command in ["tail", "export", "checkpoint"] {
        assert_has(
            &world.sh(&format!("keyfob audit {command}")).err,
            &["/audit`", "audit.db` too"],
        );
        let named = world.sh(&format!("keyfob audit {command} sqlite:audit.db"));
        assert_eq!((named.code, &*named.err), (Some(0), ""));
    }
    assert_has(&world.sh("keyfob audit export --format csv").ok(), &[",'=1+1\n"]);
    world.sh("keyfob audit checkpoint sqlite:audit.db > kept.jsonl").ok();
    let err = world.sh("keyfob audit verify --checkpoint kept.jsonl").fails(2);
    assert_has(&err, &["name the log"]);
    world.sh("keyfob audit verify sqlite:audit.db --checkpoint kept.jsonl").ok();

    // Either of them alone.
    let log = world.log();
    world.write("audit/audit-00000001.jsonl", &log.replacen("=1+1", "=1+2", 1));
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["changed", "intact"]);
    world.write("audit/audit-00000001.jsonl", &log);
    world.sh("keyfob audit verify >/dev/null").ok();
    // That one of them is gone proves no change, and hides none.
    world.sh("mv audit.db away").ok();
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert_has(&answer.out, &["intact"]);
    world.write("audit/audit-00000001.jsonl", &log.replacen("=1+1", "=1+2", 1));
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["changed"]);
    assert_has(&answer.err, &["is gone", "audit.db"]);
    world.sh("mv away audit.db && rm -r audit").ok();
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert_has(&answer.out, &["intact"]);
}

#[test]
fn what_can_not_be_proven_is_not_called_changed() {
    let world = audited("");
    world
        .sh("keyfob get db/password >/dev/null; keyfob audit checkpoint > kept.jsonl; echo hello > text")
        .ok();
    for options in [
        "nowhere",
        "nowhere --public-key audit.pub",
        "--public-key nowhere",
        "--public-key text",
        "--checkpoint nowhere",
        "--checkpoint text",
        "sqlite:nowhere/audit.db --public-key audit.pub",
    ] {
        world.sh(&format!("keyfob audit verify {options}")).fails(3);
    }
    assert_eq!(world.sh("keyfob audit verify > /dev/full").code, Some(3));
    world.sh("keyfob audit verify").ok();
}

#[test]
fn a_file_that_the_log_announces_and_that_is_gone_is_told() {
    let world = audited("max_bytes = 4096");
    world
        .sh("for i in $(seq 12); do keyfob get db/password >/dev/null; done")
        .ok();
    let files = world.names("audit").into_iter().filter(|name| name.starts_with("audit-"));
    let last = files.max().unwrap();
    assert_ne!(last, "audit-00000001.jsonl");
    let answer = world.sh("keyfob audit verify");
    assert!(answer.code == Some(0) && !answer.out.contains("warning"), "{answer:?}");
    assert_eq!(world.sh("keyfob audit verify --json").json()["next_missing"], Value::Null);
    world.sh(&format!("rm audit/{last}")).ok();
    let number: u64 = last["audit-".len()..].trim_end_matches(".jsonl").parse().unwrap();
    let elsewhere = "KEYFOB_STATE_DIR=/dev/null/x keyfob audit verify";
    let answer = world.sh(elsewhere);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_has(&answer.out, &["warning", &format!("file {number} comes next")]);
    assert_eq!(world.sh(&format!("{elsewhere} --json")).json()["next_missing"], number);
    // Where it was signed it is certain.
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["cut off"]);
}

/// A clock that stands still, so many days after some day.
#[derive(Debug)]
struct Day(u64);

impl Clock for Day {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0 * 86_400)
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((15_000 + self.0) * 86_400)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn a_checkpoint_of_a_file_that_was_old_enough_is_told() {
    let world = World::empty();
    let work = world.sandbox.work();
    let key = SigningKey::create_file(work.join("audit.key")).unwrap();
    world.write("audit.pub", &format!("{}\n", key.public_key()));
    // A file each time, two years from one to the next.
    for number in 0..4 {
        let key = SigningKey::from_file(work.join("audit.key")).unwrap();
        let options = FileAuditOptions::new(work.join("audit"), key).clock(Arc::new(Day(number * 730)));
        let log = FileAudit::open(options.keep_years(3)).unwrap();
        log.close().unwrap();
        world.sh("keyfob audit checkpoint audit >> kept.jsonl").ok();
    }
    assert!(!world.exists("audit/audit-00000001.jsonl"));
    let verify = "keyfob audit verify audit --checkpoint kept.jsonl";
    let answer = world.sh(verify);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_has(
        &answer.out,
        &["1 file was old enough and deleted", "1 kept checkpoint is of such files"],
    );
    let told = world.sh(&format!("{verify} --json")).json();
    assert_eq!((&told["expired"], &told["kept_expired"]), (&1.into(), &1.into()));
}
