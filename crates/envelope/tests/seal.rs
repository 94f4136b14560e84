//! Values: sealed, opened, re-wrapped, tampered with.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use keyfob_core::{ErrorKind, SecretValue};
use keyfob_envelope::{Context, KekId, KeyEncryptionKey, Sealed, StoreId, kek_of};
use proptest::prelude::*;

const STORE: StoreId = StoreId([1; 16]);
const CONTEXT: Context<'_> = Context {
    store: STORE,
    name: "db/password",
    version: 7,
    metadata: b"metadata",
};

fn sealed() -> (KeyEncryptionKey, Sealed) {
    let kek = KeyEncryptionKey::generate().unwrap();
    let sealed = kek.seal(&CONTEXT, &SecretValue::from("canary-value")).unwrap();
    (kek, sealed)
}

fn refusal(kek: &KeyEncryptionKey, context: &Context<'_>, wrapped_key: &[u8], ciphertext: &[u8]) -> keyfob_core::Error {
    let error = kek.open(context, wrapped_key, ciphertext).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    error
}

#[test]
fn every_flipped_bit_of_both_parts_is_detected() {
    let (kek, sealed) = sealed();
    for bit in 0..sealed.wrapped_key.len() * 8 {
        let mut changed = sealed.wrapped_key.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refusal(&kek, &CONTEXT, &changed, &sealed.ciphertext);
        assert_eq!(kek.rewrap(&kek, &CONTEXT, &changed).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    for bit in 0..sealed.ciphertext.len() * 8 {
        let mut changed = sealed.ciphertext.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refusal(&kek, &CONTEXT, &sealed.wrapped_key, &changed);
    }
}

#[test]
fn every_cut_and_every_longer_part_is_detected() {
    let (kek, sealed) = sealed();
    for end in 0..sealed.wrapped_key.len() {
        refusal(&kek, &CONTEXT, &sealed.wrapped_key[..end], &sealed.ciphertext);
    }
    for end in 0..sealed.ciphertext.len() {
        refusal(&kek, &CONTEXT, &sealed.wrapped_key, &sealed.ciphertext[..end]);
    }
    refusal(&kek, &CONTEXT, &[&sealed.wrapped_key[..], &[0]].concat(), &sealed.ciphertext);
    refusal(&kek, &CONTEXT, &sealed.wrapped_key, &[&sealed.ciphertext[..], &[0]].concat());
}

#[test]
fn another_name_version_store_or_metadata_is_detected_and_the_error_says_where() {
    let (kek, sealed) = sealed();
    for context in [
        Context {
            name: "db/passwore",
            ..CONTEXT
        },
        Context { name: "", ..CONTEXT },
        Context { version: 8, ..CONTEXT },
        Context {
            store: StoreId([2; 16]),
            ..CONTEXT
        },
        Context {
            metadata: b"metadatb",
            ..CONTEXT
        },
        Context {
            metadata: b"",
            ..CONTEXT
        },
        Context {
            name: "db/passwor",
            metadata: b"dmetadata",
            ..CONTEXT
        },
    ] {
        let error = refusal(&kek, &context, &sealed.wrapped_key, &sealed.ciphertext);
        assert!(
            error.context().any(|(key, value)| key == "name" && value == context.name),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}

#[test]
fn parts_of_two_values_do_not_mix() {
    let (kek, one) = sealed();
    let two = kek.seal(&CONTEXT, &SecretValue::from("canary-value")).unwrap();
    assert_ne!(one.wrapped_key, two.wrapped_key);
    assert_ne!(one.ciphertext, two.ciphertext);
    refusal(&kek, &CONTEXT, &one.wrapped_key, &two.ciphertext);
    refusal(&kek, &CONTEXT, &two.wrapped_key, &one.ciphertext);
}

#[test]
fn another_key_is_named_in_the_error() {
    let (kek, sealed) = sealed();
    let other = KeyEncryptionKey::generate().unwrap();
    let error = refusal(&other, &CONTEXT, &sealed.wrapped_key, &sealed.ciphertext);
    let text = error.to_string();
    assert!(
        text.contains(&kek.id().to_string()) && text.contains(&other.id().to_string()),
        "{text}"
    );
}

#[test]
fn rewrapping_keeps_the_ciphertext_and_moves_the_value_to_the_new_key() {
    let (old, sealed) = sealed();
    let new = KeyEncryptionKey::generate().unwrap();
    // The metadata is not needed for it.
    let without_metadata = Context {
        metadata: b"",
        ..CONTEXT
    };
    let wrapped = old.rewrap(&new, &without_metadata, &sealed.wrapped_key).unwrap();
    assert_eq!(kek_of(&wrapped).unwrap(), new.id());
    assert_eq!(
        new.open(&CONTEXT, &wrapped, &sealed.ciphertext)
            .unwrap()
            .expose_str()
            .unwrap(),
        "canary-value"
    );
    // Until the old row is overwritten, the old key goes on opening it.
    assert_eq!(
        old.open(&CONTEXT, &sealed.wrapped_key, &sealed.ciphertext)
            .unwrap()
            .expose_str()
            .unwrap(),
        "canary-value"
    );
    refusal(&old, &CONTEXT, &wrapped, &sealed.ciphertext);
    refusal(&new, &without_metadata, &wrapped, &sealed.ciphertext);
}

#[test]
fn a_data_key_is_not_rewrapped_for_another_name_version_or_store() {
    let (old, sealed) = sealed();
    let new = KeyEncryptionKey::generate().unwrap();
    for context in [
        Context {
            name: "db/other",
            ..CONTEXT
        },
        Context { version: 8, ..CONTEXT },
        Context {
            store: StoreId([2; 16]),
            ..CONTEXT
        },
    ] {
        let error = old.rewrap(&new, &context, &sealed.wrapped_key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn derived_keys_depend_on_key_purpose_and_store() {
    let (kek, other) = (KeyEncryptionKey::generate().unwrap(), KeyEncryptionKey::generate().unwrap());
    let derived = kek.derive("integrity", STORE);
    assert_eq!(*derived, *kek.derive("integrity", STORE));
    for different in [
        kek.derive("integritz", STORE),
        kek.derive("integrity", StoreId([2; 16])),
        other.derive("integrity", STORE),
    ] {
        assert_ne!(*derived, *different);
    }
}

#[test]
fn debug_shows_ids_and_lengths_only() {
    let (kek, sealed) = sealed();
    assert_eq!(format!("{kek:?}"), format!("KeyEncryptionKey({}, [REDACTED])", kek.id()));
    assert_eq!(
        format!("{sealed:?}"),
        "Sealed { wrapped_key_bytes: 78, ciphertext_bytes: 40 }"
    );
}

#[test]
fn no_buffer_has_room_that_is_not_used() {
    let kek = KeyEncryptionKey::generate().unwrap();
    for length in [0, 1, 31, 32, 4096, 1 << 20] {
        let sealed = kek.seal(&CONTEXT, &SecretValue::new(vec![7; length])).unwrap();
        assert_eq!(sealed.ciphertext.len(), length + 28);
        assert_eq!(sealed.ciphertext.capacity(), length + 28);
        assert_eq!(sealed.wrapped_key.capacity(), 78);
        assert_eq!(
            kek.open(&CONTEXT, &sealed.wrapped_key, &sealed.ciphertext).unwrap().len(),
            length
        );
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        name in ".{0,60}",
        version: u64,
        store: [u8; 16],
        metadata: Vec<u8>,
        value: Vec<u8>,
    ) {
        let kek = KeyEncryptionKey::generate().unwrap();
        let context = Context { store: StoreId(store), name: &name, version, metadata: &metadata };
        let sealed = kek.seal(&context, &SecretValue::new(value.clone())).unwrap();
        let sealed = Sealed::parse(&sealed.to_bytes()).unwrap();
        let opened = kek.open(&context, &sealed.wrapped_key, &sealed.ciphertext).unwrap();
        prop_assert_eq!(opened.expose_secret(), &value[..]);
    }

    #[test]
    fn arbitrary_parts_never_open_and_never_panic(wrapped_key: Vec<u8>, ciphertext: Vec<u8>, tail: [u8; 60]) {
        let (kek, sealed) = sealed();
        prop_assert!(kek.open(&CONTEXT, &wrapped_key, &ciphertext).is_err());
        prop_assert!(kek.open(&CONTEXT, &sealed.wrapped_key, &ciphertext).is_err());
        let plausible = [&sealed.wrapped_key[..18], &tail].concat();
        prop_assert!(kek.open(&CONTEXT, &plausible, &sealed.ciphertext).is_err());
    }

    #[test]
    fn ids_read_back(id: [u8; 16], text: String) {
        prop_assert_eq!(KekId(id).to_string().parse::<KekId>().unwrap(), KekId(id));
        let _ = text.parse::<StoreId>();
    }
}
