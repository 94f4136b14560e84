//! init, key, backup, doctor.

mod sandbox;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;

use sandbox::{Sandbox, keys};

#[test]
fn init_makes_what_is_missing_and_says_so() {
    let sandbox = Sandbox::new();
    let made = sandbox.run(&["init"]).succeeds();
    assert_eq!(
        made.err,
        "made the key `~/.config/keyfob/key`: keep a copy, nothing opens the store without it\n\
         made the encrypted store `~/.local/share/keyfob/secrets.db`\n\
         wrote `~/work/keyfob.toml`: commands here use that store\n"
    );
    for file in [".config/keyfob/key", ".local/share/keyfob/secrets.db"] {
        assert_eq!(
            fs::metadata(sandbox.home().join(file)).unwrap().mode() & 0o777,
            0o600,
            "{file}"
        );
    }
    assert_eq!(
        fs::read_to_string(sandbox.work().join("keyfob.toml")).unwrap(),
        "# Which store keyfob uses in this directory and below. It holds no secrets and may be committed.\n\
         default = \"local\"\n\n[stores.local]\nurl = \"sqlite:\"\n"
    );
}

#[test]
fn a_second_init_changes_nothing() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    let files = [".config/keyfob/key", "work/keyfob.toml"].map(|file| sandbox.home().join(file));
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    let again = sandbox.run(&["init"]).succeeds();
    assert_eq!(again.err, "the store `~/.local/share/keyfob/secrets.db` exists and opens\n");
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    assert_eq!(sandbox.run(&["get", "a"]).out, "v");
}

#[test]
fn init_makes_no_new_key_for_a_store_that_has_one() {
    let sandbox = Sandbox::with_store();
    let key = sandbox.home().join(".config/keyfob/key");
    fs::remove_file(&key).unwrap();
    let refused = sandbox.run(&["init"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .err
            .contains("hint: the store exists and its key does not: put the key back"),
        "{refused:?}"
    );
    assert!(!key.exists());
}

#[test]
fn init_makes_a_store_in_the_project() {
    let sandbox = Sandbox::new();
    sandbox.run(&["init", "--path", "my secrets.db"]).succeeds();
    assert!(sandbox.work().join("my secrets.db").exists());
    assert!(
        fs::read_to_string(sandbox.work().join("keyfob.toml"))
            .unwrap()
            .contains("url = \"sqlite:my%20secrets.db\"")
    );
    sandbox.pipe("v", &["set", "a"]).succeeds();
    fs::create_dir(sandbox.work().join("below")).unwrap();
    assert_eq!(sandbox.shell(r#"cd below && "$K" get a"#).succeeds().out, "v");
}

#[test]
fn init_makes_the_store_that_the_project_names() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.work().join("keyfob.toml"),
        "default = \"team\"\n[stores.team]\nurl = \"sqlite:team.db\"\n",
    )
    .unwrap();
    sandbox.run(&["init"]).succeeds();
    assert!(sandbox.work().join("team.db").exists());
    assert!(!sandbox.home().join(".local/share/keyfob/secrets.db").exists());
}

#[test]
fn init_leaves_a_project_file_alone_and_says_what_to_do() {
    let sandbox = Sandbox::new();
    let text = "default = \"env\"\n";
    fs::write(sandbox.work().join("keyfob.toml"), text).unwrap();
    let made = sandbox.run(&["init", "--path", "x.db"]).succeeds();
    assert!(
        made.err.ends_with(
            "hint: commands here use `env:` (the file `~/work/keyfob.toml` decides); for the new store give \
             `--store sqlite:x.db`, or set `SECRET_PROVIDER=sqlite:x.db`\n"
        ),
        "{made:?}"
    );
    assert_eq!(fs::read_to_string(sandbox.work().join("keyfob.toml")).unwrap(), text);
}

#[test]
fn init_writes_no_project_file_that_would_not_be_believed() {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.work(), fs::Permissions::from_mode(0o777)).unwrap();
    let made = sandbox.run(&["init"]).succeeds();
    assert!(made.err.contains("warning: no `keyfob.toml` was written: "), "{made:?}");
    assert!(!sandbox.work().join("keyfob.toml").exists());
}

#[test]
fn a_passphrase_from_a_file_protects_a_store() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.work().join("phrase"), "correct horse battery\n").unwrap();
    let variable = ("KEYFOB_PASSPHRASE_FILE", "phrase");
    sandbox.run_with(variable, &["init", "--passphrase"]).succeeds();
    sandbox.run_with(variable, &["set", "a", "--generate"]).succeeds();
    assert_eq!(sandbox.run_with(variable, &["get", "a"]).succeeds().out.len(), 32);
    let without = sandbox.run(&["get", "a"]);
    assert_eq!((without.code, without.out.as_str()), (1, ""), "{without:?}");
    assert!(!sandbox.home().join(".config/keyfob/key").exists());
}

#[test]
fn a_store_that_is_not_there_says_how_to_make_it() {
    let sandbox = Sandbox::new();
    let missing = sandbox.run(&["get", "a", "--store", "sqlite:no.db"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.err.contains("hint: ") && missing.err.contains("keyfob init"),
        "{missing:?}"
    );
}

#[test]
fn the_key_changes_and_the_old_one_no_longer_opens() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    let before = sandbox.run(&["key", "status", "--json"]).json();
    assert_eq!(keys(&before), ["current", "retiring", "sources", "changing"]);
    assert_eq!(before["changing"], false);
    sandbox.run(&["key", "rotate", "--to-key-file", "new.key"]).succeeds();
    assert_eq!(fs::metadata(sandbox.work().join("new.key")).unwrap().mode() & 0o777, 0o600);
    let old = sandbox.run(&["get", "a"]);
    assert_eq!((old.code, old.out.as_str()), (1, ""), "{old:?}");
    let new = ("KEYFOB_KEY_FILE", "new.key");
    assert_eq!(sandbox.run_with(new, &["get", "a"]).succeeds().out, "v");
    assert_ne!(
        sandbox.run_with(new, &["key", "status", "--json"]).json()["current"],
        before["current"]
    );
    fs::write(sandbox.work().join("phrase"), "correct horse battery\n").unwrap();
    sandbox
        .run_with(new, &["key", "rotate", "--to-passphrase-file", "phrase"])
        .succeeds();
    assert_eq!(
        sandbox
            .run_with(("KEYFOB_PASSPHRASE", "correct horse battery"), &["get", "a"])
            .succeeds()
            .out,
        "v"
    );
}

#[test]
fn a_key_that_was_made_for_a_change_without_rights_is_taken_away() {
    const NOBODY: u32 = 65_534;
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    let store = sandbox.home().join(".local/share/keyfob/secrets.db");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o400)).unwrap();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_keyfob"));
    // Who may do everything would not be refused.
    if rustix::process::geteuid().is_root() {
        let owned = format!("{NOBODY}:{NOBODY}");
        let mut chown = sandbox.command("chown");
        assert!(chown.args(["-R", &owned]).arg(sandbox.home()).status().unwrap().success());
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.args(["key", "rotate", "--to-key-file", "new.key"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the store can't be written"), "{told}");
    assert!(told.contains("new.key` away: nothing was changed"), "{told}");
    assert!(!sandbox.work().join("new.key").exists());
}

#[test]
fn going_back_to_a_backup_says_what_is_lost() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("1", &["set", "a"]).succeeds();
    let created = sandbox.run(&["backup", "create", "b.db", "--json"]).succeeds().json();
    assert_eq!(keys(&created), ["file", "generation", "secrets", "versions"]);
    let again = sandbox.run(&["backup", "create", "b.db"]);
    assert_eq!(again.code, 1, "{again:?}");
    sandbox.pipe("2", &["set", "a"]).succeeds();
    let preview = sandbox
        .run(&["backup", "restore", "b.db", "--dry-run", "--json"])
        .succeeds()
        .json();
    assert_eq!(
        keys(&preview),
        [
            "backup_generation",
            "present_generation",
            "present_problem",
            "missing_generations",
            "lost",
            "back",
            "changed",
            "restored"
        ]
    );
    assert_eq!(preview["lost"], serde_json::json!([{"name": "a", "versions": ["2"]}]));
    assert_eq!(
        preview["changed"],
        serde_json::json!([{"name": "a", "now": "2", "afterwards": "1"}])
    );
    let unconfirmed = sandbox.run(&["backup", "restore", "b.db"]);
    assert_eq!(unconfirmed.code, 2);
    assert!(unconfirmed.out.contains("a       loses version 2"), "{unconfirmed:?}");
    assert_eq!(sandbox.run(&["get", "a"]).out, "2");
    sandbox.run(&["backup", "restore", "b.db", "--yes"]).succeeds();
    assert_eq!(sandbox.run(&["get", "a"]).out, "1");
    sandbox.run(&["backup", "create", "c.db", "--store", "env"]).fails(
        1,
        "error: only keyfob's own encrypted store can do this (store `env:`)\n\
         hint: name one with `--store sqlite:FILE`, or make one with `keyfob init`\n",
    );
}

#[test]
fn doctor_finds_nothing_wrong_with_a_new_store() {
    let sandbox = Sandbox::with_store();
    let report = sandbox.run(&["doctor", "--json"]).succeeds().json();
    assert_eq!(keys(&report), ["ok", "checks"]);
    assert_eq!(report["ok"], true);
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(
            keys(check),
            ["check", "subject", "status", "message", "hint", "milliseconds", "details"]
        );
        assert_eq!(check["status"], "ok", "{check}");
    }
    let kinds: Vec<_> = checks
        .iter()
        .map(|check| check["check"].as_str().unwrap())
        .filter(|kind| *kind != "detection")
        .collect();
    assert_eq!(kinds, ["project", "selection", "file", "file", "store", "content"]);
    assert!(checks.iter().any(|check| check["milliseconds"].is_u64()));
}

#[test]
fn doctor_ends_with_1_for_each_thing_that_is_wrong() {
    let failed = |sandbox: &Sandbox| {
        let report = sandbox.run(&["doctor", "--json"]);
        assert_eq!(report.code, 1, "{report:?}");
        let report = report.json();
        assert_eq!(report["ok"], false);
        let failed = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["status"] == "failed")
            .unwrap();
        failed["check"].as_str().unwrap().to_owned()
    };
    let sandbox = Sandbox::with_store();
    let project = sandbox.work().join("keyfob.toml");
    fs::set_permissions(&project, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(failed(&sandbox), "configuration");
    fs::set_permissions(&project, fs::Permissions::from_mode(0o644)).unwrap();
    let key = sandbox.home().join(".config/keyfob/key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(failed(&sandbox), "store");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&project, "default = \"nothing-like-it\"\n").unwrap();
    assert!(["configuration", "selection"].contains(&failed(&sandbox).as_str()));
}

#[test]
fn an_explicit_project_file_and_environment_are_used() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    fs::write(
        sandbox.work().join("other.toml"),
        "default = \"env\"\n[env.production]\ndefault = \"sqlite\"\n",
    )
    .unwrap();
    assert_eq!(sandbox.run(&["--project", "other.toml", "get", "a"]).code, 1);
    assert_eq!(
        sandbox
            .run(&["--project", "other.toml", "--env", "production", "get", "a"])
            .succeeds()
            .out,
        "v"
    );
    assert_eq!(sandbox.run(&["--project", "none", "get", "home"]).succeeds().out, "~");
    // It comes before the variable, which an error about it does not speak of.
    let answer = sandbox.run_with(("KEYFOB_CONFIG", "none"), &["--project", "missing.toml", "get", "a"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer.err.contains("missing.toml") && !answer.err.contains("variable"),
        "{answer:?}"
    );
}
