//! What an encrypted value belongs to.

use crate::ids::{KekId, StoreId};

/// What an encrypted value belongs to. None of it is secret, all of it is authenticated.
///
/// The value opens only in exactly the context it was sealed in, so that a row that was swapped, renamed, copied
/// under another name, moved to another store or edited in its metadata is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The store.
    pub store: StoreId,
    /// The exact name of the secret.
    pub name: &'a str,
    /// The number of its version.
    pub version: u64,
    /// Everything else that must not change unseen, in an encoding of the store's choice that gives the same bytes
    /// for the same metadata.
    pub metadata: &'a [u8],
}

impl Context<'_> {
    /// The associated data of this context; `format` is the version and the algorithm of the sealed value.
    pub(crate) fn associated_data(&self, format: [u8; 2]) -> AssociatedData<'_> {
        let length = DOMAIN + 2 + 16 + 8 + 8 + self.name.len();
        let mut bytes = Vec::with_capacity(length + (8 + self.metadata.len()).max(16));
        bytes.extend_from_slice(&[0; DOMAIN]);
        bytes.extend_from_slice(&format);
        bytes.extend_from_slice(self.store.as_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        push_field(&mut bytes, self.name.as_bytes());
        AssociatedData {
            shared: bytes.len(),
            bytes,
            metadata: self.metadata,
        }
    }
}

/// The bytes that are authenticated with a data key and with a value; laid out in `FORMAT.md`.
///
/// Both begin alike, so that one allocation serves the two decryptions of a read.
pub(crate) struct AssociatedData<'a> {
    bytes: Vec<u8>,
    shared: usize,
    metadata: &'a [u8],
}

impl AssociatedData<'_> {
    /// What a wrapped data key is bound to: the identity of the value and the key that wrapped it. The metadata is
    /// left to the value's own associated data, so that keys can be changed without reading metadata.
    pub(crate) fn of_data_key(&mut self, kek: KekId) -> &[u8] {
        self.begin(b"keyfob data key\0");
        self.bytes.extend_from_slice(kek.as_bytes());
        &self.bytes
    }

    /// What a value's ciphertext is bound to: its identity and its metadata, but not the key-encryption key, so that
    /// the ciphertext outlives it.
    pub(crate) fn of_value(&mut self) -> &[u8] {
        self.begin(b"keyfob value\0\0\0\0");
        push_field(&mut self.bytes, self.metadata);
        &self.bytes
    }

    fn begin(&mut self, domain: &[u8; DOMAIN]) {
        self.bytes.truncate(self.shared);
        self.bytes[..DOMAIN].copy_from_slice(domain);
    }
}

/// What a key slot is bound to.
pub(crate) fn slot_context(store: StoreId, kek: KekId, source: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN + 1 + 16 + 16 + 8 + source.len());
    bytes.extend_from_slice(b"keyfob key slot\0");
    bytes.push(1);
    bytes.extend_from_slice(store.as_bytes());
    bytes.extend_from_slice(kek.as_bytes());
    push_field(&mut bytes, source.as_bytes());
    bytes
}

/// Every associated data begins with a word of this length that says what it is of.
const DOMAIN: usize = 16;

/// The length goes first, so that no two lists of fields give the same bytes.
fn push_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
    bytes.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'_> = Context {
        store: StoreId([1; 16]),
        name: "db/password",
        version: 7,
        metadata: b"m",
    };

    #[test]
    fn a_byte_that_moves_between_name_and_metadata_changes_the_associated_data() {
        let moved = Context {
            name: "db/passwor",
            metadata: b"dm",
            ..CONTEXT
        };
        assert_ne!(
            CONTEXT.associated_data([1, 1]).of_value(),
            moved.associated_data([1, 1]).of_value()
        );
    }

    #[test]
    fn data_key_and_value_never_share_associated_data() {
        let mut data = CONTEXT.associated_data([1, 1]);
        let data_key = data.of_data_key(KekId([2; 16])).to_vec();
        let value = data.of_value().to_vec();
        assert_ne!(data_key, value);
        assert_eq!(data.of_data_key(KekId([2; 16])), data_key, "the order of use does not matter");
        assert_ne!(data.of_data_key(KekId([3; 16])), data_key);
    }

    #[test]
    fn the_buffer_is_allocated_once() {
        let mut data = CONTEXT.associated_data([1, 1]);
        let capacity = data.bytes.capacity();
        data.of_data_key(KekId([2; 16]));
        data.of_value();
        assert_eq!(data.bytes.capacity(), capacity);
    }
}
