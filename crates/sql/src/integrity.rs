//! The integrity record over the set of rows: digests of versions, secrets and buckets. What authenticates the buckets
//! is each database's own.
//!
//! Pure functions of rows. Every digest begins with a word of its own, so that no row can stand for a row of another
//! kind.

use hmac::{Hmac, KeyInit, Mac};
use keyfob_envelope::KeySlot;
use sha2::{Digest as _, Sha256};

use crate::rows::{Digest, SecretColumns, optional_time};

/// How many buckets the names are spread over. A power of two; part of the format.
pub(crate) const BUCKETS: u16 = 1024;

/// The bucket of a name: the first ten bits of its SHA-256.
pub(crate) fn bucket_of(name: &str) -> u16 {
    let digest = Sha256::digest(name.as_bytes());
    u16::from_be_bytes([digest[0], digest[1]]) >> 6
}

/// The digest of a version's row. Leaves the wrapped key out, so that a change of the key touches no digest; the
/// envelope binds it to name and number by itself.
pub(crate) fn version_digest(name: &str, number: u64, canonical_facts: &[u8], ciphertext_digest: &Digest) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"keyfob-sql version\0");
    update_with_length(&mut hash, name.as_bytes());
    hash.update(number.to_be_bytes());
    hash.update(ciphertext_digest);
    hash.update(canonical_facts);
    hash.finalize().into()
}

pub(crate) fn ciphertext_digest(ciphertext: &[u8]) -> Digest {
    Sha256::digest(ciphertext).into()
}

/// The digest of a secret's row, and through its history of all its versions.
pub(crate) fn secret_digest(secret: &SecretColumns<'_>) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"keyfob-sql secret\0");
    update_with_length(&mut hash, secret.name.as_bytes());
    hash.update(secret.last.to_be_bytes());
    hash.update(optional_time(secret.deleted_at));
    hash.update(optional_time(secret.purge_at));
    hash.update(secret.history);
    hash.finalize().into()
}

/// Makes the digest of a bucket from its secrets, in the byte order of their names.
pub(crate) struct BucketHash {
    hash: Sha256,
    is_empty: bool,
}

impl BucketHash {
    pub(crate) fn new() -> Self {
        Self {
            hash: Sha256::new_with_prefix(b"keyfob-sql bucket\0"),
            is_empty: true,
        }
    }

    pub(crate) fn add(&mut self, name: &str, digest: &Digest) {
        update_with_length(&mut self.hash, name.as_bytes());
        self.hash.update(digest);
        self.is_empty = false;
    }

    pub(crate) fn finish(self) -> Digest {
        if self.is_empty {
            Buckets::EMPTY
        } else {
            self.hash.finalize().into()
        }
    }
}

/// The digests of all buckets.
#[derive(Clone)]
pub(crate) struct Buckets(Box<[Digest]>);

impl Buckets {
    /// The digest of a bucket without secrets.
    pub(crate) const EMPTY: Digest = [0; 32];

    pub(crate) fn new() -> Self {
        Self(vec![Self::EMPTY; usize::from(BUCKETS)].into_boxed_slice())
    }

    pub(crate) fn digest(&self, bucket: u16) -> &Digest {
        self.0.get(usize::from(bucket)).unwrap_or(&Self::EMPTY)
    }

    /// Sets the digest of a bucket; false when there is no such bucket.
    pub(crate) fn set(&mut self, bucket: u16, digest: Digest) -> bool {
        let Some(place) = self.0.get_mut(usize::from(bucket)) else {
            return false;
        };
        *place = digest;
        true
    }

    /// Every bucket with its digest.
    #[cfg(feature = "sqlite")]
    pub(crate) fn all(&self) -> impl Iterator<Item = (u16, &Digest)> {
        (0_u16..).zip(&self.0)
    }
}

/// An HMAC with a 32-byte key.
pub(crate) fn keyed(key: &Digest) -> Hmac<Sha256> {
    // HMAC takes keys of every length, and this one is a block long after padding.
    let mut block = zeroize::Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// The key slots in an order that no database decides, ready for a MAC.
pub(crate) fn update_with_slots(mac: &mut Hmac<Sha256>, slots: &[KeySlot]) {
    let mut slots: Vec<&KeySlot> = slots.iter().collect();
    slots.sort_unstable_by(|a, b| (a.kek, &a.source).cmp(&(b.kek, &b.source)));
    mac.update(&(slots.len() as u64).to_be_bytes());
    for slot in slots {
        mac.update(slot.kek.as_bytes());
        for part in [slot.source.as_bytes(), &slot.wrapped] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
    }
}

fn update_with_length(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are the format: a change here is a new format.
    #[test]
    fn the_format_stands_still() {
        assert_eq!(bucket_of("db/password"), bucket_of("db/password"));
        assert_eq!((bucket_of("a"), bucket_of("b")), (0xca97 >> 6, 0x3e23 >> 6));
        assert_eq!(BucketHash::new().finish(), Buckets::EMPTY);
    }
}
