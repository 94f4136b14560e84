//! What knows how one kind of secret is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue, async_trait};

use crate::hold::Hold;
use crate::journal::UnderWay;

/// Knows how one kind of secret is changed: a database password, an API key, a signing key.
///
/// The engine calls the steps, keeps the values and remembers how far it is. A rotator keeps nothing between two steps: the
/// next one may run in another process.
///
/// # Contract
/// - **Idempotent.** Every step may be called again after it was done, done in part, or not done, with the same
///   [`id`](StepContext::id), and then has to succeed. A step that has seen its work done has nothing to do.
/// - **Order.** `create`, `set`, `test`, then the engine makes the new value current, `finish`, the grace period, `revoke`. Before
///   the new value is current, `rollback` may come at any point.
/// - **Both valid.** From the end of `set` to `revoke` the system should accept the old and the new value. Where it can't (one
///   password for one user) there is a gap between `set` and the switch, which the engine keeps as short as it can.
/// - **Errors.** A [retryable](keyfob_core::ErrorKind::is_retryable) kind leaves the rotation where it is, for the next run. Any
///   other kind in `create`, `set` or `test` rolls it back at once. An error never holds a value.
/// - **Cancellation.** A step's future is dropped when its time is over or the lease is lost; see *Idempotent*.
/// - **Fencing.** A run that was paused may still be in a step while another one goes on. A system that can compare should be
///   given [`fence`](StepContext::fence) and refuse a smaller number than it has seen.
#[async_trait]
pub trait Rotator: Send + Sync + fmt::Debug {
    /// What kind this is, for example `postgres`: the journal remembers it, and no other kind goes on with its rotation.
    fn kind(&self) -> &str;

    /// Makes the new value. The old one is [`old`](StepContext::old_value).
    ///
    /// Where making it has an effect (a key at a provider), give the system [`id`](StepContext::id), so that a second call
    /// finds what the first one made.
    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue>;

    /// Makes the system accept [`new`](StepContext::new_value) beside [`old`](StepContext::old_value).
    ///
    /// In a [reversal](StepContext::is_reversal) `new` is a value that was current before and may still be accepted.
    async fn set(&self, step: &StepContext<'_>) -> Result<()>;

    /// Proves that [`new`](StepContext::new_value) works, by using it.
    async fn test(&self, step: &StepContext<'_>) -> Result<()>;

    /// Does what has to follow once [`new`](StepContext::new_value) is current and before the old value may go: encrypting data anew,
    /// telling somebody. Long work keeps its progress with [`save`](StepContext::save).
    async fn finish(&self, step: &StepContext<'_>) -> Result<()>;

    /// Makes the system no longer accept [`old`](StepContext::old_value). It can be missing where the store has let go of it.
    ///
    /// Returns a value that becomes current in the place of [`new`](StepContext::new_value), where that one still holds a part of the
    /// old one: a set of keys without the old key. `new_value` is what is current now, also when somebody else wrote it since the
    /// rotation, or when the step is repeated and it is the returned value already: where there is nothing to cut out, return
    /// `None` or the same again.
    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>>;

    /// Makes the system accept [`old`](StepContext::old_value), which is current and stays so, and not the new value.
    ///
    /// [`new`](StepContext::new_value) is missing when `create` may have been called but its answer was never kept; what it made is
    /// to be found by [`id`](StepContext::id). `old` is missing when the secret was deleted meanwhile. If somebody changed the
    /// secret during the rotation, `old` is what they wrote.
    async fn rollback(&self, step: &StepContext<'_>) -> Result<()>;

    /// What becomes current when `old`, which was current before, comes back in the place of `current`: `old` itself, unless it
    /// lacks what is still needed, as a set of keys lacks the newer key. Always the same for the same two values; asked before a
    /// rotation in the other direction begins, and in it.
    ///
    /// # Errors
    /// `Unsupported`, where `old` may not come back: that would lose what only `current` can read.
    fn come_back(&self, old: &SecretValue, current: &SecretValue) -> Result<SecretValue> {
        let _ = current;
        Ok(old.clone())
    }
}

/// What a step is told.
pub struct StepContext<'a> {
    name: SecretName,
    id: String,
    fence: u64,
    is_reversal: bool,
    started: SystemTime,
    old: Option<SecretValue>,
    new: Option<SecretValue>,
    data: Mutex<BTreeMap<String, String>>,
    /// `None` outside of the engine.
    hold: Option<&'a Hold>,
}

/// What a context outside of the engine says of its lease.
const DETACHED: Duration = Duration::from_secs(60);

impl<'a> StepContext<'a> {
    /// The most bytes of all that [`save`](Self::save) keeps, names and values together.
    pub const MAX_DATA_BYTES: usize = 4096;

    /// A context outside of the engine, for tests of a rotator: what is saved lasts as long as the context.
    #[must_use]
    pub fn detached(name: SecretName, id: impl Into<String>, old: Option<SecretValue>, new: Option<SecretValue>) -> Self {
        Self {
            name,
            id: id.into(),
            fence: 1,
            is_reversal: false,
            started: SystemTime::UNIX_EPOCH,
            old,
            new,
            data: Mutex::default(),
            hold: None,
        }
    }

    /// One for a hook that runs without the lease.
    pub(crate) fn unheld(
        name: &SecretName,
        under_way: &UnderWay,
        fence: u64,
        old: Option<SecretValue>,
        new: Option<SecretValue>,
    ) -> Self {
        Self {
            name: name.clone(),
            id: under_way.id.clone(),
            fence,
            is_reversal: under_way.reverse,
            started: under_way.started,
            old,
            new,
            data: Mutex::new(under_way.data.clone()),
            hold: None,
        }
    }

    pub(crate) fn of(
        hold: &'a Hold,
        name: &SecretName,
        under_way: &UnderWay,
        old: Option<SecretValue>,
        new: Option<SecretValue>,
    ) -> Self {
        Self {
            hold: Some(hold),
            ..Self::unheld(name, under_way, hold.fence(), old, new)
        }
    }

    /// The secret.
    #[must_use]
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The same for all steps of a rotation, whichever run calls them, and for no other rotation: letters, digits and `-`. Serves
    /// as an idempotency key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The fencing number: a run that takes over has a greater one than all before it.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// How long this run surely has the lease from now on, should it never be renewed again.
    ///
    /// For a system that has a clock: what is refused there once this time is over can't be done by a run that was paused and
    /// taken over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.map_or(DETACHED, Hold::remaining)
    }

    /// Whether a value that was current before comes back, instead of one that `create` made.
    #[must_use]
    pub fn is_reversal(&self) -> bool {
        self.is_reversal
    }

    /// When the rotation began, by the clock of the run that began it. The beginning of 1970 in a [detached](Self::detached) context.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// The value that is to go.
    ///
    /// # Errors
    /// `NotFound` where it is missing; see each step.
    pub fn old_value(&self) -> Result<&SecretValue> {
        self.old.as_ref().ok_or_else(|| self.missing("the old value is gone"))
    }

    /// The value that is to come. There is none in `create`.
    ///
    /// # Errors
    /// `NotFound` where it is missing; see each step.
    pub fn new_value(&self) -> Result<&SecretValue> {
        self.new.as_ref().ok_or_else(|| self.missing("there is no new value yet"))
    }

    /// What an earlier call kept under `key` in this rotation.
    #[must_use]
    pub fn data(&self, key: &str) -> Option<String> {
        self.kept().get(key).cloned()
    }

    /// All that was kept in this rotation.
    #[must_use]
    pub fn notes(&self) -> BTreeMap<String, String> {
        self.kept().clone()
    }

    /// Keeps a note in the journal for the steps to come, for example how far a long step has got. Never a secret: whoever may see
    /// a rotation's status sees it.
    ///
    /// # Errors
    /// `InvalidInput` beyond [`MAX_DATA_BYTES`](Self::MAX_DATA_BYTES). `Conflict` when another run has taken over: the step
    /// must then end. Those of the store.
    pub async fn save(&self, key: &str, value: &str) -> Result<()> {
        let data = {
            let mut data = self.kept().clone();
            data.insert(key.to_owned(), value.to_owned());
            data
        };
        let bytes: usize = data.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > Self::MAX_DATA_BYTES {
            let message = format!("a rotation keeps {} bytes of notes, these are {bytes}", Self::MAX_DATA_BYTES);
            return Err(Error::new(ErrorKind::InvalidInput, message).with("name", self.name.as_str()));
        }
        if let Some(hold) = self.hold {
            hold.enter(|journal| {
                if let Some(under_way) = &mut journal.under_way {
                    under_way.data = data.clone();
                }
            })
            .await?;
        }
        *self.kept() = data;
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self, message: &'static str) -> Error {
        Error::new(ErrorKind::NotFound, message)
            .with("name", self.name.as_str())
            .with("rotation", self.id.as_str())
    }
}

impl fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("fence", &self.fence)
            .field("is_reversal", &self.is_reversal)
            .finish_non_exhaustive()
    }
}
