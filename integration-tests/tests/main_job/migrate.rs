//! `keyfob migrate`, its report and its rollback

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{World, assert_has};

/// A `.env` file with two secrets, and an empty encrypted store.
fn with_env() -> World {
    let world = World::empty();
    world.sh("keyfob init -q").ok();
    world.write(
        ".env",
        &format!("DB_PASSWORD={}-db\nAPI_KEY={}-api\n", world.canary, world.canary),
    );
    world
}

/// Two encrypted stores, `a` with secrets and `b` with one of them otherwise.
fn with_two() -> World {
    let world = World::empty();
    world
        .sh("keyfob init -q --no-project && keyfob init -q --no-project --store sqlite:b.db")
        .ok();
    for (store, name, value, more) in [
        (
            "sqlite:",
            "app/new",
            "new",
            "--tag team=web --expires 2040-01-02 --description 'of a'",
        ),
        ("sqlite:", "app/other", "a", "--tag from=a"),
        ("sqlite:", "app/same", "same", ""),
        (
            "sqlite:b.db",
            "app/other",
            "b",
            "--tag from=b --description 'of b' --expires 2041-01-02",
        ),
        ("sqlite:b.db", "app/same", "same", ""),
        ("sqlite:b.db", "app/theirs", "theirs", ""),
    ] {
        let canary = &world.canary;
        world
            .sh(&format!(
                "printf %s {canary}-{value} | keyfob --store {store} set -q {name} {more}"
            ))
            .ok();
    }
    world
}

const MIGRATE: &str = "keyfob migrate --from sqlite: --to sqlite:b.db";

fn value(world: &World, store: &str, name: &str) -> String {
    let shown = world.sh(&format!("keyfob --store {store} get {name}")).ok();
    shown.replace(&format!("{}-", world.canary), "")
}

/// All that a store has: names, hashes of values, description, tags, expiry.
fn everything(world: &World, store: &str) -> String {
    world
        .sh(&format!(
            "for name in $(keyfob --store {store} list --json | jq -r '.[].name'); do \
             keyfob --store {store} get --json --allow-expired $name | jq -cS '{{name, value, description, tags, expires}}'; done"
        ))
        .ok()
}

#[test]
fn a_plan_tells_everything_and_does_nothing() {
    let world = with_env();
    let plan = world.sh("keyfob migrate --from .env --to sqlite: --plan");
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert_eq!(
        plan.out,
        "NAME         ACTION  WHY\nAPI_KEY      create  -\nDB_PASSWORD  create  -\n"
    );
    assert_has(&plan.err, &["would be: 2 created, 0 changed, 0 unchanged, 0 left, 0 failed"]);
    assert_eq!(world.sh("keyfob list --json").json(), json!([]));
    assert!(!world.exists("keyfob-migration.jsonl"));
}

#[test]
fn what_the_target_cannot_hold_is_told_before_the_first_write() {
    let world = with_two();
    world
        .sh(&format!(
            "head -c 70000 /dev/zero | tr '\\0' x | cat <(printf {}) - | keyfob --store sqlite: set -q app/large",
            world.canary
        ))
        .ok();
    world
        .sh("printf '\\377kfcanary-binary01' | keyfob --store sqlite: set -q app/binary")
        .ok();
    let plan = world.sh("keyfob migrate --from sqlite: --to dotenv:out.env --plan");
    assert_eq!(plan.code, Some(1), "{plan:?}");
    assert_has(
        &plan.out,
        &[
            "app/new     fail    the target keeps no description and no tags and no expiry, which the secret has",
            "app/binary  fail    this store keeps text, the value is not UTF-8",
            "app/same    create",
        ],
    );
    assert!(!world.exists("out.env"));
    let done = world.sh("keyfob migrate --from sqlite: --to dotenv:out.env --json");
    assert_eq!(done.code, Some(1), "{done:?}");
    let failed: Vec<&str> = done.json()["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| failed["kind"].as_str().unwrap())
        .map(|kind| match kind {
            "unsupported" => "unsupported",
            "not_text" => "not_text",
            _ => "other",
        })
        .collect();
    assert!(failed.contains(&"not_text") && failed.contains(&"unsupported"), "{failed:?}");
    let report = world.sh("keyfob migrate report keyfob-migration.jsonl").ok();
    assert_has(&report, &["app/binary  failed", "app/same    created"]);
}

#[test]
fn a_migration_can_be_taken_back_and_made_again() {
    let world = with_env();
    let done = world.sh("keyfob migrate --from .env --to sqlite: --json");
    assert_eq!(done.code, Some(0), "{done:?}");
    let none: [&str; 0] = [];
    assert_eq!(
        done.json(),
        json!({"dry_run": false, "created": ["API_KEY", "DB_PASSWORD"], "changed": none, "unchanged": none, "left": none,
               "failed": none, "report": "keyfob-migration.jsonl", "backup": null, "rewrite": null})
    );
    assert_eq!(world.mode("keyfob-migration.jsonl"), 0o600);
    assert!(
        !world.sandbox.read("keyfob-migration.jsonl").contains("kfcanary"),
        "the report has a value"
    );
    assert_eq!(value(&world, "sqlite:", "DB_PASSWORD"), "db");

    let again = world.sh("keyfob migrate --from .env --to sqlite:");
    assert_has(&again.err, &["0 created, 0 changed, 2 unchanged, 0 left, 0 failed"]);
    assert_eq!(world.sh("keyfob versions API_KEY --json | jq length").ok(), "1\n");

    let dry = world.sh("keyfob migrate rollback keyfob-migration.jsonl --dry-run");
    assert_eq!(
        dry.out,
        "NAME         ACTION  WHY\nAPI_KEY      delete  -\nDB_PASSWORD  delete  -\n"
    );
    assert_eq!(value(&world, "sqlite:", "API_KEY"), "api");
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_eq!(
        (back.code, back.err.as_str()),
        (Some(0), "0 put back, 2 deleted, 0 unchanged, 0 left, 0 failed\n")
    );
    assert_eq!(world.sh("keyfob list --json").json(), json!([]));
    let twice = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_eq!(
        (twice.code, twice.err.as_str()),
        (Some(0), "0 put back, 0 deleted, 2 unchanged, 0 left, 0 failed\n")
    );
    let report = world.sh("keyfob migrate report keyfob-migration.jsonl --json").json();
    assert_eq!(report["secrets"][0]["rolled_back"], "unchanged", "{report}");

    // The names belong to what is deleted now.
    let refused = world.sh("keyfob migrate --from .env --to sqlite:");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    world.sh("keyfob migrate --from .env --to sqlite: --bring-back").ok();
    assert_eq!(value(&world, "sqlite:", "DB_PASSWORD"), "db");
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_has(&back.err, &["0 put back, 2 deleted, 0 unchanged, 0 left, 0 failed"]);
}

#[test]
fn what_is_replaced_is_in_a_snapshot_and_comes_back_as_it_was() {
    let world = with_two();
    let before = everything(&world, "sqlite:b.db");
    assert_has(
        &world.sh(MIGRATE).err,
        &[
            "left `app/other`: the target has another value",
            "1 created, 0 changed, 1 unchanged, 1 left",
        ],
    );
    let done = world.sh(&format!("{MIGRATE} --overwrite --json"));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.json()["changed"], json!(["app/other"]));
    assert_eq!(done.json()["backup"].as_str().map(str::len), Some(32), "{done:?}");
    let diff = world.sh("keyfob diff sqlite: sqlite:b.db");
    assert_eq!(
        (diff.code, diff.out.as_str()),
        (Some(1), "NAME        DIFFERENCE\napp/theirs  only in the second\n")
    );

    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl --json");
    assert_eq!(back.code, Some(0), "{back:?}");
    let none: [&str; 0] = [];
    assert_eq!(
        back.json(),
        json!({"dry_run": false, "put_back": ["app/other"], "deleted": ["app/new"], "unchanged": none, "left": none, "failed": none})
    );
    assert_eq!(everything(&world, "sqlite:b.db"), before);
    let twice = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_has(&twice.err, &["0 put back, 0 deleted, 2 unchanged, 0 left, 0 failed"]);
}

#[test]
fn what_two_runs_wrote_goes_back_to_what_was_there_before_the_first() {
    let world = with_two();
    let before = everything(&world, "sqlite:b.db");
    world.sh(&format!("{MIGRATE} --overwrite")).ok();
    world
        .sh(&format!(
            "printf %s {}-later | keyfob --store sqlite: set -q app/other",
            world.canary
        ))
        .ok();
    world
        .sh(&format!(
            "printf %s {}-later | keyfob --store sqlite: set -q app/new",
            world.canary
        ))
        .ok();
    world.sh(&format!("{MIGRATE} --overwrite")).ok();
    assert_eq!(value(&world, "sqlite:b.db", "app/other"), "later");
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_has(&back.err, &["1 put back, 1 deleted, 0 unchanged, 0 left, 0 failed"]);
    assert_eq!(everything(&world, "sqlite:b.db"), before);
}

#[test]
fn what_somebody_changed_since_is_kept() {
    let world = with_two();
    world.sh(&format!("{MIGRATE} --overwrite")).ok();
    for name in ["app/new", "app/other"] {
        world
            .sh(&format!(
                "printf %s {}-theirs | keyfob --store sqlite:b.db set -q {name}",
                world.canary
            ))
            .ok();
    }
    let dry = world.sh("keyfob migrate rollback keyfob-migration.jsonl --dry-run").ok();
    assert_has(&dry, &["app/new    leave   somebody changed or deleted it since"]);
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_has(
        &back.err,
        &[
            "left `app/new`: somebody changed",
            "0 put back, 0 deleted, 0 unchanged, 2 left, 0 failed",
        ],
    );
    assert_eq!(value(&world, "sqlite:b.db", "app/other"), "theirs");

    // What they wrote between two runs is what was there before the second.
    world.sh(&format!("{MIGRATE} --overwrite")).ok();
    assert_eq!(value(&world, "sqlite:b.db", "app/other"), "a");
    world.sh("keyfob migrate rollback keyfob-migration.jsonl").ok();
    assert_eq!(value(&world, "sqlite:b.db", "app/other"), "theirs");
    assert_eq!(value(&world, "sqlite:b.db", "app/new"), "theirs");
}

#[test]
fn without_a_backup_only_what_was_made_is_taken_back() {
    let world = with_two();
    world.sh(&format!("{MIGRATE} --overwrite --no-backup")).ok();
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_eq!(back.code, Some(1), "{back:?}");
    assert_has(
        &back.err,
        &[
            "`app/other` is not taken back",
            "0 put back, 1 deleted, 0 unchanged, 0 left, 1 failed",
        ],
    );
    assert_eq!(value(&world, "sqlite:b.db", "app/other"), "a");
}

#[test]
fn nothing_is_replaced_when_the_snapshot_cannot_be_made() {
    let world = with_two();
    let before = everything(&world, "sqlite:b.db");
    world
        .sh("mkdir -p ~/.local/share/keyfob && touch ~/.local/share/keyfob/snapshots")
        .ok();
    let failed = world.sh(&format!("{MIGRATE} --overwrite"));
    assert_has(&failed.fails(1), &["snapshot"]);
    assert_eq!(everything(&world, "sqlite:b.db"), before);
}

#[test]
fn a_report_that_cannot_be_written_or_is_of_something_else_stops_a_migration_before_it_begins() {
    let world = with_env();
    for (prepare, report, message) in [
        ("true", "none/report", "can't write the report"),
        ("mkdir a-directory", "a-directory", "report"),
        ("echo precious > theirs && ln -s theirs link", "link", "report"),
        ("echo precious > notes.txt", "notes.txt", "this is no report of a migration"),
    ] {
        world.sh(prepare).ok();
        let failed = world.sh(&format!("keyfob migrate --from .env --to sqlite: --report {report}"));
        assert_has(&failed.fails(1), &[message]);
    }
    assert_eq!(world.sandbox.read("theirs"), "precious\n");
    assert_eq!(world.sandbox.read("notes.txt"), "precious\n");
    world.sh("keyfob migrate --from .env --to dotenv:other.env").ok();
    let failed = world.sh("keyfob migrate --from .env --to sqlite:");
    assert_has(&failed.fails(1), &["the report is of another migration", "--report"]);
    assert_eq!(world.sh("keyfob list --json").json(), json!([]));
    let failed = world.sh("keyfob migrate rollback .env");
    assert_has(&failed.fails(1), &["this is no report of a migration"]);
    let failed = world.sh("keyfob migrate report nothing.jsonl");
    assert_has(&failed.fails(1), &["can't read the report"]);
}

#[test]
fn a_store_that_is_not_the_one_of_the_report_is_not_touched() {
    let world = with_env();
    world.sh("keyfob migrate --from .env --to dotenv:out.env").ok();
    world.sh("mkdir elsewhere && cp out.env elsewhere").ok();
    let failed = world.sh("cd elsewhere && keyfob migrate rollback ../keyfob-migration.jsonl");
    assert_has(&failed.fails(1), &["this is another store than that of the report"]);
    let failed = world.sh("keyfob migrate rollback keyfob-migration.jsonl --to dotenv:elsewhere/out.env");
    assert_has(&failed.fails(1), &["this is another store than that of the report"]);
    let back = world.sh("cd elsewhere && keyfob migrate rollback ../keyfob-migration.jsonl --to dotenv:../out.env");
    assert_eq!(back.code, Some(0), "{back:?}");
}

#[test]
fn a_wrong_use_is_told() {
    let world = with_env();
    for (line, code, message) in [
        ("keyfob migrate", 2, "--from"),
        ("keyfob migrate --from .env", 2, "--to"),
        (
            "keyfob migrate --from .env --to .env",
            1,
            "`--from` and `--to` are the same store",
        ),
        ("keyfob migrate --from .env --to sqlite: --no-backup", 2, "--overwrite"),
        ("keyfob migrate --from .env --to sqlite: --rate 0", 2, "--rate"),
        (
            "keyfob migrate --store sqlite: --from .env --to sqlite:",
            2,
            "a migration has two stores",
        ),
        (
            "keyfob migrate --from none.env --to sqlite:",
            1,
            "neither a store URL nor the name",
        ),
    ] {
        assert_has(&world.sh(line).fails(code), &[message]);
    }
}

/// Kills it when so many lines of this kind are in the report.
fn kill_after(world: &World, mut child: Child, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let path = world.sandbox.work().join("keyfob-migration.jsonl");
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.matches("\"ended\"").count() >= count {
            break;
        }
        assert!(Instant::now() < deadline, "the migration does not get on: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it was over before it could be killed");
}

/// Forty secrets on their way from one encrypted store to another, twenty in a second.
fn begun() -> (World, impl Fn(&World) -> Child) {
    let world = with_two();
    let set = format!(
        "printf '{}-%d' $i | keyfob --store sqlite: set -q many/$i --tag n=$i",
        world.canary
    );
    world.sh(&format!("for i in $(seq 40); do {set}; done")).ok();
    let start = |world: &World| {
        let mut command = world.sandbox.keyfob([
            "migrate",
            "--from",
            "sqlite:",
            "--to",
            "sqlite:b.db",
            "--overwrite",
            "--rate",
            "20",
        ]);
        command.spawn().unwrap()
    };
    (world, start)
}

#[test]
fn a_killed_migration_goes_on_and_all_of_it_can_be_taken_back() {
    let (world, start) = begun();
    let before = everything(&world, "sqlite:b.db");
    for count in [8, 20] {
        kill_after(&world, start(&world), count);
        let report = world.sh("keyfob migrate report keyfob-migration.jsonl");
        assert_has(&report.err, &["the last run did not end"]);
    }
    let done = world.sh(&format!("{MIGRATE} --overwrite"));
    assert_eq!(done.code, Some(0), "{done:?}");
    let diff = world.sh("keyfob diff sqlite: sqlite:b.db --json").json();
    let none: [&str; 0] = [];
    assert_eq!((&diff["only_in_a"], &diff["differ"]), (&json!(none), &json!(none)));
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_has(&back.err, &["1 put back, 41 deleted, 0 unchanged, 0 left, 0 failed"]);
    assert_eq!(everything(&world, "sqlite:b.db"), before);
}

#[test]
fn a_killed_migration_can_be_taken_back_at_once() {
    let (world, start) = begun();
    let before = everything(&world, "sqlite:b.db");
    kill_after(&world, start(&world), 12);
    let written = world
        .sh("keyfob --store sqlite:b.db list --json")
        .json()
        .as_array()
        .unwrap()
        .len();
    assert!((13..43).contains(&written), "{written}");
    let back = world.sh("keyfob migrate rollback keyfob-migration.jsonl --json");
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!(everything(&world, "sqlite:b.db"), before);
    let Value::Array(left) = &back.json()["left"] else {
        panic!("{back:?}")
    };
    assert!(left.is_empty(), "{back:?}");
}

#[test]
fn a_report_is_written_by_one_migration_at_a_time() {
    let (world, start) = begun();
    let mut first = start(&world);
    let report = world.sandbox.work().join("keyfob-migration.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&report).unwrap_or_default().contains("\"begun\"") {
        assert!(Instant::now() < deadline, "the migration does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = world.sh(&format!("{MIGRATE} --overwrite"));
    assert_has(&second.fails(1), &["another migration writes this report"]);
    assert_has(
        &world.sh("keyfob migrate rollback keyfob-migration.jsonl").fails(1),
        &["another migration writes this report"],
    );
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_last_line_that_is_not_whole_is_none() {
    let world = with_env();
    world.sh("keyfob migrate --from .env --to sqlite:").ok();
    world.sh("printf '{\"event\":\"beg' >> keyfob-migration.jsonl").ok();
    assert_has(
        &world.sh("keyfob migrate report keyfob-migration.jsonl").ok(),
        &["API_KEY      created"],
    );
    world.sh("keyfob migrate rollback keyfob-migration.jsonl").ok();
    assert_eq!(world.sh("keyfob list --json").json(), json!([]));
    world.sh("keyfob migrate report keyfob-migration.jsonl").ok();
}
