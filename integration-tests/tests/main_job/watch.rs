//! `keyfob run --watch`: with real commands, on a `.env` file and on the encrypted store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;
use keyfob_integration_tests::servers::{self, Provider};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::World;

/// Ends with 7 on `TERM`; writes down what happens to it.
const APP: &str = r#"
trap 'echo "term $1" >> log; exit 7' TERM
trap 'echo "hup $1" >> log' HUP
trap 'echo "usr1 $1" >> log' USR1
echo "start $1 $$ $TOKEN" >> log
while :; do sleep 0.02; done
"#;

/// Long enough for any machine: what is waited for comes, or the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A `keyfob run --watch` that runs.
struct Watching<'a> {
    world: &'a World,
    keyfob: Child,
}

impl World {
    /// Without a terminal, like a service: `app` with `options` of `keyfob run --watch`, and with what it says in a file.
    fn watch<'a>(&'a self, options: &str, command: &[&str]) -> Watching<'a> {
        self.watch_with(options, command, &[("SECRET_WATCH_INTERVAL", "100".to_owned())])
    }

    fn watch_with<'a>(&'a self, options: &str, command: &[&str], variables: &[(&str, String)]) -> Watching<'a> {
        let mut keyfob = self.sandbox.program("setsid");
        keyfob.arg(keyfob_integration_tests::sandbox::binary());
        keyfob
            .args(["run", "--watch"])
            .args(options.split_whitespace())
            .arg("--")
            .args(command);
        let output = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.sandbox.work().join("said"))
                .unwrap()
        };
        let keyfob = keyfob
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("TOKEN", "${secret:token}")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap();
        Watching { world: self, keyfob }
    }

    fn happened(&self) -> Vec<String> {
        let log = fs::read_to_string(self.sandbox.work().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn set(&self, name: &str, value: &str) {
        self.sh(&format!("printf %s '{value}' | keyfob set -q {name}")).ok();
    }
}

impl Watching<'_> {
    /// Waits until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self.world) {
            let ended = self.keyfob.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{what}: {ended:?} {}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn until_lines(&mut self, count: usize) -> Vec<String> {
        self.until(&format!("{count} lines"), |world| world.happened().len() >= count);
        self.world.happened()
    }

    #[track_caller]
    fn until_said(&mut self, text: &str) {
        self.until(text, |world| world.sandbox.read("said").contains(text));
    }

    /// The process id of the command, once it has taken the place of what started it.
    fn child(&mut self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.keyfob.id());
        let child = || fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.until("the command runs", |_| name(&child()) == "sleep\n");
        child()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.keyfob), signal).unwrap();
    }

    fn told(&self) -> String {
        format!("{}\n{:?}", self.world.sandbox.read("said"), self.world.happened().len())
    }

    /// How it ended, by itself. Nothing that was said holds a value.
    #[track_caller]
    fn end(mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.keyfob.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end: {}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        };
        let said = self.world.sandbox.read("said");
        assert!(!said.contains("kfcanary-"), "a value is shown");
        status
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        // A test that fails leaves nothing running.
        let _ = self.keyfob.kill();
        let _ = self.keyfob.wait();
    }
}

/// A world whose default store is the file `store.env`, with this token.
fn dotenv_world(token: &str) -> World {
    let world = World::empty();
    world.write(
        "keyfob.toml",
        "default = \"team\"\n[stores.team]\nurl = \"dotenv:store.env\"\n",
    );
    write_whole(&world, "store.env", &format!("token={token}\n"));
    world.write("app", APP);
    world
}

/// In one step, as editors do.
fn write_whole(world: &World, name: &str, content: &str) {
    world.write("new", content);
    fs::rename(world.sandbox.work().join("new"), world.sandbox.work().join(name)).unwrap();
}

/// The process id of the command that wrote a `start` line.
fn pid_of(line: &str) -> Pid {
    let pid = line.split(' ').nth(2).and_then(|pid| pid.parse().ok());
    pid.and_then(Pid::from_raw).unwrap()
}

fn starts(log: &[String]) -> Vec<&str> {
    log.iter()
        .filter(|line| line.starts_with("start"))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect()
}

const QUICK: &str = "--debounce 50ms --min-interval 0s";

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

/// Whether a process is no more, or waits only for somebody to take note of it.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(status) => status.contains(") Z "),
        Err(_) => true,
    }
}

#[test]
fn another_signal_stops_where_it_is_asked_for() {
    let world = dotenv_world("kfcanary-first111");
    let app = r#"trap 'echo "quit" >> log; exit 0' USR2; echo "start a $$ $TOKEN" >> log; while :; do sleep 0.02; done"#;
    let mut watching = world.watch(&format!("{QUICK} --stop-signal sigusr2"), &["sh", "-c", app]);
    watching.until_lines(1);
    write_whole(&world, "store.env", "token=kfcanary-second22\n");
    let log = watching.until_lines(3);
    assert_eq!(log[1], "quit");
    // Nobody catches this one: its end is that of the command.
    watching.signal(Signal::TERM);
    assert_eq!(watching.end().signal(), Some(15));
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
fn signals_are_the_commands_and_so_are_its_streams() {
    let world = dotenv_world("kfcanary-first111");
    let app = r#"for signal in HUP INT QUIT USR1 USR2 ALRM WINCH CONT TSTP; do trap "echo $signal >> log" $signal; done
        trap 'echo TERM >> log; exit 3' TERM; echo "start" >> log; while :; do sleep 0.02; done"#;
    let mut watching = world.watch(QUICK, &["bash", "-c", app]);
    watching.until_lines(1);
    let signals = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
        (Signal::TSTP, "TSTP"),
        (Signal::TERM, "TERM"),
    ];
    for (index, (signal, name)) in signals.iter().enumerate() {
        watching.signal(*signal);
        watching.until(name, |world| world.happened().get(index + 1).is_some_and(|line| line == name));
        assert_eq!(world.happened().len(), index + 2, "{name} came once");
    }
    assert_eq!(watching.end().code(), Some(3));
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
    let end = Instant::now() + PATIENCE;
    while !is_gone(&command) {
        assert!(Instant::now() < end, "the command is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
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

/// Whether the memory of a process holds `text`.
fn holds(pid: &str, text: &str) -> bool {
    let (Ok(maps), Ok(memory)) = (
        fs::read_to_string(format!("/proc/{pid}/maps")),
        File::open(format!("/proc/{pid}/mem")),
    ) else {
        return false;
    };
    let regions = maps.lines().filter(|line| line.contains(" r")).filter_map(|line| {
        let (from, rest) = line.split_once('-')?;
        let to = rest.split(' ').next()?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    });
    regions.into_iter().any(|(from, to)| {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.read_exact_at(&mut bytes, from).is_ok() && bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}
