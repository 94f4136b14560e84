//! Starting one server, and waiting until it answers.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::identity::Process;
use super::state::{Record, State, create_private};
use super::table::{Launch, Program, Server};
use crate::cache::cache_dir;
use crate::process::{Failure, Result};

/// How long a server may take until it answers, on a machine that does much else at the same time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is tried with another port.
const ATTEMPTS: u32 = 4;
const SHOWN_LINES: usize = 12;

/// Installs and starts `server`, and waits until it answers.
pub(super) fn start(server: &dyn Server, state: &State) -> Result<Record> {
    let program = server.install()?;
    let mut attempts = 1;
    loop {
        match attempt(server, &program, state)? {
            Attempt::Answers(record) => return Ok(record),
            Attempt::PortTaken if attempts < ATTEMPTS => attempts += 1,
            Attempt::PortTaken => {
                return Err(Failure::failed(format!(
                    "`{}` found its port taken {ATTEMPTS} times",
                    server.name()
                )));
            }
        }
    }
}

enum Attempt {
    Answers(Record),
    PortTaken,
}

fn attempt(server: &dyn Server, program: &Program, state: &State) -> Result<Attempt> {
    let name = server.name();
    let port = Port::reserve()?;
    let scratch = state.scratch(name)?;
    let Launch {
        mut command,
        stop,
        variables,
        secrets,
        outside,
    } = server.launch(program, &scratch, port.number)?;

    let log_path = state.log(name);
    let log = create_private(&log_path).map_err(Failure::io(format_args!("make `{}`", log_path.display())))?;
    let log_too = log.try_clone().map_err(Failure::io("use a log twice"))?;
    // In a group of its own the keys on this terminal don't reach it.
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
    let mut child = command.spawn().map_err(Failure::io(format_args!("start `{name}`")))?;
    let Some(process) = Process::at(child.id()) else {
        let _ = child.wait();
        remove(outside.as_deref());
        return failed(name, "it ended at once", &log_path, &secrets);
    };
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    let record = Record {
        server: name.to_owned(),
        process,
        stop,
        version: program.version.clone(),
        program: program.path.clone(),
        outside,
        variables: variables.collect(),
    };
    // Before it is waited for: whoever ends this program now must be able to stop it.
    state.save(&record)?;
    match wait(server, &record, &mut child) {
        Ok(()) => Ok(Attempt::Answers(record)),
        Err(reason) => {
            state.stop(&record)?;
            let _ = child.wait();
            failed(name, &reason, &log_path, &secrets)
        }
    }
}

/// Waits until it answers. The error says why it does not.
fn wait(server: &dyn Server, record: &Record, child: &mut Child) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = server.answers(record);
        // In this order: what answers may be another one, which has this one's port.
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Err(error) => return Err(format!("it can't be watched: {error}")),
        }
        match answer {
            Ok(()) => return Ok(()),
            Err(failure) if Instant::now() >= end => {
                return Err(format!("it does not answer after {} s: {failure}", PATIENCE.as_secs()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Why the server is not there, with the end of its log.
fn failed(name: &str, reason: &str, log: &Path, secrets: &[String]) -> Result<Attempt> {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if says_port_taken(&log) {
        return Ok(Attempt::PortTaken);
    }
    Err(Failure::failed(format!(
        "`{name}` did not start: {reason}; the end of its log:\n{}",
        end_of(&log, secrets)
    )))
}

fn says_port_taken(log: &str) -> bool {
    log.to_lowercase().contains("address already in use")
}

fn end_of(log: &str, secrets: &[String]) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(SHOWN_LINES);
    let mut shown: Vec<_> = lines.iter().skip(first).map(|line| format!("    {line}")).collect();
    if shown.is_empty() {
        shown.push("    (it is empty)".to_owned());
    }
    secrets
        .iter()
        .fold(shown.join("\n"), |text, secret| text.replace(secret, "[secret]"))
}

fn remove(dir: Option<&Path>) {
    if let Some(dir) = dir {
        let _ = fs::remove_dir_all(dir);
    }
}

/// A free port, which no other start takes while this value lives. The server that is to listen there opens it itself,
/// so between the choice and then a stranger may take it: then another port is tried.
#[derive(Debug)]
struct Port {
    number: u16,
    path: PathBuf,
    _reservation: File,
}

impl Port {
    fn reserve() -> Result<Self> {
        let dir = cache_dir()?.join("testbed/ports");
        super::state::make_private(&dir)?;
        for _ in 0..100 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("find a free port"))?;
            let number = listener.local_addr().map_err(Failure::io("find a free port"))?.port();
            let path = dir.join(number.to_string());
            let reservation = File::create(&path).map_err(Failure::io(format_args!("make `{}`", path.display())))?;
            if reservation.try_lock().is_ok() {
                return Ok(Self {
                    number,
                    path,
                    _reservation: reservation,
                });
            }
        }
        Err(Failure::failed("there is no free port"))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // One that stays is an empty file, and harmless.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testbed::identity::Signal;

    /// A server that is the shell script, in which `$1` is a directory that stays, and that answers when the script made
    /// the file `ready` there.
    struct Script(&'static str);

    impl Server for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn variables(&self) -> &'static [&'static str] {
            &["KEYFOB_TEST_SCRIPT_URL"]
        }

        fn pinned(&self) -> Result<Option<&'static str>> {
            Ok(None)
        }

        fn install(&self) -> Result<Program> {
            Ok(Program {
                path: "sh".into(),
                version: "1.0".to_owned(),
            })
        }

        fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
            let mut command = Command::new(&program.path);
            let dir = scratch.parent().unwrap();
            command.args(["-c", self.0, "sh"]).arg(dir);
            Ok(Launch {
                command,
                stop: Signal::Terminate,
                variables: vec![
                    ("KEYFOB_TEST_SCRIPT_URL", format!("http://127.0.0.1:{port}")),
                    ("READY", dir.join("ready").display().to_string()),
                ],
                secrets: vec!["s3cr3t".to_owned()],
                outside: None,
            })
        }

        fn answers(&self, record: &Record) -> Result {
            fs::metadata(record.variable("READY")?).map(drop).map_err(Failure::io("look"))
        }
    }

    fn started(name: &str, script: &'static str) -> (State, Result<Record>) {
        let dir = std::env::temp_dir().join(format!("keyfob-xtask-launch-{name}-{}", std::process::id()));
        let state = State::at(dir);
        super::super::state::make_private(state.dir()).unwrap();
        let result = start(&Script(script), &state);
        (state, result)
    }

    #[test]
    fn a_server_is_waited_for_recorded_and_stopped() {
        let (state, record) = started("plain", "sleep 0.2; touch \"$1/ready\"; exec sleep 600");
        let record = record.unwrap();
        assert!(record.process.runs());
        assert_eq!(state.records().unwrap(), std::slice::from_ref(&record));
        state.stop_all().unwrap();
        assert!(!record.process.runs());
        assert!(!state.dir().exists());
    }

    #[test]
    fn a_taken_port_is_no_failure() {
        let (state, record) = started(
            "port",
            "echo >> \"$1/count\"; [ $(wc -l < \"$1/count\") -gt 2 ] || { echo 'Address already in use'; exit 1; }
             touch \"$1/ready\"; exec sleep 600",
        );
        let record = record.unwrap();
        assert_eq!(state.stop_all().unwrap(), [record]);
    }

    #[test]
    fn a_port_that_is_always_taken_is_a_failure() {
        let (state, record) = started("always", "echo 'Address already in use'; exit 1");
        assert!(record.unwrap_err().to_string().contains("port taken"));
        state.stop_all().unwrap();
    }

    #[test]
    fn a_server_that_ends_says_why_and_leaves_no_record() {
        let (state, record) = started("ends", "echo out of order with s3cr3t >&2; sleep 0.2; exit 7");
        let message = record.unwrap_err().to_string();
        assert!(
            message.contains("exit status: 7") && message.contains("out of order with [secret]"),
            "{message}"
        );
        assert!(state.records().unwrap().is_empty());
        state.stop_all().unwrap();
    }

    #[test]
    fn two_starts_never_get_the_same_port() {
        let ports: Vec<_> = (0..8).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(|port| port.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
        for port in &ports {
            let again = File::open(&port.path).unwrap();
            assert!(again.try_lock().is_err());
        }
    }

    #[test]
    fn every_server_s_words_for_a_taken_port_are_known() {
        for log in [
            "Error initializing listener of type tcp: listen tcp 127.0.0.1:1: bind: address already in use",
            "Address already in use\nPort 5000 is in use by another program.",
            "could not bind IPv4 address \"127.0.0.1\": Address already in use",
            "\"command failed\" err=\"failed to create listener: listen tcp 127.0.0.1:1: bind: address already in use\"",
            "CannotListenError: Couldn't listen on 127.0.0.1:4566: [Errno 98] Address already in use.",
        ] {
            assert!(says_port_taken(log), "{log}");
        }
        assert!(!says_port_taken("permission denied"));
    }

    #[test]
    fn the_end_of_a_log_is_shown_without_secrets() {
        let log: String = (0..50).map(|line| format!("line {line} token s3cr3t\n\n")).collect();
        let shown = end_of(&log, &["s3cr3t".to_owned()]);
        assert_eq!(shown.lines().count(), SHOWN_LINES);
        assert!(shown.ends_with("line 49 token [secret]"), "{shown}");
        assert_eq!(end_of("\n", &[]), "    (it is empty)");
    }
}
