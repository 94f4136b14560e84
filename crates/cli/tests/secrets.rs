//! set, get, list, versions, delete, restore.

mod sandbox;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use sandbox::{Sandbox, keys};

#[test]
fn a_value_comes_back_byte_for_byte() {
    let sandbox = Sandbox::with_store();
    for (input, stored) in [
        ("s3cr3t\n", "s3cr3t"),
        ("a\r\n", "a"),
        ("two\nlines\n\n", "two\nlines\n"),
        ("x", "x"),
    ] {
        sandbox.pipe(input, &["set", "a"]).succeeds();
        assert_eq!(sandbox.run(&["get", "a"]).succeeds().out, stored);
    }
    sandbox.pipe("s3cr3t\n", &["set", "a", "--keep-newline"]).succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).out, "s3cr3t\n");
    let binary = b"\xff\x00\x01\n";
    sandbox.pipe(binary, &["set", "binary"]).succeeds();
    sandbox.run(&["get", "binary", "--output", "out"]).succeeds();
    assert_eq!(fs::read(sandbox.work().join("out")).unwrap(), binary);
    assert_eq!(fs::metadata(sandbox.work().join("out")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(sandbox.run(&["get", "binary", "--json"]).json()["value_base64"], "/wABCg==");
}

#[test]
fn a_value_comes_from_a_file_or_is_made() {
    let sandbox = Sandbox::with_store();
    fs::write(sandbox.work().join("key.pem"), "-----BEGIN\n-----END\n").unwrap();
    sandbox.run(&["set", "tls", "--from-file", "key.pem"]).succeeds();
    assert_eq!(sandbox.run(&["get", "tls"]).out, "-----BEGIN\n-----END");
    sandbox.pipe("piped", &["set", "tls", "--from-file", "-"]).succeeds();
    assert_eq!(sandbox.run(&["get", "tls"]).out, "piped");
    sandbox.run(&["set", "made", "--generate"]).succeeds();
    let made = sandbox.run(&["get", "made"]).out;
    assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    sandbox
        .run(&["set", "made", "--generate", "6", "--alphabet", "digits"])
        .succeeds();
    assert_eq!(sandbox.run(&["get", "made"]).out.parse::<u32>().map(|_| ()), Ok(()));
    let missing = sandbox.run(&["set", "tls", "--from-file", "no.pem"]);
    missing.fails(
        1,
        "error: there is no such file (from `no.pem`)\n  caused by: No such file or directory (os error 2)\n",
    );
}

#[test]
fn an_empty_value_is_never_written_by_accident() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("first", &["set", "a"]).succeeds();
    let nobody = sandbox.run(&["set", "a"]);
    nobody.fails(
        2,
        "error: there is no value: nothing is piped into standard input, and nobody is there to ask\n\
         hint: pipe the value in, or give `--from-file FILE` or `--generate`\n",
    );
    for input in ["", "\n"] {
        sandbox.pipe(input, &["set", "a"]).fails(
            1,
            "error: the value is empty, nothing was written\nhint: `--allow-empty` writes an empty value\n",
        );
        // The program that should have made the value failed: that is no wish to change metadata only.
        sandbox.pipe(input, &["set", "a", "--tag", "k=v"]).fails(
            1,
            "error: the value is empty, nothing was written\n\
             hint: `--metadata-only` leaves the value as it is; `--allow-empty` writes an empty one\n",
        );
    }
    assert_eq!(sandbox.run(&["get", "a"]).out, "first");
    sandbox.run(&["set", "a", "--allow-empty"]).succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).succeeds().out, "");
}

#[test]
fn metadata_changes_alone_or_with_a_value() {
    let sandbox = Sandbox::with_store();
    sandbox
        .pipe("x\n", &["set", "a", "--tag", "k=v", "--tag", "team=shop"])
        .succeeds();
    let after = sandbox.run(&["set", "a", "--description", "what it is", "--expires", "2099-01-31", "--json"]);
    assert_eq!(after.err, "changed the metadata of `a`, the value stays\n");
    let json = after.json();
    assert_eq!(
        (&json["description"], &json["expires"], &json["tags"]["team"]),
        (&"what it is".into(), &"2099-01-31T00:00:00Z".into(), &"shop".into())
    );
    // In a loop that reads a file, standard input is not ours.
    let looped =
        sandbox.shell(r#"printf 'a\nrest\n' | while read -r name; do "$K" set "$name" --tag x=y --metadata-only; break; done"#);
    looped.succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).out, "x");
    let cleared = sandbox
        .run(&[
            "set",
            "a",
            "--description",
            "",
            "--clear-tags",
            "--expires",
            "never",
            "--json",
        ])
        .json();
    assert!(cleared["description"].is_null() && cleared["expires"].is_null() && cleared["tags"].as_object().unwrap().is_empty());
    sandbox.run(&["set", "new", "--tag", "k=v"]).fails(
        1,
        "error: no such secret (name `new`, store `~/.local/share/keyfob/secrets.db`)\n\
         hint: to make it, give a value too: pipe it in, or add `--prompt`, `--from-file FILE` or `--generate`\n",
    );
    sandbox.run(&["set", "a", "--metadata-only"]).fails(
        2,
        "error: no metadata is given\nhint: add `--description`, `--tag`, `--clear-tags` or `--expires`\n",
    );
}

#[test]
fn preconditions_hold() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("1", &["set", "a", "--create"]).succeeds();
    let taken = sandbox.pipe("2", &["set", "a", "--create"]);
    assert_eq!(taken.code, 1, "{taken:?}");
    sandbox.pipe("2", &["set", "a", "--match", "1"]).succeeds();
    let stale = sandbox.pipe("3", &["set", "a", "--match", "1"]);
    assert_eq!(stale.code, 1, "{stale:?}");
    assert_eq!(sandbox.run(&["get", "a"]).out, "2");
    assert_eq!(sandbox.run(&["get", "a@previous"]).out, "1");
    assert_eq!(sandbox.run(&["get", "a", "--version", "1"]).out, "1");
}

#[test]
fn fields_versions_and_whole_references_are_understood() {
    let sandbox = Sandbox::with_store();
    sandbox
        .pipe(r#"{"user":"jo","db":{"port":5432}}"#, &["set", "login"])
        .succeeds();
    for arguments in [
        &["get", "login#user"][..],
        &["get", "login", "--field", "user"],
        &["get", "${secret:login#user}"],
        &["get", "$<local:login#user>"],
    ] {
        assert_eq!(sandbox.run(arguments).succeeds().out, "jo", "{arguments:?}");
    }
    assert_eq!(sandbox.run(&["get", "login#/db/port"]).out, "5432");
    sandbox
        .run(&["get", "login#usr"])
        .fails(1, "error: no such field (field `usr`, fields `db, user`, name `login`)\n");
    sandbox
        .run(&["get", "login#user", "--field", "x"])
        .fails(2, "error: two fields are given\nhint: give `#FIELD` or `--field`\n");
    sandbox.run(&["get", "${secret:login:-x}"]).fails(
        2,
        "error: a reference with a default belongs into a configuration text\n\
         hint: leave out what follows `:-`, or the `?`\n",
    );
}

#[test]
fn an_expired_secret_is_refused_unless_asked_for() {
    let sandbox = Sandbox::with_store();
    let set = sandbox.pipe("old", &["set", "a", "--expires", "2020-01-01"]);
    assert!(set.err.contains("warning: `a` has expired"), "{set:?}");
    let refused = sandbox.run(&["get", "a"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert_eq!(sandbox.run(&["get", "a", "--expired"]).succeeds().out, "old");
    assert!(sandbox.run(&["list"]).out.contains("2020-01-01T00:00:00Z (expired)"));
}

#[test]
fn a_listing_goes_through_all_pages_and_shows_no_value() {
    let sandbox = Sandbox::with_store();
    let script: String = (0..25)
        .map(|n| format!("printf canary-{n} | \"$K\" -q set db/{n:02} || exit 1; "))
        .collect();
    sandbox.shell(&script).succeeds();
    sandbox.pipe("canary", &["set", "other", "--tag", "k=v"]).succeeds();
    let list = sandbox.run(&["list"]).succeeds();
    assert_eq!(list.out.lines().count(), 27);
    assert!(
        list.out
            .starts_with("NAME   VERSION  UPDATED               EXPIRES  TAGS\ndb/00  1 "),
        "{}",
        list.out
    );
    assert!(!list.out.contains("canary"));
    assert_eq!(sandbox.run(&["list", "db/"]).out.lines().count(), 26);
    assert_eq!(
        sandbox.run(&["list", "nothing"]),
        sandbox::Answer {
            code: 0,
            out: String::new(),
            err: "there are none that begin so\n".into()
        }
    );
}

#[test]
fn the_json_of_every_listing_keeps_its_shape() {
    const SECRET: [&str; 14] = [
        "name",
        "version",
        "created",
        "updated",
        "expires",
        "expired",
        "deleted",
        "description",
        "tags",
        "store",
        "freshness",
        "member",
        "passed_over",
        "replicas",
    ];
    let sandbox = Sandbox::with_store();
    assert_eq!(sandbox.run(&["list", "--json"]).succeeds().out, "[]\n");
    let set = sandbox.pipe("v", &["set", "a", "--tag", "k=v", "--json"]).json();
    assert_eq!(keys(&set), SECRET);
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(keys(&list[0]), SECRET);
    assert_eq!(
        (&list[0]["store"], &list[0]["version"], &list[0]["freshness"]),
        (&"sqlite".into(), &"1".into(), &"store".into())
    );
    let get = sandbox.run(&["get", "a", "--json"]).json();
    assert_eq!(keys(&get)[..14], SECRET);
    assert_eq!(keys(&get)[14..], ["value"]);
    let versions = sandbox.run(&["versions", "a", "--json"]).json();
    assert_eq!(keys(&versions[0]), ["version", "current", "created", "expires", "labels"]);
    assert_eq!(versions[0]["current"], true);
    let restored = sandbox.run(&["restore", "a", "--json"]).json();
    assert_eq!(keys(&restored), SECRET);
}

#[test]
fn what_a_store_says_reaches_nobody_as_a_command_to_the_terminal() {
    let sandbox = Sandbox::with_store();
    sandbox
        .pipe("v", &["set", "a", "--tag", "k=\x1b[2Jx\u{9b}\u{202e}"])
        .succeeds();
    let list = sandbox.run(&["list"]).out;
    assert!(list.contains(r"k=\u{1b}[2Jx\u{9b}\u{202e}"), "{list:?}");
    let json = sandbox.run(&["list", "--json"]);
    assert!(!json.out.contains(['\x1b', '\u{9b}', '\u{202e}']), "{json:?}");
    assert_eq!(json.json()[0]["tags"]["k"], "\x1b[2Jx\u{9b}\u{202e}");
}

#[test]
fn a_deleted_secret_comes_back_and_one_deleted_for_good_does_not() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    sandbox.run(&["delete", "a"]).succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).code, 1);
    assert_eq!(sandbox.run(&["list", "--deleted", "--json"]).json()[0]["name"], "a");
    sandbox.run(&["restore", "a"]).succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).out, "v");
    sandbox.run(&["delete", "a", "--permanent"]).fails(
        2,
        "error: there is nobody to confirm that it is deleted for good\nhint: add `--yes`\n",
    );
    sandbox.run(&["delete", "a", "--permanent", "--yes"]).succeeds();
    assert_eq!(sandbox.run(&["restore", "a"]).code, 1);
}

#[test]
fn a_read_only_store_says_so_before_it_asks_for_a_value() {
    let sandbox = Sandbox::new();
    let refused = sandbox.pipe("v", &["set", "a"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .err
            .starts_with("error: this store is read-only (store `env`)\nhint: `keyfob init` makes"),
        "{refused:?}"
    );
    assert_eq!(sandbox.run_with(("DB_PASSWORD", "v"), &["get", "db/password"]).out, "v");
}

#[test]
fn a_dotenv_file_is_a_store_too() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.work().join(".env"), "# kept\nA=1\n").unwrap();
    sandbox.pipe("2", &["--store", "dotenv:.env", "set", "B"]).succeeds();
    assert_eq!(sandbox.run(&["get", "B", "--store", "dotenv:.env"]).out, "2");
    let deleted = sandbox.run(&["delete", "B", "-s", "dotenv:.env"]);
    assert!(deleted.err.ends_with("hint: add `--permanent`\n"), "{deleted:?}");
    sandbox
        .run(&["delete", "B", "-s", "dotenv:.env", "--permanent", "--yes"])
        .succeeds();
    assert!(
        fs::read_to_string(sandbox.work().join(".env"))
            .unwrap()
            .starts_with("# kept\nA=1\n")
    );
}
