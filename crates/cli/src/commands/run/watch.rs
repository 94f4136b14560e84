//! Looks again and again whether what the command was started with is still what its references stand for.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _, stream};
use keyfob::{Answer, ErrorKind, Occasions, Occurrence, Random, Resolved, SecretManager};
use tokio::time::{Instant, sleep, sleep_until};

use super::input::{Finished, Input, Sources};
use crate::exit::Failure;
use crate::printer::Printer;
use crate::references::resolve;
use crate::signals::{self, Signal};
use crate::time;

// No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Stay, and start the command again when a secret has changed
    #[arg(long)]
    pub(super) watch: bool,

    /// With `--watch`: write the files of `--config` anew and send this signal, instead of starting again
    #[arg(long, value_name = "SIGNAL", requires = "watch", value_parser = signals::parse_message)]
    pub(super) reload_signal: Option<Signal>,

    /// With `--watch`: what the old command is stopped with
    #[arg(long, value_name = "SIGNAL", requires = "watch", default_value = "TERM", value_parser = signals::parse_ending)]
    pub(super) stop_signal: Signal,

    /// With `--watch`: after which time it is killed
    #[arg(long, value_name = "TIME", requires = "watch", default_value = "10s", value_parser = time::parse_duration)]
    pub(super) stop_timeout: Duration,

    /// With `--watch`: how long nothing more must have changed, so that several changes make one restart
    #[arg(long, value_name = "TIME", requires = "watch", default_value = "1s", value_parser = time::parse_duration)]
    debounce: Duration,

    /// With `--watch`: the least time between two starts or signals; what changes before is done then
    #[arg(long, value_name = "TIME", requires = "watch", default_value = "10s", value_parser = time::parse_duration)]
    min_interval: Duration,
}

/// How many times `--debounce` is waited at most for an end of the changes.
const MOST_ROUNDS: u32 = 10;

/// The first pause after a failure; each next one is twice as long, up to the interval of watching.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What has changed.
pub(super) struct News {
    /// Everything, resolved anew. The files are written already.
    pub(super) finished: Finished,
    pub(super) variables_changed: bool,
}

/// News as they come, until it is dropped. The time of `--min-interval` counts from the moment that it is polled again.
pub(super) type NewsStream<'a> = Pin<Box<dyn Stream<Item = News> + 'a>>;

/// Resolves everything for the first time, and begins to watch. The files are written.
///
/// # Errors
/// Those of reading, resolving and writing: as without `--watch`.
pub(super) async fn begin<'a>(
    manager: &'a SecretManager,
    sources: &'a Sources,
    options: &'a WatchArgs,
    printer: &'a Printer,
) -> Result<(Finished, NewsStream<'a>), Failure> {
    let mut watcher = Watcher {
        manager,
        sources,
        options,
        printer,
        keys: RandomState::new(),
        random: Random::new(),
        occasions: manager.occasions(&[]).await,
        listened: HashSet::new(),
        leased: HashSet::new(),
        renewal: None,
        running: Seen(0),
        variables: 0,
        started: Instant::now(),
        told: None,
        pause: None,
    };
    let first = watcher.take().await?.0;
    let news = stream::unfold(watcher, |mut watcher| async move { Some((watcher.next().await, watcher)) });
    Ok((first, Box::pin(news)))
}

struct Watcher<'a> {
    manager: &'a SecretManager,
    sources: &'a Sources,
    options: &'a WatchArgs,
    printer: &'a Printer,
    keys: RandomState,
    random: Random,
    occasions: Occasions,
    /// The references whose changes `occasions` tells.
    listened: HashSet<String>,
    /// The references of which every read gives new credentials with a lease: not to be read just to look.
    leased: HashSet<String>,
    /// When their leases are near their end.
    renewal: Option<Instant>,
    /// What the command was started with, or told of.
    running: Seen,
    variables: u64,
    started: Instant,
    /// The failure that was told last, until everything can be resolved again.
    told: Option<Vec<(String, ErrorKind)>>,
    /// After a failure.
    pause: Option<Duration>,
}

/// What everything was when somebody looked, as a number: values are not kept to be compared. The key of the hash is
/// random and never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen(u64);

impl Watcher<'_> {
    async fn next(&mut self) -> News {
        self.started = Instant::now();
        loop {
            self.wait().await;
            match self.look().await {
                Ok(news) => {
                    self.pause = None;
                    if self.told.take().is_some() {
                        self.printer.note("everything can be resolved again");
                    }
                    if let Some(news) = news {
                        return news;
                    }
                    // Of a store that tells of much, not each of it.
                    sleep(self.options.debounce).await;
                }
                Err(failure) => self.tell(&failure),
            }
        }
    }

    /// Until it is worth to look.
    async fn wait(&mut self) {
        let renewal = self.renewal;
        let pause = self.pause;
        let random = &self.random;
        let other = async move {
            match (pause, renewal) {
                // Between a half and all of it.
                (Some(pause), _) => sleep(pause / 2 + random.up_to(pause / 2)).await,
                (None, Some(renewal)) => sleep_until(renewal).await,
                (None, None) => std::future::pending().await,
            }
        };
        match select(self.occasions.next(), Box::pin(other)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    async fn look(&mut self) -> Result<Option<News>, Failure> {
        if !self.lease_ends() && !self.has_changed().await? {
            return Ok(None);
        }
        sleep_until(self.started + self.options.min_interval).await;
        let (before, variables) = (self.running, self.variables);
        let (finished, is_renewed) = self.take().await?;
        let is_same = self.running == before && !is_renewed;
        Ok((!is_same).then_some(News {
            finished,
            variables_changed: self.variables != variables,
        }))
    }

    /// Whether something has changed, and stays as it is now for a while.
    async fn has_changed(&mut self) -> Result<bool, Failure> {
        let mut seen = self.see().await?;
        if seen == self.running {
            return Ok(false);
        }
        for _ in 0..MOST_ROUNDS {
            sleep(self.options.debounce).await;
            let again = self.see().await?;
            if again == seen {
                break;
            }
            seen = again;
        }
        Ok(seen != self.running)
    }

    fn lease_ends(&self) -> bool {
        self.renewal.is_some_and(|renewal| renewal <= Instant::now())
    }

    /// Looks at everything but leases.
    async fn see(&mut self) -> Result<Seen, Failure> {
        let mut hasher = self.keys.build_hasher();
        let input = Input::read(self.manager, self.sources, &mut hasher)?;
        let occurrences = input.occurrences();
        let is_leased = |occurrence: &&Occurrence| self.leased.contains(&occurrence.written);
        let asked: Vec<Occurrence> = occurrences.iter().filter(|one| !is_leased(one)).cloned().collect();
        let resolved = resolve(self.manager, &asked).await?;
        Ok(self.seen(hasher, &occurrences, &resolved))
    }

    /// Resolves everything, leases too, and writes the files if they have changed. True when it holds a lease.
    async fn take(&mut self) -> Result<(Finished, bool), Failure> {
        let mut hasher = self.keys.build_hasher();
        let input = Input::read(self.manager, self.sources, &mut hasher)?;
        let occurrences = input.occurrences();
        let resolved = resolve(self.manager, &occurrences).await?;
        let finished = input.finish(&resolved)?;
        finished.write(self.sources)?;
        self.note_leases(&occurrences, &resolved);
        self.running = self.seen(hasher, &occurrences, &resolved);
        let mut variables = self.keys.build_hasher();
        for (name, value) in &finished.variables {
            (name, value.expose_secret()).hash(&mut variables);
        }
        self.variables = variables.finish();
        let written: HashSet<String> = occurrences.iter().map(|occurrence| occurrence.written.clone()).collect();
        if written != self.listened {
            self.occasions = self.manager.occasions(&occurrences).await;
            self.listened = written;
        }
        Ok((finished, !self.leased.is_empty()))
    }

    fn seen(&self, mut hasher: DefaultHasher, occurrences: &[Occurrence], resolved: &Resolved) -> Seen {
        for occurrence in occurrences {
            occurrence.written.hash(&mut hasher);
            if let Some(answer) = answer(occurrence, resolved).filter(|answer| lease_of(answer).is_none()) {
                answer.value.expose_secret().hash(&mut hasher);
            }
        }
        Seen(hasher.finish())
    }

    /// Which references are leased, and when to ask for new leases: a fleet that was started together does not ask together.
    fn note_leases(&mut self, occurrences: &[Occurrence], resolved: &Resolved) {
        self.leased.clear();
        let now = SystemTime::now();
        let mut shortest: Option<Duration> = None;
        for occurrence in occurrences {
            if let Some(end) = answer(occurrence, resolved).and_then(lease_of) {
                self.leased.insert(occurrence.written.clone());
                let left = end.duration_since(now).unwrap_or_default();
                shortest = Some(shortest.map_or(left, |known| known.min(left)));
            }
        }
        let pause = shortest.map(|left| left.mul_f64(0.8 + 0.1 * self.random.unit()));
        self.renewal = pause.map(|pause| Instant::now() + pause);
    }

    /// Says once what can't be resolved, and that the command runs on.
    fn tell(&mut self, failure: &Failure) {
        let longest = self.manager.selection().layers.watch_interval.max(FIRST_PAUSE);
        self.pause = Some(self.pause.map_or(FIRST_PAUSE, |pause| (2 * pause).min(longest)));
        let what = what_failed(failure);
        if self.told.as_ref() != Some(&what) {
            failure.report(self.printer);
            self.printer
                .warning("the command runs on with what it has; this is tried again");
            self.told = Some(what);
        }
    }
}

/// Without what may differ each time, such as the id of a request.
fn what_failed(failure: &Failure) -> Vec<(String, ErrorKind)> {
    match failure {
        Failure::Report(report) => {
            let failures = report.failures.iter();
            failures
                .map(|failure| (failure.reference.clone(), failure.error.kind()))
                .collect()
        }
        Failure::Error(error) | Failure::Usage(error) | Failure::NoLog(error) => vec![(String::new(), error.kind())],
        Failure::Output(_) => Vec::new(),
    }
}

fn answer<'a>(occurrence: &Occurrence, resolved: &'a Resolved) -> Option<&'a Answer> {
    let reference = occurrence.reference.as_ref().ok()?;
    resolved.answer(reference, occurrence.directory.as_ref())
}

/// When an answer's lease ends. What has no version and yet an end was made for whoever has read it.
fn lease_of(answer: &Answer) -> Option<SystemTime> {
    let metadata = answer.metadata.as_ref()?;
    metadata.expires_at.filter(|_| metadata.version.is_none())
}

#[cfg(test)]
mod tests {
    use keyfob::{MemoryStore, Metadata, PutRequest, Resolved, SecretName, Version};

    use super::*;

    #[tokio::test]
    async fn only_what_has_an_end_and_no_version_is_a_lease() {
        let store = std::sync::Arc::new(MemoryStore::new());
        let manager = SecretManager::builder().with_store("secret", store).build().await.unwrap();
        manager.put("a", PutRequest::new("kfcanary-abcdefgh")).await.unwrap();
        let assignments = keyfob::Assignments::from_variables([("A", "${secret:a}")], |scheme| scheme == "secret");
        let resolved: Resolved = manager.resolve(&assignments.occurrences()).await.unwrap();
        let mut found = answer(&assignments.occurrences()[0], &resolved).unwrap().clone();
        assert_eq!(lease_of(&found), None);
        let end = SystemTime::now();
        let mut metadata = Metadata::new(SecretName::new("a").unwrap(), "memory");
        metadata.expires_at = Some(end);
        found.metadata = Some(metadata.clone().into());
        assert_eq!(lease_of(&found), Some(end));
        // A secret that expires is none.
        metadata.version = Some(Version::new("1").unwrap());
        found.metadata = Some(metadata.into());
        assert_eq!(lease_of(&found), None);
    }
}
