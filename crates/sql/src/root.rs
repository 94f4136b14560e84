//! The root of a SQLite store: one MAC over the head, the key slots and all buckets, checked against what was known
//! before the transaction began.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::KeySlot;
use sha2::Sha256;

use crate::error::corrupt;
use crate::integrity::{Buckets, keyed, update_with_slots};
use crate::keyring::Keyring;
use crate::remembered::Record;
use crate::root_tables::RootTables;
use crate::rows::{Digest, Head, optional_time};
use crate::verified::Verified;

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
    pub(crate) fn read(tables: &dyn RootTables, ring: &Keyring, known: &Known) -> Result<Arc<Self>> {
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

/// The root: a MAC over the head, the key slots and the buckets.
pub(crate) fn root_mac(key: &Digest, head: &Head, slots: &[KeySlot], buckets: &Buckets) -> Digest {
    root(key, head, slots, buckets).finalize().into_bytes().into()
}

/// Checks the root.
pub(crate) fn check_root(key: &Digest, head: &Head, slots: &[KeySlot], buckets: &Buckets) -> Result<()> {
    root(key, head, slots, buckets).verify_slice(&head.mac).map_err(|_| {
        corrupt("the store's integrity record does not fit its rows: a row was added, deleted or edited from outside")
    })
}

fn root(key: &Digest, head: &Head, slots: &[KeySlot], buckets: &Buckets) -> Hmac<Sha256> {
    let mut mac = keyed(key);
    mac.update(b"keyfob-sql root\0");
    mac.update(&head.format.to_be_bytes());
    mac.update(head.store.as_bytes());
    mac.update(head.kek.as_bytes());
    mac.update(&head.generation.to_be_bytes());
    mac.update(&optional_time(head.next_purge));
    update_with_slots(&mut mac, slots);
    for (bucket, digest) in buckets.all() {
        if *digest != Buckets::EMPTY {
            mac.update(&bucket.to_be_bytes());
            mac.update(digest);
        }
    }
    mac
}

#[cfg(test)]
mod tests {
    use keyfob_envelope::{KekId, StoreId};

    use super::*;
    use crate::integrity::BUCKETS;
    use crate::rows::Time;

    fn head() -> Head {
        Head {
            format: 1,
            store: StoreId([1; 16]),
            kek: KekId([2; 16]),
            generation: 3,
            next_purge: None,
            mac: [0; 32],
        }
    }

    fn slot(source: &str, wrapped: &[u8]) -> KeySlot {
        KeySlot {
            kek: KekId([2; 16]),
            source: source.to_owned(),
            wrapped: wrapped.to_vec(),
        }
    }

    #[test]
    fn the_root_changes_with_everything_under_it() {
        let slots = [slot("a", b"xy"), slot("b", b"z")];
        let mut buckets = Buckets::new();
        assert!(buckets.set(5, [9; 32]) && !buckets.set(BUCKETS, [9; 32]));
        let key = [7; 32];
        let mut seen = vec![root_mac(&key, &head(), &slots, &buckets)];
        seen.push(root_mac(&[8; 32], &head(), &slots, &buckets));
        for change in [
            (|head: &mut Head| head.format = 2) as fn(&mut Head),
            |head| head.store = StoreId([9; 16]),
            |head| head.kek = KekId([9; 16]),
            |head| head.generation = 4,
            |head| head.next_purge = Some(Time(0)),
        ] {
            let mut changed = head();
            change(&mut changed);
            seen.push(root_mac(&key, &changed, &slots, &buckets));
        }
        seen.push(root_mac(&key, &head(), &slots[..1], &buckets));
        seen.push(root_mac(&key, &head(), &[slot("a", b"x"), slot("b", b"yz")], &buckets));
        let mut moved = Buckets::new();
        moved.set(6, [9; 32]);
        seen.push(root_mac(&key, &head(), &slots, &moved));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        // The order in which a database gives out the slots is its own affair.
        let turned = [slot("b", b"z"), slot("a", b"xy")];
        assert_eq!(
            root_mac(&key, &head(), &slots, &buckets),
            root_mac(&key, &head(), &turned, &buckets)
        );
    }
}
