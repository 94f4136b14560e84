//! Runs every verb of a store in a file against every fault that a file can meet, and says what went wrong:
//!
//! - The kind of the error is one that the fault allows, and it comes in time.
//! - No value stands in an error or in a log.
//! - A success is one: whoever opens the file then finds what was written.
//! - What a write that failed left, once the fault is gone, is the state before it; where its outcome is unknown, the state
//!   before or after it. All other secrets are there, and nothing lies beside the file.
//! - A store that was open all the time goes on when the fault is gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use keyfob_core::{ErrorKind, Result, SecretStore, Version};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::harm::{Fault, Moment};
use crate::suite::everything;
use crate::verb::{self, Outcome, State, Verb};

/// What waits for a lock waits for half a minute at most.
const MOST_TIME: Duration = Duration::from_secs(60);

/// A kind of store.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) scheme: &'static str,
    /// The name of its file.
    pub(crate) file: &'static str,
    /// Makes an empty one.
    pub(crate) make: fn(&Place) -> Opening,
    pub(crate) open: fn(&Place) -> Opening,
}

pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn SecretStore>>> + Send>>;

/// A directory with a store in a directory of its own, and room for what belongs to neither.
pub(crate) struct Place {
    root: TempDir,
    file: &'static str,
}

impl Place {
    pub(crate) fn new(base: &Path, kind: Kind) -> Self {
        let root = TempDir::new_in(base).unwrap();
        fs::create_dir(root.path().join("store")).unwrap();
        Self { root, file: kind.file }
    }

    /// With the store and its key, if any; nobody may have the store open.
    fn copy(&self, base: &Path, kind: Kind) -> Self {
        let copy = Self::new(base, kind);
        for name in ["store", "."] {
            for entry in fs::read_dir(self.path(name)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), copy.path(name).join(entry.file_name())).unwrap();
                }
            }
        }
        copy
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory().join(self.file)
    }

    /// What lies beside the store's files.
    fn stray(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with(self.file)).collect()
    }
}

struct Template {
    place: Place,
    current: Option<Version>,
}

struct Case {
    verb: Verb,
    fault: Fault,
    moment: Moment,
    template: Arc<Template>,
}

/// Runs all cases below `base`, so many at once.
///
/// # Panics
/// With every finding, when there is one.
pub(crate) async fn run(kind: Kind, base: &Path, faults: Vec<Fault>, at_once: usize) {
    let leaked = watch_logs();
    let shared = Place::new(base, kind);
    verb::make_shared(&*(kind.make)(&shared).await.unwrap()).await;
    let can = (kind.open)(&shared).await.unwrap().info().capabilities;

    let mut cases = Vec::new();
    for verb in Verb::ALL.into_iter().filter(|verb| verb.works(&can)) {
        let place = shared.copy(base, kind);
        let current = match verb.reads() {
            true => None,
            false => verb::prepare(verb, &*(kind.open)(&place).await.unwrap()).await,
        };
        let template = Arc::new(Template { place, current });
        let nothing = Fault::new("nothing", &[], |_| Box::new(|| {})).may_succeed();
        for fault in faults.iter().chain([&nothing]) {
            cases.extend(fault.moments.iter().map(|moment| Case {
                verb,
                fault: fault.clone(),
                moment: *moment,
                template: Arc::clone(&template),
            }));
        }
    }
    let count = cases.len();
    let permits = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for case in cases {
        let (permits, base) = (Arc::clone(&permits), base.to_owned());
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let findings = run_one(kind, &base, &case).await;
            (format!("{:?}, {}, {:?}", case.verb, case.fault.name, case.moment), findings)
        });
    }
    let mut all = BTreeMap::<String, Vec<String>>::new();
    while let Some(ran) = running.join_next().await {
        let (case, findings) = ran.unwrap();
        for finding in findings {
            all.entry(finding).or_default().push(case.clone());
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
    keyfob_testkit::tell(&format!("faults on {}: {count} cases", kind.scheme));
}

async fn run_one(kind: Kind, base: &Path, case: &Case) -> Vec<String> {
    let (verb, fault, template) = (case.verb, &case.fault, &case.template);
    let place = template.place.copy(base, kind);
    let store = (kind.open)(&place).await.unwrap();
    let open = match case.moment {
        Moment::Closed => None,
        Moment::Open => {
            let warmed = verb::act(Verb::GetMany, &*store, None).await;
            assert!(matches!(warmed, Outcome::Done), "before the fault: {warmed:?}");
            Some(Arc::clone(&store))
        }
    };
    drop(store);

    let mend = (fault.inflict)(&place);
    let work = async {
        let store = match &open {
            Some(store) => Arc::clone(store),
            None => match (kind.open)(&place).await {
                Ok(store) => store,
                Err(error) => return Outcome::Failed(vec![error]),
            },
        };
        verb::act(verb, &*store, template.current.clone()).await
    };
    let Ok(outcome) = tokio::time::timeout(MOST_TIME, work).await else {
        mend();
        return vec!["hangs".to_owned()];
    };

    let mut findings = judge(verb, fault, &outcome);
    if matches!(outcome, Outcome::Done | Outcome::Wrong(_)) {
        if !verb.reads() && matches!(outcome, Outcome::Done) {
            // Whoever opens it now, with the fault still there, finds it done.
            drop(open);
            findings.extend(not_done(kind, &place, case).await);
        }
        mend();
        return findings;
    }
    match open {
        Some(store) if !fault.damages => {
            mend();
            let again = verb::act(Verb::Get, &*store, None).await;
            if !matches!(again, Outcome::Done) {
                findings.push(format!("does not go on when the fault is gone: {}", words(&again)));
            }
        }
        open => {
            // Closing writes, too.
            drop(open);
            mend();
        }
    }
    let stray = place.stray();
    if !stray.is_empty() {
        findings.push(format!("{} files were left behind", stray.len()));
    }
    findings.extend(not_whole(kind, &place, case, &outcome).await);
    findings
}

fn judge(verb: Verb, fault: &Fault, outcome: &Outcome) -> Vec<String> {
    let succeeds = if verb.reads() {
        fault.reads_succeed
    } else {
        fault.writes_succeed
    };
    let kinds = fault.allowed(verb);
    match outcome {
        Outcome::Done if succeeds => Vec::new(),
        Outcome::Done => vec!["a success in spite of the fault".to_owned()],
        Outcome::Wrong(what) if fault.unseen.contains(what) => Vec::new(),
        Outcome::Wrong(what) => vec![format!("a wrong success: {what}")],
        Outcome::Failed(errors) => {
            let finding = |error: &keyfob_core::Error| {
                if everything(error).contains("kfcanary-") {
                    return Some("an error shows a value".to_owned());
                }
                (!kinds.contains(&error.kind())).then(|| general(error))
            };
            let mut findings: Vec<_> = errors.iter().filter_map(finding).collect();
            findings.dedup();
            findings
        }
    }
}

/// What is not so after a write that was told as done.
async fn not_done(kind: Kind, place: &Place, case: &Case) -> Option<String> {
    let look = async || verb::try_state(case.verb, &*(kind.open)(place).await?).await;
    match look().await {
        Ok(State::After) => None,
        Ok(State::Before) => Some("told as done, and nothing is".to_owned()),
        Ok(State::Neither(what)) => Some(format!("told as done, and in between: {what}")),
        // The damage was there before.
        Err(error) if case.fault.damages && case.fault.reads.contains(&error.kind()) => None,
        Err(error) => Some(format!("told as done, and can't be seen: {}", general(&error))),
    }
}

/// What is not as it was before a verb that failed, now that the fault is gone.
async fn not_whole(kind: Kind, place: &Place, case: &Case, outcome: &Outcome) -> Vec<String> {
    let store = match (kind.open)(place).await {
        Ok(store) => store,
        Err(error) => return vec![format!("does not open when the fault is gone: {}", general(&error))],
    };
    let mut findings = Vec::new();
    let others = verb::act(Verb::GetMany, &*store, None).await;
    if !matches!(others, Outcome::Done) {
        findings.push(format!("other secrets are not whole: {}", words(&others)));
    }
    if case.verb.reads() {
        return findings;
    }
    let is_unknown = matches!(outcome, Outcome::Failed(errors) if errors.iter().all(|error| error.kind() == ErrorKind::Timeout));
    match verb::state(case.verb, &*store).await {
        State::Before => {}
        State::After if is_unknown => {}
        State::After => findings.push(format!("told as failed, and it is done: {}", words(outcome))),
        State::Neither(what) => findings.push(format!("left in between: {what}; {}", words(outcome))),
    }
    findings
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(errors) => general(&errors[0]),
        other => format!("{other:?}"),
    }
}

/// Without what is another in each case, so that the same finding stands in the report once.
pub(crate) fn general(error: &keyfob_core::Error) -> String {
    let mut below = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let _ = write!(below, ": {error}");
        source = error.source();
    }
    format!("{}: {}{below}", error.kind().words(), error.message())
}

/// Whether anything that keyfob's own stores log has a value in it.
pub(crate) fn watch_logs() -> &'static AtomicBool {
    static LEAKED: AtomicBool = AtomicBool::new(false);
    static INSTALLED: Once = Once::new();

    struct Watch;
    impl io::Write for Watch {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if String::from_utf8_lossy(bytes).contains("kfcanary-") {
                LEAKED.store(true, Ordering::Relaxed);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    INSTALLED.call_once(|| {
        let ours = tracing_subscriber::filter::filter_fn(|metadata| {
            ["keyfob_sql", "keyfob_env"]
                .iter()
                .any(|ours| metadata.target().starts_with(ours))
        });
        let layer = tracing_subscriber::fmt::layer().with_writer(|| Watch).with_filter(ours);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
        tracing::info!(target: "keyfob_sql", "kfcanary-seenbythewatch");
        assert!(LEAKED.swap(false, Ordering::Relaxed), "nothing of the logs is seen");
    });
    &LEAKED
}
