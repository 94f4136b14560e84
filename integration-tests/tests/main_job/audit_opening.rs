//! An audit log that can't be opened, is not the one that was there, or is not there at all.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::audit::audited;
use crate::{World, assert_has};

/// A process that holds the lock of the log in `audit` until this goes.
struct Held(Child);

impl Held {
    fn new(world: &World) -> Self {
        let mut holder = world.sandbox.program("bash");
        // One process, which takes the lock with it when it goes.
        let holder = holder.args(["-c", "exec 9>>audit/lock && flock 9 && echo held && exec sleep 60"]);
        let mut child = holder.stdout(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert_eq!(told, "held\n");
        Self(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// More than a command that ends waits for its log, and less than anything else that it would wait for.
const SOON: Duration = Duration::from_millis(4500);

#[test]
fn best_effort_waits_for_no_other_process_and_tells_what_it_lost() {
    let world = audited("");
    world.sh("keyfob get db/password --reason first >/dev/null").ok();
    let held = Held::new(&world);
    let begun = Instant::now();
    let answer = world.sh("SECRET_RETRY_DEADLINE=500 keyfob get db/password");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!((answer.code, &answer.out), (Some(0), &world.canary));
    assert_has(
        &answer.err,
        &[
            "warning",
            "1 audit record is lost",
            "within 2s",
            "another process holds it",
            "/audit`",
        ],
    );
    let begun = Instant::now();
    let started = world.sh("DB='${secret:db/password}' keyfob run -- sh -c 'echo started'");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!((started.code, &*started.out), (Some(0), "started\n"));
    assert_has(&started.err, &["warning", "lost"]);
    drop(held);
    world.sh("keyfob get db/password --reason last >/dev/null").ok();
    assert_has(&world.sh("keyfob audit verify").ok(), &["intact"]);
}

#[test]
fn durable_waits_for_another_process_within_the_deadline() {
    let world = audited("durable = true");
    let held = Held::new(&world);
    let begun = Instant::now();
    let err = world.sh("SECRET_RETRY_DEADLINE=500 keyfob get db/password").fails(1);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_has(
        &err,
        &[
            "could not be opened within the deadline",
            "another process holds the audit log",
            "/audit`",
            "hint",
            "fuser",
        ],
    );
    let err = world
        .sh("SECRET_RETRY_DEADLINE=500 DB='${secret:db/password}' keyfob run -- touch started")
        .fails(125);
    assert_has(&err, &["another process holds the audit log"]);
    assert!(!world.exists("started"));
    // A write is not even tried.
    world.sh("printf x | SECRET_RETRY_DEADLINE=500 keyfob set -q other").fails(1);
    drop(held);
    world.sh("keyfob get other").fails(1);
    world.sh("keyfob get db/password >/dev/null").ok();
}

#[test]
fn a_database_that_does_not_answer_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let world = audited("");
    let toml = world.sandbox.read("keyfob.toml");
    let store = format!("store = \"postgres://app@127.0.0.1:{port}/logs?sslmode=disable\"\nkey_file = \"audit.key\"");
    world.write("keyfob.toml", &toml.replace("directory = \"audit\"", &store));
    let begun = Instant::now();
    let answer = world.sh("keyfob get db/password");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!((answer.code, &answer.out), (Some(0), &world.canary));
    assert_has(&answer.err, &["warning", "1 audit record is lost", "does not answer"]);
    let begun = Instant::now();
    let toml = world.sandbox.read("keyfob.toml");
    world.write("keyfob.toml", &format!("{toml}durable = true\n"));
    let err = world.sh("SECRET_RETRY_DEADLINE=500 keyfob get db/password").fails(1);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_has(
        &err,
        &[
            "could not be opened within the deadline",
            &port.to_string(),
            "does not answer",
        ],
    );
}

#[test]
fn what_no_waiting_mends_is_an_error_in_best_effort_too() {
    let world = audited("");
    for (harm, back, told) in [
        ("mv audit.key away", "mv away audit.key", "audit.key_file"),
        ("chmod 777 audit", "chmod 700 audit", "other users may change the audit log"),
        ("mv audit away; touch audit", "rm audit; mv away audit", "audit.directory"),
        (
            "echo x > away; mv audit.key k; cp away audit.key; chmod 600 audit.key",
            "mv k audit.key",
            "audit.key_file",
        ),
    ] {
        world.sh(harm).ok();
        assert_has(&world.sh("keyfob get db/password").fails(1), &[told]);
        world.sh(back).ok();
    }
    world.sh("keyfob get db/password >/dev/null").ok();
    // What can't be added to is a loss, and told.
    world.sh("echo nonsense >> audit/audit-00000001.jsonl").ok();
    let answer = world.sh("keyfob get db/password");
    assert_eq!((answer.code, &answer.out), (Some(0), &world.canary));
    assert_has(&answer.err, &["1 audit record was lost", "damaged"]);
    // And so is a full disk, here a file that may not grow.
    let world = audited("[stores.plain]\nurl = \"dotenv:plain.env\"");
    world.write("plain.env", "T=plain\n");
    let answer = world.sh("trap '' XFSZ; ulimit -f 0; keyfob --store plain get T | cat; exit ${PIPESTATUS[0]}");
    assert_eq!((answer.code, &*answer.out), (Some(0), "plain"), "{answer:?}");
    assert_has(&answer.err, &["1 audit record was lost", "can't write to the audit log"]);
    let err = world
        .sh("trap '' XFSZ; ulimit -f 0; SECRET_AUDIT_DURABLE=true keyfob --store plain get T")
        .fails(1);
    assert_has(&err, &["withheld", "can't write to the audit log"]);
    assert!(!err.contains("lost"), "it was said already: {err}");
}

#[test]
fn a_log_that_was_taken_away_is_missed() {
    let world = audited("");
    world.sh("keyfob get db/password >/dev/null; cp -a audit copy").ok();
    let told = world.sh("keyfob audit verify").ok();
    assert_has(&told, &["intact", "it is the log that this machine remembers to have signed"]);
    let signed = world.sh("keyfob audit verify --json").json()["remembered"].as_u64().unwrap();
    world.sh("rm -r audit").ok();
    let err = world.sh("keyfob audit verify").fails(3);
    assert_has(&err, &["is gone", &format!("up to record {signed} it was signed")]);

    // Durable: nothing until somebody says that it is as it should be.
    let err = world.sh("SECRET_AUDIT_DURABLE=true keyfob get db/password").fails(1);
    assert_has(
        &err,
        &[
            "not the one that was here",
            &format!("it had {signed} records"),
            "remove `",
            ".audit`",
        ],
    );
    let err = world.sh("keyfob audit init").fails(1);
    assert_has(&err, &["not the one that was here"]);
    assert!(
        !world.exists("audit"),
        "what is refused begins nothing, so that the log can be moved back"
    );
    assert_has(&world.sh("keyfob audit checkpoint").fails(3), &["is gone"]);
    let record = err.split("remove `").nth(1).unwrap().split('`').next().unwrap().to_owned();

    // Best effort: it goes on with a mark, and tells once.
    let answer = world.sh("keyfob get db/password");
    assert_eq!((answer.code, &answer.out), (Some(0), &world.canary));
    assert_has(&answer.err, &["warning", "the log goes on with a mark", &record]);
    assert_eq!(world.sh("keyfob get db/password").err, "");
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["changed", &format!("missed record {signed}")]);
    world.sh("keyfob audit tail").ok();

    // On purpose.
    world.sh(&format!("rm -r audit '{record}'")).ok();
    world.sh("SECRET_AUDIT_DURABLE=true keyfob get db/password >/dev/null").ok();
    world.sh("keyfob audit verify").ok();
    // A copy elsewhere is nothing that this machine has signed.
    let copy = world.sh("keyfob audit verify copy --public-key audit.pub --json").json();
    assert_eq!(
        (&copy["intact"], &copy["remembered"]),
        (&true.into(), &serde_json::Value::Null)
    );
    // Without a place to remember nothing is missed.
    world.sh("rm -r audit").ok();
    world
        .sh("KEYFOB_STATE_DIR=/dev/null/x SECRET_AUDIT_DURABLE=true keyfob get db/password >/dev/null")
        .ok();
}

#[test]
fn signatures_that_were_cut_off_are_missed_on_the_machine_that_made_them() {
    let world = audited("");
    for _ in 0..3 {
        world.sh("keyfob get db/password >/dev/null").ok();
    }
    let log = world.log();
    let cut: String = log.lines().take(2).map(|line| format!("{line}\n")).collect();
    world.write("audit/audit-00000001.jsonl", &cut);
    let answer = world.sh("keyfob audit verify");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["cut off", "this machine remembers"]);
    let answer = world.sh("keyfob audit checkpoint");
    assert_eq!((answer.code, &*answer.out), (Some(1), ""), "{answer:?}");
    assert_has(&answer.err, &["not the one that was here", "keyfob audit verify"]);
    world.sh("KEYFOB_STATE_DIR=/dev/null/x keyfob audit checkpoint").ok();
    world.sh("KEYFOB_STATE_DIR=/dev/null/x keyfob audit verify").ok();
    let err = world.sh("SECRET_AUDIT_DURABLE=true keyfob get db/password").fails(1);
    assert_has(&err, &["ends after 2"]);
    assert_eq!(world.log(), cut, "a log that is refused is left as it is");
    world.write("audit/audit-00000001.jsonl", &log);
    world.sh("SECRET_AUDIT_DURABLE=true keyfob get db/password >/dev/null").ok();
    world.sh("keyfob audit verify").ok();
}

#[test]
fn a_log_that_another_key_has_signed_is_refused_or_told() {
    for table in [false, true] {
        let world = World::new();
        let log = if table {
            "sqlite:audit.db --key-file audit.key"
        } else {
            "audit"
        };
        world.sh(&format!("keyfob audit init -q {log}")).ok();
        world
            .sh("keyfob audit init -q other && mv audit.key away && cp other.key audit.key")
            .ok();
        let before = world.sh("keyfob audit export").ok();
        let err = world.sh("SECRET_AUDIT_DURABLE=true keyfob get db/password").fails(1);
        assert_has(&err, &["signed with another key", "signed_by", "audit.key_file"]);
        assert_eq!(world.sh("keyfob audit export").ok(), before);
        let answer = world.sh("keyfob get db/password");
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert_has(&answer.err, &["warning", "signed with another key", "public keys of both"]);
        world
            .sh("keyfob audit verify --public-key audit.pub --public-key other.pub")
            .ok();
        assert_eq!(world.sh("keyfob audit verify --public-key audit.pub").code, Some(1));
    }
}

#[test]
fn a_log_that_is_not_there_is_said_to_be_so_and_not_made() {
    let world = World::new();
    for log in ["nowhere", "sqlite:nowhere.db", "sqlite:no/where.db"] {
        for command in ["verify", "export", "tail", "checkpoint"] {
            let err = world.sh(&format!("keyfob audit {command} {log}")).fails(3);
            assert_has(
                &err,
                &["there is no audit log", "nowhere"].map(|part| if log.contains("no/") { "no" } else { part }),
            );
        }
    }
    assert!(!world.exists("nowhere") && !world.exists("nowhere.db"));
}

#[test]
fn an_init_that_fails_leaves_no_keys_behind() {
    let world = World::new();
    world
        .sh("touch file; mkdir -m 777 open; chmod 777 open; head -c 5000 /etc/services > text.db; chmod 600 text.db")
        .ok();
    let before = world.names(".");
    for log in [
        "file",
        "open",
        "open/log --mask-names",
        "sqlite:no/where.db --key-file new.key",
        "sqlite:text.db --key-file new.key",
        "'postgres://app@127.0.0.1:1/logs?sslmode=disable' --key-file new.key",
    ] {
        let err = world.sh(&format!("keyfob audit init {log}")).fails(1);
        assert_has(&err, &["made the signing key", "removed `"]);
        let left: Vec<String> = world.names(".");
        assert_eq!(left, before, "{log}");
        world.sh("rmdir open/log 2>/dev/null || true").ok();
    }
    assert_eq!(world.names("open"), Vec::<String>::new());
    // What was there before stays.
    world.sh("keyfob audit init -q audit && chmod 777 audit").ok();
    world.sh("keyfob audit init audit").fails(1);
    assert!(world.exists("audit.key") && world.exists("audit.pub"));
}
