//! `cargo xtask testbed`: real servers for the tests, without an account or a container engine.
//!
//! Each server comes from an ordinary package registry or from this machine, at the versions of
//! `xtask/testbed/versions.txt`, and listens on a free port of 127.0.0.1. The tests find it through `KEYFOB_TEST_*`
//! variables and can't tell it from one that somebody started by other means: a server whose address is already in the
//! environment is used, not started.

mod certificates;
mod doubles;
mod drongo;
mod http;
mod identity;
mod kubernetes;
mod launch;
mod localstack;
mod moto;
mod openbao;
mod pins;
mod postgres;
mod redis;
mod session;
mod state;
mod table;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use session::Session;

use crate::process::{Failure, Result};
use state::{Record, State, make_private, without_user};
use table::{SERVERS, Server};

pub(crate) fn main(arguments: &[String]) -> Result {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["up"] => up(),
        ["down"] => down(),
        ["status"] => status(),
        ["env"] => env(),
        // For `Session` only.
        ["keep", dir] => session::keep(PathBuf::from(dir), std::io::stdin()),
        _ => Err(Failure::Usage(
            "`testbed` takes one of `up`, `down`, `status` and `env`".to_owned(),
        )),
    }
}

/// Starts what does not run, and waits until everything answers.
fn up() -> Result {
    session::sweep()?;
    let state = State::of_checkout()?;
    let _lock = state.lock()?;
    make_private(state.dir())?;
    let mut failures = Vec::new();
    let known = state.records()?;
    for (server, standing) in ensure(SERVERS, &known, &state) {
        let name = server.name();
        match standing {
            Ok(Standing::Given(address)) => println!("{name:12} given: {address}"),
            Ok(Standing::Runs(record)) => println!("{name:12} already up at {}", record.address()),
            Ok(Standing::Started(record, time)) => {
                println!("{name:12} up at {}, after {:.1} s", record.address(), time.as_secs_f64());
            }
            Err(failure) => failures.push(format!("`{name}` is not there: {failure}")),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(failures.join("\nerror: ")))
    }
}

/// Stops what `up` started.
fn down() -> Result {
    session::sweep()?;
    let state = State::of_checkout()?;
    let _lock = state.lock()?;
    let stopped = state.stop_all()?;
    if stopped.is_empty() {
        println!("nothing was up");
    }
    for record in stopped {
        println!("{:12} stopped", record.server);
    }
    Ok(())
}

fn status() -> Result {
    let records = State::of_checkout()?.records()?;
    let mut rows = vec![["server", "version", "pid", "address", "health"].map(str::to_owned)];
    for server in SERVERS {
        let record = records.iter().find(|record| record.server == server.name());
        let [version, pid, address, health] = match (given(*server, record), record) {
            (Some(Ok(address)), _) => ["-".to_owned(), "-".to_owned(), address, "given, somebody answers".to_owned()],
            (Some(Err(failure)), _) => ["-".to_owned(), "-".to_owned(), "-".to_owned(), failure.to_string()],
            (None, None) => ["-", "-", "-", "not started"].map(str::to_owned),
            (None, Some(record)) => {
                let health = fits(*server, record).map_or_else(|failure| failure.to_string(), |()| "answers".to_owned());
                let pid = record.process.pid.to_string();
                [record.version.clone(), pid, record.address(), health]
            }
        };
        rows.push([server.name().to_owned(), version, pid, address, health]);
    }
    print!("{}", aligned(&rows));
    Ok(())
}

/// Prints the variables of what `up` started, for a shell to read.
fn env() -> Result {
    let records = State::of_checkout()?.records()?;
    if records.is_empty() {
        return Err(Failure::failed(
            "nothing is up for this checkout: `cargo xtask testbed up` starts the servers",
        ));
    }
    for (name, value) in records.iter().flat_map(Record::exports) {
        println!("{}", exported(&name, &value));
    }
    Ok(())
}

/// What there is of a server.
enum Standing {
    /// The caller's environment has its address, this one.
    Given(String),
    Runs(Record),
    /// It was started just now, and took so long.
    Started(Record, Duration),
}

/// Sees to it that each server is there: given, among the `known`, or else started in `state`. All at once.
fn ensure(servers: &[&'static dyn Server], known: &[Record], state: &State) -> Vec<(&'static dyn Server, Result<Standing>)> {
    std::thread::scope(|scope| {
        let started: Vec<_> = servers
            .iter()
            .map(|server| (*server, scope.spawn(|| ensure_one(*server, known, state))))
            .collect();
        let panicked = |_| Err(Failure::failed("starting it panicked"));
        let joined = started.into_iter();
        joined
            .map(|(server, thread)| (server, thread.join().unwrap_or_else(panicked)))
            .collect()
    })
}

fn ensure_one(server: &'static dyn Server, known: &[Record], state: &State) -> Result<Standing> {
    let start = Instant::now();
    let record = known.iter().find(|record| record.server == server.name());
    if let Some(given) = given(server, record) {
        return given.map(Standing::Given);
    }
    if let Some(record) = record.filter(|record| fits(server, record).is_ok()) {
        return Ok(Standing::Runs(record.clone()));
    }
    let stale = state.records()?;
    for record in stale.iter().filter(|record| record.server == server.name()) {
        state.stop(record)?;
    }
    launch::start(server, state).map(|record| Standing::Started(record, start.elapsed()))
}

/// Whether the server that was started is the one that is needed now.
fn fits(server: &dyn Server, record: &Record) -> Result {
    if !record.process.runs() {
        return Err(Failure::failed("ended"));
    }
    if server.pinned()?.is_some_and(|pinned| pinned != record.version) {
        return Err(Failure::failed("not the version that `xtask/testbed/versions.txt` names"));
    }
    if !server.is_current(record)? {
        return Err(Failure::failed("built of other sources than those that are here now"));
    }
    server.answers(record)
}

/// The address of the server that the caller's environment has, unless it is the one of `record`: that comes from
/// `testbed env`. An error when it is of no use.
fn given(server: &dyn Server, record: Option<&Record>) -> Option<Result<String>> {
    given_in(server, record, |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    })
}

fn given_in(
    server: &dyn Server,
    record: Option<&Record>,
    environment: impl Fn(&str) -> Option<String>,
) -> Option<Result<String>> {
    let (first, others) = server.variables().split_first()?;
    let address = environment(first)?;
    if record.is_some_and(|record| {
        record
            .variables
            .iter()
            .any(|(name, value)| name == first && *value == address)
    }) {
        return None;
    }
    let shown = without_user(&address);
    if let Some(missing) = others.iter().find(|name| environment(name).is_none()) {
        return Some(Err(Failure::failed(format!(
            "`{first}` is set to `{shown}`, but `{missing}` is not: set both, or none"
        ))));
    }
    Some(match http::connect(&address) {
        Ok(_) => Ok(shown),
        Err(failure) => Err(Failure::failed(format!(
            "`{first}` is set, but nobody is there: {failure}; start that server, or `unset {}`",
            server.variables().join(" ")
        ))),
    })
}

/// A line that sets `name` in a shell. A value in single quotes means what it says.
fn exported(name: &str, value: &str) -> String {
    format!("export {name}='{}'", value.replace('\'', r"'\''"))
}

fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// 128 bits that nobody can guess, in hexadecimal.
fn random() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(Failure::io("read `/dev/urandom`"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;
    use crate::process::output;
    use crate::testbed::identity::{Process, Signal};

    #[test]
    fn a_shell_reads_what_is_exported() {
        for value in ["plain", "with spaces $HOME `x` \"", "it's 'quoted'", r"back\slash", ""] {
            let script = format!("{}; printf %s \"$NAME\"", exported("NAME", value));
            assert_eq!(output(Command::new("sh").args(["-c", &script])).unwrap(), value);
        }
    }

    #[test]
    fn a_server_of_the_caller_s_is_used_when_it_is_complete_and_there() {
        let server = &openbao::OpenBao::Plain;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let environment = |url: Option<&str>, token: Option<&str>| {
            let (url, token) = (url.map(str::to_owned), token.map(str::to_owned));
            move |name: &str| if name.ends_with("_URL") { url.clone() } else { token.clone() }
        };

        assert!(given_in(server, None, environment(None, Some("t"))).is_none());
        let complete = environment(Some(&address), Some("t"));
        assert_eq!(given_in(server, None, &complete).unwrap().unwrap(), address);
        let incomplete = given_in(server, None, environment(Some(&address), None));
        assert!(incomplete.unwrap().unwrap_err().to_string().contains("_TOKEN` is not"));

        // From `testbed env`: not a server of the caller's.
        let record = Record {
            server: "openbao".to_owned(),
            process: Process {
                pid: 1,
                started: String::new(),
            },
            stop: Signal::Terminate,
            version: String::new(),
            program: PathBuf::new(),
            outside: None,
            variables: vec![("KEYFOB_TEST_OPENBAO_URL".to_owned(), address.clone())],
        };
        assert!(given_in(server, Some(&record), &complete).is_none());

        drop(listener);
        let gone = given_in(server, None, &complete).unwrap().unwrap_err().to_string();
        assert!(
            gone.contains("unset KEYFOB_TEST_OPENBAO_URL KEYFOB_TEST_OPENBAO_TOKEN"),
            "{gone}"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "b"], ["long", "é"], ["x", "yy"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "a     b\nlong  é\nx     yy\n");
    }

    #[test]
    fn a_random_value_is_another_each_time() {
        let (one, two) = (random().unwrap(), random().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for arguments in [&[][..], &["start"], &["up", "now"], &["keep"]] {
            let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            assert!(matches!(main(&arguments), Err(Failure::Usage(_))), "{arguments:?}");
        }
    }
}
