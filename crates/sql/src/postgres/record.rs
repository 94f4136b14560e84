//! The integrity record in PostgreSQL: a MAC over the head, and one over each bucket.
//!
//! One root over all buckets, as in a SQLite store, would have to be written by every write, and all writers would wait
//! for each other. So every bucket has a row of its own from the start, with its own generation, and a MAC that binds
//! digest and generation to the bucket's number, the store and the key. A write locks and changes the row of its bucket.
//! The head changes only with the keys; its MAC covers the key slots.
//!
//! What one root could see besides is that two buckets are of different ages. For that every client remembers the
//! generation of each bucket: see [`remembered`](super::remembered).

use hmac::{Hmac, Mac};
use keyfob_core::Result;
use keyfob_envelope::{KekId, KeySlot, StoreId};
use sha2::Sha256;

use crate::error::corrupt;
use crate::integrity::{keyed, update_with_slots};
use crate::keyring::Keyring;
use crate::rows::{Digest, Head};

/// The row of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketRow {
    pub(super) bucket: u16,
    /// Rises by one with every change of the bucket's content.
    pub(super) generation: u64,
    pub(super) digest: Digest,
    /// The key of the MAC. Only a change of the key changes it.
    pub(super) kek: KekId,
    pub(super) mac: Digest,
}

impl BucketRow {
    /// The row with a MAC made by its key.
    pub(super) fn sealed(mut self, ring: &Keyring) -> Result<Self> {
        self.mac = self.authenticate(ring)?.finalize().into_bytes().into();
        Ok(self)
    }

    /// Checks the MAC, which must be by a key that has a slot.
    pub(super) fn check(&self, ring: &Keyring, slots: &[KeySlot]) -> Result<()> {
        let differs = || corrupt("a bucket's record was edited from outside").with("bucket", self.bucket.to_string());
        if !slots.iter().any(|slot| slot.kek == self.kek) {
            return Err(differs());
        }
        self.authenticate(ring)?.verify_slice(&self.mac).map_err(|_| differs())
    }

    fn authenticate(&self, ring: &Keyring) -> Result<Hmac<Sha256>> {
        let mut mac = keyed(&ring.key(self.kek)?.integrity);
        mac.update(b"keyfob-sql postgres bucket\0");
        mac.update(ring.store.as_bytes());
        mac.update(self.kek.as_bytes());
        mac.update(&self.bucket.to_be_bytes());
        mac.update(&self.generation.to_be_bytes());
        mac.update(&self.digest);
        Ok(mac)
    }
}

/// A head with its MAC.
pub(super) fn sealed_head(store: StoreId, kek: KekId, generation: u64, slots: &[KeySlot], ring: &Keyring) -> Result<Head> {
    let mut head = Head {
        format: Head::FORMAT,
        store,
        kek,
        generation,
        next_purge: None,
        mac: [0; 32],
    };
    head.mac = authenticate(&head, slots, ring)?.finalize().into_bytes().into();
    Ok(head)
}

/// Checks the head and the key slots.
pub(super) fn check_head(head: &Head, slots: &[KeySlot], ring: &Keyring) -> Result<()> {
    if head.store != ring.store {
        return Err(corrupt("the store's id has changed"));
    }
    if !slots.iter().any(|slot| slot.kek == head.kek) {
        return Err(corrupt("the store names a key that it has no slot for"));
    }
    authenticate(head, slots, ring)?
        .verify_slice(&head.mac)
        .map_err(|_| corrupt("the store's head or its key slots were edited from outside"))
}

fn authenticate(head: &Head, slots: &[KeySlot], ring: &Keyring) -> Result<Hmac<Sha256>> {
    let mut mac = keyed(&ring.key(head.kek)?.integrity);
    mac.update(b"keyfob-sql postgres head\0");
    mac.update(&head.format.to_be_bytes());
    mac.update(head.store.as_bytes());
    mac.update(head.kek.as_bytes());
    mac.update(&head.generation.to_be_bytes());
    update_with_slots(&mut mac, slots);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use keyfob_core::ErrorKind;
    use keyfob_envelope::KeyEncryptionKey;

    use super::*;

    #[test]
    fn everything_in_a_bucket_row_is_bound() {
        let store = StoreId([1; 16]);
        let kek = KeyEncryptionKey::generate().unwrap();
        let other = KeyEncryptionKey::generate().unwrap();
        let slot = |kek: &KeyEncryptionKey| KeySlot {
            kek: kek.id(),
            source: "s".to_owned(),
            wrapped: vec![1],
        };
        let slots = [slot(&kek), slot(&other)];
        let ring = Keyring::new(store, [kek.clone(), other.clone()]);
        let row = BucketRow {
            bucket: 3,
            generation: 7,
            digest: [9; 32],
            kek: kek.id(),
            mac: [0; 32],
        };
        let row = row.sealed(&ring).unwrap();
        row.check(&ring, &slots).unwrap();
        for change in [
            (|row: &mut BucketRow, _: KekId| row.bucket = 4) as fn(&mut BucketRow, KekId),
            |row, _| row.generation = 8,
            |row, _| row.digest[0] ^= 1,
            |row, other| row.kek = other,
            |row, _| row.mac[31] ^= 1,
        ] {
            let mut changed = row;
            change(&mut changed, other.id());
            assert_eq!(changed.check(&ring, &slots).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let elsewhere = Keyring::new(StoreId([2; 16]), [kek, other]);
        assert_eq!(row.check(&elsewhere, &slots).unwrap_err().kind(), ErrorKind::Corrupt);
        // The slot of its key is gone, as after a change of the key.
        assert_eq!(row.check(&ring, &slots[1..]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
