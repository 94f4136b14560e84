//! Whether a write whose time was over had left this process.
//!
//! A layer that gives a call up drops it, and a dropped future tells nothing. For a write it makes all the difference whether
//! it was under way or still waited for a place of a [`LimitLayer`](crate::LimitLayer): unknown, or not done. So whoever may
//! give a write up runs it in a [`Sending`], which the limit tells of its waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind};

tokio::task_local! {
    static HERE: Arc<Progress>;
}

/// A write under way.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    waits: AtomicBool,
    is_sent: AtomicBool,
    /// That of a layer further out.
    outer: Option<Arc<Self>>,
}

impl Sending {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Progress {
            waits: AtomicBool::new(false),
            is_sent: AtomicBool::new(false),
            outer: HERE.try_with(Arc::clone).ok(),
        }))
    }

    /// Runs the write.
    pub(crate) async fn run<F: Future>(&self, write: F) -> F::Output {
        HERE.scope(Arc::clone(&self.0), write).await
    }

    /// Whether it certainly has not been sent.
    pub(crate) fn is_unsent(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed) && !self.0.is_sent.load(Ordering::Relaxed)
    }
}

/// The error of a write that was not sent in time. It may be sent again, whatever it does.
pub(crate) fn not_sent(time: Duration) -> Error {
    let message = format!("the write was not sent within {time:?}, because other calls had all places that the store has");
    Error::new(ErrorKind::RateLimited, message).with_hint("nothing was written: try again when there are fewer calls")
}

/// What runs here waits until it may be sent.
pub(crate) fn waits() {
    mark(|progress| &progress.waits);
}

/// What runs here is sent from now on.
pub(crate) fn is_sent() {
    mark(|progress| &progress.is_sent);
}

fn mark(flag: fn(&Progress) -> &AtomicBool) {
    // Reads are in nobody's `Sending`.
    let _ = HERE.try_with(|here| {
        let mut next = Some(here);
        while let Some(progress) = next {
            flag(progress).store(true, Ordering::Relaxed);
            next = progress.outer.as_ref();
        }
    });
}
