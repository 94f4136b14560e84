//! `keyfob diff` and `keyfob sync`

use serde_json::{Value, json};

use crate::{World, assert_has};

/// An encrypted store and a `.env` file that differ in everything that can differ.
fn world() -> World {
    let world = World::empty();
    world
        .sh("keyfob init -q --no-project && keyfob init -q --no-project --store sqlite:b.db")
        .ok();
    for (store, name, value, more) in [
        ("sqlite:", "same", "one", "--tag a=1 --expires 2040-01-02"),
        ("sqlite:b.db", "same", "one", "--tag a=1 --expires 2040-01-02"),
        ("sqlite:", "value", "one", ""),
        ("sqlite:b.db", "value", "two", ""),
        ("sqlite:", "all", "one", "--tag a=1 --description one"),
        (
            "sqlite:b.db",
            "all",
            "one",
            "--tag a=2 --description two --expires 2040-01-02",
        ),
        ("sqlite:", "mine", "one", ""),
        ("sqlite:b.db", "theirs", "one", ""),
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

const DIFF: &str = "keyfob diff sqlite: sqlite:b.db";
const SYNC: &str = "keyfob sync sqlite: sqlite:b.db";

fn names(world: &World, store: &str) -> String {
    world
        .sh(&format!(
            "keyfob --store {store} list --json | jq -r '.[].name' | sort | tr '\\n' ' '"
        ))
        .ok()
}

#[test]
fn a_diff_tells_names_and_what_differs_and_never_a_value() {
    let world = world();
    let diff = world.sh(DIFF);
    assert_eq!(
        (diff.code, diff.out.as_str(), diff.err.as_str()),
        (
            Some(1),
            "NAME    DIFFERENCE\n\
             all     description, tags, expiry\n\
             mine    only in the first\n\
             theirs  only in the second\n\
             value   value\n",
            "1 the same, 1 only in the first, 1 only in the second, 2 differ\n"
        )
    );
    let json = world.sh(&format!("{DIFF} --json"));
    assert!(!json.out.contains("kfcanary"), "a diff shows a value");
    let json = json.json();
    assert_eq!(
        (&json["same"], &json["only_in_a"], &json["only_in_b"]),
        (&json!(1), &json!(["mine"]), &json!(["theirs"]))
    );
    let differ = |name: &str| {
        json["differ"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .unwrap()
            .clone()
    };
    let all = differ("all");
    assert_eq!(
        (&all["value"], &all["description"], &all["tags"], &all["expiry"]),
        (&json!(false), &json!(true), &json!(true), &json!(true))
    );
    assert_eq!(all["a"], all["b"]);
    let value = differ("value");
    assert!(value["value"] == true && value["tags"] == false && value["a"] != value["b"]);
    // The same value under another name: within one answer, the hash says so.
    assert_eq!(value["a"], all["a"]);
    let again = world.sh(&format!("{DIFF} --json")).json();
    assert_ne!(
        again["differ"][0]["a"], json["differ"][0]["a"],
        "the key of the hashes is not of this run only"
    );
}

#[test]
fn a_diff_ends_as_diff_does() {
    let world = world();
    let same = world.sh("keyfob diff sqlite: sqlite:b.db --prefix same");
    assert_eq!((same.code, same.out.as_str()), (Some(0), ""));
    world.write("out.env", "");
    let env = world.sh("keyfob diff sqlite: out.env --prefix value");
    assert_eq!(
        (env.code, env.out.as_str()),
        (Some(1), "NAME   DIFFERENCE\nvalue  only in the first\n")
    );
    assert_has(&env.err, &["description is not compared: one of the stores keeps none"]);
    for (line, message) in [
        ("keyfob diff sqlite: sqlite:none.db", "keyfob init"),
        ("keyfob diff sqlite: nothing-of-this-name", "no store or provider"),
        ("keyfob diff sqlite: sqlite:", "are the same store"),
        ("keyfob diff sqlite:", "STORE_B"),
    ] {
        assert_has(&world.sh(line).fails(2), &[message]);
    }
    world.sh("printf 'this is no store' > b.db").ok();
    let damaged = world.sh(DIFF);
    assert_eq!(damaged.code, Some(2), "{damaged:?}");
}

#[test]
fn a_sync_makes_the_target_have_what_the_source_has_and_deletes_nothing_by_itself() {
    let world = world();
    let dry = world.sh(&format!("{SYNC} --dry-run"));
    assert_has(&dry.err, &["would be: 1 created, 2 changed, 1 unchanged, 0 left, 0 failed"]);
    assert_eq!(names(&world, "sqlite:b.db"), "all same theirs value ");
    world.sh(SYNC).ok();
    assert_eq!(names(&world, "sqlite:b.db"), "all mine same theirs value ");
    assert_eq!(world.sh(DIFF).out, "NAME    DIFFERENCE\ntheirs  only in the second\n");
    assert_has(&world.sh(SYNC).err, &["0 created, 0 changed, 4 unchanged"]);
}

#[test]
fn what_only_the_target_has_is_deleted_when_it_is_asked_twice() {
    let world = world();
    let dry = world.sh(&format!("{SYNC} --prune --dry-run"));
    assert_has(&dry.out, &["would delete theirs\n"]);
    assert_has(&dry.err, &["would be: 1 deleted"]);
    let unasked = world.sh(&format!("{SYNC} --prune")).fails(2);
    assert_has(
        &unasked,
        &["there is nobody to confirm the deletion of 1 secret", "--confirm-prune 1"],
    );
    let wrong = world.sh(&format!("{SYNC} --prune --confirm-prune 2")).fails(2);
    assert_has(&wrong, &["`--confirm-prune` says 2, and 1 secret would be deleted"]);
    world.sh(&format!("{SYNC} --confirm-prune 1")).fails(2);
    assert_eq!(names(&world, "sqlite:b.db"), "all same theirs value ", "nothing was done");

    let done = world.sh(&format!("{SYNC} --prune --confirm-prune 1 --json"));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.json()["pruned"], json!(["theirs"]));
    assert_eq!(names(&world, "sqlite:b.db"), "all mine same value ");
    assert_eq!(world.sh(DIFF).code, Some(0));
    world.sh("keyfob --store sqlite:b.db restore theirs").ok();
}

#[test]
fn reserved_names_and_other_prefixes_are_not_pruned() {
    let world = world();
    world.sh("keyfob --store sqlite:b.db rotate -q theirs --make uuid").ok();
    let reserved = world.sh("keyfob --store sqlite:b.db list --reserved --json | jq length").ok();
    assert_eq!(reserved, "6\n");
    world.sh(&format!("{SYNC} --prune --confirm-prune 1")).ok();
    assert_eq!(
        world.sh("keyfob --store sqlite:b.db list --reserved --json | jq length").ok(),
        "6\n"
    );
    world
        .sh(&format!("printf {} | keyfob --store sqlite:b.db set -q x/1", world.canary))
        .ok();
    let done = world.sh(&format!("{SYNC} --prune --prefix same"));
    assert_has(&done.err, &["0 deleted"]);
    assert_has(&names(&world, "sqlite:b.db"), &["x/1"]);
}

#[test]
fn nothing_is_pruned_when_the_source_is_empty_cannot_be_listed_or_something_failed() {
    let world = world();
    world.sh("keyfob init -q --no-project --store sqlite:empty.db").ok();
    let failed = world
        .sh("keyfob sync sqlite:empty.db sqlite:b.db --prune --confirm-prune 4")
        .fails(1);
    assert_has(&failed, &["the source has no secrets, and then nothing is pruned"]);
    let failed = world
        .sh("keyfob sync sqlite:none.db sqlite:b.db --prune --confirm-prune 4")
        .fails(1);
    assert_has(&failed, &["keyfob init"]);
    let failed = world.sh(&format!("{SYNC} --prune --prefix none --confirm-prune 0")).fails(1);
    assert_has(&failed, &["the source has no secrets"]);

    let canary = &world.canary;
    world.sh(&format!("printf 'OLD={canary}-old\n' > out.env")).ok();
    let done = world.sh("keyfob sync sqlite: out.env --prune --confirm-prune 1 --json");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_has(&done.err, &["nothing is deleted, because a secret could not be copied"]);
    assert_eq!(done.json()["pruned"], Value::Array(Vec::new()));
    assert_has(&world.sandbox.read("out.env"), &["OLD="]);
}

#[test]
fn what_was_pruned_comes_back_when_the_source_has_it_again() {
    let world = world();
    world.sh(&format!("{SYNC} --prune --confirm-prune 1")).ok();
    world
        .sh(&format!(
            "printf %s {}-again | keyfob --store sqlite: set -q theirs",
            world.canary
        ))
        .ok();
    assert_has(&world.sh(SYNC).err, &["1 created, 0 changed, 4 unchanged"]);
    assert_eq!(world.sh(DIFF).code, Some(0));
}
