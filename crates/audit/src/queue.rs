//! The thread between accesses, which must not wait, and what keeps their records.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keyfob_core::adapter::SinkMeter;
use keyfob_core::{AuditReceipt, AuditRecord, BoxFuture, Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::writer::unavailable;

/// What keeps records, on a thread of its own.
pub(crate) trait Keeper: Send + 'static {
    /// Opens what they are kept in. If it fails, `keep` tries it anew.
    fn open(&mut self) -> Result<()>;

    /// Keeps records, after a mark that `lost` were lost before. If it fails, all of these count as lost.
    fn keep(&mut self, records: &[AuditRecord], lost: u64) -> Result<()>;

    /// What has to be done when time has passed, records or not.
    fn tick(&mut self) -> Result<()>;

    /// What has to be done at last.
    fn close(&mut self) -> Result<()>;
}

/// What a queue promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    /// Accesses wait until their records are kept.
    pub(crate) is_durable: bool,
    /// At most this many records wait to be kept.
    pub(crate) most: usize,
}

/// What records are kept in, for those who wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Where it is, safe to show.
    pub(crate) name: String,
    /// Whether it can't be written because another process is at it.
    pub(crate) is_held: Arc<AtomicBool>,
}

pub(crate) struct Queue {
    shared: Arc<Shared>,
    promise: Promise,
    place: Place,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// The log was opened, or the thread has ended.
    turned: Condvar,
    meter: SinkMeter,
}

struct State {
    records: Vec<AuditRecord>,
    waiting: Vec<oneshot::Sender<Result<()>>>,
    /// The thread sleeps until there are so many records; more than there can be while it is awake.
    wanted: usize,
    /// Records that were lost and of which the log does not tell yet.
    lost: u64,
    lost_ever: u64,
    failure: Option<Error>,
    /// What the thread keeps at the moment.
    keeping: u64,
    /// What came of the first attempt to open the log, and who waits for that.
    opened: Option<Result<()>>,
    until_opened: Vec<oneshot::Sender<Result<()>>>,
    is_closing: bool,
    ended: Option<Result<()>>,
}

impl State {
    /// Whether the log is open, as far as is known; `None` before the first attempt.
    fn opened(&self) -> Option<Result<()>> {
        let first = self.opened.as_ref()?;
        Some(match &self.failure {
            None => Ok(()),
            Some(failure) => first.clone().and(Err(failure.clone())),
        })
    }
}

/// How often the thread looks after records that nobody waits for: not for each, which would cost the access a system call.
const NAP: Duration = Duration::from_millis(25);
/// When nothing came for a nap, the next record wakes the thread.
const TICK: Duration = Duration::from_secs(1);

impl Queue {
    /// Lets a thread open the log. `sink` is what metrics call it.
    pub(crate) fn start(keeper: impl Keeper, promise: Promise, sink: &'static str, place: Place) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                records: Vec::new(),
                waiting: Vec::new(),
                wanted: usize::MAX,
                lost: 0,
                lost_ever: 0,
                failure: None,
                keeping: 0,
                opened: None,
                until_opened: Vec::new(),
                is_closing: false,
                ended: None,
            }),
            wake: Condvar::new(),
            turned: Condvar::new(),
            meter: SinkMeter::new(sink),
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("keyfob-audit".to_owned())
            .spawn(move || {
                let ended = for_thread.run(keeper, promise);
                for_thread.state().ended = Some(ended);
                for_thread.turned.notify_all();
            })
            .map_err(|source| Error::new(ErrorKind::Other, "can't start a thread for the audit log").with_source(source))?;
        Ok(Self {
            shared,
            promise,
            place,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn record(&self, record: AuditRecord) -> AuditReceipt {
        let mut state = self.shared.state();
        let refusal = if state.is_closing {
            Some("the audit log is closed")
        } else if state.records.len() >= self.promise.most {
            Some("the audit log can't keep up, its queue is full")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            state.lost += 1;
            state.lost_ever += 1;
            self.shared.meter.lost(1);
            if !self.promise.is_durable {
                return AuditReceipt::Taken;
            }
            let error = Error::new(ErrorKind::Unavailable, refusal);
            return AuditReceipt::Pending(Box::pin(async move { Err(error) }));
        }
        state.records.push(record);
        let receipt = self.promise.is_durable.then(|| {
            let (done, receipt) = oneshot::channel();
            state.waiting.push(done);
            receipt
        });
        let is_wanted = state.records.len() >= state.wanted;
        if is_wanted {
            state.wanted = usize::MAX;
        }
        drop(state);
        if is_wanted {
            self.shared.wake.notify_one();
        }
        match receipt {
            None => AuditReceipt::Taken,
            Some(receipt) => AuditReceipt::Pending(Box::pin(async move { receipt.await.unwrap_or_else(|_| Err(has_ended())) })),
        }
    }

    pub(crate) fn ready(&self) -> Result<()> {
        if !self.promise.is_durable {
            return Ok(());
        }
        let state = self.shared.state();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.is_closing => Err(Error::new(ErrorKind::Unavailable, "the audit log is closed")),
            None => Ok(()),
        }
    }

    pub(crate) fn lost_so_far(&self) -> u64 {
        self.shared.state().lost_ever
    }

    /// Waits until the log is open.
    ///
    /// # Errors
    /// Those of the keeper, of the first attempt. The error of a later one is `Unavailable`.
    pub(crate) fn opened(&self) -> BoxFuture<'static, Result<()>> {
        let mut state = self.shared.state();
        if let Some(opened) = state.opened() {
            return Box::pin(std::future::ready(opened));
        }
        let (done, opened) = oneshot::channel();
        state.until_opened.push(done);
        Box::pin(async move { opened.await.unwrap_or_else(|_| Err(has_ended())) })
    }

    /// The same, and blocks.
    pub(crate) fn wait_until_opened(&self) -> Result<()> {
        let mut state = self.shared.state();
        loop {
            if let Some(opened) = state.opened() {
                return opened;
            }
            if self.has_thread_ended() {
                return Err(has_ended());
            }
            state = self.turn(state, LOOK);
        }
    }

    /// What keeps records waiting, as far as it is known here.
    pub(crate) fn delay(&self) -> Option<Error> {
        if !self.promise.is_durable {
            return None;
        }
        let (problem, hint) = if self.place.is_held.load(Ordering::Relaxed) {
            (HELD, HELD_HINT)
        } else if self.shared.state().opened.is_none() {
            ("the audit log is not open yet", SLOW_HINT)
        } else {
            ("the audit log has not taken the record yet", SLOW_HINT)
        };
        Some(self.located(Error::new(ErrorKind::Unavailable, problem)).with_hint(hint))
    }

    /// Lets the thread keep what there is, and ends it. Waits no longer than `patience`, if there is one.
    pub(crate) fn close(&self, patience: Option<Duration>) -> Result<()> {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_one();
        let give_up = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.shared.state();
        loop {
            // Who is told what came of it is one alone.
            if self.thread().is_none() {
                return Ok(());
            }
            if let Some(ended) = state.ended.take() {
                self.thread().take();
                return ended;
            }
            if self.has_thread_ended() {
                self.thread().take();
                return Err(Error::new(ErrorKind::Other, "the thread of the audit log panicked"));
            }
            let left = give_up.map_or(LOOK, |give_up| give_up.saturating_duration_since(Instant::now()).min(LOOK));
            if left.is_zero() {
                // It goes on alone, for as long as the process lives.
                self.thread().take();
                let waiting = state.keeping + state.records.len() as u64;
                drop(state);
                return Err(self.given_up(waiting, patience.unwrap_or_default()));
            }
            state = self.turn(state, left);
        }
    }

    fn given_up(&self, waiting: u64, patience: Duration) -> Error {
        let is_held = self.place.is_held.load(Ordering::Relaxed);
        let because = if is_held {
            "another process holds it"
        } else {
            "it does not answer"
        };
        let problem = match waiting {
            0 => format!("the audit log could not be signed within {patience:?}, because {because}"),
            1 => format!("1 audit record is lost: the log did not take it within {patience:?}, because {because}"),
            _ => format!("{waiting} audit records are lost: the log did not take them within {patience:?}, because {because}"),
        };
        let error = self.located(Error::new(ErrorKind::Unavailable, problem));
        error.with_hint(if is_held { HELD_HINT } else { SLOW_HINT })
    }

    fn located(&self, error: Error) -> Error {
        error.with("log", self.place.name.clone())
    }

    /// Waits until something has turned, or for a time.
    fn turn<'s>(&self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        let turned = self.shared.turned.wait_timeout(state, time);
        turned.unwrap_or_else(PoisonError::into_inner).0
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_thread_ended(&self) -> bool {
        self.thread().as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// How often it is looked whether the thread is still there: it may have panicked.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) const HELD: &str = "another process holds the audit log";
pub(crate) const HELD_HINT: &str = "`fuser` tells which process has the file `lock` of the log open: wait for it or end it, or give each process a log of its own";
const SLOW_HINT: &str = "see to where the audit log is kept: its disk or its database does not answer";

fn has_ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the thread of the audit log has ended")
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _ = self.close(None);
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("promise", &self.promise)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing is left half-changed when a holder panics, so a poisoned lock is still whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut keeper: impl Keeper, promise: Promise) -> Result<()> {
        // The last batch and how long keeping it took: the next one is not begun before as many are there again, or half
        // that time has passed. Without this the first of those that were just served would have a sync for itself.
        let (mut size, mut took) = (0, Duration::ZERO);
        // Records are kept where others were before, so that accesses need no memory for theirs.
        let mut records = Vec::new();
        self.settle_opening(keeper.open(), promise.is_durable);
        loop {
            let is_closing = if promise.is_durable {
                self.wait(1, TICK);
                self.wait(size, took / 2)
            } else {
                // As long as records come, they are fetched by and by; then the next one has to call.
                let full = promise.most / 2;
                if size == 0 {
                    self.wait(1, TICK)
                } else {
                    self.wait(full.max(1), NAP)
                }
            };
            let (waiting, lost) = {
                let mut state = self.state();
                std::mem::swap(&mut state.records, &mut records);
                state.keeping = records.len() as u64;
                (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lost))
            };
            size = records.len();
            let start = Instant::now();
            let kept = if records.is_empty() && lost == 0 {
                Ok(())
            } else {
                keeper.keep(&records, lost)
            };
            took = start.elapsed();
            self.settle(&kept, records.len() as u64, lost, promise.is_durable);
            for waiter in waiting {
                // Who has gone needs no answer.
                let _ = waiter.send(kept.clone());
            }
            records.clear();
            if is_closing && self.state().records.is_empty() {
                return kept.and(keeper.close());
            }
            if let Err(error) = keeper.tick() {
                tracing::warn!(target: "keyfob", %error, "the audit log could not be signed");
            }
        }
    }

    /// Remembers whether the log is open, and tells those who wait for that.
    fn settle_opening(&self, opened: Result<()>, is_durable: bool) {
        let mut state = self.state();
        if let Err(error) = &opened {
            // Else accesses fail with it.
            if !is_durable {
                tracing::warn!(target: "keyfob", %error, "the audit log can't be opened, and accesses go on");
            }
            state.failure = Some(unavailable(error.clone()));
        }
        for waiter in state.until_opened.drain(..) {
            // Who has gone needs no answer.
            let _ = waiter.send(opened.clone());
        }
        state.opened = Some(opened);
        drop(state);
        self.turned.notify_all();
    }

    /// Remembers whether records can be kept.
    fn settle(&self, kept: &Result<()>, count: u64, lost: u64, is_durable: bool) {
        match kept {
            Ok(()) => self.meter.kept(count),
            Err(_) => self.meter.lost(count),
        }
        let mut state = self.state();
        state.keeping = 0;
        match kept {
            Ok(()) if count + lost > 0 => state.failure = None,
            Ok(()) => {}
            Err(error) => {
                state.lost += count + lost;
                state.lost_ever += count;
                // Durable accesses fail with it, which tells.
                if state.failure.is_none() && !is_durable {
                    tracing::warn!(target: "keyfob", %error, "audit records are lost");
                }
                state.failure = Some(error.clone());
            }
        }
    }

    /// Sleeps until there are `wanted` records, or for a time, or until all is to end, which it returns.
    fn wait(&self, wanted: usize, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state();
        while state.records.len() < wanted && !state.is_closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.wanted = wanted;
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wanted = usize::MAX;
        state.is_closing
    }
}
