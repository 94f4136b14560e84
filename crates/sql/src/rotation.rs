//! What a change of the key is, whatever database keeps the rows.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, KeyEncryptionKey, KeySlot, KeySource};

use crate::keyring::Keyring;
use crate::verified::Verified;

/// Where a change of the key has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotateStep {
    /// Both keys open the store from now on.
    Begun {
        /// Whether this takes up a change that was begun before.
        resumed: bool,
    },
    /// This many data keys have been wrapped again by this call.
    Wrapped(u64),
    /// Every data key is under the new key, and the old key still opens the store: now is the time to put the new
    /// key where processes look for it.
    Ready,
    /// Only the new key opens the store.
    Finished,
}

/// Which keys open the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key that new values are sealed under.
    pub current: KekId,
    /// Keys that a change has not retired yet.
    pub retiring: Vec<KekId>,
    /// The ids of the key sources (files, passphrases, ...) that have a slot.
    pub sources: Vec<String>,
}

impl KeyStatus {
    pub(crate) fn of(verified: &Verified) -> Self {
        let current = verified.head.kek;
        let mut retiring: Vec<KekId> = verified
            .slots
            .iter()
            .map(|slot| slot.kek)
            .filter(|kek| *kek != current)
            .collect();
        retiring.sort_unstable();
        retiring.dedup();
        Self {
            current,
            retiring,
            sources: sources_of(&verified.slots),
        }
    }
}

impl Verified {
    /// Whether a change of the key was begun and not finished.
    pub(crate) fn is_key_changing(&self) -> bool {
        self.slots.iter().any(|slot| slot.kek != self.head.kek) || sources_of(&self.slots).len() > 1
    }
}

/// What a change leads to: one key in one source's slot.
pub(crate) struct Target {
    pub(crate) kek: KekId,
    pub(crate) source: String,
    pub(crate) resumed: bool,
}

impl Target {
    pub(crate) fn is(&self, slot: &KeySlot) -> bool {
        slot.kek == self.kek && slot.source == self.source
    }

    pub(crate) fn check(&self, verified: &Verified) -> Result<()> {
        if verified.head.kek == self.kek && verified.slots.iter().any(|slot| self.is(slot)) {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::Conflict, "another change of the key has replaced this one")
                .with_hint("`keyfob doctor` says which keys open the store"),
        )
    }
}

/// How a change of the key begins.
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Every key that is still in use, and the new one.
    pub(crate) ring: Keyring,
    /// The slots to begin with; `None` when the change was begun already.
    pub(crate) slots: Option<Vec<KeySlot>>,
}

impl Plan {
    /// Takes up the change to `new` that is under way, or plans one. `own` is the present source.
    pub(crate) async fn of(
        verified: &Verified,
        own: impl FnOnce() -> Result<Arc<dyn KeySource>>,
        new: &dyn KeySource,
    ) -> Result<Self> {
        let store = verified.head.store;
        if verified.is_key_changing()
            && let Some(slot) = slot_of(verified, new, verified.head.kek).await?
        {
            // The handle may have been opened with the old key: it needs every key that is still in use.
            let keys = KeySlot::unlock_all(&verified.slots, new, store).await?;
            return Ok(Self {
                target: Target {
                    kek: slot.kek,
                    source: slot.source,
                    resumed: true,
                },
                ring: Keyring::new(store, keys),
                slots: None,
            });
        }
        let own = own()?;
        let old = KeySlot::unlock_all(&verified.slots, &*own, store).await?;
        let kek = KeyEncryptionKey::generate()?;
        let slots = new_slots(verified, &old, &kek, &*own, new).await?;
        Ok(Self {
            target: Target {
                kek: kek.id(),
                source: new.id().as_str().to_owned(),
                resumed: false,
            },
            ring: Keyring::new(store, old.into_iter().chain([kek])),
            slots: Some(slots),
        })
    }
}

/// The slots while both sources work: every key for either source.
async fn new_slots(
    verified: &Verified,
    old: &[KeyEncryptionKey],
    kek: &KeyEncryptionKey,
    own: &dyn KeySource,
    new: &dyn KeySource,
) -> Result<Vec<KeySlot>> {
    let store = verified.head.store;
    let mut slots: Vec<KeySlot> = Vec::new();
    for key in old {
        // Its own slot stays as it is; there is one, or the key would not be here.
        slots.extend(slot_of(verified, own, key.id()).await?);
    }
    let mut missing = vec![(kek, own)];
    missing.extend(old.iter().chain([kek]).map(|key| (key, new)));
    for (key, source) in missing {
        let is_there = slots
            .iter()
            .any(|slot| slot.kek == key.id() && slot.source == source.id().as_str());
        if !is_there {
            slots.push(key.protect(source, store).await?);
        }
    }
    Ok(slots)
}

/// The slot with `kek` that `source` opens.
async fn slot_of(verified: &Verified, source: &dyn KeySource, kek: KekId) -> Result<Option<KeySlot>> {
    let candidates = verified.slots.iter().filter(|slot| slot.kek == kek);
    for slot in candidates.filter(|slot| source.fits(&slot.source)) {
        match slot.unlock(source, verified.head.store).await {
            Ok(_) => return Ok(Some(slot.clone())),
            Err(error) if error.kind() == ErrorKind::Unauthenticated => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn sources_of(slots: &[KeySlot]) -> Vec<String> {
    let mut sources: Vec<String> = slots.iter().map(|slot| slot.source.clone()).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}
