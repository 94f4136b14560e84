//! The key of encrypted data is rotated, and keyfob killed while the data is encrypted anew: every record can be decrypted at every moment.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{World, assert_has};

const RECORDS: usize = 60;

/// An application with encrypted records, whose questions and answers are written down without the keys in them.
fn world(keep: &str) -> World {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_encrypted_records");
    world.write(
        "rotation.yaml",
        &format!(
            "policies:\n  - name: data\n    secrets: [app/data-key]\n    grace: 1s\n    make:\n      keyring:\n        algorithm: a256gcm\n        \
             {keep}reencrypt: {{ command: {{ run: [./reencrypt], allow: [PAUSE_MS, PORTION] }} }}\n"
        ),
    );
    world.write(
        "reencrypt",
        &format!(
            "#!/bin/sh\nquestion=$(cat)\nprintf '%s\\n' \"$question\" | grep -o '\"progress\":{{[^}}]*}}' >> asked\nprintf '%s' \"$question\" | \
             {program} records\n"
        ),
    );
    world
        .sh("chmod 755 reencrypt && printf '{\"keys\": []}' | keyfob set -q app/data-key && keyfob rotate app/data-key --emergency --yes")
        .ok();
    world
        .sh(&format!("keyfob get app/data-key | {program} records add {RECORDS}"))
        .ok();
    world.sh("rm -f asked").ok();
    world
}

/// How many records there are under how many keys, all of which were decrypted.
fn check(world: &World) -> Vec<usize> {
    let program = env!("CARGO_BIN_EXE_encrypted_records");
    let counts = world.sh(&format!("keyfob get app/data-key | {program} records check")).ok();
    let mut counts: Vec<usize> = counts
        .lines()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts.iter().sum::<usize>(), RECORDS);
    counts
}

fn status(world: &World) -> Value {
    serde_json::from_str(&world.sh("keyfob rotation status app/data-key --json").ok()).unwrap()
}

/// The numbers of records that were done before each portion.
fn asked(world: &World) -> Vec<u64> {
    let questions = world.sh("cat asked").ok();
    let done = questions.lines().map(|line| {
        let progress: Value = serde_json::from_str(line.split_once(':').unwrap().1).unwrap();
        progress["done"].as_u64().unwrap()
    });
    done.collect()
}

#[test]
fn a_kill_while_data_is_encrypted_anew_loses_no_record_and_no_progress() {
    let world = world("");
    // Slow enough to be killed in the middle; portions of five records.
    let mut rotating = world
        .sandbox
        .shell("exec env PAUSE_MS=20 PORTION=5 keyfob rotate app/data-key")
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let done = loop {
        let done = status(&world)["under_way"]["progress"]["done"].as_u64().unwrap_or_default();
        check(&world);
        if done >= 15 {
            break done;
        }
        assert!(Instant::now() < patience, "nothing is encrypted anew");
        thread::sleep(Duration::from_millis(5));
    };
    rotating.kill().unwrap();
    rotating.wait().unwrap();
    let counts = check(&world);
    assert_eq!(counts.len(), 2, "all was done before the kill: {counts:?}");
    let shown = world.sh("keyfob rotation status").ok();
    let stopped = status(&world)["under_way"]["progress"].clone();
    assert_has(&shown, &[&format!("finishing {} of {RECORDS}", stopped["done"])]);
    assert!(stopped["done"].as_u64().unwrap() >= done);

    // The lease of the dead run is over after a minute.
    let before = asked(&world).len();
    let again = loop {
        let answer = world.sh("PORTION=5 keyfob rotate app/data-key --resume");
        if answer.code == Some(0) {
            break answer;
        }
        assert!(answer.err.contains("somebody else is rotating the secret"), "{}", answer.err);
        check(&world);
        assert!(Instant::now() < patience + Duration::from_secs(90), "{}", answer.err);
        thread::sleep(Duration::from_secs(2));
    };
    again.ok();
    assert_eq!(check(&world), [RECORDS], "not all records are under the new key");
    let later = &asked(&world)[before..];
    assert_eq!(
        later.first(),
        stopped["done"].as_u64().as_ref(),
        "it did not go on where it was: {later:?}"
    );
    assert!(later.is_sorted() && later.len() <= RECORDS / 5, "{later:?}");
}

#[test]
fn a_key_is_taken_out_once_no_record_needs_it() {
    let world = world("keep: 1\n        ");
    let keys = |world: &World| world.sh("keyfob get app/data-key").ok().matches("\"kid\"").count();
    for expected in [2, 2, 2] {
        world.sh("keyfob rotate app/data-key").ok();
        assert_eq!(check(&world), [RECORDS]);
        world.sh("sleep 1.1").ok();
        world.sh("keyfob rotate --due").ok();
        assert_eq!((keys(&world), check(&world)), (expected, vec![RECORDS]));
    }
    let refused = world.sh("keyfob rotation rollback app/data-key --yes").fails(1);
    assert_has(&refused, &["does not come back", "rotate again"]);
}
