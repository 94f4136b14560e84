//! The lease: who alone may go on with a rotation, and for how long.
//!
//! Lease and journal are one document and written together, so that every entry proves that the lease is still ours. The
//! fencing number is the count of leases: whoever has a smaller one than the journal says changes nothing any more.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use keyfob_core::{Change, Clock, Error, ErrorKind, Result, SecretName};
use tokio::sync::{Mutex, Notify};

use crate::journal::{Journal, Lease, rfc3339};
use crate::place::{Place, Seen, Written};

/// How often an entry is tried that an earlier one of ours, whose answer was lost, got in the way of.
const TRIES: u32 = 4;

/// How a lease is taken.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) holder: String,
    /// How long it lasts after each entry.
    pub(crate) time: Duration,
    /// By how much clocks may differ.
    pub(crate) skew: Duration,
}

/// A lease that we have.
#[derive(Debug)]
pub(crate) struct Hold {
    place: Place,
    secret: SecretName,
    terms: Terms,
    clock: Arc<dyn Clock>,
    fence: u64,
    state: Mutex<State>,
    ends: PlainMutex<Ends>,
    lost: AtomicBool,
}

/// When the lease is over. By both clocks: one may stand still while the machine sleeps, the other may be set back.
#[derive(Debug, Clone, Copy)]
struct Ends {
    now: Duration,
    system: SystemTime,
}

impl Ends {
    /// So long from now on.
    fn after(time: Duration, clock: &dyn Clock) -> Self {
        Self {
            now: clock.now() + time,
            system: clock.system_now() + time,
        }
    }
}

#[derive(Debug)]
struct State {
    journal: Journal,
    seen: Option<Seen>,
}

/// What a journal says, and what stands there.
pub(crate) type Known = (Journal, Option<Seen>);

/// Reads the journal; an empty one where there is none.
pub(crate) async fn read(place: &Place, secret: &SecretName) -> Result<Known> {
    let seen = place.read().await?;
    let journal = match &seen {
        Some(seen) => Journal::parse(&seen.value, secret, &place.name)?,
        None => Journal::new(secret),
    };
    Ok((journal, seen))
}

impl Hold {
    /// Takes the lease, and makes `entry` in the journal in the same write, if the journal still says what was `known`. So what
    /// was read elsewhere after the journal was, no other run has changed since.
    ///
    /// # Errors
    /// `Conflict` when somebody else has it: the error says who and until when. What `entry` says.
    pub(crate) async fn take(
        place: Place,
        secret: &SecretName,
        terms: Terms,
        clock: Arc<dyn Clock>,
        known: Known,
        entry: impl FnOnce(&mut Journal) -> Result<()>,
    ) -> Result<Self> {
        let (mut journal, seen) = known;
        free(&journal, secret, &terms, clock.as_ref())?;
        let ends = Ends::after(terms.time, clock.as_ref());
        journal.fence += 1;
        journal.revision += 1;
        journal.lease = Some(lease(&terms, ends));
        entry(&mut journal)?;
        match place.write(seen.as_ref(), &journal.text()?, Change::Keep, &|| Ok(())).await? {
            Written::Done(now) => Ok(Self {
                secret: secret.clone(),
                fence: journal.fence,
                state: Mutex::new(State {
                    journal,
                    seen: Some(now),
                }),
                ends: PlainMutex::new(ends),
                place,
                terms,
                clock,
                lost: AtomicBool::new(false),
            }),
            Written::Lost(now) => {
                if let Some(now) = now {
                    free(
                        &Journal::parse(&now.value, secret, &place.name)?,
                        secret,
                        &terms,
                        clock.as_ref(),
                    )?;
                }
                // What was looked at before is no longer so.
                Err(Error::new(ErrorKind::Conflict, "another run came first, and is over")
                    .with("name", secret.as_str())
                    .with_hint("see what it did, then try again"))
            }
        }
    }

    /// The fencing number.
    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether it was found that the lease is no longer ours.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// What the journal says.
    pub(crate) async fn journal(&self) -> Journal {
        self.state.lock().await.journal.clone()
    }

    /// Says whether the lease is still ours as far as the clock tells, without asking anybody.
    ///
    /// # Errors
    /// `Conflict` when its time is over.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_lost() || self.remaining().is_zero() {
            self.lost.store(true, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Conflict, "the lease of this rotation is over")
                .with("name", self.secret.as_str())
                .with("fence", self.fence.to_string())
                .with_hint("run it again: it goes on where this run stopped"));
        }
        Ok(())
    }

    /// How long the lease lasts if it is not renewed.
    pub(crate) fn remaining(&self) -> Duration {
        let ends = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let system = ends.system.duration_since(self.clock.system_now()).unwrap_or_default();
        ends.now.saturating_sub(self.clock.now()).min(system)
    }

    /// Makes an entry and renews the lease, if the lease is still ours.
    ///
    /// # Errors
    /// `Conflict` when it was taken over; then [`is_lost`](Self::is_lost). Those of the store.
    pub(crate) async fn enter(&self, entry: impl FnOnce(&mut Journal)) -> Result<()> {
        self.write(entry, true).await
    }

    /// Makes a last entry and gives the lease back.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub(crate) async fn release(&self, entry: impl FnOnce(&mut Journal)) -> Result<()> {
        self.write(entry, false).await
    }

    async fn write(&self, entry: impl FnOnce(&mut Journal), keep: bool) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut journal = state.journal.clone();
        entry(&mut journal);
        for _ in 0..TRIES {
            let ends = Ends::after(self.terms.time, self.clock.as_ref());
            journal.revision += 1;
            journal.lease = keep.then(|| lease(&self.terms, ends));
            let (seen, text) = (state.seen.as_ref(), journal.text()?);
            match self.place.write(seen, &text, Change::Keep, &|| Ok(())).await? {
                Written::Done(now) => {
                    *state = State {
                        journal,
                        seen: Some(now),
                    };
                    *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
                    return Ok(());
                }
                Written::Lost(now) => {
                    let there = match &now {
                        Some(now) => Some(Journal::parse(&now.value, &self.secret, &self.place.name)?),
                        None => None,
                    };
                    match there {
                        // An entry of ours whose answer never came; nobody else writes under this number.
                        Some(there) if self.is_ours(&there) => {
                            journal.revision = journal.revision.max(there.revision);
                            state.seen = now;
                        }
                        there => {
                            self.lost.store(true, Ordering::Relaxed);
                            return Err(taken_over(&self.secret, self.fence, there.as_ref()));
                        }
                    }
                }
            }
        }
        Err(Error::new(ErrorKind::Timeout, "the journal of the rotation can't be written").with("name", self.secret.as_str()))
    }

    fn is_ours(&self, there: &Journal) -> bool {
        there.fence == self.fence && there.lease.as_ref().is_some_and(|lease| lease.holder == self.terms.holder)
    }

    /// Does `work`, and renews the lease while it lasts. Gives `work` up when the lease is lost, or after `limit`.
    ///
    /// # Errors
    /// `Conflict` when the lease is lost, `Timeout` when the time is over; those of `work`.
    pub(crate) async fn during<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        let over = Notify::new();
        let is_over = AtomicBool::new(false);
        let limited = async {
            match select(pin!(work), self.clock.sleep(limit)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(Error::new(ErrorKind::Timeout, "the step took too long")
                    .with("seconds", limit.as_secs().to_string())
                    .with("name", self.secret.as_str())),
            }
        };
        let renewals = async {
            loop {
                select(self.clock.sleep(self.terms.time / 3), pin!(over.notified())).await;
                if is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let end = self.clock.sleep(self.remaining());
                match select(pin!(self.enter(|_| ())), end).await {
                    Either::Left((Ok(()), _)) => {}
                    Either::Left((Err(error), _)) if self.is_lost() => return Err(error),
                    // The store may answer again before the lease is over.
                    Either::Left((Err(_), _)) | Either::Right(_) => self.check()?,
                }
            }
        };
        match select(pin!(limited), pin!(renewals)).await {
            Either::Left((answer, renewals)) => {
                // A renewal that is on its way is waited for: dropped, its outcome would be unknown.
                is_over.store(true, Ordering::Relaxed);
                over.notify_one();
                renewals.await?;
                answer
            }
            Either::Right((Ok(()), work)) => work.await,
            Either::Right((Err(lost), _)) => Err(lost),
        }
    }
}

fn lease(terms: &Terms, ends: Ends) -> Lease {
    Lease {
        holder: terms.holder.clone(),
        until: ends.system,
    }
}

/// Whether anybody may take the lease.
pub(crate) fn free(journal: &Journal, secret: &SecretName, terms: &Terms, clock: &dyn Clock) -> Result<()> {
    let Some(lease) = journal
        .lease
        .as_ref()
        .filter(|lease| clock.system_now() < lease.until + terms.skew)
    else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Conflict, "somebody else is rotating the secret")
        .with("name", secret.as_str())
        .with("holder", lease.holder.clone())
        .with("until", rfc3339(lease.until))
        .with_hint("wait for the end; if the holder has crashed, the next run goes on after that time"))
}

fn taken_over(secret: &SecretName, fence: u64, by: Option<&Journal>) -> Error {
    let mut error = Error::new(ErrorKind::Conflict, "another run has taken over the rotation")
        .with("name", secret.as_str())
        .with("fence", fence.to_string());
    if let Some(by) = by {
        error = error.with("now_at", by.fence.to_string());
        if let Some(lease) = &by.lease {
            error = error.with("holder", lease.holder.clone()).with("until", rfc3339(lease.until));
        }
    }
    error
}
