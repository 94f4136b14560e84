//! `keyfob run --watch`: with real commands, on a `.env` file and on the encrypted store.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;
use keyfob_integration_tests::servers::{self, Provider};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::World;
use crate::supervised::{APP, QUICK, dotenv_world, holds, is_gone, pid_of, starts, until_gone, write_whole};

#[test]
fn a_change_starts_the_command_again_with_the_new_value() {
    let world = World::new();
    world.write("app", APP);
    world.set("token", "kfcanary-first111");
    let mut watching = world.watch(QUICK, &["sh", "app", "a"]);
    watching.until_lines(1);
    // Neither another secret nor the same value again.
    world.set("other", "kfcanary-other111");
    world.set("token", "kfcanary-first111");
    world.set("token", "kfcanary-second22");
    let log = watching.until_lines(3);
    assert_eq!(starts(&log), ["kfcanary-first111", "kfcanary-second22"]);
    assert_eq!(log[1], "term a");
    // The old one was gone before the new one came.
    test_kill_process(pid_of(&log[0])).unwrap_err();
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().code(), Some(7));
}

#[test]
fn a_store_that_tells_of_changes_is_asked_at_once() {
    let Some(mut variables) = servers::variables("a_store_that_tells_of_changes_is_asked_at_once", Provider::Kubernetes) else {
        return;
    };
    variables.push(("SECRET_PROVIDER", "kubernetes".to_owned()));
    variables.push(("SECRET_WATCH_INTERVAL", "3600000".to_owned()));
    let world = World::empty();
    world.write("app", APP);
    let set = |value: &str| {
        let mut keyfob = world.sandbox.shell(&format!("printf {value} | keyfob set -q token"));
        let output = keyfob
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    set("kfcanary-first111");
    let mut watching = world.watch_with(QUICK, &["sh", "app", "a"], &variables);
    watching.until_lines(1);
    set("kfcanary-second22");
    let log = watching.until_lines(3);
    assert_eq!(starts(&log), ["kfcanary-first111", "kfcanary-second22"]);
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().code(), Some(7));
    servers::remove(&variables);
}

#[test]
fn changes_of_many_things_at_once_make_one_start() {
    let world = dotenv_world("kfcanary-first111");
    world.write("app.env", "OTHER='${secret:other:-none}'\nFILE='${file:part}'\n");
    world.write("part", "a");
    let mut watching = world.watch("--debounce 1500ms --min-interval 0s --env-file app.env", &["sh", "app", "a"]);
    watching.until_lines(1);
    for round in 0..10 {
        write_whole(
            &world,
            "store.env",
            &format!("token=kfcanary-round{round}{round}{round}\nother={round}\n"),
        );
        write_whole(&world, "part", &format!("{round}"));
        std::thread::sleep(Duration::from_millis(30));
    }
    let log = watching.until_lines(3);
    assert_eq!(starts(&log), ["kfcanary-first111", "kfcanary-round999"]);
    // What is as it was after a while was no change.
    write_whole(&world, "store.env", "token=kfcanary-other111\nother=9\n");
    write_whole(&world, "store.env", "token=kfcanary-round999\nother=9\n");
    watching.signal(Signal::USR1);
    let log = watching.until_lines(4);
    assert_eq!(log[3], "usr1 a");
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().code(), Some(7));
    assert_eq!(starts(&world.happened()).len(), 2);
}

#[test]
fn a_change_that_comes_too_early_is_done_later() {
    let world = dotenv_world("kfcanary-first111");
    let mut watching = world.watch("--debounce 10ms --min-interval 3s", &["sh", "app", "a"]);
    watching.until_lines(1);
    let first = Instant::now();
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    watching.until_lines(3);
    let second = Instant::now();
    write_whole(&world, "store.env", "token=kfcanary-third333\n");
    let log = watching.until_lines(5);
    assert_eq!(starts(&log), ["kfcanary-first111", "kfcanary-second22", "kfcanary-third333"]);
    // The start was some moments before it was seen here.
    assert!(second - first > Duration::from_secs(2) && second.elapsed() > Duration::from_secs(2));
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().code(), Some(7));
}

#[test]
fn a_command_that_does_not_stop_is_killed_with_all_that_it_started() {
    let world = dotenv_world("kfcanary-first111");
    let stubborn = r#"trap '' TERM; echo "start a $$ $TOKEN" >> log; sh -c "trap '' TERM; while :; do sleep 0.02; done" & echo "$!" > child.$$
        while :; do sleep 0.02; done"#;
    let mut watching = world.watch(&format!("{QUICK} --stop-timeout 300ms"), &["sh", "-c", stubborn]);
    watching.until_lines(1);
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    let log = watching.until_lines(2);
    watching.until_said("has not stopped within 300ms of SIGTERM and is killed");
    let old = pid_of(&log[0]);
    test_kill_process(old).unwrap_err();
    let descendant = world.sandbox.read(&format!("child.{}", old.as_raw_pid()));
    let descendant = descendant.trim().to_owned();
    watching.until("the descendant is gone", |_| is_gone(&descendant));
    // The second one, and what it started, go the same way.
    kill_process(pid_of(&log[1]), Signal::KILL).unwrap();
    let second = pid_of(&log[1]);
    assert_eq!(watching.end().signal(), Some(9));
    let left = world.sandbox.read(&format!("child.{}", second.as_raw_pid()));
    kill_process(Pid::from_raw(left.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn the_end_of_the_command_is_the_end_of_keyfob() {
    let world = dotenv_world("kfcanary-first111");
    for (command, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 77", Some(77), None),
        ("kill -TERM $$", None, Some(15)),
        ("kill -KILL $$", None, Some(9)),
        ("kill -HUP $$", None, Some(1)),
    ] {
        let status = world.watch(QUICK, &["sh", "-c", command]).end();
        assert_eq!((status.code(), status.signal()), (code, signal), "{command}");
    }
    for (command, code) in [("no-such-command", 127), ("/", 126)] {
        assert_eq!(world.watch(QUICK, &[command]).end().code(), Some(code), "{command}");
    }
    world.write("bad.env", "A='${secret:none}'\n");
    assert_eq!(
        world.watch("--env-file bad.env", &["touch", "started"]).end().code(),
        Some(125)
    );
    assert!(!world.exists("started"));
    for wrong in [
        "keyfob run --stop-signal HUP -- true",
        "keyfob run --watch --stop-signal NO -- true",
        "keyfob run --watch --debounce 10 -- true",
        "keyfob run --watch --config -:out -- true",
    ] {
        assert_eq!(world.sh(wrong).code, Some(2), "{wrong}");
    }
}

#[test]
fn the_streams_are_the_commands() {
    let world = dotenv_world("kfcanary-first111");
    // Standard input is that of keyfob, whatever it is, and nothing is open that would not be without keyfob between.
    world.write("part", "abc\n");
    let with = |keyfob: &str| world.sh(&format!("{keyfob} sh -c 'cat; ls /proc/self/fd' < part")).ok();
    assert_eq!(with("keyfob run --watch --"), with(""));
    assert_eq!(world.sh("printf abc | keyfob run --watch -- cat").ok(), "abc");
}

#[test]
fn what_can_not_be_resolved_is_told_once_and_the_command_runs_on() {
    let world = dotenv_world("kfcanary-first111");
    let mut watching = world.watch(QUICK, &["sh", "app", "a"]);
    let first = watching.until_lines(1);
    write_whole(&world, "store.env", "nothing=kfcanary-hidden11\n");
    watching.until_said("the command runs on with what it has");
    watching.until_said("${secret:token}");
    // The whole store is away: another failure, or the same.
    fs::remove_file(world.sandbox.work().join("store.env")).unwrap();
    watching.signal(Signal::USR1);
    assert_eq!(watching.until_lines(2)[1], "usr1 a");
    // The same as before.
    write_whole(&world, "store.env", "token=kfcanary-first111\n");
    watching.until_said("everything can be resolved again");
    assert_eq!(starts(&world.happened()).len(), 1);
    test_kill_process(pid_of(&first[0])).unwrap();
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    let log = watching.until_lines(4);
    assert_eq!(starts(&log), ["kfcanary-first111", "kfcanary-second22"]);
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().code(), Some(7));
}

#[test]
fn a_reload_signal_comes_after_the_files() {
    let world = dotenv_world("kfcanary-first111");
    world.write("app.yaml", "token: ${secret:token}\n");
    world.write("other.yaml", "other: ${secret:other:-none}\n");
    let app =
        r#"trap 'echo "hup $(cat out.yaml)" >> log' HUP; echo "start $(cat out.yaml)" >> log; while :; do sleep 0.02; done"#;
    let options = format!("{QUICK} --reload-signal HUP --config app.yaml:out.yaml --config other.yaml:other.out");
    let mut watching = world.watch(&options, &["sh", "-c", app]);
    watching.until_lines(1);
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    let log = watching.until_lines(2);
    assert_eq!(
        log,
        ["start token: \"kfcanary-first111\"", "hup token: \"kfcanary-second22\""]
    );
    // Its variable is the old one, which is said.
    watching.until_said("a variable has changed; the command keeps the old one");
    assert_eq!(world.mode("out.yaml"), 0o600);
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().signal(), Some(15));
}

#[test]
fn a_command_that_ends_while_it_is_stopped_for_somebody_is_not_started_again() {
    let world = dotenv_world("kfcanary-first111");
    // Takes its time.
    let app = r#"trap 'echo "term" >> log; while [ ! -e go ]; do sleep 0.02; done; exit 5' TERM
        echo "start" >> log; while :; do sleep 0.02; done"#;
    let mut watching = world.watch(&format!("{QUICK} --stop-timeout 1h"), &["sh", "-c", app]);
    watching.until_lines(1);
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    watching.until_lines(2);
    watching.signal(Signal::TERM);
    world.write("go", "");
    assert_eq!(watching.end().code(), Some(5));
    assert_eq!(world.happened().iter().filter(|line| *line == "start").count(), 1);
}

#[test]
fn a_keyfob_that_is_killed_takes_the_command_with_it() {
    let world = dotenv_world("kfcanary-first111");
    let mut watching = world.watch(QUICK, &["sh", "app", "a"]);
    let command = pid_of(&watching.until_lines(1)[0]).as_raw_pid().to_string();
    watching.signal(Signal::KILL);
    assert_eq!(watching.end().signal(), Some(9));
    until_gone(&command);
}

#[test]
fn the_first_process_of_a_container_waits_for_orphans() {
    let world = dotenv_world("kfcanary-first111");
    let inside = "unshare --fork --pid --mount-proc --kill-child timeout 100";
    if world.sh(&format!("{inside} true")).code != Some(0) {
        return keyfob_testkit::skip(
            "the_first_process_of_a_container_waits_for_orphans",
            "no process namespace can be made here",
        );
    }
    let inside = inside.replace(" timeout 100", "");
    let script = "sh -c 'sleep 0.2 & echo $! > orphan'; orphan=$(cat orphan)
        test -e /proc/$orphan && while test -e /proc/$orphan; do sleep 0.02; done; exit 4";
    world.write("script", script);
    assert_eq!(
        world
            .sh(&format!("timeout 100 {inside} keyfob run --watch -- sh script"))
            .code,
        Some(4)
    );
    // It can't end by a signal, so it says which one it was.
    let killed = world.sh(&format!("timeout 100 {inside} keyfob run --watch -- sh -c 'kill -KILL $$'"));
    assert_eq!(killed.code, Some(128 + 9));
}

#[test]
fn keyfob_holds_no_value_while_the_command_runs() {
    let encrypted = World::new();
    encrypted.set("token", "kfcanary-first111");
    for world in [encrypted, dotenv_world("kfcanary-first111")] {
        let mut watching = world.watch(QUICK, &["sleep", "1000"]);
        let command = watching.child();
        let keyfob = watching.keyfob.id().to_string();
        if !holds(&command, "kfcanary-first111") {
            return keyfob_testkit::skip(
                "keyfob_holds_no_value_while_the_command_runs",
                "the memory of other processes can't be read here",
            );
        }
        // Each look at the store brings it for a moment.
        watching.until("no value is there", |_| !holds(&keyfob, "kfcanary-first111"));
        watching.signal(Signal::TERM);
        assert_eq!(watching.end().signal(), Some(15));
    }
}
