//! The thread between accesses, which must not wait, and what keeps their records.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keyfob_core::adapter::SinkMeter;
use keyfob_core::{AuditReceipt, AuditRecord, Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// What keeps records, on a thread of its own.
pub(crate) trait Keeper: Send + 'static {
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

pub(crate) struct Queue {
    shared: Arc<Shared>,
    promise: Promise,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
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
    is_closing: bool,
}

/// How often the thread looks after records that nobody waits for: not for each, which would cost the access a system call.
const NAP: Duration = Duration::from_millis(25);
/// When nothing came for a nap, the next record wakes the thread.
const TICK: Duration = Duration::from_secs(1);

impl Queue {
    /// `sink` is what metrics call it.
    pub(crate) fn start(keeper: impl Keeper, promise: Promise, sink: &'static str) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                records: Vec::new(),
                waiting: Vec::new(),
                wanted: usize::MAX,
                lost: 0,
                lost_ever: 0,
                failure: None,
                is_closing: false,
            }),
            wake: Condvar::new(),
            meter: SinkMeter::new(sink),
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("keyfob-audit".to_owned())
            .spawn(move || for_thread.run(keeper, promise))
            .map_err(|source| Error::new(ErrorKind::Other, "can't start a thread for the audit log").with_source(source))?;
        Ok(Self {
            shared,
            promise,
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
            Some(receipt) => AuditReceipt::Pending(Box::pin(async move {
                receipt
                    .await
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the thread of the audit log has ended")))
            })),
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

    pub(crate) fn close(&self) -> Result<()> {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(Error::new(ErrorKind::Other, "the thread of the audit log panicked")),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _ = self.close();
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
            self.settle(&kept, records.len() as u64, lost);
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

    /// Remembers whether records can be kept.
    fn settle(&self, kept: &Result<()>, count: u64, lost: u64) {
        match kept {
            Ok(()) => self.meter.kept(count),
            Err(_) => self.meter.lost(count),
        }
        let mut state = self.state();
        match kept {
            Ok(()) if count + lost > 0 => state.failure = None,
            Ok(()) => {}
            Err(error) => {
                state.lost += count + lost;
                state.lost_ever += count;
                if state.failure.is_none() {
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
