//! Runs every verb against every fault and says what went wrong:
//!
//! - The kind of the error is one that the fault allows, and its context has what the answer said (status, request id).
//! - It comes within the deadline.
//! - No value, no credential and nothing of a spoiled answer's body stands in the error.
//! - No success is one in part, and none is told when the request that mattered failed.
//! - What a write that failed left is the state before it; where its outcome is unknown, the state before or after it.
//! - A host that an answer points to gets no request.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Request, Rule};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::azure;
use crate::bed::{Bed, DEADLINE, prefix};
use crate::spoil::{Effect, Spoil};
use crate::verb::{self, Outcome, Shared, State, Verb};

/// The servers are slow, and a slow answer would look like a hang.
const AT_ONCE: usize = 4;
/// A verb may clean up behind itself, which may hang too, and the machine may be busy.
const MOST_TIME: Duration = Duration::from_secs(5 * DEADLINE.as_secs());

/// Which requests of a verb are spoiled.
#[derive(Debug, Clone, Copy)]
enum Which {
    Every,
    /// Counted from 1.
    Only(usize),
}

struct Case {
    verb: Verb,
    spoil: Spoil,
    which: Which,
}

/// What happened in one case.
struct Seen {
    outcome: Outcome,
    elapsed: Duration,
    requests: Vec<Arc<Request>>,
    /// Which requests were spoiled.
    spoiled: Vec<Arc<Request>>,
    state: Option<State>,
    elsewhere: usize,
}

/// Runs all cases.
///
/// # Panics
/// With every finding, when there is one.
pub(crate) async fn run(bed: Bed, spoils: Vec<Spoil>) {
    let bed = Arc::new(bed);
    let made = Shared::make(&bed).await;
    let shared: Arc<str> = made.prefix.as_str().into();

    let mut cases = Vec::new();
    let can = bed.direct(&shared).await.info().capabilities;
    for verb in Verb::ALL.into_iter().filter(|verb| verb.works(&can)) {
        let requests = baseline(&bed, &shared, verb).await;
        for spoil in &spoils {
            let mut which: Vec<usize> = match spoil.effect {
                Effect::Refuse => Vec::new(),
                _ => (2..=requests).collect(),
            };
            if verb.reads() {
                // A batch asks the same again and again.
                which.retain(|n| *n <= 3 || *n == requests);
            }
            let every = std::iter::once(Which::Every);
            cases.extend(every.chain(which.into_iter().map(Which::Only)).map(|which| Case {
                verb,
                spoil: spoil.clone(),
                which,
            }));
        }
    }
    let count = cases.len();
    let findings = run_all(&bed, &shared, cases).await;
    made.clean(&bed).await;
    let total: usize = findings.values().map(Vec::len).sum();
    let mut report = String::new();
    for (finding, cases) in &findings {
        let _ = write!(report, "\n{finding}\n    {}", cases.join("\n    "));
    }
    assert!(findings.is_empty(), "{total} findings in {count} cases:{report}");
    keyfob_testkit::tell(&format!("faults on {}: {count} cases", bed.backend.scheme));
}

/// The answer to a create never comes, and the create has happened.
pub(crate) async fn lost_answer(bed: &Bed, is_write: fn(&Request) -> bool) {
    let prefix = prefix();
    let direct = bed.direct(&prefix).await;
    let proxy = bed.proxy();
    proxy.add(Rule::new(Fault::LoseAnswer).when(is_write));
    let store = bed.connect(&proxy.url(), &prefix).await.unwrap();
    let Outcome::Failed(errors) = verb::create_value_alone(&*store).await else {
        panic!("a create without an answer was told as done")
    };
    assert_eq!(errors[0].kind(), ErrorKind::Timeout, "{:?}", errors[0]);
    assert!(errors[0].hint().is_some(), "nothing says what to do: {:?}", errors[0]);
    assert!(
        verb::comes_to_be_there(&*direct).await,
        "the server did not get it, so nothing is proven"
    );
    verb::clean(&*direct).await;
}

/// How many requests a verb makes when nothing happens to them.
async fn baseline(bed: &Bed, shared: &str, verb: Verb) -> usize {
    let case = Case {
        verb,
        spoil: Spoil::new("nothing", Fault::Pass, &[]),
        which: Which::Every,
    };
    let seen = run_one(bed, shared, &case).await;
    assert!(
        matches!(seen.outcome, Outcome::Done),
        "{verb:?} without a fault: {:?}",
        seen.outcome
    );
    assert!(
        matches!(seen.state, None | Some(State::After)),
        "{verb:?} without a fault: {:?}",
        seen.state
    );
    assert!(!seen.requests.is_empty(), "{verb:?} asks nobody");
    seen.requests.len()
}

/// What was found, each with the cases that it was found in.
async fn run_all(bed: &Arc<Bed>, shared: &Arc<str>, cases: Vec<Case>) -> BTreeMap<String, Vec<String>> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for case in cases {
        let (bed, shared, permits) = (Arc::clone(bed), Arc::clone(shared), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let seen = run_one(&bed, &shared, &case).await;
            let findings = judge(&bed, &case, &seen);
            (case, findings)
        });
    }
    let mut suspects = Vec::new();
    while let Some(ran) = running.join_next().await {
        let (case, findings) = ran.unwrap();
        if !findings.is_empty() {
            suspects.push(case);
        }
    }
    // A machine that is busy looks like a fault of its own: what is wrong is wrong alone, too.
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for case in suspects {
        let seen = run_one(bed, shared, &case).await;
        for finding in judge(bed, &case, &seen) {
            let place = format!("{:?}, {}, {:?}", case.verb, case.spoil.name, case.which);
            let places = all.entry(general(&finding)).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    all
}

/// Without what is another in each case, so that the same finding stands in the report once.
fn general(finding: &str) -> String {
    let words = finding.split(' ').map(|word| {
        let part = |name: &str| word.starts_with('`') && word.contains(name);
        match word {
            _ if part("127.0.0.1") => "`ADDRESS`,",
            _ if part("keyfob-faults-") => "`PATH`,",
            _ if part("shared/") || part("written/") => "`NAME`",
            word => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn run_one(bed: &Bed, shared: &str, case: &Case) -> Seen {
    let own = prefix();
    let prefix = if case.verb.reads() { shared } else { &own };
    let direct = bed.direct(prefix).await;
    let current = match case.verb.reads() {
        true => None,
        false => verb::prepare(case.verb, &*direct).await,
    };
    let proxy = bed.proxy();
    let elsewhere = FaultProxy::alone().start().unwrap();
    elsewhere.add(Rule::new(Answer::new(200).body("{}")));
    let fault = match &case.spoil.effect {
        Effect::Refuse => {
            proxy.refuse();
            Fault::Pass
        }
        Effect::Fault(fault) => fault.clone(),
        Effect::RedirectElsewhere => Answer::redirect(format!("{}/v1/x", elsewhere.url())).into(),
    };
    let rule = Rule::new(fault);
    proxy.add(match case.which {
        Which::Every => rule,
        Which::Only(n) => rule.nth(n),
    });

    let start = Instant::now();
    let outcome = match bed.connect(&proxy.url(), prefix).await {
        Ok(store) => verb::act(case.verb, &*store, current).await,
        Err(error) => Outcome::Failed(vec![error]),
    };
    let elapsed = start.elapsed();

    let requests = proxy.requests();
    let spoiled = match case.which {
        Which::Every => requests.clone(),
        Which::Only(n) => requests.iter().skip(n - 1).take(1).cloned().collect(),
    };
    let state = match case.verb.reads() {
        true => None,
        false => {
            let state = verb::state(case.verb, &*direct).await;
            verb::clean(&*direct).await;
            Some(state)
        }
    };
    Seen {
        outcome,
        elapsed,
        requests,
        spoiled,
        state,
        elsewhere: elsewhere.connections(),
    }
}

fn judge(bed: &Bed, case: &Case, seen: &Seen) -> Vec<String> {
    let spoil = &case.spoil;
    let mut findings = Vec::new();
    if seen.elapsed > MOST_TIME {
        findings.push("later than the deadline".to_owned());
    }
    if seen.elsewhere > 0 {
        findings.push("another host was asked".to_owned());
    }
    // A listing of the whole store has as many pages as others, who test at the same time, leave there.
    let has_fewer_pages = |n: usize| case.verb == Verb::List && seen.requests.len() < n;
    let looked_less = match (case.which, &seen.outcome) {
        (Which::Only(n), Outcome::Done) => bed.waits(case.verb) || has_fewer_pages(n),
        _ => false,
    };
    if seen.spoiled.is_empty() && !matches!(spoil.effect, Effect::Refuse) && !looked_less {
        findings.push(format!("the request to spoil never came ({} came)", seen.requests.len()));
    }
    // What can't be noticed can be followed by a success, or by the error that comes of believing it.
    let survived = |request: &Arc<Request>| (bed.survives)(case.verb, spoil.name, request);
    let errors: &[Error] = match &seen.outcome {
        Outcome::Done => {
            if !seen.spoiled.iter().all(survived) || matches!(spoil.effect, Effect::Refuse) {
                let last = seen.spoiled.last().map(|request| described(request));
                findings.push(format!("a success in spite of the fault at {last:?}"));
            }
            &[]
        }
        Outcome::Wrong(what) => {
            findings.push(format!("a wrong success: {what}"));
            &[]
        }
        Outcome::Failed(errors) => errors,
    };
    let wrote = seen.spoiled.iter().any(|request| (bed.writes)(request));
    let read = seen.spoiled.iter().any(|request| !(bed.writes)(request)) || seen.spoiled.is_empty();
    for error in errors {
        let kind = error.kind();
        let believed = !seen.spoiled.is_empty() && seen.spoiled.iter().all(survived);
        let allowed = believed || (read && spoil.reads.contains(&kind)) || (wrote && spoil.writes.contains(&kind));
        let what = if wrote { "write" } else { "read" };
        if let Some(leak) = leak(bed, error) {
            findings.push(format!("an error shows {leak}"));
        } else if !allowed {
            findings.push(format!("{} at a {what}: {error:?}", kind.words()));
        } else if !believed {
            findings.extend(missing(spoil, error));
        }
    }
    // What reads back after an idempotent write may fail although the write is done: it can be asked again.
    if bed.waits(case.verb) && seen.spoiled.iter().any(|request| azure::is_purge(request)) {
        let says_so = |error: &Error| {
            error
                .hint()
                .is_some_and(|hint| hint.contains("is deleted and can be restored"))
        };
        if let Some(error) = errors.iter().find(|error| !says_so(error)) {
            findings.push(format!("nothing says that the secret is deleted: {error:?}"));
        }
    } else if wrote || !matches!(case.verb, Verb::Restore | Verb::PutMetadata) {
        findings.extend(wrong_state(seen, seen.spoiled.iter().all(survived)));
    }
    findings.sort();
    findings.dedup();
    findings
}

/// What of the answer the error does not say.
fn missing(spoil: &Spoil, error: &Error) -> Vec<String> {
    let mut missing = Vec::new();
    for fact in spoil.facts {
        if !error.context().any(|known| known == *fact) {
            missing.push(format!("{fact:?} is missing: {error:?}"));
        }
    }
    if spoil.retry_after.map(Duration::from_secs) != error.retry_after() {
        missing.push(format!("says to wait for {:?}: {error:?}", error.retry_after()));
    }
    missing
}

fn wrong_state(seen: &Seen, survived: bool) -> Option<String> {
    let state = seen.state?;
    let unknown = |error: &Error| error.kind() == ErrorKind::Timeout;
    match (&seen.outcome, state) {
        (_, State::Neither(what)) => Some(format!("left in between: {what}; {:?}", seen.outcome)),
        (Outcome::Done, State::Before) if !survived => Some("told as done, and nothing is".to_owned()),
        (Outcome::Failed(errors), State::After) if !errors.iter().all(unknown) => {
            Some(format!("told as failed, and it is done: {:?}", seen.outcome))
        }
        _ => None,
    }
}

/// What an error shows that it must not.
pub(crate) fn leak(bed: &Bed, error: &Error) -> Option<&'static str> {
    let text = everything(error);
    if text.contains("kfcanary-") {
        return Some("a value, or the body of an answer");
    }
    if text.contains("<html>") {
        return Some("a body");
    }
    bed.credentials
        .iter()
        .any(|credential| text.contains(credential))
        .then_some("a credential")
}

/// Whatever of an error can be printed.
pub(crate) fn everything(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}\n{}\n{:?}", error.message(), error.hint());
    let mut below = error.source();
    while let Some(source) = below {
        let _ = write!(text, "\n{source}\n{source:?}");
        below = source.source();
    }
    text
}

fn described(request: &Request) -> String {
    let target = request.header("x-amz-target").unwrap_or_default();
    format!("{} {} {target}", request.method(), request.path())
}
