//! Runs every verb of the store in PostgreSQL against every fault that can happen between it and the server, or on the server:
//! on every request, and on each request of the verb alone. What must hold:
//!
//! - The kind of the error is one that the fault allows, and it comes in time. Of a write it is `Timeout` exactly when nobody
//!   knows what became of it: when it was being committed.
//! - No value, no password and nothing of a spoiled answer stands in an error or in a log.
//! - A success is one: what was asked for is there.
//! - What a write that failed left is the state before it; where its outcome is unknown, the state before or after it. All
//!   other secrets are there, and the whole store is found authentic.
//! - The same handle goes on when the fault is gone.

mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::ToSocketAddrs as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob_core::ErrorKind::{self, Other, PermissionDenied, Timeout, Unavailable};
use keyfob_core::{Environment, Result, StoreUrl};
use keyfob_envelope::RawKey;
use keyfob_integration_tests::servers::{self, Provider};
use keyfob_sql::{PostgresConfig, PostgresStore};
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::wire::{Answer, Effect, End, Proxy, Seen, Which};
use crate::files::{general, watch_logs};
use crate::spoil::PLANTED;
use crate::suite::everything;
use crate::verb::{self, Outcome, State, Verb};

/// A call waits for a second. One that is made again may wait again, and a commit waits for itself.
const MOST_TIME: Duration = Duration::from_secs(6);
/// Each has a schema and a few connections of its own.
const WORKERS: usize = 12;
/// How much of a message without end is sent.
const ENDLESS: usize = 8 << 20;

#[derive(Debug, Clone)]
struct Fault {
    name: String,
    effect: Effect,
    reads: &'static [ErrorKind],
    /// Of a write, before it is committed: it surely did not happen.
    writes: &'static [ErrorKind],
    /// Of a write that is being committed.
    commits: &'static [ErrorKind],
    /// Whether a verb may do without the request: it surely had no effect, and is made once more on another connection.
    is_made_again: bool,
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the store is opened.
    Closed,
    /// The store is open, and has no connection.
    Unconnected,
    /// The store is open, and the same verb has run on its connection.
    Connected,
}

#[derive(Debug, Clone)]
struct Case {
    verb: Verb,
    moment: Moment,
    fault: Fault,
    which: Which,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_postgres_survives_every_fault() {
    let test = "every_verb_on_postgres_survives_every_fault";
    let leaked = watch_logs();
    let mut making = JoinSet::new();
    for _ in 0..WORKERS {
        let Some(variables) = servers::variables(test, Provider::Postgres) else {
            return;
        };
        making.spawn(Worker::new(variables));
    }
    let mut workers = making.join_all().await;
    let cases = cases(&mut workers[0]).await;
    let count = cases.len();

    let cases = Arc::new(Mutex::new(cases));
    let mut running = JoinSet::new();
    for mut worker in workers {
        let cases = Arc::clone(&cases);
        running.spawn(async move {
            let mut suspects = Vec::new();
            loop {
                let Some(case) = cases.lock().unwrap().pop_front() else {
                    return (worker, suspects);
                };
                if !worker.findings(&case).await.is_empty() {
                    suspects.push(case);
                }
            }
        });
    }
    let (mut workers, suspects): (Vec<_>, Vec<_>) = running.join_all().await.into_iter().unzip();
    // A machine that is busy looks like a fault of its own: what is wrong is wrong alone, too.
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for case in suspects.into_iter().flatten() {
        let place = format!("{:?}, {}, {:?}, {:?}", case.verb, case.fault.name, case.moment, case.which);
        for finding in workers[0].findings(&case).await {
            all.entry(finding).or_default().push(place.clone());
        }
    }
    for worker in workers {
        for problem in worker.remove().await {
            all.entry(problem).or_default().push("in the end".to_owned());
        }
    }
    let total: usize = all.values().map(Vec::len).sum();
    let mut report = String::new();
    for (finding, cases) in &all {
        let shown = &cases[..cases.len().min(12)];
        let _ = write!(report, "\n{finding} ({} times)\n    {}", cases.len(), shown.join("\n    "));
    }
    assert!(all.is_empty(), "{total} findings in {count} cases:{report}");
    assert!(!leaked.load(Ordering::Relaxed), "a value stands in a log");
    keyfob_testkit::tell(&format!("faults on postgres: {count} cases"));
}

async fn cases(worker: &mut Worker) -> VecDeque<Case> {
    let faults = faults();
    let mut cases = VecDeque::new();
    for moment in [Moment::Closed, Moment::Unconnected, Moment::Connected] {
        // How a store is opened does not depend on what is done with it.
        let is_tried = |verb: &Verb| moment != Moment::Closed || *verb == Verb::Get;
        for verb in Verb::ALL.into_iter().filter(is_tried) {
            let ran = worker.run(verb, moment, None).await;
            assert!(
                matches!(ran.outcome, Outcome::Done),
                "{verb:?} without a fault: {:?}",
                ran.outcome
            );
            let requests = ran.seen.requests;
            assert!(requests > 1, "{verb:?} asks nobody");
            assert_eq!(
                ran.seen.commits,
                usize::from(!verb.reads()),
                "{verb:?} changes what it must not, or nothing"
            );
            for (index, fault) in faults.iter().enumerate() {
                let alone = alone(fault, index, verb, moment, requests);
                let which = std::iter::once(Which::Every).chain(alone);
                cases.extend(which.map(|which| Case {
                    verb,
                    moment,
                    fault: fault.clone(),
                    which,
                }));
            }
        }
    }
    cases
}

/// Which of so many requests are spoiled alone.
fn alone(fault: &Fault, index: usize, verb: Verb, moment: Moment, requests: usize) -> impl Iterator<Item = Which> {
    // The log-in and the first statements do not depend on the verb.
    let all = match moment {
        Moment::Closed | Moment::Connected => true,
        Moment::Unconnected => verb == Verb::Create,
    };
    let numbers: BTreeSet<usize> = match &fault.effect {
        Effect::Refuse => BTreeSet::new(),
        // Each of these takes a second.
        Effect::Spoil { end: End::Silence, .. } if !all || verb.reads() => BTreeSet::new(),
        Effect::Spoil { end: End::Silence, .. } => [requests / 2, requests].into(),
        _ if !all => [1, requests / 2, requests].into(),
        // The same request meets what is much alike in another verb, and the first and the last meet everything.
        _ => (1..=requests)
            .filter(|number| *number == 1 || *number == requests || (number + index + verb as usize).is_multiple_of(3))
            .collect(),
    };
    numbers.into_iter().map(Which::Only)
}

fn faults() -> Vec<Fault> {
    let fault = |name: &str, effect| Fault {
        name: name.to_owned(),
        effect,
        reads: &[Unavailable],
        writes: &[Unavailable],
        commits: &[Timeout],
        is_made_again: true,
    };
    let spoil = |name: &str, is_done, answer, end| fault(name, Effect::Spoil { is_done, answer, end });
    let silence = |name: &str, is_done, answer| Fault {
        reads: &[Timeout],
        is_made_again: false,
        ..spoil(name, is_done, answer, End::Silence)
    };
    let nonsense = |name: &str, bytes: &[u8], end| Fault {
        reads: &[Unavailable, Other, Timeout],
        writes: &[Unavailable, Other],
        ..spoil(name, true, Answer::Other(bytes.to_vec()), end)
    };
    let mut faults = vec![
        fault("refused connection", Effect::Refuse),
        spoil("cut before the request", false, Answer::First(0), End::Close),
        spoil("lost answer", true, Answer::First(0), End::Close),
        spoil("all but one byte", true, Answer::AllBut(1), End::Close),
        // The last message says that the server is ready, and has six bytes.
        spoil("all but the last message", true, Answer::AllBut(6), End::Close),
        spoil("half an answer", true, Answer::Half, End::Close),
        silence("never answered", false, Answer::First(0)),
        silence("done and never answered", true, Answer::First(0)),
        silence("half an answer and silence", true, Answer::Half),
        silence("all but one byte and silence", true, Answer::AllBut(1)),
        silence("a message without end", true, Answer::Endless(ENDLESS)),
        nonsense("zeros", &[0; 64], End::Silence),
        nonsense(
            "a page",
            format!("HTTP/1.1 400 Bad Request\r\n\r\n<html>{PLANTED}").as_bytes(),
            End::Close,
        ),
        nonsense(
            "a message that there is not",
            b"\x07\0\0\0\x19kfcanary-inananswer12",
            End::Close,
        ),
        nonsense(
            "a message of a negative length",
            b"D\xff\xff\xff\xffkfcanary-inananswer12",
            End::Close,
        ),
        nonsense("a message shorter than its length", b"C\0\0\0\x03", End::Silence),
        nonsense("a row that nobody asked for", b"D\0\0\0\x0a\0\x01\0\0\0\0", End::Silence),
    ];
    faults.extend([1, 5, 9].map(|count| spoil(&format!("{count} bytes"), true, Answer::First(count), End::Close)));
    for (code, is_done) in [("53300", false), ("57P01", false), ("57P01", true), ("57P03", false)] {
        let name = format!("{code}{}", if is_done { " when it is done" } else { "" });
        let ended = spoil(&name, is_done, Answer::Other(wire::fatal(code)), End::Close);
        faults.push(match code {
            // Not lost: there is none to be had. No server says so in the middle.
            "53300" => Fault {
                commits: &[Unavailable],
                is_made_again: false,
                ..ended
            },
            _ => ended,
        });
    }
    for (code, reads, writes) in [
        ("25006", &[PermissionDenied], &[PermissionDenied]),
        ("42501", &[PermissionDenied], &[PermissionDenied]),
        ("57014", &[Timeout], &[Unavailable]),
        ("40001", &[Unavailable], &[Unavailable]),
        ("53100", &[Unavailable], &[Unavailable]),
        ("53200", &[Unavailable], &[Unavailable]),
    ] {
        faults.push(Fault {
            reads,
            writes,
            commits: writes,
            is_made_again: code == "40001",
            ..fault(code, Effect::Fail(code))
        });
    }
    faults
}

/// A store of its own, reached through a proxy and without one.
struct Worker {
    variables: Vec<(&'static str, String)>,
    directory: TempDir,
    proxy: Proxy,
    direct: PostgresStore,
    /// Through the proxy.
    store: PostgresStore,
}

/// What happened in one run of a verb.
struct Ran {
    outcome: Outcome,
    seen: Seen,
    findings: Vec<String>,
}

impl Worker {
    async fn new(variables: Vec<(&'static str, String)>) -> Self {
        let directory = TempDir::new().unwrap();
        RawKey::create_file(directory.path().join("key")).unwrap();
        let url = StoreUrl::parse(&variables[0].1).unwrap();
        let address = (url.host().unwrap(), url.port().unwrap());
        let proxy = Proxy::to(address.to_socket_addrs().unwrap().next().unwrap());
        let direct = PostgresStore::create(config(&variables, &directory, None)).await.unwrap();
        verb::make_shared(&direct).await;
        let store = PostgresStore::open(config(&variables, &directory, Some(&proxy)))
            .await
            .unwrap();
        Self {
            variables,
            directory,
            proxy,
            direct,
            store,
        }
    }

    async fn remove(self) -> Vec<String> {
        let report = self.direct.verify().await.unwrap();
        tokio::task::spawn_blocking(move || servers::remove(&self.variables))
            .await
            .unwrap();
        report.problems.iter().map(general).collect()
    }

    async fn open(&self) -> Result<PostgresStore> {
        PostgresStore::open(config(&self.variables, &self.directory, Some(&self.proxy))).await
    }

    async fn findings(&mut self, case: &Case) -> Vec<String> {
        let spoil = (case.fault.effect.clone(), case.which);
        let Ran { outcome, seen, findings } = self.run(case.verb, case.moment, Some(spoil)).await;
        let mut findings: BTreeSet<String> = findings.into_iter().collect();
        findings.extend(self.judge(case, &outcome, seen));
        findings.into_iter().collect()
    }

    async fn run(&mut self, verb: Verb, moment: Moment, spoil: Option<(Effect, Which)>) -> Ran {
        let mut current = self.prepare(verb).await;
        match moment {
            Moment::Closed => {}
            Moment::Unconnected => self.proxy.cut().await,
            Moment::Connected => {
                let outcome = verb::act(verb, &self.store, current.take()).await;
                if !matches!(outcome, Outcome::Done) {
                    let findings = vec![format!("fails before the fault: {}", words(&outcome))];
                    let seen = self.proxy.mend();
                    return Ran { outcome, seen, findings };
                }
                current = self.prepare(verb).await;
            }
        }
        self.proxy.spoil(spoil).await;
        let work = async {
            match moment {
                Moment::Closed => match self.open().await {
                    Ok(store) => verb::act(verb, &store, current).await,
                    Err(error) => Outcome::Failed(vec![error]),
                },
                _ => verb::act(verb, &self.store, current).await,
            }
        };
        let outcome = tokio::time::timeout(MOST_TIME, work).await;
        let seen = self.proxy.mend();
        let Ok(outcome) = outcome else {
            let outcome = Outcome::Wrong("hangs");
            return Ran {
                outcome,
                seen,
                findings: Vec::new(),
            };
        };
        let findings = self.not_whole(verb, moment, &outcome).await;
        Ran { outcome, seen, findings }
    }

    /// Makes what a verb needs.
    async fn prepare(&self, verb: Verb) -> Option<keyfob_core::Version> {
        if verb.reads() {
            return None;
        }
        verb::clean(&self.direct).await;
        verb::prepare(verb, &self.direct).await
    }

    /// What is not as it must be, now that the fault is gone.
    async fn not_whole(&self, verb: Verb, moment: Moment, outcome: &Outcome) -> Vec<String> {
        let mut findings = Vec::new();
        let again = verb::act(Verb::GetMany, &self.store, None).await;
        if !matches!(again, Outcome::Done) {
            findings.push(format!("does not go on when the fault is gone: {}", words(&again)));
        }
        if moment == Moment::Closed
            && let Err(error) = self.open().await
        {
            findings.push(format!("does not open when the fault is gone: {}", general(&error)));
        }
        if verb.reads() {
            return findings;
        }
        let is_unknown = matches!(outcome, Outcome::Failed(errors) if errors.iter().all(|error| error.kind() == Timeout));
        let state = verb::state(verb, &self.direct).await;
        match (outcome, state) {
            (_, State::Neither(what)) => findings.push(format!("left in between: {what}; {}", words(outcome))),
            (Outcome::Done, State::Before) => findings.push("told as done, and nothing is".to_owned()),
            (Outcome::Failed(_), State::After) if !is_unknown => {
                findings.push(format!("told as failed, and it is done: {}", words(outcome)));
            }
            _ => {}
        }
        match verb::try_state(verb, &self.store).await {
            Ok(seen) if seen == state => {}
            Ok(seen) => findings.push(format!("the handle sees {seen:?}, and it is {state:?}")),
            Err(error) => findings.push(format!("the handle can't see what there is: {}", general(&error))),
        }
        findings
    }

    fn judge(&self, case: &Case, outcome: &Outcome, seen: Seen) -> Vec<String> {
        let fault = &case.fault;
        let mut findings = Vec::new();
        if seen.spoiled == 0 && fault.effect != Effect::Refuse {
            findings.push(format!("the request to spoil never came ({} came)", seen.requests));
        }
        let is_commit = seen.spoiled_commits > 0;
        match outcome {
            Outcome::Done => {
                let is_known = !is_commit || matches!(fault.effect, Effect::Fail(_));
                if case.which == Which::Every || !fault.is_made_again || !is_known {
                    findings.push("a success in spite of the fault".to_owned());
                }
            }
            Outcome::Wrong(what) => findings.push(format!("a wrong success: {what}")),
            Outcome::Failed(errors) => {
                let is_allowed = |kind: &ErrorKind| match () {
                    () if is_commit => fault.commits.contains(kind),
                    () if case.verb.reads() => fault.reads.contains(kind),
                    // Opening reads.
                    () => fault.writes.contains(kind) || case.moment == Moment::Closed && fault.reads.contains(kind),
                };
                let url = StoreUrl::parse(&self.variables[0].1).unwrap();
                let password = url.password().unwrap().expose_str().unwrap();
                for error in errors {
                    let text = everything(error);
                    if text.contains("kfcanary-") || text.contains("<html>") {
                        findings.push("an error shows a value, or the body of an answer".to_owned());
                    } else if text.contains(password) {
                        findings.push("an error shows the password".to_owned());
                    } else if !is_allowed(&error.kind()) {
                        findings.push(general(error));
                    }
                }
            }
        }
        findings
    }
}

/// What the URL and the environment of an application say.
fn config(variables: &[(&'static str, String)], directory: &TempDir, proxy: Option<&Proxy>) -> PostgresConfig {
    let mut url = variables[0].1.clone();
    if let Some(proxy) = proxy {
        let port = StoreUrl::parse(&url).unwrap().port().unwrap();
        url = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
        // With one connection the order of the requests is always the same.
        url.push_str("&timeout=1&connections=1");
    }
    let environment = Environment::fake()
        .var("KEYFOB_KEY_FILE", directory.path().join("key").to_str().unwrap())
        .build();
    let mut config = PostgresConfig::from_url(&StoreUrl::parse(&url).unwrap(), &environment).unwrap();
    config.state_dir = proxy.map(|_| directory.path().join("state"));
    config
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(errors) => general(&errors[0]),
        other => format!("{other:?}"),
    }
}
