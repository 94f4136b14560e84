//! In virtual time, over stores that do what a script says.

mod batches;
mod breakers;
mod health;
mod reads;
mod writes;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::clock::VirtualClock;
use crate::error::{Error, ErrorKind};
use crate::failover::{BreakerOptions, Failover, FailoverOptions, FailoverStore, FailoverWrites, Transition};
use crate::name::SecretName;
use crate::options::{GetOptions, PutRequest, VersionSelector};
use crate::random::Random;
use crate::scripted::{ScriptedStore, Step};
use crate::secret::{Secret, Version};
use crate::store::SecretStore;

const FIRST: &str = "kfcanary-firstfirst";
const SECOND: &str = "kfcanary-secondsecond";

/// A list of stores, `a`, `b`, ..., and what its breakers did.
struct List {
    members: Vec<Arc<ScriptedStore>>,
    store: FailoverStore,
    transitions: Arc<Mutex<Vec<Transition>>>,
}

impl List {
    fn new(members: Vec<ScriptedStore>, options: FailoverOptions) -> Self {
        let members: Vec<Arc<ScriptedStore>> = members.into_iter().map(Arc::new).collect();
        let transitions = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&transitions);
        let labelled = ["a", "b", "c"]
            .into_iter()
            .zip(members.iter().map(|member| Arc::clone(member) as Arc<dyn SecretStore>));
        let store = Failover::new(options)
            .clock(Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH)))
            .random(Random::seeded(7))
            .on_transition(move |transition| told.lock().unwrap().push(transition.clone()))
            .over(labelled)
            .unwrap();
        Self {
            members,
            store,
            transitions,
        }
    }

    /// Two stores that both have `name` and `other`, with values of their own; the second one's is its second version.
    async fn pair(options: FailoverOptions) -> Self {
        let list = Self::new(vec![ScriptedStore::new([]), ScriptedStore::new([])], options);
        for secret in [name(), other()] {
            list.put_into(0, &secret, FIRST).await;
            list.put_into(1, &secret, "kfcanary-beforebefore").await;
            list.put_into(1, &secret, SECOND).await;
        }
        list
    }

    async fn put_into(&self, rank: usize, name: &SecretName, value: &str) {
        self.members[rank].memory.put(name, PutRequest::new(value)).await.unwrap();
    }

    fn script(&self, rank: usize, steps: impl IntoIterator<Item = Step>) {
        self.members[rank].then(steps);
    }

    /// How often each store was asked.
    fn asked(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.asked().len()).collect()
    }

    async fn get(&self) -> Result<Secret, Error> {
        self.store.get(&name(), &GetOptions::default()).await
    }

    async fn get_version(&self, version: &str) -> Result<Secret, Error> {
        let version = VersionSelector::parse(version).unwrap();
        self.store.get(&name(), &GetOptions::version(version)).await
    }

    /// `closed>open`, ..., of all stores in the order in which they were told.
    fn transitions(&self) -> Vec<String> {
        let transitions = self.transitions.lock().unwrap();
        let shown = transitions.iter().map(|transition| {
            let Transition { label, from, to, .. } = transition;
            format!("{label}: {}>{}", from.as_str(), to.as_str())
        });
        shown.collect()
    }
}

fn name() -> SecretName {
    SecretName::new("team/name").unwrap()
}

fn other() -> SecretName {
    SecretName::new("team/other").unwrap()
}

fn version(token: &str) -> Version {
    Version::new(token).unwrap()
}

fn value(secret: &Secret) -> &str {
    secret.value.expose_str().unwrap()
}

fn replicate() -> FailoverOptions {
    FailoverOptions {
        writes: FailoverWrites::Replicate,
        ..FailoverOptions::default()
    }
}

/// Who did not answer, as it is shown.
fn passed(secret: &Secret) -> Vec<String> {
    secret.metadata.origin.passed_over.iter().map(ToString::to_string).collect()
}

/// A fact of an error.
fn fact<'a>(error: &'a Error, key: &str) -> Option<&'a str> {
    error.context().find(|(known, _)| *known == key).map(|(_, value)| value)
}

#[tokio::test]
async fn options_and_labels_that_can_not_be_are_refused() {
    let over = |options: FailoverOptions, labels: &[&str]| {
        let store = || Arc::new(ScriptedStore::new([])) as Arc<dyn SecretStore>;
        Failover::new(options)
            .over(labels.iter().map(|label| (*label, store())))
            .err()
    };
    let with = |change: fn(&mut FailoverOptions)| {
        let mut options = FailoverOptions::default();
        change(&mut options);
        options
    };
    let wrong: [fn(&mut FailoverOptions); 9] = [
        |options| options.read_timeout = Duration::ZERO,
        |options| options.write_timeout = Duration::ZERO,
        |options| options.breaker.failures = 0,
        |options| options.breaker.share = 0.0,
        |options| options.breaker.share = f64::NAN,
        |options| options.breaker.share = 1.1,
        |options| options.breaker.window = 65,
        |options| options.breaker.first_open = Duration::ZERO,
        |options| options.breaker.first_open = Duration::from_secs(61),
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        let error = over(with(change), &["a"]);
        assert_eq!(
            error.map(|error| error.kind()),
            Some(ErrorKind::InvalidConfig),
            "option {index}"
        );
    }
    for labels in [&[][..], &["a", "a"], &["a:b"], &[""]] {
        let error = over(FailoverOptions::default(), labels);
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidConfig), "{labels:?}");
    }
    let extreme = with(|options| {
        options.breaker = BreakerOptions {
            failures: u32::MAX,
            share: 1.0,
            window: 64,
            first_open: Duration::MAX,
            longest_open: Duration::MAX,
        };
    });
    assert!(over(extreme, &["a", "b"]).is_none());
}
