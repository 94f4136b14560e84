//! `keyfob rotate` and `keyfob rotation`, as somebody at a shell and a job of cron use them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::{World, assert_has};

const POLICIES: &str = r#"
policies:
  - name: sessions
    secrets: ["web/*"]
    every: 30d
    grace: 1s
    make: { hex: { bytes: 16 } }
  - name: root
    secrets: [root]
    make: uuid
"#;

fn world() -> World {
    let world = World::new();
    world.write("rotation.yaml", POLICIES);
    for name in ["web/session", "web/csrf --tag team=shop", "root"] {
        world.sh(&format!("printf %s '{}' | keyfob set -q {name}", world.canary)).ok();
    }
    world
}

fn json(world: &World, line: &str) -> Value {
    serde_json::from_str(&world.sh(line).ok()).unwrap()
}

/// One field of every entry.
fn all<'a>(entries: &'a Value, field: &str) -> Vec<&'a str> {
    entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[field].as_str().unwrap())
        .collect()
}

#[test]
fn a_secret_gets_a_new_value_and_the_old_one_stays_valid_until_it_is_revoked() {
    let world = world();
    assert_has(
        &world.sh("keyfob rotate db/password").fails(1),
        &["nothing says how the new value is made", "--make"],
    );
    let rotated = json(&world, "keyfob rotate db/password --make uuid --grace 1h --json");
    assert_eq!((&rotated["outcome"], &rotated["version"]), (&"grace".into(), &"2".into()));
    assert_eq!(world.sh("keyfob get db/password").ok().len(), 36);
    assert_eq!(world.sh("keyfob get db/password@previous").ok(), world.canary);
    // A second one would take a valid value away.
    assert_has(
        &world.sh("keyfob rotate db/password --make uuid").fails(1),
        &["grace period", "until"],
    );
    let status = json(&world, "keyfob rotation status db/password --json");
    assert_eq!(status["under_way"]["phase"], "grace");
    world.sh("keyfob rotate db/password --make uuid --grace 0s --end-grace").ok();
    assert_eq!(
        json(&world, "keyfob rotation status db/password --json")["last"]["ended"],
        "completed"
    );
    world.sh("keyfob rotation forget db/password").ok();
    assert_eq!(world.sh("keyfob list --reserved").ok().matches("keyfob-").count(), 0);
}

#[test]
fn a_rotation_is_taken_back() {
    let world = world();
    world.sh("keyfob rotate root --grace 1h").ok();
    assert_ne!(world.sh("keyfob get root").ok(), world.canary);
    let answer = world.sh("keyfob rotation rollback root");
    assert_has(&answer.err, &["`root` has the value of before again", "the newer one is "]);
    assert!(!answer.err.contains("rotated"), "{answer:?}");
    answer.ok();
    assert_eq!(world.sh("keyfob get root").ok(), world.canary);
}

#[test]
fn a_job_rotates_what_is_due_and_revokes_what_is_over() {
    let world = world();
    let plan = json(&world, "keyfob rotate --plan --json");
    assert_eq!(all(&plan, "name"), ["root", "web/csrf", "web/session"]);
    assert!(plan.as_array().unwrap().iter().all(|entry| entry["now"] == false));
    assert_has(&world.sh("keyfob rotate --due").err, &["nothing to rotate"]);

    let rotated = json(&world, "keyfob rotate --all --where tag=team=shop --json");
    assert_eq!(
        (all(&rotated, "name"), all(&rotated, "outcome")),
        (vec!["web/csrf"], vec!["grace"])
    );
    world.sh("sleep 1.1").ok();
    let revoked = json(&world, "keyfob rotate --due --json");
    assert_eq!(
        (all(&revoked, "name"), all(&revoked, "outcome")),
        (vec!["web/csrf"], vec!["completed"])
    );

    // What the values were made longer ago than the policy allows is due.
    world.write("rotation.yaml", &POLICIES.replace("every: 30d", "max_age: 1s"));
    world.sh("sleep 1.1").ok();
    let rotated = json(&world, "keyfob rotate --due --where policy=sessions --json");
    assert_eq!(all(&rotated, "name"), ["web/csrf", "web/session"]);
    assert_eq!(world.sh("keyfob get web/session").ok().len(), 32);
    assert_eq!(world.sh("keyfob get root").ok(), world.canary);
}

#[test]
fn an_emergency_asks_first_and_leaves_no_old_value() {
    let world = world();
    assert_has(
        &world.sh("keyfob rotate --all --emergency").fails(2),
        &["nobody to confirm", "--yes"],
    );
    assert_eq!(world.sh("keyfob get root").ok(), world.canary);
    world.sh("keyfob rotate root --grace 1h").ok();
    let rotated = json(&world, "keyfob rotate --all --emergency --yes --json");
    assert_eq!(all(&rotated, "outcome"), ["completed"; 3]);
    let status = json(&world, "keyfob rotation status --json");
    assert!(status.as_array().unwrap().iter().all(|entry| entry["under_way"].is_null()));
}

#[test]
fn journals_are_not_listed_copied_or_exported() {
    let world = world();
    world.sh("keyfob rotate --all --emergency --yes").ok();
    let lines = "keyfob list && keyfob export --format json && keyfob copy --from sqlite: --to dotenv:copy.env --drop-metadata && cat copy.env";
    assert!(!world.sh(lines).ok().contains("keyfob-"));
    assert!(world.sh("keyfob list --reserved").ok().contains("root.keyfob-rotation"));
}

#[test]
fn a_program_is_asked_for_every_step_and_its_failure_takes_the_rotation_back() {
    let world = world();
    let policies = "policies:\n  - name: partner\n    secrets: [partner/key]\n    grace: 0s\n    make: { command: { run: [./partner, key], allow: [MODE] } }\n";
    world.write("rotation.yaml", policies);
    world.write(
        "partner",
        r#"#!/bin/sh
question=$(cat)
case $question in
  (*'"step":"create"'*) echo '{"value":"kfcanary-fromprogram"}' ;;
  (*'"step":"test"'*) [ "$MODE" != broken ] || { echo 'it is refused' >&2; exit 1; } ;;
esac
echo "$1 $question" | grep -o '^key\|"step":"[a-z]*"' >> steps
"#,
    );
    world.sh("chmod 755 partner && printf old | keyfob set -q partner/key").ok();
    let failed = world.sh("MODE=broken keyfob rotate partner/key").fails(1);
    assert_has(&failed, &["it is refused", "rolled_back `yes`"]);
    assert_eq!(world.sh("keyfob get partner/key").ok(), "old");
    world.sh("rm steps && keyfob rotate partner/key").ok();
    assert_eq!(world.sh("keyfob get partner/key").ok(), "kfcanary-fromprogram");
    let steps = world.sh("cat steps").ok();
    let steps: Vec<&str> = steps.lines().filter(|line| *line != "key").collect();
    assert_eq!(
        steps,
        ["create", "set", "test", "finish", "revoke"].map(|step| format!("\"step\":\"{step}\"")),
    );
}

#[test]
fn a_grace_period_ends_when_the_application_says_that_the_old_value_is_not_in_use() {
    let world = world();
    let policies = "policies:\n  - name: session\n    secrets: [web/session]\n    grace: 1h\n    make: uuid\n    drain: { command: { \
                    run: [./in-use] } }\n    notify: { run: [./told] }\n";
    world.write("rotation.yaml", policies);
    world.write(
        "in-use",
        "#!/bin/sh\ngrep -o '\"step\":\"[a-z]*\"' >> asked\n[ -e idle ] && echo '{\"drained\": true}' || echo '{\"drained\": false}'\n",
    );
    world.write("told", "#!/bin/sh\ncat >> notices\necho >> notices\n");
    world.sh("chmod 755 in-use told && keyfob rotate web/session").ok();
    let outcomes = || all(&json(&world, "keyfob rotate --due --json"), "outcome").join(" ");
    assert_eq!((outcomes(), outcomes()), ("nothing".to_owned(), "nothing".to_owned()));
    assert_eq!(world.sh("keyfob get web/session@previous").ok(), world.canary);
    assert_eq!(
        world.sh("touch idle; cat asked").ok().lines().collect::<Vec<_>>(),
        ["\"step\":\"drain\""; 2]
    );
    assert_eq!(outcomes(), "completed");
    assert_eq!(
        world.sh("wc -l < notices").ok().trim(),
        "2",
        "it was told of what did not happen"
    );
}

#[test]
fn a_share_of_the_consumers_goes_first_and_everybody_is_told() {
    let world = world();
    let policies = "policies:\n  - name: session\n    secrets: [web/session]\n    grace: 0s\n    make: uuid\n    \
                    validate: { run: [./check, validate] }\n    stages:\n      - { copies: [web/canary], wait: 1s, every: 1s, \
                    check: { run: [./check, stage] } }\n    notify: { run: [./told] }\n";
    world.write("rotation.yaml", policies);
    let check = "#!/bin/sh\ncat > /dev/null\necho \"$1 $(keyfob list web/canary | wc -l)\" >> checks\n[ ! -e ill ] || [ $1 = validate ]\n";
    world.write("check", check);
    world.write("told", "#!/bin/sh\ncat >> notices\necho >> notices\n");
    world.sh("chmod 755 check told && keyfob rotate web/session").ok();
    let value = world.sh("keyfob get web/session").ok();
    assert_eq!((value.len(), world.sh("keyfob get web/canary").ok()), (36, value.clone()));
    let checks = world.sh("cat checks").ok();
    assert!(checks.starts_with("validate 0\nstage 2\n"), "{checks}");
    world.sh("touch ill && keyfob rotate web/session").fails(1);
    assert_eq!(world.sh("keyfob get web/session").ok(), value);
    assert_eq!(world.sh("keyfob get web/canary").ok(), value);
    let notices = world.sh("cat notices").ok();
    let notices: Vec<Value> = notices.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&Value> = notices.iter().map(|notice| &notice["outcome"]).collect();
    assert_eq!(outcomes, ["completed", "rolled_back"]);
    assert!(notices[1]["error"]["why"].is_string(), "{}", notices[1]);
    assert_eq!(notices[1]["policy"], "session");
    assert!(!notices[0].to_string().contains(&value) && !notices[1].to_string().contains(&value));
}

#[test]
fn a_rotation_whose_program_is_gone_is_abandoned() {
    let world = world();
    let program = "#!/bin/sh\nquestion=$(cat)\ncase $question in *create*) echo '{\"value\":\"kfcanary-fromprogram\"}';; *) echo '{}';; esac\n";
    world.write("make-it", program);
    world
        .sh("chmod 755 make-it && keyfob rotate root --make '{ command: { run: [./make-it] } }' && rm make-it")
        .ok();
    let other = world.sh("keyfob rotate root --make uuid").fails(1);
    assert_has(&other, &["another kind is under way", "--abandon"]);
    assert_has(&world.sh("keyfob rotation forget root").fails(1), &["--resume", "--abandon"]);
    assert_has(
        &world.sh("keyfob rotation forget root --abandon </dev/null").fails(2),
        &["nobody to confirm", "--yes"],
    );
    let value = world.sh("keyfob get root").ok();
    let told = world.sh("keyfob rotation forget root --abandon --yes");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_has(&told.err, &["the old one may stay valid"]);
    assert_eq!(world.sh("keyfob get root").ok(), value);
    world.sh("keyfob rotate root --make uuid --grace 0s").ok();
}

#[test]
fn what_no_rotation_can_do_is_told_by_the_plan() {
    let world = world();
    let plan = |body: &str| {
        let file = format!("policies:\n  - name: partner\n    secrets: [root]\n    {body}\n");
        world.write("rotation.yaml", &file);
        world.sh("keyfob rotate --plan").fails(1)
    };
    let error = plan("make: { endpoint: { url: \"http://partner.example\" } }");
    assert_has(&error, &["`https` URLs only", "partner", "rotation.yaml"]);
    let error = plan("make: uuid\n    stages: [{ copies: [root], wait: 1s }]");
    assert_has(&error, &["the copy `root`", "partner", "rotation.yaml"]);
    // What only a tag tells is told for the secret.
    let file = "policies:\n  - { name: a, secrets: [root], make: uuid, stages: [{ copies: [web/csrf], wait: 1s }] }\n  \
                - { name: b, tags: { team: shop }, make: uuid }\n";
    world.write("rotation.yaml", file);
    let plan = world.sh("keyfob rotate --plan");
    assert_eq!(plan.code, Some(1), "{plan:?}");
    assert_has(&format!("{}{}", plan.out, plan.err), &["the copy `web/csrf`"]);
}

#[test]
fn policies_that_others_may_write_are_not_believed() {
    let world = world();
    world.sh("chmod 666 rotation.yaml").ok();
    assert_has(
        &world.sh("keyfob rotate --plan").fails(1),
        &["not believed", "which programs are run"],
    );
}

#[test]
fn policies_that_are_wrong_say_where() {
    let world = world();
    world.write(
        "rotation.yaml",
        "policies:\n  - name: a\n    secrets: [x]\n    make: uuid\n    evry: 3d\n",
    );
    assert_has(
        &world.sh("keyfob rotate --plan").fails(1),
        &["evry", "line `5`", "rotation.yaml"],
    );
    world.sh("rm rotation.yaml").ok();
    assert_has(
        &world.sh("keyfob rotate --due").fails(1),
        &["there is no `rotation.yaml`", "--policies"],
    );
    assert_has(
        &world.sh("keyfob rotate --plan --policies none.yaml").fails(1),
        &["none.yaml"],
    );
    world.sh("keyfob rotate").fails(2);
    world.sh("keyfob rotate root --due").fails(2);
    assert_has(&world.sh("keyfob rotate root --make magic").fails(2), &["magic"]);
}

#[test]
fn steps_of_a_rotation_are_recorded_and_refused_without_a_reason() {
    let world = world();
    world.sh("keyfob audit init -q log").ok();
    world.write(
        "keyfob.toml",
        "default = \"sqlite\"\n[audit]\ndirectory = \"log\"\nkey_file = \"log.key\"\nreason_required = true\n",
    );
    world.sh("keyfob rotate root").fails(1);
    assert_eq!(world.sh("keyfob --reason audit get root").ok(), world.canary);
    world.sh("keyfob rotate root --reason 'ticket 7'").ok();
    let steps = world
        .sh("keyfob audit export --format jsonl --where verb=put --where outcome=ok")
        .ok();
    assert_eq!(
        recorded(&steps, "ticket 7"),
        [
            "begin root.keyfob-rotation",
            "creating root.keyfob-pending",
            "setting root.keyfob-rotation",
            "testing root.keyfob-rotation",
            "switching root.keyfob-rotation",
            "switching root",
            "finishing root.keyfob-rotation",
            "finishing root.keyfob-pending",
            "grace root.keyfob-rotation",
        ]
    );
    let refused = world.sh("keyfob audit export --format jsonl --where outcome=failed").ok();
    assert!(refused.contains("\"name\":\"root\""), "{refused}");
}

/// The writes whose reason begins so: the step, and what was written. Those in a row that are the same are one.
fn recorded(log: &str, reason: &str) -> Vec<String> {
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut all: Vec<String> = records
        .filter_map(|record| {
            let step = record["reason"]
                .as_str()?
                .strip_prefix(reason)?
                .strip_prefix("; rotation: ")?
                .to_owned();
            let step = step.split(' ').next().unwrap_or_default();
            Some(format!("{step} {}", record["name"].as_str()?))
        })
        .collect();
    all.dedup();
    all
}

#[test]
fn revoking_and_taking_back_are_recorded_too() {
    let world = world();
    world.sh("keyfob audit init -q log").ok();
    world.write(
        "keyfob.toml",
        "default = \"sqlite\"\n[audit]\ndirectory = \"log\"\nkey_file = \"log.key\"\nreason_required = true\n",
    );
    let log = || {
        world
            .sh("keyfob audit export --format jsonl --where verb=put --where outcome=ok")
            .ok()
    };
    world.sh("keyfob rotate root --grace 1h --reason first").ok();
    world.sh("keyfob rotate root --grace 0s --end-grace --reason second").ok();
    let second = recorded(&log(), "second");
    assert_eq!(
        second[..2],
        ["begin root.keyfob-rotation", "revoking root.keyfob-rotation"],
        "the first value is not revoked"
    );
    assert_eq!(
        second[second.len() - 3..],
        [
            "finishing root.keyfob-rotation",
            "finishing root.keyfob-pending",
            "revoking root.keyfob-rotation"
        ]
    );
    // Withdrawn before it was current.
    world.write(
        "rotation.yaml",
        "policies:\n  - name: root\n    secrets: [root]\n    make: uuid\n    validate: { run: [\"false\"] }\n",
    );
    world.sh("keyfob rotate root --reason third").fails(1);
    let third = recorded(&log(), "third");
    assert_eq!(
        third[third.len() - 4..],
        [
            "testing root.keyfob-rotation",
            "rolling_back root.keyfob-rotation",
            "rolling_back root.keyfob-pending",
            "rolling_back root.keyfob-rotation"
        ]
    );
    // Taken back after it was current: a rotation in the other direction.
    world.write("rotation.yaml", POLICIES);
    world
        .sh("keyfob rotate root --grace 1h --reason fourth && keyfob rotation rollback root --reason fifth")
        .ok();
    let fifth = recorded(&log(), "fifth");
    assert!(fifth.contains(&"rollback root.keyfob-rotation".to_owned()), "{fifth:?}");
    assert!(fifth.contains(&"switching root".to_owned()), "{fifth:?}");
}

#[test]
fn a_providers_key_is_rolled_with_an_overlap() {
    let world = world();
    let provider = Provider::start();
    world.write(
        "rotation.yaml",
        &format!(
            "policies:\n  - name: partner\n    secrets: [partner/key]\n    grace: 1h\n    make:\n      api_key:\n        create: {{ method: POST, \
             url: \"{0}/keys\", headers: {{ authorization: \"Bearer {{credential}}\", idempotency-key: \"{{rotation}}\" }}, form: {{ name: \"{{name}}\" }} }}\n        test: {{ method: \
             GET, url: \"{0}/me\", headers: {{ authorization: \"Bearer {{key}}\" }} }}\n        revoke: {{ method: DELETE, url: \
             \"{0}/keys/{{key_id}}\", headers: {{ authorization: \"Bearer {{credential}}\" }} }}\n        key_at: /secret\n        ids_at: /id\n        \
             credential: ${{secret:partner/admin}}\n",
            provider.url
        ),
    );
    world
        .sh("printf 'kfcanary-admin00001' | keyfob set -q partner/admin && printf '{\"id\":\"key_0\",\"key\":\"kfcanary-key000000\"}' | keyfob set -q partner/key")
        .ok();
    world.sh("keyfob rotate partner/key").ok();
    assert_eq!(world.sh("keyfob get partner/key#key").ok(), "kfcanary-key000001");
    assert_eq!(world.sh("keyfob get partner/key@previous#key").ok(), "kfcanary-key000000");
    assert_eq!(
        provider.seen(),
        ["POST /keys kfcanary-admin00001", "GET /me kfcanary-key000001"]
    );
    world.sh("keyfob rotate partner/key --end-grace --grace 0s").ok();
    let seen = provider.seen();
    assert_eq!(seen[0], "DELETE /keys/key_0 kfcanary-admin00001");
    assert_eq!(seen.last().unwrap(), "DELETE /keys/key_1 kfcanary-admin00001");
    assert_eq!(world.sh("keyfob get partner/key#key").ok(), "kfcanary-key000002");
}

/// A provider of keys that takes whatever it is told.
struct Provider {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&seen);
        // Ends with the tests.
        thread::spawn(move || {
            let mut made = 0;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let request = request.trim_end_matches(" HTTP/1.1").to_owned();
                let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let bearer = headers
                    .iter()
                    .find_map(|line| line.split_once("Bearer "))
                    .map(|(_, key)| key.to_owned());
                let body = match request.as_str() {
                    "POST /keys" => {
                        made += 1;
                        format!("{{\"id\":\"key_{made}\",\"secret\":\"kfcanary-key00000{made}\"}}")
                    }
                    _ => "{}".to_owned(),
                };
                all.lock().unwrap().push(format!("{request} {}", bearer.unwrap_or_default()));
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { url, seen }
    }

    /// The requests since it was asked last.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}
