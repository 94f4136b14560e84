//! Opening a store once, however many wait for it and however long each of them does.

#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use keyfob_core::{BoxFuture, Clock as _, Connected, Environment, Error, ErrorKind, Result, SystemClock, TraceLayer};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;

use super::failover::Member;
use crate::backends;
use crate::layers::LayerSettings;

/// With what stores are opened.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) environment: Environment,
    pub(super) layers: LayerSettings,
    pub(super) trace: TraceLayer,
}

/// A store that is opened when it is first asked for.
pub(super) struct Opener {
    pub(super) member: Member,
    opened: OnceCell<Connected>,
    /// What opens it, so that an opening which takes longer than its callers wait comes to its end for the next one.
    running: Mutex<Option<JoinHandle<Result<Connected>>>>,
}

type Connecting = BoxFuture<'static, Result<Connected>>;

impl Opener {
    pub(super) fn new(member: Member) -> Arc<Self> {
        Arc::new(Self {
            member,
            opened: OnceCell::new(),
            running: Mutex::new(None),
        })
    }

    /// The store, if it is open.
    pub(super) fn opened(&self) -> Option<&Connected> {
        self.opened.get()
    }

    /// The store, with what each store has for itself; opened if it isn't yet.
    ///
    /// # Errors
    /// `Unavailable` when that takes longer than `limit`; else what opening it fails with. The next call tries again.
    pub(super) async fn open(&self, setup: &Setup, limit: Duration) -> Result<&Connected> {
        let connect = || -> Connecting {
            let (member, setup) = (self.member.clone(), setup.clone());
            Box::pin(async move { connect(&member, &setup).await })
        };
        self.open_by(connect, limit).await
    }

    async fn open_by(&self, connect: impl Fn() -> Connecting, limit: Duration) -> Result<&Connected> {
        let opening = pin!(self.opened.get_or_try_init(|| self.run(&connect)));
        // Looked at second: what opens at once needs no timer.
        let late = pin!(async { SystemClock::new().sleep(limit).await });
        match select(opening, late).await {
            Either::Left((opened, _)) => opened,
            Either::Right(_) => {
                let message = format!("the store could not be opened within {limit:?}");
                Err(Error::new(ErrorKind::Unavailable, message).with("store", self.member.url.to_string()))
            }
        }
    }

    async fn run(&self, connect: impl Fn() -> Connecting) -> Result<Connected> {
        let mut running = self.running.lock().await;
        if running.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(task) = running.take()
            && let Ok(Ok(connected)) = task.await
        {
            return Ok(connected);
        }
        // What failed when nobody waited any longer says nothing about now.
        let task = match &mut *running {
            Some(task) => task,
            none => {
                let mut connecting = connect();
                if let Some(done) = connecting.as_mut().now_or_never() {
                    return done;
                }
                none.insert(tokio::spawn(connecting))
            }
        };
        let done = task.await;
        *running = None;
        done.unwrap_or_else(|error| {
            let broken_off = Error::new(ErrorKind::Unavailable, "the opening of the store was broken off");
            Err(broken_off.with("store", self.member.url.to_string()).with_source(error))
        })
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        if let Some(task) = self.running.get_mut() {
            task.abort();
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("member", &self.member)
            .field("is_open", &self.opened.initialized())
            .finish_non_exhaustive()
    }
}

async fn connect(Member { label, url }: &Member, setup: &Setup) -> Result<Connected> {
    let backend = backends::find(url.scheme())?;
    let connected = (backend.connect)(url.clone(), &setup.environment).await;
    tracing::debug!(target: "keyfob", store = %url, connected = connected.is_ok());
    let connected = connected.map_err(|error| error.with("store", url.to_string()))?;
    setup.layers.directly_over(connected, label, setup.trace)
}
