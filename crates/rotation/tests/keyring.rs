//! Keys that data is encrypted with: whatever happens, every record can be decrypted with the keyring that is current.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Clock, Error, ErrorKind, GetOptions, MemoryStore, PutRequest, Result, SecretName, SecretStore, SecretValue, VirtualClock,
    async_trait,
};
use keyfob_rotation::{
    DataAlgorithm, ExternalRotator, Keyring, KeyringRotator, Outcome, Phase, Portion, Progress, Reencrypt, Rotation,
    RotationCommand, RotationOptions, Rotator, StepContext,
};
use serde_json::{Value, json};

fn name() -> SecretName {
    SecretName::new("app/data-key").unwrap()
}

/// What becomes of a portion.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Fails,
    Hangs,
}

/// Records, of which is known under which key they are.
#[derive(Debug, Default)]
struct Data {
    records: Mutex<BTreeMap<u64, String>>,
    /// The cursors that were asked for.
    asked: Mutex<Vec<u64>>,
    /// What becomes of the portions that begin there, once.
    fates: Mutex<BTreeMap<u64, Fate>>,
}

const PORTION: usize = 3;

impl Data {
    fn add(&self, count: u64, key: &str) {
        let mut records = self.records.lock().unwrap();
        let first = records.len() as u64 + 1;
        records.extend((first..first + count).map(|record| (record, key.to_owned())));
    }

    fn under(&self, key: &str) -> usize {
        self.records.lock().unwrap().values().filter(|under| *under == key).count()
    }

    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Reencrypt for Data {
    async fn portion(&self, step: &StepContext<'_>, progress: &Progress) -> Result<Portion> {
        let from = progress.cursor.as_ref().map_or(0, |cursor| cursor.parse().unwrap());
        self.asked.lock().unwrap().push(from);
        let fate = self.fates.lock().unwrap().remove(&from);
        let keyring = Keyring::parse(step.new_value()?)?;
        let (end, is_last) = {
            let mut records = self.records.lock().unwrap();
            let total = records.len();
            let mut end = from;
            for (record, key) in records.range_mut(from + 1..).take(PORTION) {
                assert!(keyring.key(key).is_some(), "a record whose key is gone");
                keyring.primary().unwrap().id.clone_into(key);
                end = *record;
                if fate.is_some() {
                    // In the middle of a portion.
                    break;
                }
            }
            (end, end == total as u64)
        };
        match fate {
            Some(Fate::Fails) => return Err(Error::new(ErrorKind::Unavailable, "the database is away")),
            Some(Fate::Hangs) => std::future::pending().await,
            None => {}
        }
        let further = Progress::at(end.to_string(), end).of(self.records.lock().unwrap().len() as u64);
        Ok(match is_last {
            true => Portion::Last(further),
            false => Portion::More(further),
        })
    }

    async fn unused(&self, _: &StepContext<'_>, ids: &[String]) -> Result<Vec<String>> {
        // Those that nobody asked about too: it must not matter.
        let answer = ids.iter().cloned().chain(["stranger".to_owned()]);
        Ok(answer.filter(|id| self.under(id) == 0).collect())
    }
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<VirtualClock>,
    rotation: Rotation,
    data: Arc<Data>,
}

impl World {
    async fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let clock = Arc::new(VirtualClock::starting_at(start));
        let store = Arc::new(MemoryStore::new().clock(clock.clone()));
        store.put(&name(), PutRequest::new(r#"{"keys": []}"#)).await.unwrap();
        Self {
            rotation: Rotation::new(store.clone()).clock(clock.clone()),
            store,
            clock,
            data: Arc::default(),
        }
    }

    fn rotator(&self) -> KeyringRotator {
        KeyringRotator::new(DataAlgorithm::A256Gcm).reencrypt(self.data.clone())
    }

    /// From the beginning to the end.
    async fn rotate(&self, rotator: &dyn Rotator) {
        let outcome = self.rotation.rotate(&name(), rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }), "{outcome:?}");
        self.end(rotator).await;
    }

    async fn end(&self, rotator: &dyn Rotator) {
        tokio::time::advance(Duration::from_secs(3601)).await;
        let outcome = self.rotation.resume(&name(), rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
        self.readable().await;
    }

    async fn keyring(&self) -> Keyring {
        let secret = self.store.get(&name(), &GetOptions::default()).await.unwrap();
        Keyring::parse(&secret.value).unwrap()
    }

    async fn primary(&self) -> String {
        self.keyring().await.primary().unwrap().id.clone()
    }

    /// That every record can be decrypted.
    async fn readable(&self) {
        let keyring = self.keyring().await;
        for (record, key) in &*self.data.records.lock().unwrap() {
            assert!(keyring.key(key).is_some(), "record {record} can't be decrypted");
        }
    }

    async fn phase(&self) -> Option<(Phase, Option<Progress>)> {
        let status = self.rotation.status(&name()).await.unwrap();
        status.under_way.map(|under_way| (under_way.phase, under_way.progress()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_new_key_encrypts_and_every_old_one_decrypts() {
    let world = World::new().await;
    let rotator = KeyringRotator::new(DataAlgorithm::C20P);
    let mut ids = Vec::new();
    for count in 1..=4 {
        world.rotate(&rotator).await;
        let keyring = world.keyring().await;
        assert_eq!(keyring.keys().len(), count);
        ids.insert(0, world.primary().await);
        assert_eq!(keyring.keys().iter().map(|key| key.id.clone()).collect::<Vec<_>>(), ids);
        assert_eq!(keyring.keys().iter().filter(|key| key.is_primary).count(), 1);
    }
    let secret = world.store.get(&name(), &GetOptions::default()).await.unwrap();
    let document: Value = serde_json::from_slice(secret.value.expose_secret()).unwrap();
    let first = document["keys"][3].as_object().unwrap();
    let fields: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(fields, ["kty", "kid", "alg", "use", "created", "state", "k"]);
    let at = |field: &str| first[field].as_str().unwrap();
    assert_eq!(
        (at("kty"), at("alg"), at("use"), at("state"), at("created"), at("k").len()),
        ("oct", "C20P", "enc", "readable", "2027-01-15T08:00:00Z", 43)
    );
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_is_proven_before_its_key_encrypts() {
    for (algorithm, bytes) in [
        (DataAlgorithm::A128Gcm, 16),
        (DataAlgorithm::A256Gcm, 32),
        (DataAlgorithm::C20P, 32),
    ] {
        let step = |new: Option<SecretValue>| StepContext::detached(name(), "id", Some(SecretValue::from(r#"{"keys":[]}"#)), new);
        let rotator = KeyringRotator::new(algorithm);
        let made = rotator.create(&step(None)).await.unwrap();
        assert_eq!(Keyring::parse(&made).unwrap().primary().unwrap().secret.len(), bytes);
        rotator.test(&step(Some(made.clone()))).await.unwrap();
        let other = ["A128GCM", "A256GCM", "none"]
            .into_iter()
            .find(|other| *other != algorithm.as_str() && bytes != 16);
        let damaged = made
            .expose_str()
            .unwrap()
            .replace(algorithm.as_str(), other.unwrap_or("A256GCM"))
            .replace("\"k\":\"", "\"k\":\"AAAA");
        let error = rotator.test(&step(Some(SecretValue::from(damaged)))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test(start_paused = true)]
async fn data_is_encrypted_anew_and_once_more_after_the_grace_period() {
    let world = World::new().await;
    let rotator = world.rotator();
    world.rotate(&rotator).await;
    let first = world.primary().await;
    world.data.add(10, &first);
    world.data.asked();
    world.rotation.rotate(&name(), &rotator).await.unwrap();
    let second = world.primary().await;
    assert_eq!((world.data.under(&first), world.data.under(&second)), (0, 10));
    assert_eq!(world.data.asked(), [0, 3, 6, 9]);
    // By somebody who has not read the new keyring yet.
    world.data.add(2, &first);
    world.readable().await;
    world.end(&rotator).await;
    assert_eq!((world.data.under(&first), world.data.under(&second)), (0, 12));
    assert_eq!(world.data.asked(), [0, 3, 6, 9]);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_a_kill_or_the_end_of_the_time_the_next_run_goes_on_where_it_was() {
    for fate in [Fate::Fails, Fate::Hangs] {
        for at in [0, 3, 6, 9] {
            let world = World::new().await;
            let rotator = world.rotator();
            world.rotate(&rotator).await;
            let first = world.primary().await;
            world.data.add(10, &first);
            world.data.asked();
            world.data.fates.lock().unwrap().insert(at, fate);
            let name = name();
            let rotation = world.rotation.rotate(&name, &rotator);
            match fate {
                Fate::Fails => assert_eq!(rotation.await.unwrap_err().kind(), ErrorKind::Unavailable),
                // As by `kill -9`: the future is dropped in the middle.
                Fate::Hangs if at > 3 => {
                    assert!(tokio::time::timeout(Duration::from_secs(30), rotation).await.is_err());
                    world.clock.sleep(Duration::from_secs(66)).await;
                }
                Fate::Hangs => assert_eq!(rotation.await.unwrap_err().kind(), ErrorKind::Timeout),
            }
            world.readable().await;
            let second = world.primary().await;
            assert!(second != first, "the new key is not current");
            assert!(world.data.under(&second) > 0, "no portion was begun");
            let expected = (at > 0).then(|| Progress::at(at.to_string(), at).of(10));
            assert_eq!(world.phase().await, Some((Phase::Finishing, expected)));
            let before = world.data.asked();
            world.rotation.resume(&name, &rotator).await.unwrap();
            // Only the portion in which it happened is looked at again.
            assert_eq!([before, world.data.asked()].concat().len(), 5, "{fate:?} at {at}");
            assert_eq!((world.data.under(&first), world.data.under(&second)), (0, 10));
            world.end(&rotator).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_only_when_enough_others_stay_and_no_record_needs_it() {
    let world = World::new().await;
    let keep = world.rotator().keep(NonZeroUsize::new(2).unwrap());
    let mut ids = Vec::new();
    for _ in 0..3 {
        world.rotate(&keep).await;
        ids.insert(0, world.primary().await);
    }
    world.data.add(4, &ids[2]);
    // Nothing encrypts this one anew, because it is not there yet when that is done.
    world.rotation.rotate(&name(), &keep).await.unwrap();
    ids.insert(0, world.primary().await);
    assert_eq!(world.data.under(&ids[0]), 4);
    world.end(&keep).await;
    assert_eq!(world.keyring().await.keys().len(), 3);
    assert!(world.keyring().await.key(&ids[3]).is_none(), "the oldest key is still there");

    // Whoever says that nothing is left of a key has to be right; whoever doesn't say it keeps the key.
    let used = ids[2].clone();
    let stubborn = Stubborn(used.clone());
    let rotator = KeyringRotator::new(DataAlgorithm::A256Gcm)
        .reencrypt(Arc::new(stubborn))
        .keep(NonZeroUsize::new(1).unwrap());
    world.rotate(&rotator).await;
    let keyring = world.keyring().await;
    assert!(keyring.key(&used).is_some(), "a key that is needed is gone");
    assert!(keyring.key(&ids[1]).is_none());
    assert_eq!(keyring.keys().len(), 3);
}

/// Has nothing to do, and needs one key.
#[derive(Debug)]
struct Stubborn(String);

#[async_trait]
impl Reencrypt for Stubborn {
    async fn portion(&self, _: &StepContext<'_>, progress: &Progress) -> Result<Portion> {
        Ok(Portion::Last(progress.clone()))
    }

    async fn unused(&self, _: &StepContext<'_>, ids: &[String]) -> Result<Vec<String>> {
        Ok(ids.iter().filter(|id| **id != self.0).cloned().collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyring_that_data_was_encrypted_with_never_goes_back() {
    let world = World::new().await;
    let rotator = world.rotator();
    world.rotate(&rotator).await;
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("rotate again"));
    };
    // At rest, and in the grace period.
    refused(world.rotation.rollback(&name(), &rotator).await.unwrap_err());
    assert_eq!(world.phase().await, None);
    world.rotation.rotate(&name(), &rotator).await.unwrap();
    let second = world.primary().await;
    refused(world.rotation.rollback(&name(), &rotator).await.unwrap_err());
    assert_eq!(world.phase().await.unwrap().0, Phase::Grace);
    world.end(&rotator).await;
    assert_eq!(world.primary().await, second);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_keyring_is_neither_rotated_nor_repeated() {
    let key = |state: &str, id: &str| json!({"kty": "oct", "kid": id, "alg": "A256GCM", "state": state, "k": "AAAA"});
    let with = |keys: Value| json!({ "keys": keys }).to_string();
    let mut without = key("primary", "a");
    without.as_object_mut().unwrap().remove("kid");
    let mut long = key("primary", "a");
    long["k"] = json!("kfcanary-nokey0001!");
    for wrong in [
        "kfcanary-bare0000001".to_owned(),
        with(json!([key("primary", "a"), key("primary", "b")])),
        with(json!([key("readable", "a")])),
        with(json!([key("primary", "a"), key("readable", "a")])),
        with(json!([key("disabled", "a")])),
        with(json!([without])),
        with(json!([long])),
        with(json!([{"kty": "RSA", "kid": "a", "alg": "RS256", "state": "primary", "k": "AAAA"}])),
    ] {
        let world = World::new().await;
        world.store.put(&name(), PutRequest::new(wrong.clone())).await.unwrap();
        let error = world.rotation.rotate(&name(), &world.rotator()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"));
        let secret = world.store.get(&name(), &GetOptions::default()).await.unwrap();
        assert!(secret.value.expose_secret() == wrong.as_bytes());
    }
}

fn program(script: &str) -> ExternalRotator {
    ExternalRotator::command(RotationCommand::new("sh").arguments(["-c", script]))
}

fn step() -> StepContext<'static> {
    let value = |text: &str| Some(SecretValue::from(text));
    StepContext::detached(name(), "id", value("kfcanary-before0001"), value("kfcanary-after00001"))
}

#[tokio::test]
async fn a_program_is_asked_with_where_it_was_and_answers_with_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let asked = |script: &str| {
        let command = RotationCommand::new("sh").arguments(["-c", &format!("cat > question; {script}")]);
        ExternalRotator::command(command.directory(directory.path()))
    };
    let further = Progress::at("row 17", 17).of(40);
    let answer = r#"echo '{"progress": {"cursor": "row 17", "done": 17, "total": 40}}'"#;
    let portion = asked(answer).portion(&step(), &Progress::default()).await.unwrap();
    assert_eq!(portion, Portion::More(further.clone()));
    let portion = asked("echo '{\"complete\": true}'").portion(&step(), &further).await.unwrap();
    assert_eq!(portion, Portion::Last(further.clone()));
    let question: Value = serde_json::from_slice(&std::fs::read(directory.path().join("question")).unwrap()).unwrap();
    assert_eq!(question["step"], "reencrypt");
    assert_eq!(question["progress"], json!({"cursor": "row 17", "done": 17, "total": 40}));
    assert!(question.get("keys").is_none());
    let keys = ["a".to_owned(), "b".to_owned()];
    let unused = asked("echo '{\"unused\": [\"b\"]}'").unused(&step(), &keys).await.unwrap();
    assert_eq!(unused, ["b"]);
    let question: Value = serde_json::from_slice(&std::fs::read(directory.path().join("question")).unwrap()).unwrap();
    assert_eq!((&question["step"], &question["keys"]), (&json!("unused"), &json!(["a", "b"])));
    assert!(question.get("progress").is_none());
}

#[tokio::test]
async fn silence_is_no_proof_that_everything_was_done() {
    for answer in [
        "true",
        "echo '{}'",
        "echo '{\"notes\": {\"a\": \"b\"}}'",
        "echo '{\"unused\": []}'",
        "echo '{\"again\": true}'",
        "echo '{\"progress\": {\"rows\": 3}}'",
    ] {
        let error = program(answer).portion(&step(), &Progress::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{answer}");
    }
    for answer in ["true", "echo '{\"complete\": true}'", "echo '{\"progress\": {\"done\": 1}}'"] {
        let error = program(answer).unused(&step(), &["a".to_owned()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{answer}");
    }
    let error = program("echo '{\"complete\": true}'").set(&step()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn who_never_gets_further_is_not_asked_for_ever() {
    let world = World::new().await;
    let rotator = KeyringRotator::new(DataAlgorithm::A256Gcm).reencrypt(Arc::new(Standing));
    let error = world.rotation.rotate(&name(), &rotator).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("ended where it began"), "{error}");
    // Once that is mended the next run goes on.
    let options = RotationOptions {
        grace: Duration::ZERO,
        ..RotationOptions::default()
    };
    let outcome = world
        .rotation
        .clone()
        .options(options)
        .resume(&name(), &world.rotator())
        .await;
    assert!(matches!(outcome, Ok(Outcome::Completed { .. })), "{outcome:?}");
}

#[derive(Debug)]
struct Standing;

#[async_trait]
impl Reencrypt for Standing {
    async fn portion(&self, _: &StepContext<'_>, _: &Progress) -> Result<Portion> {
        Ok(Portion::More(Progress::at("0", 0)))
    }

    async fn unused(&self, _: &StepContext<'_>, _: &[String]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
