//! A store, a system, time, and what must be true of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use keyfob_core::{
    Clock, DeleteOptions, ListOptions, MemoryStore, PageRequest, PutRequest, SecretName, SecretStore, VirtualClock,
};
use keyfob_rotation::{Rotation, RotationOptions};

use crate::runner::Runner;
use crate::stores::{Kind, SharedStore, Witness, current};
use crate::systems::{System, SystemKind, SystemRotator, strays};

pub(crate) const NAME: &str = "db/password";

/// Everything that outlives a process.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) memory: Arc<MemoryStore>,
    /// Where journals are, for stores that can't compare.
    pub(crate) journals: Arc<MemoryStore>,
    pub(crate) system: Arc<System>,
    pub(crate) clock: VirtualClock,
    writes: Arc<AtomicU64>,
    witness: Arc<Eyes>,
}

/// Sees every moment.
#[derive(Debug)]
struct Eyes {
    memory: Arc<MemoryStore>,
    system: Arc<System>,
    seen: Mutex<Vec<String>>,
    /// Whether the test has deleted the secret.
    is_gone: AtomicBool,
}

impl Witness for Eyes {
    fn look(&self, after: &str) {
        if self.is_gone.load(Ordering::Relaxed) {
            return;
        }
        let secret = current(&self.memory, &name()).expect("the secret can always be read");
        let value = secret.value.expose_str().expect("text");
        if self.system.kind.has_no_gap() && !self.system.accepts(value) {
            self.seen.lock().unwrap().push(after.to_owned());
        }
    }
}

pub(crate) fn name() -> SecretName {
    SecretName::new(NAME).unwrap()
}

impl World {
    /// Needs a runtime whose time stands still.
    pub(crate) fn new(kind: Kind, system: SystemKind) -> Self {
        let memory = Arc::new(MemoryStore::new());
        let system = System::new(system);
        let first = PutRequest::new(system.first());
        memory.put(&name(), first).now_or_never().unwrap().unwrap();
        Self {
            kind,
            witness: Arc::new(Eyes {
                memory: Arc::clone(&memory),
                system: Arc::clone(&system),
                seen: Mutex::default(),
                is_gone: AtomicBool::new(false),
            }),
            memory,
            writes: Arc::default(),
            journals: Arc::new(MemoryStore::new()),
            system,
            clock: VirtualClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        }
    }

    /// One runner's handle of the store.
    pub(crate) fn store(&self, runner: &Arc<Runner>) -> Arc<dyn SecretStore> {
        self.handle(self.kind, &self.memory, runner)
    }

    fn handle(&self, kind: Kind, memory: &Arc<MemoryStore>, runner: &Arc<Runner>) -> Arc<dyn SecretStore> {
        let witness = Arc::clone(&self.witness) as Arc<dyn Witness>;
        let shared = (Arc::clone(memory), Arc::clone(&self.writes));
        SharedStore::new(kind, shared, Arc::clone(runner), witness)
    }

    pub(crate) fn rotation(&self, runner: &Arc<Runner>, holder: &str, options: RotationOptions) -> Rotation {
        let rotation = Rotation::new(self.store(runner))
            .clock(Arc::new(self.clock))
            .holder(holder)
            .options(options);
        match self.kind.compares() {
            true => rotation,
            false => rotation.journals(self.handle(Kind::Full, &self.journals, runner), "double/"),
        }
    }

    pub(crate) fn rotator(&self, runner: &Arc<Runner>) -> SystemRotator {
        SystemRotator {
            system: Arc::clone(&self.system),
            runner: Arc::clone(runner),
            witness: Arc::clone(&self.witness) as Arc<dyn Witness>,
            fails: None,
            set_takes: 0,
        }
    }

    pub(crate) fn value(&self) -> String {
        let secret = current(&self.memory, &name()).expect("the secret can always be read");
        secret.value.expose_str().unwrap().to_owned()
    }

    /// Somebody deletes the secret.
    pub(crate) fn delete(&self) {
        self.witness.is_gone.store(true, Ordering::Relaxed);
        let (name, options) = (name(), DeleteOptions::default());
        self.memory.delete(&name, &options).now_or_never().unwrap().unwrap();
    }

    /// The versions of a name, newest first.
    pub(crate) fn versions(&self, name: &SecretName) -> usize {
        let page = self.memory.versions(name, &PageRequest::default()).now_or_never().unwrap();
        page.map_or(0, |page| page.items.len())
    }

    /// Everything that is kept, as text that changes with any of it.
    pub(crate) fn snapshot(&self) -> String {
        let mut text = self.system.snapshot();
        for memory in [&self.memory, &self.journals] {
            let page = memory.list(&ListOptions::default()).now_or_never().unwrap().unwrap();
            for item in page.items {
                let value = current(memory, &item.name).unwrap();
                text.push_str(&format!(
                    "{} {:?} {}\n",
                    item.name,
                    item.version,
                    value.value.expose_str().unwrap()
                ));
            }
        }
        text
    }

    /// What is wrong at every moment so far.
    pub(crate) fn moments(&self) -> Result<(), String> {
        match self.witness.seen.lock().unwrap().first() {
            None => Ok(()),
            Some(after) => Err(format!("the current value was not accepted after `{after}`")),
        }
    }

    /// What is wrong once no rotation is under way.
    pub(crate) fn at_rest(&self) -> Result<(), String> {
        self.moments()?;
        let value = self.value();
        if !self.system.accepts(&value) {
            return Err("the current value is not accepted".to_owned());
        }
        let strays = strays(&self.system, &value);
        if !strays.is_empty() {
            return Err(format!("{} values are accepted that nobody should use", strays.len()));
        }
        self.quiet()
    }

    /// What a rotation left in the store that should not be there once it is over.
    pub(crate) fn quiet(&self) -> Result<(), String> {
        for memory in [&self.memory, &self.journals] {
            let page = memory.list(&ListOptions::default()).now_or_never().unwrap().unwrap();
            for item in page.items {
                if item.name != name() && !item.name.is_reserved() {
                    return Err(format!("`{}` was left behind", item.name));
                }
                let text = current(memory, &item.name).unwrap().value.expose_str().unwrap().to_owned();
                if item.name.as_str().ends_with("keyfob-rotation") {
                    if text.contains("\"lease\"") || text.contains("\"under_way\"") {
                        return Err(format!("the journal is not at rest: {text}"));
                    }
                    if text.contains("kfcanary-") {
                        return Err("a value is in the journal".to_owned());
                    }
                } else if item.name.is_reserved() && text.contains("kfcanary-") {
                    return Err(format!("a value was left behind in `{}`", item.name));
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

/// With so many seconds of grace.
pub(crate) fn grace(seconds: u64) -> RotationOptions {
    RotationOptions {
        grace: Duration::from_secs(seconds),
        ..RotationOptions::default()
    }
}
