//! What is sent to `keyfob run --watch` and means its command.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::World;
use crate::supervised::{QUICK, dotenv_world, until_gone, write_whole};

/// Writes down each signal that it can catch.
const LISTENER: &str = r#"for signal in {1..64}; do [ $signal = 17 ] || trap "echo $signal >> log" $signal 2>/dev/null; done
echo start >> log; while :; do sleep 0.02; done"#;

/// What becomes of a signal that is sent to keyfob.
enum Fate {
    IsSentOn,
    /// Nobody can catch it, or it says that keyfob itself went wrong.
    EndsBoth,
    /// It is about keyfob's own children, writes and pauses.
    IsNotSentOn,
    /// The C library keeps it for itself; a program that it has started ignores it or ends by it.
    IsOfTheLibrary,
}

fn fate(number: i32) -> Fate {
    match number {
        // ILL, TRAP, BUS, FPE, KILL, SEGV, SYS.
        4 | 5 | 7 | 8 | 9 | 11 | 31 => Fate::EndsBoth,
        32 | 33 => Fate::IsOfTheLibrary,
        // PIPE, CHLD, STOP, XFSZ.
        13 | 17 | 19 | 25 => Fate::IsNotSentOn,
        _ => Fate::IsSentOn,
    }
}

#[test]
fn every_signal_that_can_be_caught_is_the_commands() {
    let world = dotenv_world("kfcanary-first111");
    let mut watching = world.watch(QUICK, &["bash", "-c", LISTENER]);
    watching.until_lines(1);
    let mut expected = vec!["start".to_owned()];
    for number in 1..=64 {
        match fate(number) {
            Fate::EndsBoth | Fate::IsOfTheLibrary => continue,
            Fate::IsNotSentOn => watching.signal_number(number),
            Fate::IsSentOn => {
                watching.signal_number(number);
                expected.push(number.to_string());
            }
        }
        if number == 19 {
            // It has paused with `STOP`.
            watching.signal(Signal::CONT);
            expected.push("18".to_owned());
        }
        watching.until(&format!("signal {number}"), |world| world.happened().len() >= expected.len());
        assert_eq!(world.happened(), expected, "each came once, in this order");
    }
    assert!(expected.len() > 50);
    watching.signal(Signal::KILL);
    watching.end();
}

#[test]
fn a_signal_that_ends_keyfob_leaves_no_command_behind() {
    let world = dotenv_world("kfcanary-first111");
    for number in (1..=64).filter(|number| matches!(fate(*number), Fate::EndsBoth)) {
        let mut watching = world.watch(QUICK, &["sleep", "1000"]);
        let command = watching.child();
        watching.signal_until_end(number);
        assert_eq!(watching.end().signal(), Some(number));
        until_gone(&command);
    }
}

#[test]
fn a_command_that_ends_by_a_signal_without_a_name_is_followed() {
    let world = dotenv_world("kfcanary-first111");
    for number in [6, 16, 30, 34, 64] {
        let mut watching = world.watch(QUICK, &["sleep", "1000"]);
        watching.child();
        watching.signal_number(number);
        assert_eq!(watching.end().signal(), Some(number));
    }
}

#[test]
fn what_keyfob_was_started_to_ignore_the_command_ignores_too() {
    let world = dotenv_world("kfcanary-first111");
    let mut watching = world.watch_through(
        "env --default-signal --ignore-signal=HUP",
        QUICK,
        &["sleep", "1000"],
        &[("SECRET_WATCH_INTERVAL", "100".to_owned())],
    );
    for pid in [watching.child(), watching.keyfob.id().to_string()] {
        let ignored = world.sh(&format!("sed -n 's/^SigIgn:\\t//p' /proc/{pid}/status")).ok();
        assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1, 1);
    }
    watching.signal(Signal::HUP);
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().signal(), Some(15));
}

#[test]
fn another_signal_stops_where_it_is_asked_for() {
    for (option, trapped) in [
        ("sigusr2", "USR2"),
        ("40", "40"),
        ("RTMIN+1", "RTMIN+1"),
        ("sigrtmax-2", "62"),
    ] {
        let world = dotenv_world("kfcanary-first111");
        let app = format!(
            r#"trap 'echo "quit" >> log; exit 0' {trapped}; echo "start a $$ $TOKEN" >> log; while :; do sleep 0.02; done"#
        );
        let mut watching = world.watch(&format!("{QUICK} --stop-signal {option}"), &["bash", "-c", &app]);
        watching.until_lines(1);
        write_whole(&world, "store.env", "token=kfcanary-second22\n");
        let log = watching.until_lines(3);
        assert_eq!(log[1], "quit");
        // Nobody catches this one: its end is that of the command.
        watching.signal(Signal::TERM);
        assert_eq!(watching.end().signal(), Some(15));
    }
}

#[test]
fn a_signal_that_can_not_do_what_it_is_for_is_refused() {
    let world = World::empty();
    for signal in ["STOP", "SIGSTOP", "19", "TSTP", "TTIN", "TTOU", "CONT", "CHLD"] {
        let err = world
            .sh(&format!("keyfob run --watch --stop-signal {signal} -- touch started"))
            .fails(2);
        crate::assert_has(&err, &["--stop-signal", "does not end it", "`TERM`"]);
    }
    for signal in ["KILL", "STOP"] {
        let err = world
            .sh(&format!("keyfob run --watch --reload-signal {signal} -- touch started"))
            .fails(2);
        crate::assert_has(&err, &["--reload-signal", "message"]);
    }
    assert!(!world.exists("started"));
}
