//! `keyfob snapshot`, as somebody at a shell, a job of cron, and somebody in trouble use it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;
use keyfob_integration_tests::servers::{self, Provider};
use serde_json::Value;

use crate::{World, assert_has};

const DIRECTORY: &str = ".local/share/keyfob/snapshots";

/// With three secrets, of which one has metadata.
fn world() -> World {
    let world = World::new();
    let canary = &world.canary;
    world
        .sh(&format!(
            "printf %s '{canary}-mail' | keyfob set -q mail/login --tag team=shop --expires 30d --description 'of the shop'
             printf %s '{canary}-old' | keyfob set -q old"
        ))
        .ok();
    world
}

/// What a line prints as JSON. No value stands in it.
#[track_caller]
fn json(world: &World, line: &str) -> Value {
    let text = world.sh(line).ok();
    assert!(!text.contains(&world.canary), "`{line}` shows a value");
    serde_json::from_str(&text).unwrap()
}

/// Makes a snapshot and gives its id.
#[track_caller]
fn create(world: &World) -> String {
    world.sh("keyfob snapshot create -q").ok().trim().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn directory(world: &World) -> PathBuf {
    world.sandbox.path().join(DIRECTORY)
}

fn file(world: &World, id: &str) -> PathBuf {
    directory(world).join(format!("{id}.snapshot"))
}

/// Files of snapshots, finished or not.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[test]
fn a_snapshot_is_made_listed_compared_and_restored() {
    let world = world();
    let canary = &world.canary;
    assert_has(&world.sh("keyfob snapshot list").err, &["there are none"]);
    assert_has(
        &world.sh("keyfob snapshot restore latest").fails(1),
        &["there is no such snapshot"],
    );
    let first = json(&world, "keyfob snapshot create --note 'first one' --json");
    let id = first["id"].as_str().unwrap();
    assert_eq!((&first["secrets"], &first["own"]), (&3.into(), &3.into()));
    assert_has(&world.sh("keyfob snapshot list").ok(), &[&id[..12], "first one", "sqlite"]);

    world
        .sh(&format!(
            "printf %s '{canary}-other' | keyfob set -q db/password; keyfob set -q mail/login --expires never
             printf %s '{canary}-new' | keyfob set -q new; keyfob delete old 2>/dev/null"
        ))
        .ok();
    let answer = world.sh("keyfob snapshot diff --json");
    assert_eq!(answer.code, Some(1));
    let changes = answer.json();
    let changes: Vec<(&str, &str)> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["name"].as_str().unwrap(), change["change"].as_str().unwrap()))
        .collect();
    let expected = [
        ("db/password", "value"),
        ("mail/login", "metadata"),
        ("new", "added"),
        ("old", "removed"),
    ];
    assert_eq!(changes, expected);

    let second = json(&world, "keyfob snapshot create --json");
    // The expiry stands in the manifest: its value is not written again.
    assert_eq!((&second["own"], &second["bases"][0]), (&2.into(), &first["id"]));
    let between = world.sh(&format!("keyfob snapshot diff {id} latest --json"));
    assert_eq!(
        (between.code, between.json()["changes"].as_array().unwrap().len()),
        (Some(1), 4)
    );
    world.sh("keyfob snapshot diff").ok();

    let planned = json(&world, &format!("keyfob snapshot restore {id} --dry-run --json"));
    assert_eq!(names(&planned["changed"]), ["db/password", "mail/login"]);
    assert_eq!((names(&planned["created"]), &planned["before"]), (vec!["old"], &Value::Null));
    assert_eq!(world.sh("keyfob get db/password").ok(), format!("{canary}-other"));

    // One secret by its name, then the rest.
    let one = json(&world, &format!("keyfob snapshot restore {id} db/password --json"));
    assert_eq!(names(&one["changed"]), ["db/password"]);
    assert_eq!(world.sh("keyfob get db/password").ok(), *canary);
    let rest = json(&world, &format!("keyfob snapshot restore {id} --json"));
    assert_eq!(names(&rest["changed"]), ["mail/login"]);
    assert_eq!(world.sh("keyfob get old").ok(), format!("{canary}-old"));
    assert_eq!(
        world.sh("keyfob get new").ok(),
        format!("{canary}-new"),
        "what is there besides stays"
    );
    let again = json(&world, &format!("keyfob snapshot restore {id} --json"));
    assert_eq!(names(&again["unchanged"]).len(), 3);
    let listed = json(&world, "keyfob list --json");
    let mail = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|secret| secret["name"] == "mail/login");
    let mail = mail.unwrap();
    assert_eq!(
        (&mail["tags"]["team"], &mail["description"]),
        (&"shop".into(), &"of the shop".into())
    );
    assert!(!mail["expires"].is_null());

    // What was replaced was kept, and is not what `latest` means.
    let before = one["before"].as_str().unwrap();
    world.sh(&format!("keyfob snapshot restore {before}")).ok();
    assert_eq!(world.sh("keyfob get db/password").ok(), format!("{canary}-other"));
    assert_eq!(json(&world, "keyfob snapshot show --json")["id"], second["id"]);
}

#[test]
fn what_is_kept_shows_no_value_and_is_the_owners_alone() {
    let world = world();
    let id = create(&world);
    let shown = world.sh("keyfob snapshot show && keyfob snapshot show --json").ok();
    assert_has(&shown, &["db/password", "mail/login"]);
    world.sh("printf changed | keyfob set -q old").ok();
    create(&world);
    world.sh(&format!("keyfob snapshot restore {id} old")).ok();
    assert_eq!(files(&directory(&world)).len(), 3);
    for name in files(&directory(&world)) {
        let path = directory(&world).join(name);
        let bytes = fs::read(&path).unwrap();
        for secret in [world.canary.as_str(), "of the shop", "team"] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "what is secret is in {}", path.display());
        }
    }
    let modes = format!("stat -c '%a %n' ~/{DIRECTORY} ~/{DIRECTORY}/*");
    let modes = world.sh(&modes).ok();
    assert!(modes.starts_with("700 "), "{modes}");
    assert!(modes.lines().skip(1).all(|line| line.starts_with("600 ")), "{modes}");

    world.sh(&format!("chmod g+w ~/{DIRECTORY}")).ok();
    assert_has(
        &world.sh("keyfob snapshot create").fails(1),
        &["other users may change the snapshots", "chmod go-w"],
    );
}

#[test]
fn another_key_lists_and_proves_nothing() {
    let world = world();
    let id = create(&world);
    let other = "export SECRET_SNAPSHOTS_KEY_FILE=other.key";
    assert_has(
        &world.sh(&format!("{other}; keyfob snapshot verify")).fails(3),
        &["there is no key for snapshots", "keyfob snapshot init"],
    );
    // Where the key of what is there is gone, another one is not made by accident.
    assert_has(
        &world.sh(&format!("{other}; keyfob snapshot init")).fails(1),
        &["their key is gone", "--key-file"],
    );
    world.sh(&format!("{other}; keyfob snapshot init --key-file other.key")).ok();
    assert_eq!(world.mode("other.key"), 0o600);
    assert_has(&world.sh(&format!("{other}; keyfob snapshot list")).ok(), &[&id[..12]]);
    assert_has(&world.sh(&format!("{other}; keyfob snapshot show")).ok(), &["db/password"]);
    for (line, code) in [("restore latest", 1), ("diff", 2)] {
        assert_has(
            &world.sh(&format!("{other}; keyfob snapshot {line}")).fails(code),
            &["the key does not fit the snapshot"],
        );
    }
    let answer = world.sh(&format!("{other}; keyfob snapshot verify --json"));
    assert_eq!((answer.code, &answer.json()[0]["intact"]), (Some(3), &Value::Null));
    world.sh(&format!("{other}; keyfob snapshot verify --no-key")).ok();

    // The two keys are not mixed: what another key made is not built on, and both are proven each with its own.
    let mine = json(&world, &format!("{other}; keyfob snapshot create --json"));
    assert_eq!(mine["bases"], Value::Array(Vec::new()));
    world.sh(&format!("keyfob snapshot verify {id}")).ok();
    let answer = world.sh("keyfob snapshot verify");
    assert_eq!(answer.code, Some(3));
    assert_has(&answer.out, &["intact", "not proven"]);
}

#[test]
fn a_flipped_byte_is_named_and_nothing_is_restored() {
    let world = world();
    let base = create(&world);
    world
        .sh(&format!("printf %s '{}-other' | keyfob set -q db/password", world.canary))
        .ok();
    let id = create(&world);
    assert_has(&world.sh("keyfob snapshot verify").ok(), &["intact"]);
    let path = file(&world, &base);
    let whole = fs::read(&path).unwrap();
    // In the header, a block, the index, the manifest, the trailer.
    for at in [
        0,
        20,
        40,
        3000,
        whole.len() - 700,
        whole.len() - 300,
        whole.len() - 40,
        whole.len() - 1,
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        for line in [format!("verify {id}"), "verify".to_owned(), format!("verify --no-key {base}")] {
            let answer = world.sh(&format!("keyfob snapshot {line}"));
            assert_eq!(answer.code, Some(1), "byte {at}, {line}: {answer:?}");
            assert_has(&answer.out, &["damaged", &path.display().to_string()]);
        }
        for id in [&id, &base] {
            let answer = world.sh(&format!("keyfob snapshot restore {id}"));
            assert_eq!(answer.code, Some(1), "byte {at}: {answer:?}");
        }
        assert_eq!(world.sh("keyfob get db/password").ok(), format!("{}-other", world.canary));
    }
    fs::remove_file(&path).unwrap();
    let answer = world.sh("keyfob snapshot verify --json");
    assert_eq!((answer.code, &answer.json()[0]["intact"]), (Some(1), &false.into()));
    assert_has(&answer.out, &["put this file back"]);
    fs::write(&path, whole).unwrap();
    world.sh("keyfob snapshot verify").ok();
}

#[test]
fn there_is_nothing_to_prove_without_snapshots() {
    let world = World::new();
    assert_has(&world.sh("keyfob snapshot verify").fails(3), &["there are no snapshots"]);
}

#[test]
fn snapshots_are_deleted_and_thinned_and_none_that_is_needed() {
    let world = world();
    let first = create(&world);
    world.sh("printf changed | keyfob set -q old").ok();
    let second = create(&world);
    world.sh("keyfob snapshot create -q --parent none").ok();
    assert_has(
        &world.sh(&format!("keyfob snapshot delete {first}")).fails(2),
        &["nobody to confirm", "--yes"],
    );
    assert_has(
        &world.sh(&format!("keyfob snapshot delete {first} --yes")).fails(1),
        &["another snapshot builds on", "delete both"],
    );
    assert_eq!(files(&directory(&world)).len(), 3);

    assert_has(&world.sh("keyfob snapshot prune").fails(2), &["--keep-last"]);
    assert_has(
        &world.sh("keyfob snapshot prune --keep-last 0").fails(2),
        &["would delete them all"],
    );
    let planned = json(&world, "keyfob snapshot prune --keep-last 2 --dry-run --json");
    assert_eq!(planned["deleted"], Value::Array(Vec::new()));
    let why: Vec<&Value> = planned["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| &kept["why"][0])
        .collect();
    assert_eq!(why, ["last", "last", "needed"]);
    let pruned = json(&world, "keyfob snapshot prune --keep-last 1 --json");
    let mut deleted = names(&pruned["deleted"]);
    deleted.sort_unstable();
    let mut expected = [first.as_str(), second.as_str()];
    expected.sort_unstable();
    assert_eq!(deleted, expected);
    assert_eq!(files(&directory(&world)).len(), 1);
    world.sh("keyfob snapshot delete latest --yes").ok();
    assert_eq!(files(&directory(&world)).len(), 0);
}

#[test]
fn chosen_secrets_only() {
    let world = world();
    let made = json(&world, "keyfob snapshot create --prefix db/ --json");
    assert_eq!((&made["secrets"], &made["whole"]), (&1.into(), &true.into()));
    let made = json(&world, "keyfob snapshot create --name old --name mail/login --json");
    assert_eq!((&made["secrets"], &made["whole"]), (&2.into(), &false.into()));
    let made = json(&world, "keyfob snapshot create --exclude db/ --exclude old --json");
    assert_eq!(made["secrets"], 1);
    let answer = world.sh("keyfob snapshot create --name none");
    assert_eq!(answer.code, Some(1));
    assert_has(&answer.err, &["`none` is not in the snapshot"]);
    assert_has(&world.sh("keyfob snapshot create --name ''").fails(2), &["name"]);
}

#[test]
fn a_snapshot_goes_only_where_it_is_meant_to() {
    let world = world();
    create(&world);
    world.write("copy.env", "");
    assert_has(
        &world.sh("keyfob --store dotenv:copy.env snapshot restore latest").fails(1),
        &["of another store", "--to"],
    );
    assert_has(
        &world
            .sh("keyfob --store env: snapshot restore latest --to dotenv:copy.env")
            .fails(2),
        &["restored to one store"],
    );
    let answer = world.sh("keyfob snapshot restore latest --to dotenv:copy.env --json");
    assert_eq!(answer.code, Some(1), "what the file can't keep is told");
    assert_has(&answer.err, &["mail/login", "expiry"]);
    world
        .sh("keyfob snapshot restore latest --to dotenv:copy.env --drop-metadata")
        .ok();
    assert_eq!(world.sh("grep -c kfcanary copy.env").ok().trim(), "3");
}

#[test]
fn copies_are_kept_in_another_store_and_fetched_from_it() {
    let world = world();
    let stores = "default = \"mine\"\n[stores.mine]\nurl = \"sqlite:\"\n[stores.far]\nurl = \"sqlite:far.db\"\n";
    world.write(
        "keyfob.toml",
        &format!("{stores}[snapshots]\nstore = \"far\"\nstore_prefix = \"kept\"\n"),
    );
    world.sh("keyfob init -q --store far --no-project").ok();
    let first = create(&world);
    world.sh("printf changed | keyfob set -q old").ok();
    let second = create(&world);
    let copies = world.sh("keyfob --store far list").ok();
    assert_has(&copies, &[&format!("kept/{first}/head"), &format!("kept/{second}/head")]);
    let listed = json(&world, "keyfob snapshot list --json");
    assert!(
        listed["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["copied"] == true)
    );

    // The machine is lost, but for its key.
    fs::remove_dir_all(directory(&world)).unwrap();
    let listed = json(&world, "keyfob snapshot list --json");
    assert_eq!(listed["only_in_store"].as_array().unwrap().len(), 2);
    world.sh(&format!("keyfob snapshot restore {}", &first[..12])).ok();
    assert_eq!(world.sh("keyfob get old").ok(), format!("{}-old", world.canary));
    world.sh(&format!("keyfob snapshot verify {second}")).ok();

    // What keeps the copies is no secret of the store that they are in.
    let own = json(&world, "keyfob --store far snapshot create --json");
    assert_eq!(own["secrets"], 0);

    world.sh(&format!("keyfob snapshot delete {first} {second} --yes")).ok();
    let left = world.sh("keyfob --store far list").ok();
    assert!(!left.contains(&first) && !left.contains(&second), "{left}");
}

#[test]
fn every_access_is_recorded() {
    let world = world();
    world.sh("keyfob audit init -q audit").ok();
    create(&world);
    world
        .sh("printf changed | keyfob set -q old && keyfob snapshot restore latest")
        .ok();
    let log = world.sh("cat audit/*.jsonl").ok();
    let of = |verb: &str| log.lines().filter(|line| line.contains(&format!("\"{verb}\""))).count();
    assert!(of("list") >= 1 && of("get") >= 3 && of("put") >= 2, "{log}");
    assert!(!log.contains(&world.canary));
    world.sh("keyfob audit verify").ok();
    // Nothing is read, and nothing kept, without a reason where one is required.
    let refused = "export SECRET_AUDIT_REASON_REQUIRED=true; keyfob snapshot create";
    assert_has(&world.sh(refused).fails(1), &["reason"]);
    assert_eq!(files(&directory(&world)).len(), 2);
}

/// A store with so many secrets that work on them can be killed in the middle.
fn large(count: usize) -> World {
    let world = World::new();
    fill(&world, count, "first");
    world
}

fn fill(world: &World, count: usize, which: &str) {
    let mut values = String::from("{");
    for number in 0..count {
        let comma = if number == 0 { "" } else { "," };
        write!(values, "{comma}\"s{number:05}\":\"{}-{which}-{number}\"", world.canary).unwrap();
    }
    values.push('}');
    world.write("values.json", &values);
    world
        .sh("keyfob import -q values.json --prefix many/ --overwrite && rm values.json")
        .ok();
}

fn start(world: &World, arguments: &[&str]) -> Child {
    let mut command: Command = world.sandbox.keyfob(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills the child as soon as something is so; says whether it was killed before it ended.
fn kill_when(child: &mut Child, is_so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it neither ends nor does what is waited for");
        if is_so() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            return !status.success();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn a_killed_create_leaves_no_snapshot_and_the_next_one_cleans_up() {
    let world = large(600);
    let directory = directory(&world);
    let mut killed = 0;
    for _ in 0..20 {
        let mut child = start(&world, &["snapshot", "create", "--parent", "none"]);
        let is_writing = || files(&directory).iter().any(|name| name.starts_with(".keyfob-snapshot-"));
        if kill_when(&mut child, is_writing) {
            killed += 1;
            let listed = json(&world, "keyfob snapshot list --json");
            let made = files(&directory).iter().filter(|name| name.ends_with(".snapshot")).count();
            assert_eq!(listed["snapshots"].as_array().unwrap().len(), made);
            assert_eq!(listed["unreadable"], Value::Array(Vec::new()));
        }
        if killed == 3 {
            break;
        }
    }
    assert_eq!(killed, 3, "it was never killed in the middle");
    world.sh("keyfob snapshot create -q").ok();
    assert!(files(&directory).iter().all(|name| name.ends_with(".snapshot")));
    world.sh("keyfob snapshot verify").ok();
}

#[test]
fn a_killed_restore_goes_on_when_it_is_run_again() {
    const COUNT: usize = 400;
    let world = large(COUNT);
    let id = create(&world);
    let good = world.sh("keyfob export --format json").ok();
    fill(&world, COUNT, "second");
    let before_it = files(&directory(&world)).len();
    let mut child = start(&world, &["snapshot", "restore", "latest"]);
    let directory = directory(&world);
    let begun = std::cell::Cell::new(None::<Instant>);
    // What was there is kept first; a little later the restore is at work.
    let is_at_work = || {
        let snapshots = files(&directory).iter().filter(|name| name.ends_with(".snapshot")).count();
        if snapshots > before_it && begun.get().is_none() {
            begun.set(Some(Instant::now()));
        }
        begun.get().is_some_and(|begun| begun.elapsed() > Duration::from_millis(150))
    };
    assert!(kill_when(&mut child, is_at_work), "it ended before it was killed");
    let answer = json(&world, "keyfob snapshot restore latest --json");
    assert_eq!(answer["snapshot"], *id, "`latest` is still what it was");
    let (changed, unchanged) = (names(&answer["changed"]).len(), names(&answer["unchanged"]).len());
    assert_eq!(changed + unchanged, COUNT + 1);
    assert!(changed > 0 && unchanged > 1, "{changed} changed, {unchanged} were done");
    let is_good = world.sh("keyfob export --format json").ok() == good;
    assert!(is_good, "a value is not as it was");
    // What was there before the first run is in what the first run kept.
    let listed = json(&world, "keyfob snapshot list --json");
    let kept: Vec<&Value> = listed["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["whole"] == false)
        .collect();
    assert_eq!(kept[0]["secrets"], COUNT);
}

#[test]
fn what_openbao_had_is_brought_to_aws_and_to_sqlite() {
    let test = "what_openbao_had_is_brought_to_aws_and_to_sqlite";
    let (Some(vault), Some(aws)) = (
        servers::variables(test, Provider::Vault),
        servers::variables(test, Provider::Aws),
    ) else {
        return;
    };
    let world = World::new();
    let run = |line: &str| {
        let mut command = world.sandbox.program("bash");
        let variables = vault.iter().chain(&aws).map(|(name, value)| (name, value));
        let output = command
            .args(["-c", line])
            .envs(variables)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "`{line}`: {}", said(&output));
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&world.canary));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&format!(
        "for i in 1 2 3; do printf %s '{}-'$i | keyfob --store vault set -q app/s$i --tag n=$i --expires 30d --description \"number $i\"; done",
        world.canary
    ));
    let made: Value = serde_json::from_str(&run("keyfob --store vault snapshot create --prefix app/ --json")).unwrap();
    assert_eq!((&made["store"], &made["secrets"]), (&"vault".into(), &3.into()));
    for target in ["aws", "sqlite:"] {
        let restored: Value =
            serde_json::from_str(&run(&format!("keyfob snapshot restore latest --to {target} --json"))).unwrap();
        assert_eq!(names(&restored["created"]).len(), 3, "{target}");
        for number in 1..=3 {
            let value = run(&format!("keyfob --store {target} get app/s{number}"));
            assert!(value == format!("{}-{number}", world.canary), "{target}: another value");
        }
        let changes: Value = serde_json::from_str(&run(&format!("keyfob --store {target} snapshot diff latest --json"))).unwrap();
        assert_eq!(changes["changes"], Value::Array(Vec::new()), "{target}: {changes}");
    }
    // Back to where it came from: all is there.
    let restored: Value = serde_json::from_str(&run("keyfob --store vault snapshot restore latest --json")).unwrap();
    assert_eq!(names(&restored["unchanged"]).len(), 3);
    run("for i in 1 2 3; do for store in vault aws; do keyfob --store $store delete app/s$i 2>/dev/null; done; done");
    servers::remove(&vault);
    servers::remove(&aws);
}

/// AWS and Vault's KV 2 have a test of their own above.
#[test]
fn every_other_store_is_kept_and_restored_as_well() {
    let test = "every_other_store_is_kept_and_restored_as_well";
    for provider in Provider::ALL {
        if matches!(provider, Provider::Aws | Provider::Vault) {
            continue;
        }
        let Some(variables) = servers::variables(test, provider) else {
            continue;
        };
        let world = World::empty();
        let canary = &world.canary;
        let run = |line: &str, code: i32| {
            let mut command = world.sandbox.program("bash");
            command.args(["-c", line]).stdin(Stdio::null());
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            command.env("SECRET_PROVIDER", servers::store(&variables, provider));
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{provider:?}: `{line}`: {}", said(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        if provider == Provider::Postgres {
            run("keyfob init -q --no-project", 0);
        } else {
            run("keyfob snapshot verify", 3);
            run("keyfob snapshot init -q && keyfob snapshot init -q", 0);
        }
        for which in ["one", "two"] {
            run(&format!("printf %s '{canary}-{which}' | keyfob set -q app/{which}"), 0);
        }
        run("keyfob snapshot create -q --prefix app/", 0);
        run("keyfob snapshot diff -q", 0);
        run(&format!("printf %s '{canary}-other' | keyfob set -q app/one"), 0);
        run(
            "keyfob delete -q app/two 2>/dev/null || keyfob delete -q app/two --permanent --yes",
            0,
        );
        run("keyfob snapshot diff -q", 1);
        let restored: Value = serde_json::from_str(&run("keyfob snapshot restore latest --json", 0)).unwrap();
        assert_eq!(
            (names(&restored["changed"]), names(&restored["created"])),
            (vec!["app/one"], vec!["app/two"]),
            "{provider:?}"
        );
        run("keyfob snapshot diff -q", 0);
        for which in ["one", "two"] {
            let value = run(&format!("keyfob get app/{which}"), 0);
            assert!(value == format!("{canary}-{which}"), "{provider:?}: another value");
            run(
                &format!("keyfob delete -q app/{which} --permanent --yes 2>/dev/null || keyfob delete -q app/{which}"),
                0,
            );
        }
        servers::remove(&variables);
    }
}
