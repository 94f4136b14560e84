//! Policies over a store: what is planned, what is done when it is due, and what an emergency does.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Change, Clock, GetOptions, MemoryStore, PutRequest, SecretName, SecretStore, SecretValue, VersionSelector, VirtualClock,
};
use keyfob_rotation::{Made, Outcome, Pass, Phase, Policies, Rotation};

const POLICIES: &str = r#"
policies:
  - name: sessions
    secrets: [web/session, "web/csrf/*", web/none]
    every: 30d
    grace: 1h
    make: uuid
  - name: monthly
    tags: { rotate: monthly }
    max_age: 60d
    grace: 0s
    make: { hex: { bytes: 16 } }
  - name: by-hand
    secrets: [root]
    make: uuid
"#;

const FIRST: &str = "kfcanary-firstvalue";
const DAY: Duration = Duration::from_secs(86_400);

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<VirtualClock>,
    rotation: Rotation,
    policies: Policies,
}

impl World {
    async fn new() -> Self {
        let day = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let clock = Arc::new(VirtualClock::starting_at(day));
        let store = Arc::new(MemoryStore::new().clock(clock.clone()));
        for known in ["web/session", "web/csrf/a", "web/csrf/b", "web/other", "root"] {
            store.put(&name(known), PutRequest::new(FIRST)).await.unwrap();
        }
        let tags = BTreeMap::from([("rotate".to_owned(), "monthly".to_owned())]);
        let tagged = PutRequest {
            tags: Change::Set(tags),
            ..PutRequest::new(FIRST)
        };
        store.put(&name("tagged"), tagged).await.unwrap();
        Self {
            rotation: Rotation::new(store.clone()).clock(clock.clone()),
            store,
            clock,
            policies: Policies::parse(POLICIES).unwrap(),
        }
    }

    /// What is due, by name.
    async fn due(&self) -> Vec<String> {
        let plan = self.rotation.plan(&self.policies).await.unwrap();
        plan.due(self.clock.system_now())
            .map(|planned| planned.name.to_string())
            .collect()
    }

    async fn pass(&self) -> Vec<(String, Outcome)> {
        let plan = self.rotation.plan(&self.policies).await.unwrap();
        let now = self.clock.system_now();
        let mut heard = 0;
        let passed = self
            .rotation
            .pass(plan.due(now), &Random, &Pass::default(), |_| heard += 1)
            .await;
        assert_eq!(heard, passed.len());
        let mut passed: Vec<_> = passed
            .into_iter()
            .map(|passed| (passed.name.to_string(), passed.outcome.unwrap()))
            .collect();
        passed.sort_by(|one, other| one.0.cmp(&other.0));
        passed
    }

    async fn value(&self, of: &str) -> SecretValue {
        self.store.get(&name(of), &GetOptions::default()).await.unwrap().value
    }

    async fn has(&self, of: &str, value: &str) -> bool {
        self.value(of).await.expose_secret() == value.as_bytes()
    }

    async fn wait(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_is_due_when_and_changes_nothing() {
    let world = World::new().await;
    let plan = world.rotation.plan(&world.policies).await.unwrap();
    let begin = world.clock.system_now();
    let entries: Vec<(&str, &str, Option<SystemTime>)> = plan
        .entries
        .iter()
        .map(|planned| (planned.name.as_str(), &*planned.policy.name, planned.due))
        .collect();
    assert_eq!(
        entries,
        [
            ("root", "by-hand", None),
            ("tagged", "monthly", Some(begin + 60 * DAY)),
            ("web/csrf/a", "sessions", Some(begin + 30 * DAY)),
            ("web/csrf/b", "sessions", Some(begin + 30 * DAY)),
            ("web/session", "sessions", Some(begin + 30 * DAY)),
        ]
    );
    let missing: Vec<&str> = plan.missing.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(missing, ["web/none"]);
    let all = world.store.list(&keyfob_core::ListOptions::default()).await.unwrap();
    assert_eq!(all.items.len(), 6, "planning wrote something");
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_rotated_and_keeps_nothing_else_from_it() {
    let world = World::new().await;
    world.wait(30 * DAY).await;
    let expired = PutRequest {
        expires_at: Change::Set(world.clock.system_now() + Duration::from_secs(1)),
        ..PutRequest::new(FIRST)
    };
    world.store.put(&name("web/session"), expired).await.unwrap();
    world.wait(30 * DAY).await;
    let due = world.due().await;
    assert!(
        due.contains(&"web/session".to_owned()) && due.contains(&"web/csrf/a".to_owned()),
        "{due:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_rotated_and_revoked_by_the_passes_after_it() {
    let world = World::new().await;
    assert!(world.due().await.is_empty());
    world.wait(30 * DAY).await;
    let passed = world.pass().await;
    let sessions = ["web/csrf/a", "web/csrf/b", "web/session"];
    assert_eq!(passed.iter().map(|(name, _)| name).collect::<Vec<_>>(), sessions);
    assert!(passed.iter().all(|(_, outcome)| matches!(outcome, Outcome::Grace { .. })));
    assert!(!world.has("web/session", FIRST).await);
    assert!(world.has("web/other", FIRST).await);
    assert!(world.due().await.is_empty(), "in the grace period nothing is due");
    let rotated: Vec<String> = world
        .rotation
        .rotated()
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(rotated, sessions);

    world.wait(Duration::from_secs(3601)).await;
    let passed = world.pass().await;
    assert_eq!(passed.iter().map(|(name, _)| name).collect::<Vec<_>>(), sessions);
    assert!(passed.iter().all(|(_, outcome)| matches!(outcome, Outcome::Completed { .. })));
    assert!(world.due().await.is_empty());

    // The other policy has its own time, and no grace.
    world.wait(30 * DAY).await;
    let passed = world.pass().await;
    let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["tagged", "web/csrf/a", "web/csrf/b", "web/session"]);
    assert!(matches!(passed[0].1, Outcome::Completed { .. }));
    assert_eq!(world.value("tagged").await.len(), 32);
}

#[tokio::test(start_paused = true)]
async fn an_emergency_replaces_everything_and_leaves_no_old_value() {
    let world = World::new().await;
    // One is in its grace period, one has stopped before the switch.
    world.wait(30 * DAY).await;
    let plan = world.rotation.plan(&world.policies).await.unwrap();
    let of = |wanted: &str| {
        plan.entries
            .iter()
            .find(move |planned| planned.name.as_str() == wanted)
            .unwrap()
    };
    world
        .rotation
        .pass([of("web/session")], &Random, &Pass::default(), |_| {})
        .await;
    let in_grace = world.value("web/session").await;
    let stopped = Stopped;
    world.rotation.rotate(&name("web/csrf/a"), &stopped).await.unwrap_err();

    let plan = world.rotation.plan(&world.policies).await.unwrap();
    let phase = |wanted: &str| {
        let planned = plan.entries.iter().find(|planned| planned.name.as_str() == wanted).unwrap();
        planned.under_way.as_ref().map(|under_way| under_way.phase)
    };
    assert_eq!(phase("web/session"), Some(Phase::Grace));
    assert_eq!(phase("web/csrf/a"), Some(Phase::Testing));

    let pass = Pass {
        emergency: true,
        ..Pass::default()
    };
    let passed = world.rotation.pass(&plan.entries, &Random, &pass, |_| {}).await;
    assert_eq!(passed.len(), 5);
    for passed in &passed {
        let name = &passed.name;
        assert!(
            matches!(passed.outcome, Ok(Outcome::Completed { .. })),
            "{name}: {:?}",
            passed.outcome
        );
        assert!(!world.has(name.as_str(), FIRST).await, "{name}");
        assert!(world.rotation.previous(name).await.is_err(), "{name} still has an old value");
    }
    assert_ne!(world.value("web/session").await.expose_secret(), in_grace.expose_secret());
    assert!(!world.has("web/csrf/a", KNOWN).await, "made before the emergency");
    let history = GetOptions::version(VersionSelector::Previous);
    let before = world.store.get(&name("web/csrf/a"), &history).await.unwrap();
    assert_eq!(
        before.value.expose_secret(),
        KNOWN.as_bytes(),
        "the rotation under way was not brought to its end"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_keeps_no_other_from_being_rotated() {
    let world = World::new().await;
    world
        .store
        .put(&name("web/csrf/a.keyfob-rotation"), PutRequest::new("no journal"))
        .await
        .unwrap();
    world.wait(30 * DAY).await;
    let plan = world.rotation.plan(&world.policies).await.unwrap();
    let damaged = plan
        .entries
        .iter()
        .find(|planned| planned.name.as_str() == "web/csrf/a")
        .unwrap();
    assert_eq!(damaged.error.as_ref().unwrap().kind(), keyfob_core::ErrorKind::Corrupt);
    assert_eq!(damaged.due, None);
    let passed = world.rotation.pass(&plan.entries, &Random, &Pass::default(), |_| {}).await;
    let failed: Vec<&str> = passed
        .iter()
        .filter(|passed| passed.outcome.is_err())
        .map(|passed| passed.name.as_str())
        .collect();
    assert_eq!((passed.len(), failed), (5, vec!["web/csrf/a"]));
}

const KNOWN: &str = "0b5c4d0a-7a3f-4c57-9d3e-6a1f0c2b9e11";

/// Makes a UUID that is known, and can't test it now.
#[derive(Debug)]
struct Stopped;

#[keyfob_core::async_trait]
impl keyfob_rotation::Rotator for Stopped {
    fn kind(&self) -> &str {
        "random"
    }
    async fn create(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<SecretValue> {
        Ok(SecretValue::from(KNOWN))
    }
    async fn set(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<()> {
        Ok(())
    }
    async fn test(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<()> {
        Err(keyfob_core::Error::new(keyfob_core::ErrorKind::Unavailable, "not now"))
    }
    async fn finish(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<()> {
        Ok(())
    }
    async fn revoke(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<Option<SecretValue>> {
        Ok(None)
    }
    async fn rollback(&self, _: &keyfob_rotation::StepContext<'_>) -> keyfob_core::Result<()> {
        Ok(())
    }
}

struct Random;

#[keyfob_core::async_trait]
impl keyfob_rotation::Rotators for Random {
    async fn rotator(&self, made: &Made) -> keyfob_core::Result<Arc<dyn keyfob_rotation::Rotator>> {
        match made {
            Made::Ready(rotator) => Ok(rotator.clone()),
            other => panic!("{other:?}"),
        }
    }
}
