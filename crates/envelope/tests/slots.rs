//! Key slots: made by a source, opened by the same key, refused to any other.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use keyfob_core::ErrorKind;
use keyfob_envelope::{KekId, KeyEncryptionKey, KeySlot, KeySource, Passphrase, PassphraseCost, RawKey, StoreId};

const STORE: StoreId = StoreId([1; 16]);
const CHEAP: PassphraseCost = PassphraseCost::LEAST;

fn raw(byte: u8) -> RawKey {
    RawKey::new(&[byte; 32])
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::with_cost(text, CHEAP).unwrap()
}

async fn slot(source: &dyn KeySource) -> (KeyEncryptionKey, KeySlot) {
    let kek = KeyEncryptionKey::generate().unwrap();
    let slot = kek.protect(source, STORE).await.unwrap();
    assert_eq!(slot.kek, kek.id());
    assert_eq!(slot.source, source.id().as_str());
    (kek, slot)
}

async fn refusal(slot: &KeySlot, source: &dyn KeySource) -> ErrorKind {
    slot.unlock(source, STORE).await.unwrap_err().kind()
}

fn same(one: &KeyEncryptionKey, other: &KeyEncryptionKey) -> bool {
    one.id() == other.id() && *one.derive("same", STORE) == *other.derive("same", STORE)
}

#[tokio::test]
async fn the_same_key_opens_a_slot_however_it_is_given() {
    let (kek, slot) = slot(&raw(0xab)).await;
    let base64 = data_encoding::BASE64.encode(&[0xab; 32]);
    for source in [
        raw(0xab),
        RawKey::parse(&"ab".repeat(32)).unwrap(),
        RawKey::parse(&base64).unwrap(),
    ] {
        assert!(same(&slot.unlock(&source, STORE).await.unwrap(), &kek));
    }
}

#[tokio::test]
async fn another_raw_key_does_not_fit_and_the_error_names_both() {
    let (_, slot) = slot(&raw(1)).await;
    let error = slot.unlock(&raw(2), STORE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.message(), "the key does not fit this store");
    let text = error.to_string();
    assert!(
        text.contains(raw(1).id().as_str()) && text.contains(raw(2).id().as_str()),
        "{text}"
    );
}

#[tokio::test]
async fn a_passphrase_opens_its_slot_and_another_does_not() {
    let (kek, slot) = slot(&passphrase("correct horse")).await;
    // A new handle has another salt, and takes the slot's.
    let again = passphrase("correct horse");
    assert_ne!(again.id().as_str(), slot.source);
    assert!(again.fits(&slot.source));
    assert!(same(&slot.unlock(&again, STORE).await.unwrap(), &kek));
    for wrong in ["correct horsf", "correct horse\n", "Correct horse", "c"] {
        assert_eq!(refusal(&slot, &passphrase(wrong)).await, ErrorKind::Unauthenticated);
    }
    assert_eq!(refusal(&slot, &raw(1)).await, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_slot_of_another_store_or_under_another_id_is_refused() {
    let (_, first) = slot(&raw(1)).await;
    let elsewhere = first.unlock(&raw(1), StoreId([2; 16])).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Corrupt);
    let relabelled = KeySlot {
        kek: KekId([9; 16]),
        ..first
    };
    assert_eq!(refusal(&relabelled, &raw(1)).await, ErrorKind::Corrupt);

    let source = passphrase("p");
    let (_, second) = slot(&source).await;
    let renamed = KeySlot {
        source: "passphrase:other".to_owned(),
        ..second
    };
    assert_eq!(refusal(&renamed, &source).await, ErrorKind::Corrupt);
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_of_a_raw_key_slot_is_detected() {
    let (_, slot) = slot(&raw(1)).await;
    for bit in 0..slot.wrapped.len() * 8 {
        let mut changed = slot.clone();
        changed.wrapped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(&changed, &raw(1)).await, ErrorKind::Corrupt, "bit {bit}");
    }
    for end in 0..slot.wrapped.len() {
        let cut = KeySlot {
            wrapped: slot.wrapped[..end].to_vec(),
            ..slot.clone()
        };
        assert_eq!(refusal(&cut, &raw(1)).await, ErrorKind::Corrupt, "{end}");
    }
}

#[tokio::test]
async fn every_changed_byte_and_every_cut_of_a_passphrase_slot_is_detected() {
    let source = passphrase("p");
    let (_, slot) = slot(&source).await;
    let memory_within_bounds = 4..6;
    let salt = 14..30;
    let check = 30..62;
    // One byte of the salt is enough: each costs a computation.
    for index in (0..slot.wrapped.len()).filter(|index| !(15..30).contains(index)) {
        let mut changed = slot.clone();
        changed.wrapped[index] ^= 0x80;
        // Where another passphrase could have made these bytes, nothing else can be said.
        let possible = [&memory_within_bounds, &salt, &check]
            .iter()
            .any(|range| range.contains(&index));
        let expected = if possible {
            ErrorKind::Unauthenticated
        } else {
            ErrorKind::Corrupt
        };
        assert_eq!(refusal(&changed, &source).await, expected, "byte {index}");
    }
    for end in 0..slot.wrapped.len() {
        let cut = KeySlot {
            wrapped: slot.wrapped[..end].to_vec(),
            ..slot.clone()
        };
        assert_eq!(refusal(&cut, &source).await, ErrorKind::Corrupt, "{end}");
    }
}

#[tokio::test]
async fn hostile_argon2_parameters_are_refused_before_they_are_paid() {
    let source = passphrase("p");
    let (_, slot) = slot(&source).await;
    for (memory, passes, lanes) in [
        (u32::MAX, 2, 1),
        (1024 * 1024 + 1, 2, 1),
        (19 * 1024 - 1, 2, 1),
        (8, 1, 1),
        (0, 0, 0),
        (19 * 1024, u32::MAX, 1),
        (19 * 1024, 1, 1),
        (19 * 1024, 2, 0),
        (19 * 1024, 2, u32::MAX),
    ] {
        let mut hostile = slot.clone();
        hostile.wrapped[2..6].copy_from_slice(&memory.to_be_bytes());
        hostile.wrapped[6..10].copy_from_slice(&passes.to_be_bytes());
        hostile.wrapped[10..14].copy_from_slice(&lanes.to_be_bytes());
        let error = hostile.unlock(&source, STORE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("are possible"), "{error}");
        assert_eq!(
            PassphraseCost::new(memory, passes, lanes).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

#[tokio::test]
async fn arbitrary_bytes_in_a_slot_never_panic() {
    let source = passphrase("p");
    for seed in 0..2000_u32 {
        // Headers of every kind, wrong lengths, random tails.
        let length = seed as usize % 150;
        let mut wrapped: Vec<u8> = (0..length)
            .map(|index| (seed.wrapping_mul(2_654_435_761) >> (index % 24)) as u8)
            .collect();
        for (byte, header) in wrapped.iter_mut().zip([1, (seed % 4) as u8]) {
            *byte = header;
        }
        for name in [raw(1).id().as_str(), "passphrase:x"] {
            let slot = KeySlot {
                kek: KekId([1; 16]),
                source: name.to_owned(),
                wrapped: wrapped.clone(),
            };
            let error = if name.starts_with("key") {
                slot.unlock(&raw(1), STORE).await
            } else {
                slot.unlock(&source, STORE).await
            };
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn during_a_key_change_either_source_opens_both_keys() {
    for (old_source, new_source) in [
        (Box::new(raw(1)) as Box<dyn KeySource>, Box::new(raw(2)) as Box<dyn KeySource>),
        (Box::new(raw(1)), Box::new(passphrase("new"))),
        (Box::new(passphrase("old")), Box::new(passphrase("new"))),
    ] {
        let (old, new) = (KeyEncryptionKey::generate().unwrap(), KeyEncryptionKey::generate().unwrap());
        let mut slots = Vec::new();
        for (kek, source) in [
            (&old, &old_source),
            (&old, &new_source),
            (&new, &old_source),
            (&new, &new_source),
        ] {
            slots.push(kek.protect(&**source, STORE).await.unwrap());
        }
        for source in [&old_source, &new_source] {
            let keys = KeySlot::unlock_all(&slots, &**source, STORE).await.unwrap();
            assert_eq!(keys.len(), 2);
            assert!(same(&keys[0], &old) && same(&keys[1], &new));
        }
        // After it only the new source does.
        let last = &slots[3..];
        assert_eq!(KeySlot::unlock_all(last, &*new_source, STORE).await.unwrap().len(), 1);
        let error = KeySlot::unlock_all(last, &*old_source, STORE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
}

#[tokio::test]
async fn unlocking_all_refuses_nothing_too_many_and_changed_slots() {
    let source = raw(1);
    let (_, slot) = slot(&source).await;
    let none = KeySlot::unlock_all(&[], &source, STORE).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Unauthenticated);
    assert!(none.hint().unwrap().contains("no key slot"));
    let many = vec![slot.clone(); KeySlot::MAX + 1];
    assert_eq!(
        KeySlot::unlock_all(&many, &source, STORE).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(KeySlot::unlock_all(&many[1..], &source, STORE).await.unwrap().len(), 1);
    let mut changed = slot;
    changed.wrapped[20] ^= 1;
    assert_eq!(
        KeySlot::unlock_all(&[changed], &source, STORE).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_passphrase_is_neither_empty_nor_endless() {
    for text in [String::new(), "x".repeat(Passphrase::MAX_BYTES + 1)] {
        assert_eq!(Passphrase::new(text).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    Passphrase::new("x".repeat(Passphrase::MAX_BYTES)).unwrap();
}

#[tokio::test]
async fn debug_of_sources_and_slots_shows_no_key_and_no_passphrase() {
    let key: [u8; 32] = std::array::from_fn(|index| index as u8 + 100);
    let source = RawKey::new(&key);
    let (_, slot) = slot(&source).await;
    let words = passphrase("canary-passphrase");
    words.wrap(b"", &key).await.unwrap();
    let shown = format!("{source:?} {source:#?} {slot:?} {words:?} {words:#?}");
    for leak in [
        data_encoding::HEXLOWER.encode(&key[..4]),
        "100, 101".to_owned(),
        "canary".to_owned(),
        "wrapped: [".to_owned(),
    ] {
        assert!(!shown.contains(&leak), "{shown}");
    }
    assert!(shown.contains(source.id().as_str()) && shown.contains("[REDACTED]"));
}
