//! The harness: every case in its own namespace, with a time limit, cleaned up and searched.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use keyfob_core::{SecretName, SecretStore, SecretValue};
use tracing::instrument::WithSubscriber;

use crate::case::{Case, CaseResult, Stop};
use crate::cases;
use crate::context::Context;
use crate::logs::CapturedLogs;
use crate::report::{CaseReport, Failure, Outcome, Report};

/// How to run the suite.
#[derive(Debug, Clone)]
pub struct RunOptions {
    only: Option<String>,
    title: Option<String>,
    deviations: Vec<(String, String)>,
    time_limit: Duration,
    seeds: Vec<(SecretName, SecretValue)>,
    logs: Option<CapturedLogs>,
}

impl RunOptions {
    /// All cases, at most 30 seconds for each.
    #[must_use]
    pub fn new() -> Self {
        Self {
            only: None,
            title: None,
            deviations: Vec::new(),
            time_limit: Duration::from_secs(30),
            seeds: Vec::new(),
            logs: None,
        }
    }

    /// Runs only the case of this name, or only the cases of this module (`get`).
    #[must_use]
    pub fn only(mut self, case: impl Into<String>) -> Self {
        self.only = Some(case.into());
        self
    }

    /// The store's name in the table of what stores can do, which a run of all tests makes.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Says that the store breaks the contract in `case`, and why that is so.
    ///
    /// The case runs all the same: its failure is shown as a deviation, and *fails* the run when the case passes or
    /// is ignored, so that the list stays honest. A value that leaks is no deviation that could be excused.
    #[must_use]
    pub fn known_deviation(mut self, case: impl Into<String>, why: impl Into<String>) -> Self {
        self.deviations.push((case.into(), why.into()));
        self
    }

    /// Fails a case that takes longer. A store that blocks its thread without an end can't be stopped.
    #[must_use]
    pub fn time_limit(mut self, each: Duration) -> Self {
        self.time_limit = each;
        self
    }

    /// Says that a secret is there, for stores that can't be written to.
    ///
    /// Cases read it and change nothing. A value of 12 bytes or more is searched for like a canary.
    #[must_use]
    pub fn seed(mut self, name: SecretName, value: impl Into<SecretValue>) -> Self {
        self.seeds.push((name, value.into()));
        self
    }

    /// Searches these logs too; see [`CapturedLogs::install_global`].
    #[must_use]
    pub fn logs(mut self, logs: CapturedLogs) -> Self {
        self.logs = Some(logs);
        self
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the suite over `store`, one case after the other.
///
/// Each case has a random namespace of its own (`kf-…/`), so that a store may be shared; what it wrote is deleted when
/// it ends, however it ends. Afterwards everything that the store let be seen in it is searched for the case's canary:
/// errors, `Debug` of every answer and of the store, and logs down to `TRACE`.
///
/// Names are short (but for the case about long ones), values have at least 64 bytes: a store that takes less can't
/// be checked.
///
/// # Panics
/// Outside of a tokio runtime whose timer is enabled.
pub async fn run(store: Arc<dyn SecretStore>, options: RunOptions) -> Report {
    let mut report = Report {
        store: store.info().scheme.to_string(),
        title: options.title.clone(),
        capabilities: store.info().capabilities,
        cases: Vec::new(),
        leftovers: Vec::new(),
    };
    let seeds: Arc<[_]> = options.seeds.clone().into();
    for case in cases::all().filter(|case| options.selects(case)) {
        let context = Context::with_seeds(store.clone(), seeds.clone());
        let start = Instant::now();
        let outcome = run_case(&case, &context, &options, &mut report.leftovers).await;
        report.cases.push(CaseReport {
            name: case.name.to_owned(),
            verb: case.verb.to_owned(),
            needs: case.needs,
            outcome: options.judge(&case, outcome),
            duration: start.elapsed(),
        });
    }
    report.cases.extend(options.mistakes());
    report
}

async fn run_case(case: &Case, context: &Context, options: &RunOptions, leftovers: &mut Vec<String>) -> Outcome {
    if let Some(need) = case.unmet_need(context) {
        return Outcome::Ignored(need.to_string());
    }
    let logs_before = options.logs.as_ref().map_or(0, CapturedLogs::len);
    let result = limited(options.time_limit, (case.function)(context), context)
        .await
        .unwrap_or_else(|problem| Err(Stop::Failed(problem)));
    match limited(options.time_limit, context.clean_up(), context).await {
        Ok(problems) => leftovers.extend(problems.iter().map(|error| format!("{}: {error:?}", case.name))),
        Err(problem) => leftovers.push(format!("{}: clean-up: {problem}", case.name)),
    }
    leftovers.retain(|leftover| context.find_in(leftover.as_bytes()).is_none());
    let logs = options.logs.as_ref().map(|logs| logs.since(logs_before)).unwrap_or_default();
    outcome(result, context, &logs)
}

fn outcome(result: CaseResult, context: &Context, logs: &[u8]) -> Outcome {
    let mut leaks = context.leaks(logs);
    let message = match result {
        Err(Stop::Failed(message)) => match context.find_in(message.as_bytes()) {
            Some(form) => {
                leaks.push(format!("panic or failure, {form}"));
                "(a message that contains the value)".to_owned()
            }
            None => message,
        },
        Ok(()) if leaks.is_empty() => return Outcome::Passed,
        Err(Stop::Ignored(capability)) if leaks.is_empty() => return Outcome::Ignored(capability),
        Ok(()) | Err(Stop::Ignored(_)) => String::new(),
    };
    Outcome::Failed(Failure { message, leaks })
}

/// Bounds `work` in time, catches its panic, and captures its logs.
async fn limited<T>(limit: Duration, work: impl Future<Output = T>, context: &Context) -> Result<T, String> {
    let work = AssertUnwindSafe(work.with_subscriber(context.dispatch())).catch_unwind();
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => Err(format!("the store panicked: {}", panic_message(&*panic))),
        Err(_) => Err(format!("no end after {limit:?}")),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

impl RunOptions {
    fn selects(&self, case: &Case) -> bool {
        self.only.as_ref().is_none_or(|only| only == case.name || only == case.verb)
    }

    /// Applies what is known about the case.
    fn judge(&self, case: &Case, outcome: Outcome) -> Outcome {
        let Some((_, why)) = self.deviations.iter().find(|(name, _)| name == case.name) else {
            return outcome;
        };
        let stale = |how: &str| {
            Outcome::Failed(Failure {
                message: format!("{how}, although it is a known deviation ({why}): take it off the list"),
                leaks: Vec::new(),
            })
        };
        match outcome {
            Outcome::Failed(failure) if failure.leaks.is_empty() => Outcome::Deviates {
                why: why.clone(),
                failure,
            },
            Outcome::Passed => stale("passes"),
            Outcome::Ignored(capability) => stale(&format!("is ignored ({capability})")),
            other => other,
        }
    }

    /// Options that name no case would otherwise pass unseen.
    fn mistakes(&self) -> Vec<CaseReport> {
        let known = |text: &str| cases::all().any(|case| case.name == text);
        let mut wrong: Vec<&str> = self
            .deviations
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !known(name))
            .collect();
        if let Some(only) = &self.only
            && !cases::all().any(|case| self.selects(&case))
        {
            wrong.push(only);
        }
        wrong
            .into_iter()
            .map(|name| CaseReport {
                name: name.to_owned(),
                verb: "options".to_owned(),
                needs: &[],
                outcome: Outcome::Failed(Failure {
                    message: "there is no such case".to_owned(),
                    leaks: Vec::new(),
                }),
                duration: Duration::ZERO,
            })
            .collect()
    }
}
