//! Everything that is in memory, and who may change it.
//!
//! Readers of what is there take one shard's lock for reading. Whoever changes something holds the ledger, and then one
//! shard's lock for writing at a time, never the other way round. So each of these is one step to all the others:
//!
//! - *begin*: a read that found nothing looks again, then joins a flight or registers one of its own;
//! - *land*: an answer is kept **only if its flight is still registered**, which ends with that;
//! - *forget*: entries and flights of a name go together.
//!
//! From this follows that an old answer never replaces a newer one: a write forgets its name when it is over, so a read
//! that began before that finds its flight unregistered when it lands, and no later read joins it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::cache::CacheLayer;
use crate::cache::entry::{Entry, Found, Lifetime};
use crate::cache::eviction::{Place, Turn};
use crate::cache::flight::{Call, Flight, Ticket, Wanted};
use crate::cache::ledger::{CacheUsage, Ledger};
use crate::cache::level::Level;
use crate::cache::meters::Meters;
use crate::cache::shards::Shards;
use crate::cache::times::CacheTimes;
use crate::deadline;
use crate::error::{ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Expired, GetOptions, GetRequest};
use crate::random::Random;
use crate::secret::{Freshness, Secret};
use crate::store::StoreInfo;

/// What is in memory.
#[derive(Debug)]
pub(super) struct Table {
    settings: CacheLayer,
    /// For jitter.
    random: Random,
    shards: Shards,
    meters: Meters,
    ledger: Mutex<Ledger>,
    level: Option<Level>,
    /// How long a call may take in all.
    deadline: Option<Duration>,
}

/// What a read that found nothing in memory does.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is there by now, and may be handed out until this moment.
    Found(Result<Secret>, Duration),
    /// Somebody is asking the same: it takes this answer of that call.
    Join(Call, usize),
    /// It takes this answer of the call that begins now.
    Ask(usize),
}

/// Why a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for it.
    Answer,
    /// To have a newer answer before the one in memory is too old.
    Refresh,
}

impl Table {
    /// The table of a cache over this store.
    pub(super) fn new(settings: CacheLayer, info: &StoreInfo) -> Self {
        let store = &info.label;
        Self {
            deadline: info.deadline,
            random: settings.seed.map_or_else(Random::new, Random::seeded),
            shards: Shards::default(),
            meters: Meters::new(store),
            ledger: Mutex::new(Ledger::new(&settings, store)),
            level: settings.shared.clone().map(Level::new),
            settings,
        }
    }

    pub(super) fn times(&self, name: &SecretName) -> CacheTimes {
        self.settings.rules.times(name)
    }

    /// The second level, if there is one.
    pub(super) fn level(&self) -> Option<&Level> {
        self.level.as_ref()
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(super) fn usage(&self) -> CacheUsage {
        self.ledger().usage()
    }

    /// The answer from memory, if there is one that is so fresh that a rough time shows it.
    pub(super) fn find_plainly(&self, name: &SecretName, options: &GetOptions) -> Option<Result<Secret>> {
        let roughly = self.settings.timer.roughly();
        let answer = self
            .shards
            .look(name, &options.version, |entry| entry.found_plainly(options, roughly))?;
        self.meters.found_plainly(&answer);
        Some(answer)
    }

    /// The answer from memory, if there is one. At most one caller is told to refresh it.
    pub(super) fn find(&self, name: &SecretName, options: &GetOptions) -> Option<Found> {
        let found = self
            .shards
            .look(name, &options.version, |entry| self.found(entry, options, self.now()))?;
        self.meters.found(&found);
        Some(found)
    }

    /// The same for a batch, whose other answers may have to be waited for: and from when on it may not be handed out.
    pub(super) fn find_until(&self, name: &SecretName, options: &GetOptions) -> Option<(Found, Duration)> {
        let now = self.now();
        let (found, until) = self.shards.look(name, &options.version, |entry| {
            let found = self.found(entry, options, now)?;
            Some((found, entry.gone_at(options, now, || self.settings.timer.of_day())))
        })?;
        self.meters.found(&found);
        Some((found, until))
    }

    fn found(&self, entry: &Entry, options: &GetOptions, now: Duration) -> Option<Found> {
        let mut found = entry.found(options, now, || self.settings.timer.of_day())?;
        entry.touch();
        found.refresh = found.refresh && entry.begin_refresh();
        Some(found)
    }

    /// A moment of the timer.
    pub(super) fn now(&self) -> Duration {
        self.settings.timer.now()
    }

    /// When a call that begins now has to be over.
    pub(super) fn end_of_call(&self) -> Duration {
        self.deadline
            .map_or(Duration::MAX, |deadline| self.now().saturating_add(deadline))
    }

    /// Does what a layer below would have the whole deadline for in what is left until `end`.
    pub(super) async fn within<F: Future>(&self, end: Duration, call: F) -> F::Output {
        match self.deadline {
            Some(_) => deadline::within(end.saturating_sub(self.now()), call).await,
            None => call.await,
        }
    }

    /// Waits until `end` at most; `None` when it passes first.
    pub(super) async fn until<F: Future>(&self, end: Duration, work: F) -> Option<F::Output> {
        if self.deadline.is_none() {
            return Some(work.await);
        }
        // The work is polled first: what is done at once needs no timer.
        let end = async { self.settings.timer.sleep(end.saturating_sub(self.now())).await };
        match select(pin!(work), pin!(end)).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// What may stand in for an answer that the store could not give, with an error of this kind.
    pub(super) fn cover(&self, name: &SecretName, options: &GetOptions, kind: ErrorKind) -> Option<Secret> {
        let now = self.now();
        let (secret, stale_age) = self.shards.look(name, &options.version, |entry| {
            entry.touch();
            entry.cover(options, now, || self.settings.timer.of_day())
        })?;
        self.meters.covered(kind, stale_age, now);
        Some(secret)
    }

    /// Decides what reads that found nothing do, and begins the one call for all that is to be asked.
    pub(super) fn begin(
        &self,
        requests: &[GetRequest],
        purpose: Purpose,
        take_off: impl FnOnce(Vec<Wanted>) -> Call,
    ) -> (Vec<Begun>, Option<Call>) {
        let mut ledger = self.ledger();
        let now = self.now();
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut places: HashMap<&GetRequest, usize> = HashMap::new();
        let begun = requests.iter().map(|request| {
            let GetRequest { name, options } = request;
            let times = self.times(name);
            // Who takes expired secrets too must not hand one to those who don't.
            let shared = times.keeps() && options.expired == Expired::Refuse;
            if shared
                && purpose == Purpose::Answer
                && let Some((found, until)) = self.shards.look(name, &options.version, |entry| {
                    let found = entry.found(options, now, || self.settings.timer.of_day())?;
                    Some((found, entry.gone_at(options, now, || self.settings.timer.of_day())))
                })
            {
                self.meters.found(&found);
                return Begun::Found(found.answer, until);
            }
            let most = options.max_age.map_or(times.ttl, |age| age.min(times.ttl));
            let under_way = ledger.flight(name, &options.version);
            let joined = under_way.and_then(|flight| flight.join(now, most, self.level.is_some()));
            if shared && let Some((call, place)) = joined {
                if purpose == Purpose::Answer {
                    self.meters.joined();
                }
                return Begun::Join(call, place);
            }
            if let Some(place) = places.get(request) {
                if purpose == Purpose::Answer {
                    self.meters.joined();
                }
                return Begun::Ask(*place);
            }
            match purpose {
                Purpose::Answer => self.meters.asked(shared && !most.is_zero()),
                Purpose::Refresh => self.meters.refreshed(),
            }
            let ticket = shared.then(|| {
                let number = ledger.next_number();
                Ticket {
                    name: name.clone(),
                    version: options.version.clone(),
                    number,
                    asked_at: now,
                    most,
                }
            });
            wanted.push(Wanted {
                request: request.clone(),
                ticket,
            });
            places.insert(request, wanted.len() - 1);
            Begun::Ask(wanted.len() - 1)
        });
        let begun = begun.collect();
        if wanted.is_empty() {
            return (begun, None);
        }
        let tickets: Vec<Option<Ticket>> = wanted.iter().map(|wanted| wanted.ticket.clone()).collect();
        let call = take_off(wanted);
        for (place, ticket) in tickets.into_iter().enumerate() {
            // One that began earlier is replaced: its answer would be the older one.
            if let Some(ticket) = ticket
                && let Some(flight) = Flight::new(&call, place, &ticket)
            {
                ledger.register(ticket, flight);
            }
        }
        (begun, Some(call))
    }

    /// Keeps what a flight brought, or forgets what it disproved, unless the flight was forgotten meanwhile; says whether it
    /// was not.
    pub(super) fn land(&self, ticket: &Ticket, answer: &Result<Secret>) -> bool {
        let mut ledger = self.ledger();
        if !ledger.deregister(ticket) {
            return false;
        }
        let life = self.lifetime(ticket);
        match answer {
            // What comes from below out of another memory has an age that is not known here.
            Ok(secret) if secret.metadata.origin.freshness == Freshness::Store => {
                self.keep(&mut ledger, ticket, Entry::of_secret(secret, life));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.keep(&mut ledger, ticket, Entry::of_absence(error, life));
            }
            Err(error) if !error.kind().is_retryable() => self.remove(&mut ledger, ticket),
            Err(error) => self.pause(ticket, error.retry_after()),
            Ok(_) => self.pause(ticket, None),
        }
        true
    }

    /// Takes what the second level has for a flight, asked for at this moment, unless what is in memory is as new. If it
    /// answers the flight, that is over, and the answer may be handed out until the moment beside it; if not, it is there to
    /// cover for the store.
    pub(super) fn land_shared(
        &self,
        ticket: &Ticket,
        options: &GetOptions,
        purpose: Purpose,
        secret: &Secret,
        asked_at: Duration,
    ) -> Option<(Secret, Duration)> {
        let mut ledger = self.ledger();
        let ticket = Ticket {
            asked_at,
            ..ticket.clone()
        };
        let entry = Entry::of_secret(secret, self.lifetime(&ticket));
        let known = self
            .shards
            .look(&ticket.name, &ticket.version, |known| Some(known.asked_at()));
        if known.is_some_and(|known| known >= asked_at) {
            return None;
        }
        let (now, of_day) = (self.now(), || self.settings.timer.of_day());
        let answer = entry.serves(options, purpose, now, of_day);
        let until = entry.gone_at(options, now, of_day);
        let is_registered = if answer.is_some() {
            ledger.deregister(&ticket)
        } else {
            ledger.is_registered(&ticket)
        };
        if is_registered {
            self.keep(&mut ledger, &ticket, entry);
        }
        Some((answer?, until))
    }

    /// A flight ends without an answer.
    pub(super) fn abandon(&self, ticket: &Ticket) {
        if self.ledger().deregister(ticket) {
            self.shards
                .change(&ticket.name, &ticket.version, |entry| entry.end_refresh(None));
        }
    }

    /// Forgets a name: what is kept of it and what is under way.
    pub(super) fn forget(&self, name: &SecretName) {
        // Before the flights: one that begins afterwards sees it.
        if let Some(level) = &self.level {
            level.disbelieve(name, self.now());
        }
        let mut ledger = self.ledger();
        ledger.deregister_all(|other| other == name);
        if let Some(gone) = self.shards.remove(name) {
            ledger.forgot(&gone);
        }
    }

    /// Forgets all names for which `which` holds.
    pub(super) fn forget_where(&self, which: impl Fn(&SecretName) -> bool) {
        if let Some(level) = &self.level {
            level.disbelieve_all(self.now());
        }
        let mut ledger = self.ledger();
        ledger.deregister_all(&which);
        self.shards.remove_all(&which, |gone| ledger.forgot(gone));
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.forget_where(|_| true);
    }

    fn keep(&self, ledger: &mut Ledger, ticket: &Ticket, mut entry: Entry) {
        self.remove(ledger, ticket);
        let number = ledger.next_number();
        let ring = ledger.ring(&entry);
        if !ring.fits(entry.bytes()) || entry.is_dead(self.now()) {
            return;
        }
        ring.make_room(entry.bytes(), |place, spare| self.turn(place, spare));
        entry.set_number(number);
        let place = Place {
            number,
            name: ticket.name.clone(),
            version: ticket.version.clone(),
        };
        ring.add(place, entry.bytes());
        ring.tidy(|place| {
            self.shards
                .look(&place.name, &place.version, |entry| {
                    (entry.number() == place.number).then_some(())
                })
                .is_some()
                || place.number == entry.number()
        });
        self.shards.insert(&ticket.name, &ticket.version, entry);
    }

    /// How long the answer of a flight lasts.
    fn lifetime(&self, ticket: &Ticket) -> Lifetime {
        let times = self.times(&ticket.name);
        let ttl = share(times.ttl, 1.0 - self.settings.jitter * self.random.unit());
        Lifetime {
            asked_at: ticket.asked_at,
            times,
            ttl,
            refresh_after: share(ttl, self.settings.refresh_ahead),
        }
    }

    fn remove(&self, ledger: &mut Ledger, ticket: &Ticket) {
        if let Some(entry) = self.shards.take(&ticket.name, &ticket.version, |_| true) {
            ledger.ring(&entry).removed(entry.bytes());
        }
    }

    /// Leaves the store alone for a while, but for those who have nothing.
    fn pause(&self, ticket: &Ticket, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or_default().max(self.settings.pause_after_error);
        let next = self.now().saturating_add(pause);
        self.shards
            .change(&ticket.name, &ticket.version, |entry| entry.end_refresh(Some(next)));
    }

    fn turn(&self, place: &Place, spare: bool) -> Turn {
        let look = self.shards.look(&place.name, &place.version, |entry| {
            let here = entry.number() == place.number;
            here.then(|| spare && entry.used.swap(false, Ordering::Relaxed))
        });
        match look {
            None => Turn::Gone,
            Some(true) => Turn::Used,
            Some(false) => self
                .shards
                .take(&place.name, &place.version, |entry| entry.number() == place.number)
                .map_or(Turn::Gone, |entry| Turn::Evicted(entry.bytes())),
        }
    }

    /// Nothing is left half-changed when a holder panics, so a poisoned lock is still whole.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole of the longest time has no exact number, so it is not computed.
fn share(time: Duration, part: f64) -> Duration {
    if part < 1.0 { time.mul_f64(part) } else { time }
}
