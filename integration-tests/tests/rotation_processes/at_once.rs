//! Two runs at once of one secret: one wins, and the other says who holds it.

use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;

use crate::bed::{Bed, Place, refused};

/// A program that makes the value, and waits in the step that `WAIT` names until there is a file `go`.
pub(crate) const SLOW: &str = r#"#!/bin/sh
question=$(cat)
case $question in
  (*'"step":"create"'*) answer="{\"value\":\"kfcanary-$MARK\"}" ;;
  (*) answer= ;;
esac
case $question in
  (*"\"step\":\"${WAIT:-none}\""*)
    touch started
    rounds=0
    while [ ! -e go ] && [ $rounds -lt 1500 ]; do sleep 0.02; rounds=$((rounds + 1)); done ;;
esac
printf '%s' "$answer"
"#;

pub(crate) const POLICIES: &str = "policies:\n  - name: slow\n    secrets: [app/token]\n    grace: 0s\n    make: { command: \
                                   { run: [./slow], allow: [WAIT, MARK] } }\n";

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A machine on which the program is.
pub(crate) fn prepare(bed: &Bed) {
    bed.write("rotation.yaml", POLICIES);
    bed.write_program("slow", SLOW);
}

fn the_second_says_who_has_it(first: &Bed, second: &Bed) {
    prepare(first);
    prepare(second);
    first.set("app/token", "kfcanary-before00");
    let mut rotate = first.keyfob(&["rotate", "app/token"]);
    let winner = rotate.env("WAIT", "create").env("MARK", "winner00").spawn().unwrap();
    until("the first run has begun", || first.has("started"));
    let mut rotate = second.keyfob(&["rotate", "app/token"]);
    let said_by_other = refused(&rotate.env("MARK", "loser000").output().unwrap());
    let holder = format!("keyfob[{}]", winner.id());
    for part in [
        "somebody else is rotating the secret",
        "holder `",
        &holder,
        "until `",
        "hint: wait for the end",
    ] {
        assert!(said_by_other.contains(part), "`{part}` is not in: {said_by_other}");
    }
    assert_eq!(second.value("app/token"), "kfcanary-before00");
    first.write("go", "");
    let won = winner.wait_with_output().unwrap();
    assert!(won.status.success(), "{}", said(&won));
    assert_eq!(second.value("app/token"), "kfcanary-winner00");
    second.is_at_rest("app/token");
}

/// Several start in the same moment, again and again: each ends or is refused, and each that ends has made one value.
fn none_gets_in_the_way_of_another(machines: &[&Bed]) {
    const ROUNDS: usize = 5;
    const EACH: usize = 2;
    let name = "app/session";
    machines[0].set(name, "kfcanary-before00");
    let (mut ended, mut turned_away) = (0_u64, 0);
    for _ in 0..ROUNDS {
        let start = |bed: &&Bed| {
            bed.keyfob(&["rotate", name, "--make", "uuid", "--grace", "0s"])
                .spawn()
                .unwrap()
        };
        let running: Vec<_> = (0..EACH).flat_map(|_| machines.iter().map(start)).collect();
        for run in running {
            let output = run.wait_with_output().unwrap();
            if output.status.success() {
                ended += 1;
                continue;
            }
            let said = refused(&output);
            let is_told = ["somebody else is rotating the secret", "another run came first"];
            assert!(is_told.iter().any(|told| said.contains(told)), "{said}");
            turned_away += 1;
        }
        machines[0].is_at_rest(name);
    }
    println!("{:?}: {ended} ended, {turned_away} were refused", machines[0].place);
    assert!(
        ended >= ROUNDS as u64 && turned_away > 0,
        "{ended} ended, {turned_away} were refused"
    );
    let versions = machines[0].versions(name);
    let current = versions.iter().find(|version| version["current"] == true).unwrap();
    assert_eq!(current["version"].as_str().unwrap(), (1 + ended).to_string());
    assert_eq!(machines[0].status(name).fence(), ended);
}

#[test]
fn of_a_file_one_process_wins() {
    let bed = Bed::new("two rotations of a file", Place::Sqlite).unwrap();
    the_second_says_who_has_it(&bed, &bed);
    none_gets_in_the_way_of_another(&[&bed, &bed]);
}

#[test]
fn of_a_server_one_machine_wins() {
    let Some(bed) = Bed::new("two rotations of OpenBao", Place::OpenBao) else {
        return;
    };
    let other = bed.other_machine();
    the_second_says_who_has_it(&bed, &other);
    none_gets_in_the_way_of_another(&[&bed, &other]);
}
