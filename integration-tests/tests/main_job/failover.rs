//! A failover list whose first store is ill: who answered and why the other did not is told wherever a secret is.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{World, assert_has};

/// The label of the first store.
const ILL: &str = "near";
/// Nobody listens at the first store's port, and nobody may who is not root.
const PROJECT: &str = "default = [\"near\", \"far\"]\n[stores.near]\nurl = \"vault:secret?address=http://127.0.0.1:1\"\n\
                       [stores.far]\nurl = \"sqlite:\"\n";

fn ill() -> World {
    let world = World::new();
    world.write("keyfob.toml", PROJECT);
    world
}

fn line(command: &str) -> String {
    format!("export VAULT_TOKEN=none SECRET_RETRY_ATTEMPTS=1; keyfob {command}")
}

#[test]
fn metadata_say_who_answered_and_why_the_first_store_did_not() {
    let world = ill();
    assert_eq!(world.sh(&line("get db/password")).ok(), world.canary);
    let passed_over = json!([{"store": "vault", "member": ILL, "kind": "unavailable", "asked": true}]);
    let get = world.sh(&line("get db/password --json")).json();
    assert_eq!(get["value"], world.canary.as_str());
    let list = world.sh(&line("list --json")).json();
    for answer in [&get, &list[0]] {
        assert_eq!((&answer["store"], &answer["member"]), (&json!("sqlite"), &json!("far")));
        assert_eq!((&answer["passed_over"], &answer["replicas"]), (&passed_over, &json!([])));
    }
    let alone = world.sh(&line("get db/password --json --store far")).json();
    assert_eq!((&alone["member"], &alone["passed_over"]), (&json!(null), &json!([])));
}

#[test]
fn explain_says_who_answers_when_it_may_ask() {
    let world = ill();
    let unasked = world.sh(&line("explain --json '${secret:db/password}'")).json();
    assert_eq!(unasked["references"][0]["answer"], json!(null));
    let asked = world.sh(&line("explain --ask --json '${secret:db/password}'"));
    assert!(!asked.out.contains(&world.canary), "a value is shown");
    assert_eq!(
        asked.json()["references"][0]["answer"],
        json!({
            "version": "far:1", "store": "sqlite", "freshness": "store", "member": "far", "replicas": [],
            "passed_over": [{"store": "vault", "member": ILL, "kind": "unavailable", "asked": true}],
        })
    );
    let text = world.sh(&line("explain --ask '${secret:db/password}'")).ok();
    assert_has(&text, &["far answered (sqlite, version far:1), not near: unavailable"]);
    let missing = world.sh(&line("explain --ask '${secret:none}'"));
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert_has(&missing.out, &["was asked: ", "near: unavailable; far: not_found"]);
    world.sh(&line("explain --ask")).fails(2);
}

#[test]
fn an_error_says_what_each_store_said() {
    let world = ill();
    let err = world.sh(&line("get none")).fails(1);
    assert_has(&err, &["near: unavailable; far: not_found"]);
    // The first store may have it: that the second one lacks it proves nothing, unless that is asked for.
    let err = world
        .sh(&format!(
            "export SECRET_FAILOVER_BELIEVE_NOT_FOUND=true; {}",
            line("get none")
        ))
        .fails(1);
    assert_has(&err, &["no such secret"]);
    // Writes go to the first store and no other.
    let err = world.sh(&format!("printf x | ({})", line("set db/password"))).fails(1);
    assert_has(&err, &["near"]);
    assert_eq!(world.sh(&line("get db/password")).ok(), world.canary);
}

#[test]
fn what_is_written_to_all_says_what_each_store_has() {
    let world = World::new();
    world.write(
        "keyfob.toml",
        &PROJECT.replace("vault:secret?address=http://127.0.0.1:1", "dotenv:near.env"),
    );
    let set = "printf changed | SECRET_FAILOVER_REPLICATE=true keyfob set DB_PASSWORD --json";
    let set = world.sh(set).json();
    assert_eq!((&set["store"], &set["member"]), (&json!("dotenv"), &json!("near")));
    assert_eq!(
        set["replicas"],
        json!([{"store": "sqlite", "member": "far", "version": "far:1", "error": null}])
    );
    for store in ["near", "far"] {
        assert_eq!(world.sh(&format!("keyfob --store {store} get DB_PASSWORD")).ok(), "changed");
    }
}

#[test]
fn a_store_that_says_nothing_is_not_waited_for_longer_than_set_up() {
    let world = World::new();
    let silence = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = format!("postgres://u@{}/db", silence.local_addr().unwrap());
    let set = "SECRET_FAILOVER_READ_TIMEOUT=700 SECRET_RETRY_DEADLINE=1500";
    // What connecting to it takes by itself is five seconds.
    let asked = |line: &str| {
        let begun = Instant::now();
        let answer = world.sh(line);
        assert!(begun.elapsed() < Duration::from_secs(4), "{line}: {:?}", begun.elapsed());
        answer
    };
    let value = asked(&format!("keyfob --store local,{silent} get db/password")).ok();
    assert_eq!(value.trim_end(), world.canary);
    let value = asked(&format!("{set} keyfob --store {silent},local get db/password")).ok();
    assert_eq!(value.trim_end(), world.canary);
    let err = asked(&format!("{set} keyfob --store {silent} get db/password")).fails(1);
    assert_has(&err, &["could not be opened within 1.5s", "127.0.0.1"]);
}

/// A store in a PostgreSQL that takes connections and says nothing, and with it what has to stay open.
fn silent() -> (std::net::TcpListener, String) {
    let silence = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("postgres://u@{}/db", silence.local_addr().unwrap());
    (silence, url)
}

#[test]
fn doctor_looks_at_each_store_of_a_list_and_waits_for_none_longer_than_set_up() {
    let world = World::new();
    let (_silence, silent) = silent();
    for set in [
        "SECRET_FAILOVER_READ_TIMEOUT=700",
        "SECRET_RETRY_DEADLINE=700",
        "SECRET_FAILOVER_READ_TIMEOUT=700 SECRET_FAILOVER_REPLICATE=true",
    ] {
        let begun = Instant::now();
        let doctor = world.sh(&format!("{set} keyfob doctor --json --store {silent},local"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{set}: {:?}", begun.elapsed());
        assert_eq!(doctor.code, Some(0), "{doctor:?}");
        let json = doctor.json();
        let of = |check: &str| -> Vec<&serde_json::Value> {
            let checks = json["checks"].as_array().unwrap().iter();
            checks.filter(|found| found["check"] == check).collect()
        };
        let stores = of("store");
        assert_eq!(stores.len(), 2, "{json:#}");
        let silent = silent.replace("u@", "***@");
        assert_eq!(
            (&stores[0]["subject"], &stores[0]["status"]),
            (&json!(silent), &json!("warning"))
        );
        assert_has(
            &stores[0].to_string(),
            &["could not be opened within 700ms", "another store of the list stands in"],
        );
        assert_eq!(
            (&stores[1]["subject"], &stores[1]["status"]),
            (&json!("local = sqlite:"), &json!("ok"))
        );
        // What is in a store that can't be opened nobody can say.
        assert_eq!(of("content").len(), 1);
        assert_eq!(of("content")[0]["subject"], "sqlite:");
    }
    // Nobody stands in.
    let alone = world.sh(&format!(
        "SECRET_FAILOVER_READ_TIMEOUT=300 keyfob doctor --store {silent},vault:secret?address=http://127.0.0.1:1"
    ));
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert_eq!(alone.out.matches("failed  store").count(), 2, "{alone:?}");
}

#[test]
fn a_store_that_is_left_alone_is_named_by_its_place() {
    let world = World::new();
    let (silence, silent) = silent();
    let line =
        format!("SECRET_FAILOVER_READ_TIMEOUT=300 SECRET_FAILOVER_FAILURES=1 keyfob --store {silent},local get db/password");
    let got = world.sh(&line);
    let place = format!("place `{}/db?schema=keyfob`", silence.local_addr().unwrap());
    assert_has(
        &got.err,
        &[
            "warning: failover breaker (store `postgres`, member `postgres`",
            &place,
            "to `open`, kind `unavailable`",
        ],
    );
    assert_eq!(got.ok().trim_end(), world.canary);
}

#[test]
fn who_could_not_resolve_a_reference_reads_each_store_that_was_asked() {
    let world = ill();
    world.write("a.yaml", "a: ${secret:none}\n");
    let err = world.sh(&line("resolve a.yaml")).fails(1);
    let stored = "/.local/share/keyfob/secrets.db)";
    assert_has(&err, &["asked: near (vault: ", "), then far (sqlite: ", stored]);
}

#[test]
fn explain_says_where_writes_go() {
    let world = ill();
    assert_has(
        &world.sh("keyfob explain").ok(),
        &["writes go to the first of them, unless `replicate` of `[failover]` says otherwise"],
    );
    let all = "export SECRET_FAILOVER_REPLICATE=true; keyfob explain";
    assert_has(
        &world.sh(all).ok(),
        &["writes go to all of them: the variable `SECRET_FAILOVER_REPLICATE` decides"],
    );
    assert_eq!(world.sh(&format!("{all} --json")).json()["store"]["replicates"], true);
    let alone = world.sh(&format!("{all} --json --store far")).json();
    assert_eq!(alone["store"]["replicates"], false);
    assert!(!world.sh(&format!("{all} --store far")).ok().contains("writes go"));
}

#[test]
fn the_store_of_a_list_that_can_not_be_written_to_is_named() {
    let world = World::new();
    world.write("s.env", "A=1\n");
    let set = "printf x | SECRET_FAILOVER_REPLICATE=true keyfob --store";
    let err = world.sh(&format!("{set} dotenv:s.env,env set B")).fails(1);
    assert_has(&err, &["read-only (store `env`)"]);
    let err = world.sh("printf x | keyfob --store env set B").fails(1);
    assert_has(&err, &["read-only (store `env`)"]);
}
