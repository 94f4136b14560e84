//! `keyfob resolve` and `keyfob check`.

use serde_json::json;

use crate::{World, assert_has};

#[test]
fn a_report_says_where_in_every_format() {
    let world = World::new();
    world.write("a.json", "{\n  \"db\": {\"password\": \"é ${secret:db/pasword}\"}\n}\n");
    world.write("b.yaml", "db:\n  - one\n  - x: ${secret:nothing/near#f}\n");
    world.write("c.toml", "[db]\npassword = \"${file:missing}\"\n");
    world.write(".env", "# first\nPASSWORD=\"${env:NOT_SET}\"\n");
    let err = world.sh("keyfob check a.json b.yaml c.toml .env").fails(1);
    assert_has(
        &err,
        &[
            "4 of 4 references",
            "a.json:2:25 (db.password)",
            "hint: did you mean `db/password`?",
            "b.yaml:3:8 (db[1].x)",
            "c.toml:2:13 (db.password)",
            ".env:2:11 (PASSWORD)",
            "asked: sqlite (",
        ],
    );
    assert_eq!(world.sh("keyfob resolve a.json").fails(1).matches("a.json:2:25").count(), 1);
}

#[test]
fn the_json_of_check_keeps_its_shape() {
    let world = World::new();
    world.write(
        "app.yaml",
        "a: ${secret:db/pasword}\nb: ${secret:db/password}\nc: ${secret:db/pasword}\n",
    );
    let answer = world.sh("keyfob check --json app.yaml");
    assert_eq!((answer.code, answer.err.as_str()), (Some(1), ""));
    let mut json = answer.json();
    let failure = &mut json["failures"][0];
    assert!(failure["store"].take().as_str().unwrap().starts_with("sqlite ("));
    assert!(failure["message"].take().as_str().unwrap().starts_with("no such secret"));
    let location = |line, key| json!({"file": "app.yaml", "line": line, "column": 4, "key": key});
    let expected = json!({"references": 2, "failures": [{
        "reference": "${secret:db/pasword}", "kind": "not_found", "message": null, "hint": null, "store": null,
        "nearest": ["db/password"], "locations": [location(1, "a"), location(3, "c")],
    }]});
    assert_eq!(json, expected);
    world.write("app.yaml", "b: ${secret:db/password}\n");
    let fine = world.sh("keyfob check --json app.yaml");
    assert_eq!(fine.json(), json!({"references": 1, "failures": []}));
    assert_eq!(world.sh("keyfob --quiet check app.yaml").err, "");
}

#[test]
fn several_files_go_into_a_directory_together_or_not_at_all() {
    let world = World::new();
    world.write("a.yaml", "a: ${secret:db/password}\n");
    world.write("b.yaml", "b: ${secret:missing}\n");
    world.write("out/old", "");
    world.sh("keyfob resolve a.yaml b.yaml -o out").fails(1);
    assert_eq!(world.names("out"), ["old"]);

    // The second can't be written: a directory has its name.
    world.write("b.yaml", "b: fine\n");
    world.write("out/b.yaml/file", "");
    let err = world.sh("keyfob resolve a.yaml b.yaml -o out").fails(1);
    assert_has(&err, &["can't write the file", "b.yaml"]);
    assert_eq!(world.names("out"), ["b.yaml", "old"]);

    world.write("more/kept", "");
    world.sh("keyfob resolve a.yaml b.yaml -o more").ok();
    assert_eq!(world.names("more"), ["a.yaml", "b.yaml", "kept"]);
    assert_eq!(world.sandbox.read("more/a.yaml"), format!("a: \"{}\"\n", world.canary));
    assert_eq!(world.mode("more/a.yaml"), 0o600);
    world.sh("keyfob resolve a.yaml b.yaml").fails(2);
    world.sh("keyfob resolve a.yaml b.yaml -o new").fails(2);
    world.sh("keyfob resolve a.yaml ./a.yaml -o more").fails(2);
}

#[test]
fn a_template_is_never_overwritten_with_its_values() {
    let world = World::new();
    world.write("a.yaml", "a: ${secret:db/password}\n");
    for line in [
        "keyfob resolve a.yaml -o a.yaml",
        "keyfob resolve a.yaml -o .",
        "ln -s a.yaml link; keyfob resolve a.yaml -o link",
        "keyfob run --config a.yaml:./a.yaml -- true",
    ] {
        assert_has(
            &world.sh(line).fails(2),
            &["`a.yaml` would be overwritten with its own values"],
        );
        assert_eq!(world.sandbox.read("a.yaml"), "a: ${secret:db/password}\n", "{line}");
    }
}

#[test]
fn input_comes_from_standard_input_and_substituted_processes() {
    let world = World::new();
    world.write("a.json", r#"{"a":"${secret:db/password}"}"#);
    let expected = format!(r#"{{"a":"{}"}}"#, world.canary);
    for line in [
        "keyfob resolve --format json < a.json",
        "keyfob resolve --format json - < a.json",
        "cat a.json | keyfob resolve --format json /dev/stdin",
        "keyfob resolve --format json <(cat a.json)",
        "keyfob resolve a.json --output /dev/stdout",
        "keyfob resolve a.json | cat",
    ] {
        assert_eq!(world.sh(line).ok(), expected, "{line}");
    }
    assert_has(&world.sh("keyfob resolve <<< '${secret:no}'").fails(1), &["<stdin>:1:1"]);
    assert_has(&world.sh("keyfob resolve none.yaml").fails(1), &["no such file", "none.yaml"]);
    assert_has(&world.sh("keyfob resolve --format json <<< '{'").fails(1), &["<stdin>"]);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::new();
    world
        .sh("yes 'some text ${secret:db/password}' | head -c 4000000 > big.txt")
        .ok();
    for command in [
        "resolve big.txt",
        "list",
        "export --format json",
        "explain",
        "check --json big.txt",
        "doctor",
    ] {
        let line = format!("keyfob {command} | head -c 0; echo ${{PIPESTATUS[0]}}");
        let answer = world.sh(&line);
        assert_eq!(
            (answer.out.as_str(), answer.code),
            ("0\n", Some(0)),
            "{command}: {}",
            answer.err
        );
    }
}

#[test]
fn values_reach_a_terminal_only_when_asked_for() {
    let world = World::new();
    world.write("a.yaml", "a: ${secret:db/password}\n");
    if !world.sh("command -v script").out.contains("script") {
        return keyfob_testkit::skip(
            "values_reach_a_terminal_only_when_asked_for",
            "there is no `script` of util-linux",
        );
    }
    let terminal = |command: &str| world.sh(&format!("script -qec '{command}' /dev/null"));
    for command in [
        "keyfob resolve a.yaml",
        "keyfob export --format json",
        "keyfob export --format github-actions --output env",
        "keyfob get db/password",
    ] {
        let refused = terminal(command);
        assert_eq!(refused.code, Some(2), "{command}: {refused:?}");
        assert!(!refused.out.contains(&world.canary), "{command}");
        assert_has(&refused.out, &["hint"]);
    }
    assert!(!world.exists("env"));
    for command in [
        "keyfob resolve --show a.yaml",
        "keyfob export --format json --show",
        "keyfob get --show db/password",
    ] {
        assert_has(&terminal(command).ok(), &[&world.canary]);
    }
    assert_has(&terminal("keyfob check a.yaml").ok(), &["1 reference can be resolved"]);
}

#[test]
fn only_allowed_schemes_are_used() {
    let world = World::new();
    world.write(
        "a.yaml",
        "a: ${file:/etc/hostname}\nb: ${secret:db/password}\nc: ${file:/none:-x}\n",
    );
    let err = world.sh("keyfob resolve --allow secret,env a.yaml").fails(1);
    assert_has(
        &err,
        &[
            "2 of 3",
            "a.yaml:1:4",
            "a.yaml:3:4",
            "permission denied",
            "allowed schemes: `env`, `secret`",
        ],
    );
    world.sh("keyfob check --allow secret a.yaml").fails(1);
    let err = world
        .sh("A='${file:/etc/hostname}' keyfob run --allow secret -- touch started")
        .fails(125);
    assert_has(&err, &["environment:1:1 (A)", "permission denied"]);
    assert!(!world.exists("started"));
}

#[test]
fn what_has_expired_is_a_failure_even_with_a_default() {
    let world = World::new();
    world.sh("printf old | keyfob set -q token --expires 2020-01-01").ok();
    world.write("a.yaml", "a: ${secret:token}\nb: ${secret:token:-x}\nc: ${secret:token?}\n");
    let err = world.sh("keyfob resolve a.yaml").fails(1);
    assert_has(&err, &["3 of 3", "expired"]);
    world.sh("keyfob check a.yaml").fails(1);
    assert_has(&world.sh("keyfob export --format json").fails(1), &["expired", "token"]);
}

#[test]
fn a_store_that_is_not_there_is_never_hidden_by_a_default() {
    let world = World::empty();
    world.write(
        "a.yaml",
        "a: ${secret:x}\nb: ${secret:y:-default}\nc: ${secret:z?}\nd: ${env:NONE:-fine}\n",
    );
    let err = world.sh("SECRET_PROVIDER=sqlite keyfob resolve a.yaml").fails(1);
    assert_has(&err, &["3 of 4", "hint: ", "`keyfob init`"]);
    for command in ["list", "get x", "import a.yaml", "export --format json"] {
        let err = world.sh(&format!("SECRET_PROVIDER=sqlite keyfob {command}")).fails(1);
        assert_has(&err, &["hint: ", "`keyfob init`"]);
    }
}
