//! The servers of one run of the tests.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::state::{State, make_private};
use super::table::needed;
use super::{Standing, ensure};
use crate::process::{Failure, Result};

/// Servers that `testbed up` started, or else were started for this run. The latter are stopped when this is dropped, and
/// also when the program ends in any other way, as it does at Ctrl-C: a second process waits for that.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) variables: Vec<(String, String)>,
    /// What can't be started, and why.
    pub(crate) missing: Vec<String>,
    keeper: Option<Keeper>,
}

impl Session {
    /// Sees to the servers that the tests of `packages` need; without packages, to all.
    pub(crate) fn start(packages: &[String]) -> Result<Self> {
        let servers = needed(packages);
        let mut session = Self::default();
        if servers.is_empty() {
            return Ok(session);
        }
        sweep()?;
        let known = {
            // Waits for an `up` that is on its way.
            let up = State::of_checkout()?;
            let _lock = up.lock()?;
            up.records()?
        };
        let keeper = Keeper::start()?;
        for (server, standing) in ensure(&servers, &known, &keeper.state) {
            match standing {
                Ok(Standing::Given(_)) => {}
                Ok(Standing::Runs(record) | Standing::Started(record, _)) => session.variables.extend(record.exports()),
                Err(failure) => session.missing.push(format!("`{}` is not there: {failure}", server.name())),
            }
        }
        session.keeper = Some(keeper);
        Ok(session)
    }
}

/// The state of this run, and the process that ends it.
#[derive(Debug)]
struct Keeper {
    state: State,
    /// While it is held, the run is not over. The operating system lets go of it in any case.
    lock: Option<File>,
    child: Child,
}

impl Keeper {
    fn start() -> Result<Self> {
        let state = State::of_run()?;
        let lock = state.lock()?;
        make_private(state.dir())?;
        let program = std::env::current_exe().map_err(Failure::io("find this program"))?;
        let child = Command::new(program)
            .args(["testbed", "keep"])
            .arg(state.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // What ends this program at the terminal must not end that one.
            .process_group(0)
            .spawn()
            .map_err(Failure::io("start the process that stops the servers"))?;
        Ok(Self {
            state,
            lock: Some(lock),
            child,
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.lock.take();
        // `wait` closes its standard input first, which is what it waits for.
        let _ = self.child.wait();
    }
}

/// Waits until `input`, the standard input, ends, which is when the program that started this one does; then stops the
/// servers of the state `dir`.
pub(super) fn keep(dir: PathBuf, mut input: impl Read) -> Result {
    let _ = input.read_to_end(&mut Vec::new());
    let state = State::at(dir);
    let _lock = state.lock()?;
    end(&state)
}

/// Stops the servers of runs that are over and were not kept to their end.
pub(super) fn sweep() -> Result {
    sweep_runs(&State::of_all_runs()?)
}

fn sweep_runs(runs: &[State]) -> Result {
    for state in runs {
        let path = state.lock_path();
        let lock = File::create(&path).map_err(Failure::io(format_args!("make `{}`", path.display())))?;
        if lock.try_lock().is_ok() {
            end(state)?;
        }
    }
    Ok(())
}

fn end(state: &State) -> Result {
    state.stop_all()?;
    let _ = fs::remove_file(state.lock_path());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::time::Duration;

    use super::*;
    use crate::testbed::identity::{Process, Signal};
    use crate::testbed::state::Record;

    /// A run with a server, which is a process that sleeps.
    fn run(name: &str) -> (State, Child, Record) {
        let state = State::at(std::env::temp_dir().join(format!("keyfob-xtask-{name}-{}", std::process::id())));
        make_private(state.dir()).unwrap();
        let child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let record = Record {
            server: "sleep".to_owned(),
            process: Process::at(child.id()).unwrap(),
            stop: Signal::Terminate,
            version: "1.0".to_owned(),
            program: "sleep".into(),
            outside: None,
            variables: Vec::new(),
        };
        state.save(&record).unwrap();
        (state, child, record)
    }

    #[test]
    fn when_the_program_ends_in_any_way_its_servers_are_stopped() {
        let (state, mut child, record) = run("kept");
        let (reader, writer) = pipe().unwrap();
        let dir = state.dir().to_path_buf();
        let keeper = std::thread::spawn(move || keep(dir, reader));
        std::thread::sleep(Duration::from_millis(100));
        assert!(record.process.runs());
        drop(writer);
        keeper.join().unwrap().unwrap();
        assert!(!record.process.runs());
        assert!(!state.dir().exists() && !state.lock_path().exists());
        child.wait().unwrap();
    }

    #[test]
    fn only_runs_that_are_over_are_swept() {
        let (over, mut over_child, over_record) = run("over");
        let (going_on, mut child, record) = run("going-on");
        let lock = going_on.lock().unwrap();
        let runs = [over.clone(), going_on.clone()];
        sweep_runs(&runs).unwrap();
        assert!(!over_record.process.runs() && !over.dir().exists());
        assert!(record.process.runs() && going_on.dir().exists());
        drop(lock);
        sweep_runs(&runs[1..]).unwrap();
        assert!(!record.process.runs() && !going_on.dir().exists());
        over_child.wait().unwrap();
        child.wait().unwrap();
    }
}
