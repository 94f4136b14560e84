//! What one transaction may believe: the root, checked against what was known before it began.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::KeySlot;

use crate::error::corrupt;
use crate::integrity::{Buckets, check_root};
use crate::keyring::Keyring;
use crate::remembered::Record;
use crate::rows::{Digest, Head};
use crate::tables::Tables;

/// A root that was found authentic.
pub(crate) struct Verified {
    pub(crate) head: Head,
    pub(crate) slots: Vec<KeySlot>,
    pub(crate) buckets: Buckets,
}

/// What was known before a transaction began; so what the transaction sees can't rightly be older.
#[derive(Default)]
pub(crate) struct Known {
    /// The newest root that this process has seen.
    pub(crate) verified: Option<Arc<Verified>>,
    /// What is remembered outside the store.
    pub(crate) record: Option<Record>,
}

impl Verified {
    /// Reads and checks the root. A root that was seen before by this process costs one row.
    pub(crate) fn read(tables: &dyn Tables, ring: &Keyring, known: &Known) -> Result<Arc<Self>> {
        let head = tables.head()?;
        if head.format != Head::FORMAT {
            let message = format!("the store has format {}, this keyfob knows {}", head.format, Head::FORMAT);
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_hint("use the keyfob that wrote it, or a newer one"));
        }
        if head.store != ring.store {
            return Err(corrupt("the store's id has changed"));
        }
        known.check_age(&head)?;
        if let Some(seen) = known.verified.as_ref().filter(|seen| seen.head == head) {
            return Ok(Arc::clone(seen));
        }
        let slots = tables.slots()?;
        if !slots.iter().any(|slot| slot.kek == head.kek) {
            return Err(corrupt("the store names a key that it has no slot for"));
        }
        let buckets = tables.buckets()?;
        check_root(&ring.key(head.kek)?.integrity, &head, &slots, &buckets)?;
        known.check_fork(&head)?;
        Ok(Arc::new(Self { head, slots, buckets }))
    }
}

impl Known {
    fn check_age(&self, head: &Head) -> Result<()> {
        let newest = self.pairs().map(|(generation, _)| generation).max().unwrap_or(0);
        if head.generation >= newest {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::Corrupt, "an older copy of the store's file was put in its place")
                .with("generation", head.generation.to_string())
                .with("newest_known", newest.to_string())
                .with_hint(
                    "if you did it on purpose: `keyfob backup restore FILE` puts back a backup and says what would be lost",
                ),
        )
    }

    fn check_fork(&self, head: &Head) -> Result<()> {
        let is_fork = self
            .pairs()
            .any(|(generation, mac)| generation == head.generation && mac.is_some_and(|mac| mac != head.mac));
        if !is_fork {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            "another copy of the store was put in the place of its file",
        )
        .with("generation", head.generation.to_string())
        .with_hint("two copies of one store were written to; `keyfob backup restore FILE` decides for one"))
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, Option<Digest>)> {
        let seen = self.verified.iter().map(|seen| (seen.head.generation, Some(seen.head.mac)));
        seen.chain(self.record.map(|record| (record.generation, record.mac)))
    }
}
