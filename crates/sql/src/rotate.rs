//! Changing the key: data keys are wrapped again, values stay as they are.
//!
//! Where a change stands follows from the rows alone, so that it can be taken up after a kill at any point:
//!
//! 1. *Begin*, one transaction: a new key-encryption key becomes the one that new values are sealed under. Every
//!    key gets a slot for the present source and a slot for the new one: both open the whole store from now on.
//! 2. *Wrap again*, in batches of one transaction each: data keys that are not under the newest key.
//! 3. *Finish*, one transaction: when no other key is in use any more, the slots of older keys and of other sources
//!    go, and with them what the old key could open.
//!
//! The same call with the same new key takes a change up where it stopped. A call with *another* new key replaces
//! the change: the key that this handle was opened with keeps working until the end, the abandoned one stops at once,
//! and whoever still runs the abandoned change is stopped with `Conflict`.

use std::sync::Arc;

use keyfob_core::Result;
use keyfob_envelope::{KeySlot, KeySource};

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::key_config::KeyConfig;
use crate::keyring::Keyring;
use crate::root_tables::{Place, RootTables};
use crate::rotation::{KeyStatus, Plan, RotateStep, Target};
use crate::sqlite::Outcome;
use crate::store::SqlStore;
use crate::verified::Verified;

impl SqlStore {
    /// Changes the key to `new`, `batch` data keys per transaction (at least one).
    ///
    /// `step` is told where the change has got to. When it returns an error the change stops there, with both keys
    /// working, and another call takes it up.
    ///
    /// Other processes keep reading and writing meanwhile. One that was opened with the old key and did nothing at all
    /// during the change needs the new key afterwards; with a key *file* it reads the file again by itself.
    ///
    /// # Errors
    /// - `Conflict`: another change of the key has replaced this one.
    /// - `Corrupt`: a data key is damaged. The change stops; both keys work. Delete that secret for good or put back a
    ///   backup, then take it up.
    /// - Those of the key sources.
    pub async fn rotate_key(
        &self,
        new: KeyConfig,
        batch: usize,
        step: &mut (dyn FnMut(RotateStep) -> Result<()> + Send),
    ) -> Result<()> {
        let source = new.source()?;
        let target = self.begin(&source).await?;
        step(RotateStep::Begun { resumed: target.resumed })?;
        let target = Arc::new(target);
        let mut wrapped = 0;
        loop {
            let mut after = None;
            loop {
                let (done, last) = self.wrap_again(&target, after, batch.max(1)).await?;
                let Some(last) = last else { break };
                wrapped += done;
                after = Some(last);
                step(RotateStep::Wrapped(wrapped))?;
            }
            step(RotateStep::Ready)?;
            // A writer of the old key that was quicker than the beginning has its row wrapped in another round.
            if self.finish(&target).await? {
                break;
            }
        }
        self.engine.keys.set_key(new);
        step(RotateStep::Finished)
    }

    /// Which keys open the store.
    ///
    /// # Errors
    /// As any read.
    pub async fn keys(&self) -> Result<KeyStatus> {
        Ok(KeyStatus::of(&*self.verified().await?))
    }

    async fn verified(&self) -> Result<Arc<Verified>> {
        self.engine
            .run(|engine, ring| engine.read(ring, |reading| Ok(Arc::clone(&reading.verified))))
            .await
    }

    /// Takes up the change to `new`, or begins it.
    async fn begin(&self, new: &Arc<dyn KeySource>) -> Result<Target> {
        loop {
            let verified = self.verified().await?;
            let Plan { target, ring, slots } = Plan::of(&verified, || self.engine.keys.source(), &**new).await?;
            let Some(slots) = slots else {
                self.engine.keys.set_ring(ring);
                return Ok(target);
            };
            let _writer = self.engine.exclusively().await;
            let engine = Arc::clone(&self.engine);
            let begun = blocking(move || {
                let is_begun = engine.write_root(&ring, |writing, _| {
                    // Somebody else's change came in between: look again.
                    let is_same = writing.verified().slots == verified.slots;
                    if is_same {
                        writing.set_keys(target.kek, slots.clone());
                    }
                    Ok(is_same)
                })?;
                if is_begun {
                    engine.keys.set_ring(ring);
                }
                Ok(is_begun.then_some(target))
            })
            .await?;
            if let Some(target) = begun {
                return Ok(target);
            }
        }
    }

    /// Wraps one batch again. Gives the number and the last place, or `None` when nothing is left behind `after`.
    async fn wrap_again(&self, target: &Arc<Target>, after: Option<Place>, batch: usize) -> Result<(u64, Option<Place>)> {
        let target = Arc::clone(target);
        let work = move |engine: &Engine, ring: &Keyring| {
            let known = engine.known(ring)?;
            engine.sqlite.write(|tables| {
                let reading = engine.reading(tables, ring, &known)?;
                target.check(&reading.verified)?;
                let new = &ring.key(target.kek)?.kek;
                let versions = tables.versions_of_other_keys(target.kek, after.as_ref(), batch)?;
                for version in &versions {
                    let place = &version.place;
                    let wrapped_key = ring.rewrap(new, &place.name, place.number, &version.wrapped_key)?;
                    tables.set_wrapped_key(place.at(), &wrapped_key)?;
                }
                // No digest covers a wrapped key, so the generation stays: the content is the same.
                let done = versions.len() as u64;
                Ok(Outcome::Commit((
                    done,
                    versions.into_iter().next_back().map(|version| version.place),
                )))
            })
        };
        self.engine.run_exclusively(work).await
    }

    /// Retires everything but the target. False when a data key is still under another key.
    async fn finish(&self, target: &Arc<Target>) -> Result<bool> {
        let target = Arc::clone(target);
        let work = move |engine: &Engine, ring: &Keyring| {
            engine.write_root(ring, |writing, tables| {
                let verified = Arc::clone(writing.verified());
                target.check(&verified)?;
                if !tables.versions_of_other_keys(target.kek, None, 1)?.is_empty() {
                    return Ok(false);
                }
                let left: Vec<KeySlot> = verified.slots.iter().filter(|slot| target.is(slot)).cloned().collect();
                if left != verified.slots {
                    writing.set_keys(target.kek, left);
                }
                Ok(true)
            })
        };
        self.engine.run_exclusively(work).await
    }
}
