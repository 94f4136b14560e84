//! Systems that secrets are for, and rotators for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use keyfob_rotation::{Rotator, StepContext};

use crate::runner::Runner;
use crate::stores::Witness;

/// What a system accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemKind {
    /// A provider that makes keys itself, and accepts any number of them until each is revoked.
    Keys,
    /// A database with two users, each with one password, used in turn.
    Alternating,
    /// A database with one user and one password.
    Single,
    /// A system that reads a document with all keys that are valid.
    KeySet,
}

impl SystemKind {
    pub(crate) const ALL: [Self; 4] = [Self::Keys, Self::Alternating, Self::Single, Self::KeySet];

    /// Whether there is never a moment in which the current value is not accepted.
    pub(crate) fn has_no_gap(self) -> bool {
        self != Self::Single
    }
}

/// The system.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) kind: SystemKind,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct State {
    /// Accepted values; for `Alternating` by user, for `Single` under one key.
    accepted: BTreeMap<String, String>,
    /// What was made for which rotation.
    made: BTreeMap<String, String>,
    /// The greatest fencing number that was seen.
    fence: u64,
    /// Counts what is made.
    count: u64,
}

pub(crate) const FIRST: &str = "kfcanary-first00001";

impl System {
    pub(crate) fn new(kind: SystemKind) -> Arc<Self> {
        let mut state = State::default();
        let (key, value) = match kind {
            SystemKind::Keys | SystemKind::KeySet => (FIRST.to_owned(), FIRST.to_owned()),
            SystemKind::Alternating => ("a".to_owned(), FIRST.to_owned()),
            SystemKind::Single => ("only".to_owned(), FIRST.to_owned()),
        };
        state.accepted.insert(key, value);
        Arc::new(Self {
            kind,
            state: Mutex::new(state),
        })
    }

    /// The first value of the secret.
    pub(crate) fn first(&self) -> String {
        match self.kind {
            SystemKind::Alternating => format!("a:{FIRST}"),
            _ => FIRST.to_owned(),
        }
    }

    /// Whether a client with this value is let in.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        let state = self.state.lock().unwrap();
        match self.kind {
            SystemKind::Keys => state.accepted.contains_key(value),
            // A client signs with the first key, and the verifier reads all of them from the secret itself.
            SystemKind::KeySet => !value.is_empty(),
            SystemKind::Alternating => {
                let (user, password) = value.split_once(':').unwrap();
                state.accepted.get(user).is_some_and(|accepted| accepted == password)
            }
            SystemKind::Single => state.accepted["only"] == value,
        }
    }

    /// Somebody else's key.
    pub(crate) fn also_accepts(&self, value: &str) {
        self.state.lock().unwrap().accepted.insert(value.to_owned(), value.to_owned());
    }

    /// What is there, but for the fencing number.
    pub(crate) fn snapshot(&self) -> String {
        let state = self.state.lock().unwrap();
        format!("{:?}", (&state.accepted, &state.made))
    }

    fn change<T>(&self, fence: u64, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state.lock().unwrap();
        if fence < state.fence {
            return Err(Error::new(ErrorKind::Conflict, "an older run"));
        }
        state.fence = fence;
        Ok(change(&mut state))
    }
}

/// One runner's rotator for the system.
#[derive(Debug)]
pub(crate) struct SystemRotator {
    pub(crate) system: Arc<System>,
    pub(crate) runner: Arc<Runner>,
    pub(crate) witness: Arc<dyn Witness>,
    /// The step that fails, and how.
    pub(crate) fails: Option<(&'static str, ErrorKind)>,
    /// How long `set` takes, in seconds.
    pub(crate) set_takes: u64,
}

fn text(value: Result<&SecretValue>) -> Option<String> {
    value.ok().map(|value| value.expose_str().unwrap().to_owned())
}

impl SystemRotator {
    async fn step<T>(&self, step: &StepContext<'_>, what: &'static str, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let effect = async {
            if let Some((_, kind)) = self.fails.filter(|(step, _)| *step == what) {
                return Err(Error::new(kind, "as the test says"));
            }
            let answer = self.system.change(step.fence(), change)?;
            self.witness.look(what);
            Ok(answer)
        };
        self.runner.call(what.to_owned(), effect).await
    }
}

fn user_of(value: &str) -> String {
    value.split_once(':').unwrap().0.to_owned()
}

fn accept(kind: SystemKind, state: &mut State, value: &str) {
    match kind {
        SystemKind::Keys => {
            state.accepted.insert(value.to_owned(), value.to_owned());
        }
        SystemKind::KeySet => {}
        SystemKind::Alternating => {
            let (user, password) = value.split_once(':').unwrap();
            state.accepted.insert(user.to_owned(), password.to_owned());
        }
        SystemKind::Single => {
            state.accepted.insert("only".to_owned(), value.to_owned());
        }
    }
}

fn refuse(kind: SystemKind, state: &mut State, value: &str) {
    match kind {
        SystemKind::Keys => {
            state.accepted.remove(value);
        }
        SystemKind::Alternating => {
            state.accepted.remove(&user_of(value));
        }
        SystemKind::Single | SystemKind::KeySet => {}
    }
}

#[async_trait]
impl Rotator for SystemRotator {
    fn kind(&self) -> &str {
        "double"
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let (kind, id, old) = (self.system.kind, step.id().to_owned(), text(step.old_value()).unwrap());
        self.step(step, "create", |state| {
            if kind == SystemKind::Keys
                && let Some(made) = state.made.get(&id)
            {
                return made.clone();
            }
            state.count += 1;
            let fresh = format!("kfcanary-value{:05}", state.count);
            match kind {
                SystemKind::Keys => {
                    state.made.insert(id, fresh.clone());
                    state.accepted.insert(fresh.clone(), fresh.clone());
                    fresh
                }
                SystemKind::Alternating => format!("{}:{fresh}", if user_of(&old) == "a" { "b" } else { "a" }),
                SystemKind::Single => fresh,
                // The new key signs, the old one still verifies.
                SystemKind::KeySet => format!("{fresh} {}", old.split(' ').next().unwrap()),
            }
        })
        .await
        .map(SecretValue::from)
    }

    async fn set(&self, step: &StepContext<'_>) -> Result<()> {
        tokio::time::sleep(std::time::Duration::from_secs(self.set_takes)).await;
        let (kind, new) = (self.system.kind, text(step.new_value()).unwrap());
        self.step(step, "set", |state| accept(kind, state, &new)).await
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let new = text(step.new_value()).unwrap();
        self.step(step, "test", |_| ()).await?;
        match self.system.accepts(&new) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the system does not accept the new value",
            )),
        }
    }

    async fn finish(&self, step: &StepContext<'_>) -> Result<()> {
        let done: u64 = step.data("done").map_or(0, |done| done.parse().unwrap());
        // Something long that goes on where it was.
        for part in done..2 {
            self.step(step, "finish", |_| ()).await?;
            step.save("done", &(part + 1).to_string()).await?;
        }
        Ok(())
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        let (kind, old, new) = (self.system.kind, text(step.old_value()), text(step.new_value()));
        self.step(step, "revoke", |state| {
            if let Some(old) = &old {
                refuse(kind, state, old);
            }
        })
        .await?;
        let rest = new.filter(|_| kind == SystemKind::KeySet);
        Ok(rest.map(|new| SecretValue::from(new.split(' ').next().unwrap())))
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        let (kind, id, old, new) = (
            self.system.kind,
            step.id().to_owned(),
            text(step.old_value()),
            text(step.new_value()),
        );
        self.step(step, "rollback", |state| {
            if let Some(new) = state.made.remove(&id).or(new) {
                refuse(kind, state, &new);
            }
            if let Some(old) = old {
                accept(kind, state, &old);
            }
        })
        .await
    }
}

/// The values that a system of keys accepts and that nobody should use any more.
pub(crate) fn strays(system: &System, current: &str) -> BTreeSet<String> {
    let state = system.state.lock().unwrap();
    match system.kind {
        SystemKind::Keys => state.accepted.keys().filter(|key| *key != current).cloned().collect(),
        SystemKind::Alternating => state
            .accepted
            .iter()
            .map(|(user, password)| format!("{user}:{password}"))
            .filter(|value| value != current)
            .collect(),
        SystemKind::Single | SystemKind::KeySet => BTreeSet::new(),
    }
}
