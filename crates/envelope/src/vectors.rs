//! The test vectors of `FORMAT.md`. They were computed by `tests/vectors.py`, which shares no code with this crate.

use keyfob_core::{ErrorKind, SecretValue};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::context::{Context, slot_context};
use crate::ids::{KekId, StoreId};
use crate::kek::{Fresh, KeyEncryptionKey};
use crate::passphrase::{Passphrase, PassphraseCost, Recipe};
use crate::raw_key::RawKey;
use crate::sealed::{Sealed, kek_of};
use crate::slot::KeySlot;
use crate::source::KeySource;

#[test]
fn values_are_sealed_to_exactly_these_bytes_and_open() {
    for vector in &list("values", 3) {
        let metadata = vector.bytes("metadata");
        let (kek, context) = (vector.kek(), vector.context(&metadata));
        let fresh = Fresh {
            data_key: Zeroizing::new(vector.array("data_key")),
            key_nonce: vector.array("key_nonce"),
            value_nonce: vector.array("value_nonce"),
        };
        let value = SecretValue::new(vector.bytes("value"));
        let sealed = kek.seal_with(&context, &value, &fresh).unwrap();
        assert_eq!(sealed.wrapped_key, vector.bytes("wrapped_key"));
        assert_eq!(sealed.ciphertext, vector.bytes("ciphertext"));
        assert_eq!(sealed.to_bytes(), vector.bytes("blob"));
        assert_eq!(Sealed::parse(&vector.bytes("blob")).unwrap(), sealed);
        assert_eq!(kek_of(&sealed.wrapped_key).unwrap(), kek.id());
        let opened = kek.open(&context, &sealed.wrapped_key, &sealed.ciphertext).unwrap();
        assert_eq!(opened.expose_secret(), value.expose_secret());
    }
}

#[test]
fn what_was_changed_is_refused() {
    for vector in &list("refused_values", 13) {
        let metadata = vector.bytes("metadata");
        let opened = vector.kek().open(
            &vector.context(&metadata),
            &vector.bytes("wrapped_key"),
            &vector.bytes("ciphertext"),
        );
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt, "{}", vector.text("why"));
    }
}

#[test]
fn keys_for_other_purposes_are_these() {
    for vector in &list("derived", 2) {
        let derived = vector.kek().derive(vector.text("purpose"), vector.store());
        assert_eq!(*derived, vector.array::<32>("derived"));
    }
}

#[tokio::test]
async fn raw_key_slots_are_these_and_unlock() {
    for vector in &list("raw_key_slots", 1) {
        let source = RawKey::new(&vector.array("key"));
        assert_eq!(source.id().as_str(), vector.text("source"));
        let wrapped = source.wrap_with(&vector.array("nonce"), &vector.slot_context(), &vector.array("kek"));
        assert_eq!(wrapped, vector.bytes("wrapped"));
        vector.slot_holds_the_key(&source).await;
    }
}

#[tokio::test]
async fn passphrase_slots_are_these_and_unlock() {
    for vector in &list("passphrase_slots", 2) {
        let number = |name: &str| u32::try_from(vector.0[name].as_u64().unwrap()).unwrap();
        let recipe = Recipe {
            cost: PassphraseCost::new(number("memory_kib"), number("passes"), number("lanes")).unwrap(),
            salt: vector.array("salt"),
        };
        let source = Passphrase::with_recipe(vector.text("passphrase").into(), recipe).unwrap();
        assert_eq!(source.id().as_str(), vector.text("source"));
        let wrapped = source
            .wrap_with(&vector.array("nonce"), &vector.slot_context(), &vector.array("kek"))
            .unwrap();
        assert_eq!(wrapped, vector.bytes("wrapped"));
        vector
            .slot_holds_the_key(&Passphrase::new(vector.text("passphrase")).unwrap())
            .await;
    }
}

#[tokio::test]
async fn slots_that_were_changed_are_refused() {
    for vector in &list("refused_raw_key_slots", 2) {
        let error = vector.slot().unlock(&RawKey::new(&vector.array("key")), vector.store()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt, "{}", vector.text("why"));
    }
    for vector in &list("refused_passphrase_slots", 3) {
        let source = Passphrase::new(vector.text("passphrase")).unwrap();
        let error = vector.slot().unlock(&source, vector.store()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt, "{}", vector.text("why"));
    }
}

struct Vector(Value);

/// `count` guards against a list that lost its vectors.
fn list(name: &str, count: usize) -> Vec<Vector> {
    let document: Value = serde_json::from_str(include_str!("../tests/vectors.json")).unwrap();
    let vectors: Vec<Vector> = document[name].as_array().unwrap().iter().cloned().map(Vector).collect();
    assert_eq!(vectors.len(), count);
    vectors
}

impl Vector {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(self.text(name).as_bytes()).unwrap()
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn store(&self) -> StoreId {
        StoreId(self.array("store"))
    }

    fn kek(&self) -> KeyEncryptionKey {
        KeyEncryptionKey::new(KekId(self.array("kek_id")), Zeroizing::new(self.array("kek")))
    }

    fn context<'a>(&'a self, metadata: &'a [u8]) -> Context<'a> {
        Context {
            store: self.store(),
            name: self.text("name"),
            version: self.0["version"].as_u64().unwrap(),
            metadata,
        }
    }

    fn slot(&self) -> KeySlot {
        KeySlot {
            kek: KekId(self.array("kek_id")),
            source: self.text("source").to_owned(),
            wrapped: self.bytes("wrapped"),
        }
    }

    fn slot_context(&self) -> Vec<u8> {
        slot_context(self.store(), KekId(self.array("kek_id")), self.text("source"))
    }

    async fn slot_holds_the_key(&self, source: &dyn KeySource) {
        let kek = self.slot().unlock(source, self.store()).await.unwrap();
        assert_eq!(kek.id(), self.kek().id());
        assert_eq!(*kek.derive("same", self.store()), *self.kek().derive("same", self.store()));
    }
}
