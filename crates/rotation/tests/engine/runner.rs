//! One who rotates, and what befalls them: a crash, a lost answer, a pause, at any call they make.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};

/// What befalls a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the call is done.
    DieBefore,
    /// The process dies after it.
    DieAfter,
    /// The call is not done, and no answer comes.
    LoseBefore,
    /// The call is done, and no answer comes.
    LoseAfter,
    /// The call is refused, and might be done later.
    Unavailable,
    /// The call is on its way, the process sleeps, and the call is done when it wakes.
    Pause,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::LoseBefore,
        Self::LoseAfter,
        Self::Unavailable,
    ];
}

/// One who rotates.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    calls: AtomicU64,
    faults: Mutex<BTreeMap<u64, Fault>>,
    is_dead: AtomicBool,
    is_paused: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// What the last calls were, to be read when a test fails.
    pub(crate) trail: Mutex<Vec<String>>,
}

impl Runner {
    pub(crate) fn new(faults: impl IntoIterator<Item = (u64, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            faults: Mutex::new(faults.into_iter().collect()),
            ..Self::default()
        })
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Makes one call.
    pub(crate) async fn call<T>(&self, what: String, effect: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = self.faults.lock().unwrap().remove(&number);
        self.trail.lock().unwrap().push(match fault {
            Some(fault) => format!("{number} {what} {fault:?}"),
            None => format!("{number} {what}"),
        });
        // So that two who run at once come between each other's calls, and time passes.
        tokio::time::sleep(Duration::from_millis(5)).await;
        match fault {
            None => effect.await,
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                let _ = effect.await;
                self.die().await
            }
            Some(Fault::LoseBefore) => Err(Error::new(ErrorKind::Timeout, "no answer")),
            Some(Fault::LoseAfter) => {
                let _ = effect.await;
                Err(Error::new(ErrorKind::Timeout, "no answer"))
            }
            Some(Fault::Unavailable) => Err(Error::new(ErrorKind::Unavailable, "out of order")),
            Some(Fault::Pause) => {
                self.is_paused.store(true, Ordering::Relaxed);
                // The process is not run until it is woken: see `live`.
                tokio::task::yield_now().await;
                effect.await
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.is_dead.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    pub(crate) fn wake(&self) {
        self.is_paused.store(false, Ordering::Relaxed);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// Runs until the end, which is `None` when the process dies before.
    pub(crate) async fn live<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if self.is_paused() {
                *self.waker.lock().unwrap() = Some(context.waker().clone());
                return Poll::Pending;
            }
            let answer = work.as_mut().poll(context);
            if self.is_dead.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            answer.map(Some)
        })
        .await
    }
}
