//! The audit log, as a user keeps and reads one.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{World, assert_has};

/// Makes a log in `audit`; `more` are further lines of its table.
pub(crate) fn audited(more: &str) -> World {
    let world = World::new();
    world.sh("keyfob audit init -q audit").ok();
    let toml = world.sandbox.read("keyfob.toml");
    world.write("keyfob.toml", &format!("{toml}{more}\n"));
    world
}

impl World {
    pub(crate) fn log(&self) -> String {
        self.sandbox.read("audit/audit-00000001.jsonl")
    }

    /// The accesses that are recorded.
    #[track_caller]
    fn accesses(&self, options: &str) -> Vec<Value> {
        let lines = self.sh(&format!("keyfob audit export {options}")).ok();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn every_access_is_recorded_however_it_ends_and_never_a_value() {
    let world = audited("");
    world.sh("keyfob get db/password --reason 'ticket 42' >/dev/null").ok();
    world.sh("keyfob get db/nothing").fails(1);
    world.sh("printf x | KEYFOB_REASON='ticket 43' keyfob set -q other").ok();
    world.sh("keyfob list >/dev/null").ok();
    world.write("app.conf", "${secret:db/password} ${secret:other}\n");
    world.sh("keyfob resolve app.conf >/dev/null").ok();
    world.sh("DB='${secret:db/password}' keyfob run -- true").ok();
    world
        .sh("keyfob delete -q --yes other || keyfob delete -q other --permanent --yes")
        .ok();
    // The key of the store is not the one.
    world
        .sh(&format!("KEYFOB_KEY={} keyfob get db/password", "0".repeat(64)))
        .fails(1);

    let of = |options: &str| world.accesses(options).len();
    assert_eq!(of("--where name=db/password --where outcome=ok"), 3);
    assert_eq!(of("--where name=db/nothing --where error=not_found"), 1);
    assert_eq!(of("--where verb=put --where name=other"), 1);
    assert!(of("--where verb=delete --where name=other") > 0);
    assert_eq!(of("--where verb=get_many --where outcome=ok"), 3);
    assert!(of("--where verb=list") > 0);
    assert_eq!(of("--where name=db/password --where verb=get --where outcome=failed"), 1);
    assert_eq!(of("--where verb=health"), 0);
    assert_eq!(of("--since 1h"), of(""));
    assert_eq!((of("--until 1h"), of("--where store=vault")), (0, 0));
    let first = &world.accesses("")[0];
    assert_eq!(first["reason"], "ticket 42");
    assert_eq!(
        (&first["store"], &first["scheme"], &first["process"], &first["from"]),
        (&"local".into(), &"sqlite".into(), &"keyfob".into(), &"store".into())
    );
    assert!(first["location"].as_str().unwrap().ends_with("secrets.db"), "{first}");
    assert_eq!(of("--where store=local --where scheme=sqlite"), of(""));
    assert_eq!(world.accesses("--where verb=put")[0]["reason"], "ticket 43");
    assert!(!world.log().contains(&world.canary));

    let verified = world.sh("keyfob audit verify --json");
    assert_eq!(
        (verified.code, &verified.json()["intact"]),
        (Some(0), &true.into()),
        "{verified:?}"
    );
    assert_eq!(verified.json()["unsigned"], 0);
    for (format, start) in [("csv", "seq,time,user"), ("cef", "CEF:0|keyfob|"), ("jsonl", "{\"seq\":")] {
        let text = world.sh(&format!("keyfob audit export --format {format}")).ok();
        assert!(text.starts_with(start) && !text.contains(&world.canary), "{text}");
    }
    world
        .sh("keyfob audit export --format csv | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}")
        .ok();
    let tail = world.sh("keyfob audit tail -n 1 --where outcome=ok --where verb=put").ok();
    assert_has(&tail, &["put local:other", "ok", "ticket 43"]);
    world.sh("keyfob audit export --where nam=x").fails(2);
}

#[test]
fn the_files_of_a_log_are_the_owners_and_init_twice_changes_nothing() {
    let world = audited("");
    assert_eq!(
        ["audit", "audit.key", "audit.pub"].map(|name| world.mode(name)),
        [0o700, 0o600, 0o644]
    );
    assert_eq!(world.mode("audit/audit-00000001.jsonl"), 0o600);
    let before = ["keyfob.toml", "audit.key", "audit.pub"].map(|name| world.sandbox.read(name));
    assert_has(&before[0], &["[audit]\ndirectory = \"audit\""]);
    world.sh("keyfob audit init").ok();
    world.sh("keyfob audit init audit").ok();
    assert_eq!(
        before,
        ["keyfob.toml", "audit.key", "audit.pub"].map(|name| world.sandbox.read(name))
    );
    // No key, no access: it would not be recorded.
    world.sh("mv audit.key away").ok();
    let err = world.sh("keyfob get db/password").fails(1);
    assert_has(&err, &["audit.key_file", "keyfob audit init"]);
    // Another key would sign what the public one does not prove.
    let err = world.sh("keyfob audit init").fails(1);
    assert_has(&err, &["audit.pub", "bring the signing key back"]);
    assert!(!world.exists("audit.key"));
    world.sh("keyfob audit init ''").fails(2);
}

#[test]
fn without_a_reason_no_command_asks_a_store_where_one_is_required() {
    let world = audited("reason_required = true");
    world.write("app.conf", "${secret:db/password} ${secret:other}\n");
    let mut expected = Vec::new();
    for (line, recorded) in [
        ("keyfob get db/password", "get db/password"),
        ("keyfob get db/password@previous", "get db/password"),
        ("printf x | keyfob set -q other", "put other"),
        ("keyfob list", "list"),
        ("keyfob list db/", "list db/"),
        ("keyfob versions db/password", "versions db/password"),
        ("keyfob delete -q db/password --permanent --yes", "delete db/password"),
        ("keyfob restore db/password", "restore db/password"),
        ("keyfob resolve app.conf", "get_many db/password, get_many other"),
        ("keyfob check app.conf", "get_many db/password, get_many other"),
        ("keyfob export --format dotenv", "list"),
        ("printf 'A=1\\nB=2\\n' | keyfob import - --format dotenv", "put A, put B"),
        ("keyfob copy --from local --to dotenv:copy.env --prefix db/", "list db/"),
    ] {
        let err = world.sh(line).fails(1);
        assert_has(&err, &["reason", "--reason"]);
        expected.extend(recorded.split(", "));
    }
    let err = world.sh("DB='${secret:db/password}' keyfob run -- touch started").fails(125);
    assert_has(&err, &["--reason"]);
    assert!(!world.exists("started"));
    expected.push("get_many db/password");
    let told = world.sh("keyfob explain --ask '${secret:db/password}'");
    assert_eq!(told.code, Some(1), "{told:?}");
    expected.push("get db/password");
    let accesses = world.accesses("");
    let recorded = accesses.iter().map(|access| {
        let named = ["verb", "name"].map(|field| access[field].as_str().unwrap_or_default());
        assert_eq!(
            (&access["outcome"], &access["error"]),
            (&"failed".into(), &"invalid_input".into())
        );
        assert_eq!(access["store"], "local");
        named.join(" ").trim_end().to_owned()
    });
    assert_eq!(recorded.collect::<Vec<_>>(), expected);

    world.sh("KEYFOB_REASON=' ' keyfob get db/password").fails(1);
    world.sh("keyfob get db/password --reason ''").fails(2);
    world.sh("keyfob get db/password --reason 'ticket 42' >/dev/null").ok();
    world
        .sh("DB='${secret:db/password}' keyfob run --reason 'ticket 42' -- sh -c 'test -n \"$DB\"'")
        .ok();
    // To look whether all is well is no access.
    world.sh("keyfob doctor >/dev/null").ok();
    let err = world.sh("SECRET_AUDIT_REASON_REQUIRED=false keyfob get db/password").fails(1);
    assert_has(&err, &["SECRET_AUDIT_REASON_REQUIRED"]);
}

#[test]
fn names_are_masked_and_found_by_who_has_the_key() {
    let world = World::new();
    world.sh("keyfob audit init -q audit --mask-names").ok();
    world.sh("keyfob get db/password >/dev/null").ok();
    assert!(!world.log().contains("db/password") && world.log().contains("\"name\":\"hmac:"));
    assert_eq!(world.accesses("--where name=db/password").len(), 1);
    assert_eq!(world.accesses("--where name=db/other").len(), 0);
}

#[test]
fn records_on_standard_error_are_json_lines() {
    let world = World::new();
    let err = world
        .sh("SECRET_AUDIT_STANDARD_ERROR=true keyfob get db/password >/dev/null")
        .err;
    let record: Value = serde_json::from_str(err.trim()).unwrap();
    assert_eq!(
        (&record["verb"], &record["name"], &record["outcome"]),
        (&"get".into(), &"db/password".into(), &"ok".into())
    );
    // Also before another program takes this one's place.
    let err = world
        .sh("DB='${secret:db/password}' SECRET_AUDIT_STANDARD_ERROR=true keyfob run -- true")
        .err;
    assert_has(&err, &["\"verb\":\"get_many\""]);
}

#[test]
fn where_accesses_are_recorded_is_told() {
    let world = audited("durable = true");
    assert_has(
        &world.sh("keyfob explain").ok(),
        &["audit", "/audit", "durable", "keyfob.toml"],
    );
    let told = world.sh("keyfob explain --json").json();
    assert_eq!(told["audit"]["durable"], true);
    assert_has(&world.sh("keyfob doctor").ok(), &["ok", "audit", "are recorded"]);
    world.sh("chmod 777 audit").ok();
    let answer = world.sh("keyfob doctor");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_has(&answer.out, &["failed", "audit"]);
}

#[test]
fn a_log_in_a_database_is_kept_proven_and_read() {
    let world = World::new();
    world.sh("keyfob audit init sqlite:audit.db").fails(2);
    let err = world
        .sh(&format!(
            "keyfob audit init postgres://app:{}@127.0.0.1/logs --key-file k",
            world.canary
        ))
        .fails(2);
    assert_has(&err, &["PGPASSWORD"]);
    world.sh("keyfob audit init -q sqlite:audit.db --key-file audit.key").ok();
    assert_has(
        &world.sandbox.read("keyfob.toml"),
        &["store = \"sqlite:audit.db\"", "key_file = \"audit.key\""],
    );
    let toml = world.sandbox.read("keyfob.toml");
    world.write("keyfob.toml", &format!("{toml}durable = true\n"));
    world
        .sh("mkdir deep && cd deep && keyfob get db/password --reason 'ticket 42' >/dev/null")
        .ok();
    world
        .sh("for i in $(seq 12); do keyfob get db/nothing >/dev/null 2>&1 & done; wait")
        .ok();
    assert!(!world.exists("deep/audit.db"));
    assert_eq!(world.mode("audit.db"), 0o600);
    assert_eq!(world.accesses("--where error=not_found").len(), 12);
    assert_has(&world.sh("keyfob audit tail -n 20").ok(), &["db/password", "ticket 42"]);
    assert_has(&world.sh("keyfob explain").ok(), &["sqlite:audit.db", "durable"]);
    world.sh("keyfob doctor >/dev/null").ok();
    world.sh("keyfob audit checkpoint > kept.jsonl").ok();
    world
        .sh("keyfob audit verify sqlite:audit.db --public-key audit.pub --checkpoint kept.jsonl")
        .ok();
    world.sh("! grep -q \"$(keyfob get db/password)\" audit.db*").ok();
    // The store of secrets is no log.
    let err = world
        .sh("keyfob audit verify sqlite:$HOME/.local/share/keyfob/secrets.db")
        .fails(3);
    assert_has(&err, &["something else than an audit log"]);
    // Neither is a text.
    world
        .sh("mkdir -m 700 texts; head -c 5000 /etc/services > texts/a.db; chmod 600 texts/a.db")
        .ok();
    let err = world.sh("keyfob audit verify sqlite:texts/a.db").fails(3);
    assert_has(&err, &["something else than an audit log"]);
    // What is advised is about logs.
    rusqlite::Connection::open(world.sandbox.work().join("audit.db"))
        .unwrap()
        .execute("DROP TABLE audit_line", [])
        .unwrap();
    for (command, code) in [("audit verify", 3), ("audit tail", 1), ("get db/password", 1)] {
        let err = world.sh(&format!("keyfob {command}")).fails(code);
        assert_has(&err, &["audit.db", "keyfob audit verify", "from a backup"]);
        assert!(!err.contains("doctor"), "{err}");
    }
}

#[test]
fn two_stores_of_a_kind_are_told_apart() {
    let world = audited("[stores.prod]\nurl = \"dotenv:prod.env\"\n[stores.dev]\nurl = \"dotenv:dev.env\"");
    world.write("prod.env", "T=1\n");
    world.write("dev.env", "T=2\n");
    world.write("app.conf", "${prod:T} ${dev:T}\n");
    world.sh("keyfob resolve app.conf >/dev/null").ok();
    world.sh("keyfob --store dev get T >/dev/null").ok();
    world.sh("keyfob --store dotenv:dev.env get T >/dev/null").ok();
    world
        .sh("SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH=true keyfob --store prod,local get db/password >/dev/null")
        .ok();
    let stores: Vec<[String; 3]> = world
        .accesses("--where outcome=ok")
        .iter()
        .map(|access| ["store", "scheme", "location"].map(|field| access[field].as_str().unwrap().to_owned()))
        .map(|[store, scheme, location]| [store, scheme, location.rsplit('/').next().unwrap().to_owned()])
        .collect();
    let mut told: Vec<String> = stores.iter().map(|store| store.join(" ")).collect();
    // Those of one round come in any order.
    told[..2].sort();
    assert_eq!(
        told,
        [
            "dev dotenv dev.env",
            "prod dotenv prod.env",
            "dev dotenv dev.env",
            "dotenv dotenv dev.env",
            "local sqlite secrets.db"
        ]
    );
    assert_eq!(world.accesses("--where store=prod").len(), 1);
}

#[test]
fn a_write_to_a_list_is_recorded_of_the_store_that_it_was_for_with_the_time_that_it_took_to_open_it() {
    let world = World::new();
    let silence = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = format!("postgres://u@{}/db", silence.local_addr().unwrap());
    let set = "SECRET_AUDIT_STANDARD_ERROR=true SECRET_RETRY_ATTEMPTS=1 SECRET_FAILOVER_READ_TIMEOUT=600 keyfob";
    let recorded = |answer: &crate::Answer| -> Value {
        let line = answer.err.lines().find(|line| line.starts_with('{')).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let put = world.sh(&format!("printf x | {set} --store {silent},local set a"));
    assert_eq!(put.code, Some(1), "{put:?}");
    let record = recorded(&put);
    assert_eq!((&record["verb"], &record["store"]), (&"put".into(), &"postgres".into()));
    assert!(record["latency_us"].as_u64().unwrap() >= 600_000, "{record}");
    // Another store answers, once it is known that the first one does not.
    let get = world.sh(&format!("{set} --store {silent},local get db/password"));
    let record = recorded(&get);
    assert_eq!((&record["verb"], &record["store"]), (&"get".into(), &"local".into()));
    assert!(record["latency_us"].as_u64().unwrap() >= 600_000, "{record}");
}

#[test]
fn many_processes_write_one_log() {
    let world = audited("");
    world
        .sh("for i in $(seq 24); do keyfob get db/password --reason \"try $i\" >/dev/null & done; wait")
        .ok();
    assert_eq!(world.accesses("--where outcome=ok").len(), 24);
    world.sh("keyfob audit verify").ok();
}

#[test]
fn no_value_is_handed_out_without_its_record_even_to_who_is_killed() {
    let world = audited("durable = true");
    let commands: [&[&str]; 2] = [
        &["get", "db/password"],
        &["run", "--", "sh", "-c", "printf %s \"$DB\"; sleep 5"],
    ];
    let (mut handed_out, mut killed_before) = (0, 0);
    for command in commands {
        let start = |reason: &str| {
            let mut keyfob = world.sandbox.keyfob(["--reason", reason]);
            let keyfob = keyfob.args(command).env("DB", "${secret:db/password}");
            keyfob.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let begin = Instant::now();
        let mut child = start("measured");
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let takes = begin.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        for attempt in 0..25 {
            let reason = format!("{} {attempt}", command[0]);
            let mut child = start(&reason);
            std::thread::sleep(takes.mul_f64(f64::from(attempt) / 18.0).min(Duration::from_secs(5)));
            child.kill().unwrap();
            let mut out = String::new();
            child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            child.wait().unwrap();
            let has_record = world
                .log()
                .lines()
                .any(|line| line.contains(&format!("\"reason\":\"{reason}\"")));
            if out.contains(&world.canary) {
                handed_out += 1;
                assert!(has_record, "{reason} has no record");
            } else {
                killed_before += 1;
            }
        }
    }
    assert!(handed_out > 0 && killed_before > 0, "{handed_out} and {killed_before}");
    // The next access mends the end, if a writer was killed there.
    world.sh("keyfob get db/password >/dev/null").ok();
    world.sh("keyfob audit verify").ok();
    assert!(!world.log().contains(&world.canary));
}
