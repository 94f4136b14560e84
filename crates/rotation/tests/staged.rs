//! Roll-outs in stages: who has the new value when, what a check that fails undoes, and what a kill leaves.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Clock, Error, ErrorKind, GetOptions, MemoryStore, PutRequest, Result, SecretName, SecretStore, SecretValue, VirtualClock,
    async_trait,
};
use keyfob_rotation::{Generator, Outcome, Recipe, Rotation, RotationOptions, Rotator, Stage, Staged, StepContext, Validated};

const OLD: &str = "kfcanary-oldvalue01";

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// Says that all is well until it is broken.
#[derive(Debug, Default)]
struct Check {
    is_broken: AtomicBool,
    asked: AtomicU32,
}

#[async_trait]
impl Rotator for Check {
    fn kind(&self) -> &str {
        "check"
    }
    async fn create(&self, _: &StepContext<'_>) -> Result<SecretValue> {
        panic!("only `test` is called")
    }
    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        panic!("only `test` is called")
    }
    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        assert!(step.new_value().is_ok());
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.is_broken.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::InvalidInput, "the canary sings no more")),
            false => Ok(()),
        }
    }
    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        panic!("only `test` is called")
    }
    async fn revoke(&self, _: &StepContext<'_>) -> Result<Option<SecretValue>> {
        panic!("only `test` is called")
    }
    async fn rollback(&self, _: &StepContext<'_>) -> Result<()> {
        panic!("only `test` is called")
    }
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<VirtualClock>,
    check: Arc<Check>,
    rotation: Rotation,
    rotator: Arc<Staged>,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(VirtualClock::starting_at(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        ));
        let store = Arc::new(MemoryStore::new().clock(clock.clone()));
        store.put(&name("app"), PutRequest::new(OLD)).await.unwrap();
        let check = Arc::new(Check::default());
        let stage = |copies: &[&str]| Stage {
            copies: copies.iter().map(|copy| name(copy)).collect(),
            wait: Duration::from_secs(600),
            check: Some(check.clone()),
            every: Duration::from_secs(60),
        };
        let stages = vec![stage(&["app-canary"]), stage(&["app-eu", "app-us"])];
        let inner = Arc::new(Generator::new(Recipe::uuid()));
        let rotator = Arc::new(Staged::new(inner, store.clone(), stages).clock(clock.clone()));
        let options = RotationOptions {
            grace: Duration::ZERO,
            step_limit: Duration::from_secs(3600),
            ..RotationOptions::default()
        };
        Self {
            rotation: Rotation::new(store.clone()).clock(clock.clone()).options(options),
            store,
            clock,
            check,
            rotator,
        }
    }

    /// Who has the old value, the new one, or none.
    async fn values(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        for copy in ["app", "app-canary", "app-eu", "app-us"] {
            all.push(match self.store.get(&name(copy), &GetOptions::default()).await {
                Ok(secret) if secret.value.expose_secret() == OLD.as_bytes() => "old",
                Ok(_) => "new",
                Err(_) => "none",
            });
        }
        all
    }

    fn rotate(&self) -> tokio::task::JoinHandle<Result<Outcome>> {
        let (rotation, rotator) = (self.rotation.clone(), self.rotator.clone());
        tokio::spawn(async move { rotation.rotate(&name("app"), &*rotator).await })
    }

    async fn wait(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_stage_gets_the_value_in_its_turn() {
    let world = World::new().await;
    let running = world.rotate();
    world.wait(300).await;
    assert_eq!(world.values().await, ["old", "new", "none", "none"]);
    world.wait(600).await;
    assert_eq!(world.values().await, ["old", "new", "new", "new"]);
    assert!(matches!(running.await.unwrap(), Ok(Outcome::Completed { .. })));
    assert_eq!(world.values().await, ["new"; 4]);
    assert_eq!(world.check.asked.load(Ordering::SeqCst), 20, "once a minute");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_takes_the_value_back_from_all_who_have_it() {
    let world = World::new().await;
    for copy in ["app-canary", "app-eu", "app-us"] {
        world.store.put(&name(copy), PutRequest::new(OLD)).await.unwrap();
    }
    let running = world.rotate();
    world.wait(900).await;
    assert_eq!(world.values().await, ["old", "new", "new", "new"]);
    world.check.is_broken.store(true, Ordering::SeqCst);
    let error = running.await.unwrap().unwrap_err();
    assert!(error.context().any(|fact| fact == ("rolled_back", "yes")), "{error}");
    assert!(error.context().any(|fact| fact == ("stage", "2")), "{error}");
    assert_eq!(world.values().await, ["old"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_is_gone_on_with_in_its_stage() {
    let world = World::new().await;
    let running = world.rotate();
    world.wait(900).await;
    running.abort();
    let _ = running.await;
    // The lease of the one that is gone.
    world.wait(70).await;
    let begin = world.clock.now();
    assert!(matches!(world.rotate().await.unwrap(), Ok(Outcome::Completed { .. })));
    let took = world.clock.now() - begin;
    assert!(took < Duration::from_secs(300), "it waited for {took:?} again");
    assert_eq!(world.values().await, ["new"; 4]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_comes_back_to_all_at_once() {
    let mut world = World::new().await;
    let options = RotationOptions {
        grace: Duration::from_secs(3600),
        step_limit: Duration::from_secs(3600),
        ..RotationOptions::default()
    };
    world.rotation = world.rotation.options(options);
    world.rotate().await.unwrap().unwrap();
    assert_eq!(world.values().await, ["new"; 4]);
    let begin = world.clock.now();
    world.rotation.rollback(&name("app"), &*world.rotator).await.unwrap();
    assert_eq!(world.values().await, ["old"; 4]);
    assert!(world.clock.now() - begin < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_wrote_into_a_copy_is_not_taken_back() {
    let world = World::new().await;
    let running = world.rotate();
    world.wait(300).await;
    world
        .store
        .put(&name("app-canary"), PutRequest::new("kfcanary-ofsomebody"))
        .await
        .unwrap();
    world.check.is_broken.store(true, Ordering::SeqCst);
    running.await.unwrap().unwrap_err();
    let canary = world.store.get(&name("app-canary"), &GetOptions::default()).await.unwrap();
    assert_eq!(canary.value.expose_str().unwrap(), "kfcanary-ofsomebody");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_accepted_never_becomes_current() {
    let world = World::new().await;
    world.check.is_broken.store(true, Ordering::SeqCst);
    let rotator = Validated::new(Arc::new(Generator::new(Recipe::uuid())), world.check.clone());
    let error = world.rotation.rotate(&name("app"), &rotator).await.unwrap_err();
    assert!(error.context().any(|fact| fact == ("rolled_back", "yes")), "{error}");
    assert_eq!(world.values().await[0], "old");
    world.check.is_broken.store(false, Ordering::SeqCst);
    world.rotation.rotate(&name("app"), &rotator).await.unwrap();
    assert_eq!(world.values().await[0], "new");
}
