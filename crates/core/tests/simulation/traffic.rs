//! Who asks what during a day.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use keyfob_core::{
    Change as Edit, Clock as _, DeleteMode, DeleteOptions, ErrorKind, Expired, Freshness, GetOptions, GetRequest, ListOptions,
    PageRequest, PutMode, PutRequest, SecretName, SecretStore as _, Verb, Version, VersionSelector,
};
use tokio::task::JoinSet;

use crate::access::{Wanted, access, patience};
use crate::answers::Read;
use crate::dice::Dice;
use crate::setup::{LIVE, Stack};
use crate::store::{Change, DAY};
use crate::under_cache::TICKS;
use crate::world::{Moment, value};

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Act {
    Get,
    GetMany,
    Upsert,
    Create,
    Match,
    Delete,
    DeleteForGood,
    Restore,
    List,
    Versions,
    Health,
    Clear,
    /// An application starts and reads a list.
    Warm,
    /// Another machine that shares the second level reads, or writes.
    Other {
        writes: bool,
    },
    /// So many ask for the same at once.
    Crowd(usize),
    /// Somebody changes something in a store, past these layers.
    Outside,
    Interrupt(bool),
}

/// The users of one stack.
pub(crate) struct Traffic {
    stack: Arc<Stack>,
    dice: Dice,
    /// Versions that were seen, for those who ask for one of them.
    seen: Mutex<HashMap<SecretName, Vec<Version>>>,
}

impl Traffic {
    pub(crate) fn new(stack: Arc<Stack>, dice: Dice) -> Arc<Self> {
        Arc::new(Self {
            stack,
            dice,
            seen: Mutex::default(),
        })
    }

    /// Puts values where there are some in the morning.
    pub(crate) async fn fill(&self) {
        let world = &self.stack.world;
        for (index, name) in world.setup.names.iter().enumerate() {
            // Some names are made in the course of the day.
            if index % 6 == 4 {
                continue;
            }
            let write = world.number();
            for store in &self.stack.stores {
                let request = PutRequest::new(value(name, write));
                if let Err(error) = store.shelf().change(name, Change::Put(request)).await {
                    world.violation(error);
                }
            }
        }
        let stores = &self.stack.stores;
        if let Some(delay) = world.setup.replication.filter(|_| !world.setup.is_replicated()) {
            let others = stores[1..].iter().map(|store| Arc::clone(store.shelf())).collect();
            stores[0].shelf().copy_to(others, delay);
        }
        stores[0].shelf().listen(&self.stack.stream, Duration::from_millis(50));
    }

    /// A day from morning to night, and until everybody has gone home.
    pub(crate) async fn run(self: Arc<Self>) {
        let world = &self.stack.world;
        let mut users = JoinSet::new();
        for (at, act) in self.plan() {
            world.clock.sleep(at.saturating_sub(world.now())).await;
            if world.is_broken() {
                return;
            }
            while users.try_join_next().is_some() {}
            users.spawn(Arc::clone(&self).act(act));
        }
        while let Some(ended) = users.join_next().await {
            world.check(ended.is_ok(), || "a task panicked");
        }
        // Refreshes, writes that are done late and copies have time to end.
        world.clock.sleep(Duration::from_secs(600)).await;
    }

    /// When what happens: in rushes, many of them where a store falls ill or recovers.
    fn plan(&self) -> Vec<(Duration, Act)> {
        let dice = &self.dice;
        let turns: Vec<Duration> = self.stack.stores.iter().flat_map(|store| store.record.turns()).collect();
        let mut plan = Vec::new();
        for _ in 0..45 {
            let from = match turns.is_empty() || dice.chance(0.3) {
                true => dice.between(Duration::ZERO, DAY),
                false => turns[dice.below(turns.len())]
                    .saturating_sub(dice.magnitude(Duration::from_millis(10), Duration::from_secs(60))),
            };
            let long = dice.magnitude(Duration::from_secs(1), Duration::from_secs(400));
            for _ in 0..10 + dice.below(60) {
                plan.push((from + dice.between(Duration::ZERO, long), self.draw()));
            }
        }
        for _ in 0..3 {
            let from = dice.between(Duration::ZERO, DAY);
            plan.push((from, Act::Interrupt(true)));
            plan.push((
                from + dice.magnitude(Duration::from_secs(10), Duration::from_secs(3600)),
                Act::Interrupt(false),
            ));
        }
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw(&self) -> Act {
        match self.dice.below(200) {
            0..120 => Act::Get,
            120..136 => Act::GetMany,
            136..146 => Act::Upsert,
            146..149 => Act::Create,
            149..156 => Act::Match,
            156 => Act::Delete,
            157 => Act::DeleteForGood,
            158..162 => Act::Restore,
            162..165 => Act::List,
            165..168 => Act::Versions,
            168..170 => Act::Health,
            170..172 => Act::Clear,
            172..176 => Act::Crowd(4 + self.dice.below(60)),
            176..178 => Act::Warm,
            178..190 => Act::Other {
                writes: self.dice.chance(0.2),
            },
            _ => Act::Outside,
        }
    }

    async fn act(self: Arc<Self>, act: Act) {
        let name = self.name();
        match act {
            Act::Get => drop(self.get(self.request(name), patience(&self.dice)).await),
            Act::GetMany => self.get_many().await,
            Act::Upsert => self.put(name, PutMode::Upsert).await,
            Act::Create => self.put(name, PutMode::Create).await,
            Act::Match => {
                if let Some(version) = self.last_seen(&name) {
                    self.put(name, PutMode::Match(version)).await;
                }
            }
            Act::Delete => self.delete(name, DeleteMode::Recoverable { window: None }).await,
            Act::DeleteForGood => self.delete(name, DeleteMode::Permanent).await,
            Act::Restore => self.restore(name).await,
            Act::List => self.list().await,
            Act::Versions => {
                let (stack, page) = (&self.stack, PageRequest::default());
                let call = stack.store.versions(&name, &page);
                access(stack, Verb::Versions, vec![Wanted::of(&name)], patience(&self.dice), call).await;
            }
            Act::Health => {
                self.stack.healths.fetch_add(1, Ordering::Relaxed);
                drop(self.stack.store.health().await);
            }
            Act::Clear => self.clear(&name),
            Act::Warm => self.warm().await,
            Act::Other { writes } => self.other(&name, writes).await,
            Act::Crowd(many) => drop(self.crowd(GetRequest::new(name), many, true).await),
            Act::Outside => self.outside(&name).await,
            Act::Interrupt(is_interrupted) => self.stack.stream.interrupt(is_interrupted),
        }
    }

    fn name(&self) -> SecretName {
        let names = &self.stack.world.setup.names;
        names[self.dice.popular(names.len())].clone()
    }

    fn request(&self, name: SecretName) -> GetRequest {
        let dice = &self.dice;
        let mut options = GetOptions::default();
        match dice.below(100) {
            0..4 => options.version = VersionSelector::Previous,
            4..9 => {
                if let Some(version) = self.some_seen(&name) {
                    options.version = VersionSelector::Exact(version);
                }
            }
            _ => {}
        }
        match dice.below(100) {
            0..4 => options.max_age = Some(Duration::ZERO),
            4..8 => options.max_age = Some(dice.magnitude(Duration::from_millis(100), Duration::from_secs(1000))),
            8..10 => options.expired = Expired::Allow,
            _ => {}
        }
        GetRequest { name, options }
    }

    fn see(&self, name: &SecretName, version: Option<&Version>) {
        let Some(version) = version else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = seen.entry(name.clone()).or_default();
        if versions.last() != Some(version) {
            versions.push(version.clone());
            versions.drain(..versions.len().saturating_sub(4));
        }
    }

    fn last_seen(&self, name: &SecretName) -> Option<Version> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name)?.last().cloned()
    }

    fn some_seen(&self, name: &SecretName) -> Option<Version> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = seen.get(name)?;
        Some(versions[self.dice.below(versions.len())].clone())
    }

    /// Whether it was got.
    async fn get(&self, request: GetRequest, patience: Option<Duration>) -> bool {
        let stack = &self.stack;
        let read = Read::begins(stack, request);
        let GetRequest { name, options } = &read.request;
        let wanted = Wanted::of(name).asks(&options.version);
        let call = stack.store.get(name, options);
        let Some(ended) = access(stack, Verb::Get, vec![wanted], patience, call).await else {
            return false;
        };
        if ended.is_withheld {
            return false;
        }
        read.ends(stack, ended.began, ended.answered_at, &ended.answer);
        if let Ok(secret) = &ended.answer {
            self.see(name, secret.metadata.version.as_ref());
        }
        ended.answer.is_ok()
    }

    async fn get_many(&self) {
        let stack = &self.stack;
        let many = self.dice.below(30);
        let reads: Vec<Read> = (0..many).map(|_| Read::begins(stack, self.request(self.name()))).collect();
        let requests: Vec<GetRequest> = reads.iter().map(|read| read.request.clone()).collect();
        let wanted = requests
            .iter()
            .map(|request| Wanted::of(&request.name).asks(&request.options.version));
        let call = stack.store.get_many(&requests);
        let ended = access(stack, Verb::GetMany, wanted.collect(), patience(&self.dice), call).await;
        if let Some(ended) = ended {
            for (read, answer) in reads.iter().zip(&ended.answer) {
                // One of a batch waits for the others.
                read.in_batch(stack, ended.began, ended.answered_at, answer);
            }
        }
    }

    /// Many ask for the same thing at the same moment, some of them without patience. How many get it.
    pub(crate) async fn crowd(self: &Arc<Self>, request: GetRequest, many: usize, are_impatient: bool) -> usize {
        let mut users = JoinSet::new();
        for _ in 0..many {
            let (traffic, request) = (Arc::clone(self), request.clone());
            let patience = patience(&self.dice).filter(|_| are_impatient);
            users.spawn(async move { traffic.get(request, patience).await });
        }
        users.join_all().await.into_iter().filter(|served| *served).count()
    }

    async fn put(&self, name: SecretName, mode: PutMode) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let write = world.number();
        let mut request = PutRequest::new(value(&name, write)).mode(mode);
        if self.dice.chance(0.1) {
            let life = self.dice.magnitude(Duration::from_secs(1), Duration::from_secs(10_000));
            request.expires_at = Edit::Set(world.clock.system_now() + life);
        } else if self.dice.chance(0.5) {
            request.expires_at = Edit::Clear;
        }
        let wanted = match &request.mode {
            PutMode::Match(version) => Wanted::of(&name).version(Some(version)),
            PutMode::Upsert | PutMode::Create => Wanted::of(&name),
        };
        let call = stack.store.put(&name, request);
        let Some(ended) = access(stack, Verb::Put, vec![wanted], patience(&self.dice), call).await else {
            return;
        };
        match &ended.answer {
            Ok(metadata) => {
                let done = world.applied(write);
                let is_there = done
                    .iter()
                    .any(|(rank, version)| *rank == 0 && Some(version) == metadata.version.as_ref());
                world.check(is_there, || {
                    format!(
                        "write {write} of `{name}` succeeded as version {:?}, but was done {done:?}",
                        metadata.version
                    )
                });
                self.see(&name, metadata.version.as_ref());
                stack.place.written(&name, ended.began.at);
            }
            // Nobody knows, or one of several stores has it.
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let may_be = world.has_arrived(write) || world.setup.is_replicated() || ended.is_withheld;
                world.check(may_be, || {
                    format!("the outcome of write {write} is said to be unknown, but it was never sent")
                });
            }
            Err(error) if error.kind() == ErrorKind::Other && world.setup.is_replicated() => {}
            Err(error) => world.refused(write, error.kind()),
        }
    }

    async fn delete(&self, name: SecretName, mode: DeleteMode) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let life = world.life(0, &name);
        let options = DeleteOptions { mode };
        let call = stack.store.delete(&name, &options);
        let ended = access(stack, Verb::Delete, vec![Wanted::of(&name)], patience(&self.dice), call).await;
        if let Some(ended) = ended
            && ended.answer.is_ok()
        {
            let was_gone = world.held(0, &name, ended.began, |state| state.current.is_none());
            world.check(was_gone, || format!("deleted `{name}`, but it was there all the time"));
            let is_for_good = world.held(0, &name, ended.began, |state| state.life > life);
            world.check(is_for_good || mode != DeleteMode::Permanent, || {
                format!("deleted `{name}` for good, but it could be restored all the time")
            });
        }
    }

    async fn restore(&self, name: SecretName) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let call = stack.store.restore(&name);
        let ended = access(stack, Verb::Restore, vec![Wanted::of(&name)], patience(&self.dice), call).await;
        if let Some(ended) = ended
            && ended.answer.is_ok()
        {
            let was_there = world.held(0, &name, ended.began, |state| state.current.is_some());
            world.check(was_there, || format!("restored `{name}`, but it was never there"));
        }
    }

    async fn list(&self) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let options = ListOptions {
            prefix: self.dice.pick(&["", "team/", "live/"]).to_owned(),
            ..ListOptions::default()
        };
        let wanted = Wanted {
            name: (!options.prefix.is_empty()).then(|| options.prefix.clone()),
            version: None,
        };
        let call = stack.store.list(&options);
        let Some(ended) = access(stack, Verb::List, vec![wanted], patience(&self.dice), call).await else {
            return;
        };
        let Ok(page) = &ended.answer else { return };
        let listed: Vec<&SecretName> = page.items.iter().map(|metadata| &metadata.name).collect();
        let holds = |rank: usize| {
            let names = world
                .names(rank)
                .into_iter()
                .filter(|name| name.as_str().starts_with(&options.prefix));
            names.into_iter().all(|name| match listed.contains(&&name) {
                true => world.held(rank, &name, ended.began, |state| state.current.is_some()),
                false => !world.held_always(rank, &name, ended.began, |state| state.current.is_some()),
            })
        };
        world.check((0..world.setup.members).any(holds), || {
            format!("a listing of `{}` that no store can have given", options.prefix)
        });
    }

    fn clear(&self, name: &SecretName) {
        let (stack, world) = (&self.stack, &self.stack.world);
        match self.dice.below(3) {
            0 => {
                stack.cache.clear(name);
                world.forgotten(Some(name));
            }
            1 => {
                stack.cache.clear_prefix("team/");
                for name in world.setup.names.iter().filter(|name| name.as_str().starts_with("team/")) {
                    world.forgotten(Some(name));
                }
            }
            _ => {
                stack.cache.clear_all();
                world.forgotten(None);
            }
        }
    }

    /// Reads a list, often after everything about it was forgotten, so that it has to be read.
    async fn warm(&self) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let mut names: Vec<SecretName> = (0..1 + self.dice.below(8)).map(|_| self.name()).collect();
        names.sort();
        names.dedup();
        let is_forgotten = self.dice.chance(0.7);
        if is_forgotten {
            for name in &names {
                stack.cache.clear(name);
                world.forgotten(Some(name));
            }
        }
        let began = world.moment();
        let reads: Vec<Read> = names
            .iter()
            .map(|name| Read::begins(stack, GetRequest::new(name.clone())))
            .collect();
        let warmed = stack.cache.warm(&names).await;
        let took = world.now() - began.at;
        world.check(warmed.len() == names.len(), || {
            format!("{} of {names:?} warmed", warmed.len())
        });
        world.check(took <= world.setup.retry.deadline + TICKS, || {
            format!("warming took {took:?}")
        });
        for ((name, read), warmed) in names.iter().zip(&reads).zip(warmed) {
            if let Err(error) = warmed {
                read.in_batch(stack, began, world.now(), &Err(error));
                continue;
            }
            let times = world.setup.times(name);
            let is_kept = is_forgotten
                && !world.setup.evicts()
                && took + TICKS < times.ttl.mul_f64(1.0 - world.setup.jitter)
                && world.last_forgotten(name) < began
                // A later call has taken its place.
                && !stack.under_cache.may_be_replaced(&(name.clone(), VersionSelector::Current), began.at);
            if !is_kept {
                continue;
            }
            let options = GetOptions::default();
            let at_hand = stack.cache.get(name, &options).now_or_never();
            let is_from_memory = matches!(&at_hand, Some(Ok(secret)) if secret.metadata.origin.freshness == Freshness::Cache);
            // It can come from any store, and one that stands behind may have an older value, which expires.
            let may_expire = (0..world.setup.members).any(|rank| {
                world.held(rank, name, began, |state| {
                    let kept = [&state.current, &state.previous];
                    kept.into_iter().flatten().any(|kept| kept.expires_at.is_some())
                })
            });
            world.check(is_from_memory || may_expire, || {
                format!("`{name}` was warmed, but is not at hand")
            });
        }
    }

    /// Another machine reads or writes.
    async fn other(&self, name: &SecretName, writes: bool) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let (place, shelf) = (&stack.place, stack.stores[0].shelf());
        if !world.setup.has_level || name.as_str().starts_with(LIVE) {
            return;
        }
        if writes {
            let change = Change::Put(PutRequest::new(value(name, world.number())));
            place.is_written_by_another(shelf, &self.dice, name, change).await;
        } else {
            let max_age = world.setup.times(name).max_age;
            place.is_read_by_another(shelf, &self.dice, name, max_age).await;
        }
    }

    async fn outside(&self, name: &SecretName) {
        let (stack, world) = (&self.stack, &self.stack.world);
        let stores = if self.dice.chance(0.8) { 1 } else { stack.stores.len() };
        let store = &stack.stores[self.dice.below(stores)];
        let is_there = |moment: Moment| world.held(0, name, moment, |state| state.current.is_some());
        let change = match self.dice.below(20) {
            0 => Change::Delete(DeleteOptions {
                mode: match self.dice.chance(0.3) {
                    true => DeleteMode::Permanent,
                    false => DeleteMode::Recoverable { window: None },
                },
            }),
            1..6 if !is_there(world.moment()) => Change::Restore,
            _ => Change::Put(PutRequest::new(value(name, world.number()))),
        };
        // It may well be refused: there is nothing to delete, or the name is reserved.
        let _ = store.shelf().change(name, change).await;
    }
}
