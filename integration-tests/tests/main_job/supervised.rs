//! Commands under `keyfob run --watch`, and what can be seen of them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::World;

/// Ends with 7 on `TERM`; writes down what happens to it.
pub(crate) const APP: &str = r#"
trap 'echo "term $1" >> log; exit 7' TERM
trap 'echo "hup $1" >> log' HUP
trap 'echo "usr1 $1" >> log' USR1
echo "start $1 $$ $TOKEN" >> log
while :; do sleep 0.02; done
"#;

/// Long enough for any machine: what is waited for comes, or the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A `keyfob run --watch` that runs.
pub(crate) struct Watching<'a> {
    world: &'a World,
    pub(crate) keyfob: Child,
}

impl World {
    /// Without a terminal, like a service: `app` with `options` of `keyfob run --watch`, and with what it says in a file.
    pub(crate) fn watch<'a>(&'a self, options: &str, command: &[&str]) -> Watching<'a> {
        self.watch_with(options, command, &[("SECRET_WATCH_INTERVAL", "100".to_owned())])
    }

    pub(crate) fn watch_with<'a>(&'a self, options: &str, command: &[&str], variables: &[(&str, String)]) -> Watching<'a> {
        // Whoever runs the tests may ignore some signals.
        self.watch_through("env --default-signal", options, command, variables)
    }

    /// Started by another program.
    pub(crate) fn watch_through<'a>(
        &'a self,
        starter: &str,
        options: &str,
        command: &[&str],
        variables: &[(&str, String)],
    ) -> Watching<'a> {
        let mut keyfob = self.sandbox.program("setsid");
        keyfob
            .args(starter.split_whitespace())
            .arg(keyfob_integration_tests::sandbox::binary())
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

    pub(crate) fn happened(&self) -> Vec<String> {
        let log = fs::read_to_string(self.sandbox.work().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.sh(&format!("printf %s '{value}' | keyfob set -q {name}")).ok();
    }
}

impl Watching<'_> {
    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self.world) {
            let ended = self.keyfob.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{what}: {ended:?} {}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub(crate) fn until_lines(&mut self, count: usize) -> Vec<String> {
        self.until(&format!("{count} lines"), |world| world.happened().len() >= count);
        self.world.happened()
    }

    #[track_caller]
    pub(crate) fn until_said(&mut self, text: &str) {
        self.until(text, |world| world.sandbox.read("said").contains(text));
    }

    /// The process id of the command, once it has taken the place of what started it.
    pub(crate) fn child(&mut self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.keyfob.id());
        let child = || fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.until("the command runs", |_| name(&child()) == "sleep\n");
        child()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.keyfob), signal).unwrap();
    }

    /// The same with any number.
    #[track_caller]
    pub(crate) fn signal_number(&self, number: i32) {
        self.world.sh(&format!("kill -{number} {}", self.keyfob.id())).ok();
    }

    /// Again and again: at the first SEGV and BUS Rust only looks whether its stack was too small.
    #[track_caller]
    pub(crate) fn signal_until_end(&mut self, number: i32) {
        let end = Instant::now() + PATIENCE;
        while self.keyfob.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "signal {number} does not end it: {}", self.told());
            self.signal_number(number);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn told(&self) -> String {
        format!("{}\n{:?}", self.world.sandbox.read("said"), self.world.happened().len())
    }

    /// How it ended, by itself. Nothing that was said holds a value.
    #[track_caller]
    pub(crate) fn end(mut self) -> ExitStatus {
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
pub(crate) fn dotenv_world(token: &str) -> World {
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
pub(crate) fn write_whole(world: &World, name: &str, content: &str) {
    world.write("new", content);
    fs::rename(world.sandbox.work().join("new"), world.sandbox.work().join(name)).unwrap();
}

/// The process id of the command that wrote a `start` line.
pub(crate) fn pid_of(line: &str) -> Pid {
    let pid = line.split(' ').nth(2).and_then(|pid| pid.parse().ok());
    pid.and_then(Pid::from_raw).unwrap()
}

pub(crate) fn starts(log: &[String]) -> Vec<&str> {
    log.iter()
        .filter(|line| line.starts_with("start"))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect()
}

pub(crate) const QUICK: &str = "--debounce 50ms --min-interval 0s";

/// Whether a process is no more, or waits only for somebody to take note of it.
pub(crate) fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(status) => status.contains(") Z "),
        Err(_) => true,
    }
}

/// Waits until a process is no more.
#[track_caller]
pub(crate) fn until_gone(pid: &str) {
    let end = Instant::now() + PATIENCE;
    while !is_gone(pid) {
        assert!(Instant::now() < end, "{pid} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the memory of a process holds `text`.
pub(crate) fn holds(pid: &str, text: &str) -> bool {
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
