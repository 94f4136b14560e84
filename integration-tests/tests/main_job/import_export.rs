//! `keyfob import` and `keyfob export`

use serde_json::json;

use crate::{World, assert_has};

/// Values that each format has to quote somehow.
const ODD: &[(&str, &str)] = &[
    ("odd/dollar", "$HOME ${HOME} $(id) `id` \\$"),
    ("odd/empty-not", " leading and trailing "),
    ("odd/lines", "one\n  two\n\nthree\n"),
    ("odd/quotes", "it's \"quoted\" \\n # : ="),
    ("odd/unicode", "ünï ✓ 𝄞 \u{85}\u{2028}\u{feff}"),
];

#[test]
fn a_dry_run_writes_nothing_and_a_second_import_changes_nothing() {
    let world = World::new();
    world.write(
        "in.json",
        r#"{"db":{"password":"other","user":"me"},"n":12345678901234567890.50,"on":true,"none":null,"list":["a",1]}"#,
    );
    let dry = world.sh("keyfob import --dry-run in.json");
    assert_eq!(
        dry.out,
        "create    db/user\ncreate    n\ncreate    on\ncreate    list\nkeep      db/password\n"
    );
    assert_has(
        &dry.err,
        &["would be: 4 created, 0 changed, 1 kept, 0 unchanged", "`--overwrite`"],
    );
    assert_eq!(world.sh("keyfob list --json | jq -r '.[].name'").ok(), "db/password\n");

    let summary = |dry_run, created: &[&str], changed: &[&str], kept: &[&str], unchanged: &[&str]| json!({"dry_run": dry_run, "created": created, "changed": changed, "kept": kept, "unchanged": unchanged});
    let new: &[&str] = &["db/user", "n", "on", "list"];
    let import = |options: &str| {
        let answer = world.sh(&format!("keyfob import --json {options} in.json"));
        assert_eq!(answer.code, Some(0), "{answer:?}");
        answer.json()
    };
    assert_eq!(import("--dry-run"), summary(true, new, &[], &["db/password"], &[]));
    assert_eq!(import(""), summary(false, new, &[], &["db/password"], &[]));
    assert_eq!(import(""), summary(false, &[], &[], &["db/password"], new));
    let before = world.sh("keyfob get db/password").ok();
    assert_eq!(before, world.canary, "what exists is kept");
    assert_eq!(import("--overwrite"), summary(false, &[], &["db/password"], &[], new));
    let all: &[&str] = &["db/password", "db/user", "n", "on", "list"];
    assert_eq!(import("--overwrite"), summary(false, &[], &[], &[], all));
    assert_eq!(world.sh("keyfob versions n --json | jq length").ok(), "1\n");
    assert_eq!(
        world.sh("keyfob get n; echo; keyfob get on; echo; keyfob get list").ok(),
        "12345678901234567890.50\ntrue\n[\"a\",1]"
    );
    assert_eq!(world.sh("keyfob --quiet import in.json").err, "");
}

#[test]
fn documents_of_every_format_are_imported() {
    let world = World::new();
    world.write(
        "a.yaml",
        "# comment\ny:\n  nested: {deep: \"value\"}\n  text: |\n    two\n    lines\n",
    );
    world.write("a.toml", "[t]\nkey = 'value'\n");
    world.write("a.env", "export E_KEY='va lue' # comment\n");
    world
        .sh("keyfob import a.yaml && keyfob import a.toml && keyfob import --prefix app/ a.env")
        .ok();
    world.sh("printf '{\"j\":\"x\"}' | keyfob import - --format json").ok();
    let line = "for name in y/nested/deep y/text t/key app/E_KEY j; do keyfob get $name; echo .; done";
    assert_eq!(world.sh(line).ok(), "value.\ntwo\nlines\n.\nvalue.\nva lue.\nx.\n");
    assert_has(&world.sh("keyfob import - < a.env").fails(2), &["--format"]);
}

#[test]
fn all_that_can_not_be_taken_is_told_at_once_and_nothing_is_written() {
    let world = World::new();
    for (file, content, told) in [
        (
            "a.json",
            r#"{"good":"x","..":"KF","a\u0001":"KF","a":{"":"KF"}}"#,
            &["3 values", "`..`", "unprintable", "`a/`"][..],
        ),
        (
            "b.yaml",
            "good: x\noctal: 0123\nswitch: yes\n",
            &["2 values", "octal", "switch", "put the value in quotes"],
        ),
        (
            "twice.json",
            r#"{"good":"x","a":"KF","a":"other"}"#,
            &["two values have the same name", "`a`"],
        ),
        ("c.json", "[1, 2]", &["not a map", "c.json"]),
        ("d.json", "{\"a\": \"KF\"", &["d.json"]),
        ("e.txt", "KF", &["e.txt"]),
    ] {
        world.write(file, &content.replace("KF", &world.canary));
        let err = world.sh(&format!("keyfob import {file}")).fails(1);
        assert_has(&err, told);
        assert!(!err.contains("0123"), "{err}");
    }
    assert_eq!(world.sh("keyfob list --json | jq -r '.[].name'").ok(), "db/password\n");
    world.sh("keyfob import --prefix ../ a.json").fails(1);
}

#[test]
fn what_is_exported_can_be_imported_again() {
    let world = World::new();
    set_odd_values(&world);
    for (format, file) in [("json", "all.json"), ("yaml", "all.yaml")] {
        world.sh(&format!("keyfob export odd/ --format {format} -o {file}")).ok();
        assert_eq!(world.mode(file), 0o600);
        let again = World::new();
        again.write(file, &world.sandbox.read(file));
        again.sh(&format!("keyfob import {file}")).ok();
        for (name, value) in ODD {
            assert_eq!(again.sh(&format!("keyfob get {name}")).ok(), *value, "{format}: {name}");
        }
    }
    world.sh("keyfob export odd/ --format dotenv -o all.env").ok();
    world.sh("keyfob import --prefix again/ all.env").ok();
    for (name, value) in ODD {
        let variable = name.replace(['/', '-'], "_").to_uppercase();
        assert_eq!(
            world.sh(&format!("keyfob get again/{variable}")).ok(),
            *value,
            "dotenv: {name}"
        );
    }
}

#[test]
fn a_shell_and_docker_get_the_values() {
    let world = World::new();
    set_odd_values(&world);
    for (name, value) in ODD {
        let variable = name.replace(['/', '-'], "_").to_uppercase();
        let line = format!("eval \"$(keyfob export odd/ --format shell)\"; printenv -0 {variable}");
        assert_eq!(
            world.sh(&format!("sh -c '{}'", line.replace('\'', "'\\''"))).ok(),
            format!("{value}\0")
        );
    }
    let err = world.sh("keyfob export odd/ --format docker").fails(1);
    assert_has(&err, &["line ends", "mount a file"]);
    assert_eq!(
        world.sh("keyfob export db/ --format docker").ok(),
        format!("DB_PASSWORD={}\n", world.canary)
    );
    world.sh("printf 1 | keyfob set -q x/y; printf 2 | keyfob set -q x-y").ok();
    assert_has(&world.sh("keyfob export x --format shell").fails(1), &["same variable"]);
    assert_eq!(world.sh("keyfob export none/ --format json").json(), json!({}));
}

#[test]
fn github_gets_masks_and_blocks_that_no_value_can_end() {
    let world = World::new();
    world.write("value", "first line\nEOF\nB=injected\n100%\n");
    world.sh("keyfob set -q ci/token --keep-newline --from-file value").ok();
    let out = world.sh("GITHUB_ENV=env keyfob export ci/ --format github-actions").ok();
    assert_has(
        &out,
        &[
            "::add-mask::first line%0AEOF%0AB=injected%0A100%25\n",
            "::add-mask::B=injected\n",
        ],
    );
    let env = world.sandbox.read("env");
    let (name, delimiter) = env.lines().next().unwrap().split_once("<<").unwrap();
    assert!(name == "CI_TOKEN" && delimiter.len() > 20);
    assert_eq!(
        env,
        format!("CI_TOKEN<<{delimiter}\nfirst line\nEOF\nB=injected\n100%\n\n{delimiter}\n")
    );
    world.sh("GITHUB_ENV=env keyfob export db/ --format github-actions").ok();
    assert!(world.sandbox.read("env").starts_with(&env), "what other steps wrote stays");
    assert_has(
        &world.sh("keyfob export ci/ --format github-actions").fails(2),
        &["GITHUB_ENV"],
    );
}

fn set_odd_values(world: &World) {
    for (name, value) in ODD {
        world.write("value", value);
        world
            .sh(&format!("keyfob set -q {name} --keep-newline --from-file value"))
            .ok();
    }
}
