//! Rotations through the layers that an application has between itself and its store.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    CacheLayer, Clock, ErrorKind, Failover, FailoverOptions, GetOptions, Layer, MemoryStore, PutRequest, RetryLayer,
    RetryOptions, SecretName, SecretStore, stack,
};
use keyfob_rotation::{Generator, Outcome, Recipe, Rotation, RotationOptions};

use crate::runner::{Fault, Runner};
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

fn now() -> RotationOptions {
    grace(0)
}

#[tokio::test(start_paused = true)]
async fn readers_of_the_same_cache_see_the_new_value_at_once_and_the_engine_never_trusts_it() {
    let memory: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
    let name = SecretName::new("web/session").unwrap();
    memory.put(&name, PutRequest::new("kfcanary-session01")).await.unwrap();
    let (ours, theirs) = (
        CacheLayer::new(Duration::from_secs(3600)).layer(Arc::clone(&memory)),
        CacheLayer::new(Duration::from_secs(3600)).layer(Arc::clone(&memory)),
    );
    let rotator = Generator::new(Recipe::uuid());
    let read = |store: Arc<dyn SecretStore>| {
        let name = name.clone();
        async move {
            let secret = store.get(&name, &GetOptions::default()).await.unwrap();
            secret.value.expose_str().unwrap().to_owned()
        }
    };
    let first = read(Arc::clone(&ours)).await;
    for _ in 0..3 {
        // Two that rotate in turn, each with a cache that has never heard of the other.
        for store in [&ours, &theirs] {
            let outcome = Rotation::new(Arc::clone(store))
                .options(now())
                .rotate(&name, &rotator)
                .await
                .unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }));
            let seen = read(Arc::clone(store)).await;
            assert!(seen == read(Arc::clone(&memory)).await && seen != first);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_retries_below_lost_answers_and_refusals_cost_nothing_but_time() {
    for fault in [Fault::LoseBefore, Fault::LoseAfter, Fault::Unavailable] {
        for number in 1..40 {
            let world = World::new(Kind::Full, SystemKind::Alternating);
            let runner = Runner::new([(number, fault)]);
            let retry = RetryLayer::new(RetryOptions::default()).unwrap().clock(Arc::new(world.clock));
            let store = stack(world.store(&runner), [&retry as &dyn Layer]);
            let rotation = Rotation::new(store).clock(Arc::new(world.clock)).options(now());
            // The rotator's own calls have no retries below them.
            let rotator = world.rotator(&Runner::new([]));
            let outcome = rotation.rotate(&name(), &rotator).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{fault:?} at {number}");
            world.at_rest().unwrap();
            assert_eq!(world.versions(&name()), 2, "{fault:?} at {number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_store_of_a_list_answers_is_not_built_on() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let faults = (1..1000).map(|number| (number, Fault::Unavailable));
    let runner = Runner::new(faults);
    let second = Arc::new(MemoryStore::new());
    second.put(&name(), PutRequest::new("kfcanary-stale00001")).await.unwrap();
    let members: [(&str, Arc<dyn SecretStore>); 2] = [("first", world.store(&runner)), ("second", second)];
    let list = Failover::new(FailoverOptions::default())
        .clock(Arc::new(world.clock))
        .over(members)
        .unwrap();
    let rotation = Rotation::new(Arc::new(list)).clock(Arc::new(world.clock)).options(now());
    let error = rotation.rotate(&name(), &world.rotator(&runner)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.versions(&name()), 1);
}
