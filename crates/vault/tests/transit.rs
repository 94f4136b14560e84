//! The transit engine, against a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use keyfob_core::{ErrorKind, Result};
use keyfob_vault::{AuthConfig, HashAlgorithm, RsaPadding, SignOptions, Transit, TransitKeyType, Vault};
use serde_json::{Value, json};

use support::{Admin, random, vault};

/// A mount of its own. Removed by [`remove`](Self::remove).
struct Engine {
    admin: Admin,
    mount: String,
    transit: Transit,
}

impl Engine {
    async fn new(test: &str) -> Option<Self> {
        let admin = Admin::of(test)?;
        let mount = random("transit");
        admin
            .call("POST", &format!("sys/mounts/{mount}"), json!({"type": "transit"}))
            .await;
        let vault = vault(&admin.url, AuthConfig::token(admin.token.as_str())).await;
        let transit = Transit::new(vault, &mount).unwrap();
        Some(Self { admin, mount, transit })
    }

    async fn remove(self) {
        self.admin
            .call("DELETE", &format!("sys/mounts/{}", self.mount), Value::Null)
            .await;
    }
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    let error = result.err().expect("it must fail");
    assert!(!format!("{error:?}").contains("kfcanary-"), "the error tells a secret");
    error.kind()
}

#[tokio::test]
async fn what_is_encrypted_comes_back_with_its_associated_data_alone() {
    let Some(engine) = Engine::new("what_is_encrypted_comes_back").await else {
        return;
    };
    let transit = &engine.transit;
    for key_type in [
        TransitKeyType::Aes256Gcm96,
        TransitKeyType::Aes128Gcm96,
        TransitKeyType::ChaCha20Poly1305,
    ] {
        let key = key_type.as_str();
        transit.create_key(key, key_type).await.unwrap();
        let values: [&[u8]; 4] = [b"", b"kfcanary-transitvalue1", &[0, 0xff, b'\n', 0xc3], &[7; 100_000]];
        for value in values {
            for associated in [&b""[..], b"context \0 \xff"] {
                let ciphertext = transit.encrypt(key, value, associated).await.unwrap();
                assert!(ciphertext.starts_with("vault:v1:"));
                let plaintext = transit.decrypt(key, &ciphertext, associated).await.unwrap();
                assert!(plaintext.expose_secret() == value, "{key}, {} bytes", value.len());
                assert_eq!(
                    kind(transit.decrypt(key, &ciphertext, b"other").await),
                    ErrorKind::Corrupt,
                    "{key}"
                );
            }
        }
    }
    engine.remove().await;
}

#[tokio::test]
async fn a_changed_or_foreign_ciphertext_is_corrupt_and_a_missing_key_is_not_found() {
    let Some(engine) = Engine::new("a_changed_or_foreign_ciphertext").await else {
        return;
    };
    let transit = &engine.transit;
    for key in ["one", "other"] {
        transit.create_key(key, TransitKeyType::Aes256Gcm96).await.unwrap();
    }
    let ciphertext = transit.encrypt("one", b"kfcanary-transitvalue2", b"").await.unwrap();
    let changed = format!("{}AAAA", &ciphertext[..ciphertext.len() - 4]);
    for text in [
        changed.as_str(),
        "",
        "vault",
        "vault:v1:",
        "vault:v1:AAAA",
        "vault:v9:AAAA",
        "vault:v1:!",
    ] {
        assert_eq!(kind(transit.decrypt("one", text, b"").await), ErrorKind::Corrupt, "{text}");
    }
    assert_eq!(kind(transit.decrypt("other", &ciphertext, b"").await), ErrorKind::Corrupt);

    let options = SignOptions::default();
    assert_eq!(kind(transit.decrypt("none", &ciphertext, b"").await), ErrorKind::NotFound);
    assert_eq!(kind(transit.rewrap("none", &ciphertext).await), ErrorKind::NotFound);
    assert_eq!(kind(transit.sign("none", b"x", &options).await), ErrorKind::NotFound);
    assert_eq!(
        kind(transit.verify("none", b"x", "vault:v1:AAAA", &options).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(transit.hmac("none", b"x", HashAlgorithm::Sha256).await),
        ErrorKind::NotFound
    );
    assert_eq!(kind(transit.key("none").await), ErrorKind::NotFound);
    assert_eq!(kind(transit.rotate_key("none").await), ErrorKind::NotFound);
    assert_eq!(kind(transit.set_min_decryption_version("none", 1).await), ErrorKind::NotFound);
    assert_eq!(kind(transit.key("a/b").await), ErrorKind::InvalidInput);

    let vault: Vault = vault(&engine.admin.url, AuthConfig::token(engine.admin.token.as_str())).await;
    let nowhere = Transit::new(vault, &random("nowhere")).unwrap();
    assert_eq!(kind(nowhere.encrypt("one", b"x", b"").await), ErrorKind::NotFound);
    assert_eq!(
        kind(nowhere.create_key("one", TransitKeyType::Ed25519).await),
        ErrorKind::NotFound
    );
    assert_eq!(kind(nowhere.rotate_key("one").await), ErrorKind::NotFound);
    engine.remove().await;
}

#[tokio::test]
async fn a_signature_is_valid_for_its_input_alone() {
    let Some(engine) = Engine::new("a_signature_is_valid_for_its_input_alone").await else {
        return;
    };
    let transit = &engine.transit;
    let pkcs = SignOptions {
        padding: RsaPadding::Pkcs1v15,
        ..SignOptions::default()
    };
    let sha512 = SignOptions {
        hash: HashAlgorithm::Sha512,
        ..SignOptions::default()
    };
    for (key_type, options) in [
        (TransitKeyType::Ed25519, SignOptions::default()),
        (TransitKeyType::EcdsaP256, SignOptions::default()),
        (TransitKeyType::EcdsaP384, sha512),
        (TransitKeyType::Rsa2048, SignOptions::default()),
        (TransitKeyType::Rsa2048, pkcs),
        (TransitKeyType::Rsa2048, sha512),
    ] {
        let key = key_type.as_str();
        transit.create_key(key, key_type).await.unwrap();
        let input: &[u8] = b"kfcanary-signedinput1 \xff";
        let signature = transit.sign(key, input, &options).await.unwrap();
        let verify = async |input: &[u8], signature: &str| transit.verify(key, input, signature, &options).await.unwrap();
        assert!(verify(input, &signature).await, "{key} {options:?}");
        assert!(!verify(b"other", &signature).await, "{key} {options:?}");
        let end = if signature.ends_with("AAAA") { "BBBB" } else { "AAAA" };
        let tampered = format!("{}{end}", &signature[..signature.len() - 4]);
        for signature in [tampered.as_str(), "vault:v1:AAAA", "vault:v1:", "vault:v1:!", "", "x"] {
            assert!(!verify(input, signature).await, "{key} {options:?} {signature}");
        }
    }
    // The same signature with another padding.
    let signature = transit.sign("rsa-2048", b"x", &pkcs).await.unwrap();
    assert!(
        !transit
            .verify("rsa-2048", b"x", &signature, &SignOptions::default())
            .await
            .unwrap()
    );

    transit.create_key("aes", TransitKeyType::Aes256Gcm96).await.unwrap();
    assert_eq!(
        kind(transit.sign("aes", b"x", &SignOptions::default()).await),
        ErrorKind::Unsupported
    );
    assert_eq!(kind(transit.encrypt("ed25519", b"x", b"").await), ErrorKind::Unsupported);
    assert_eq!(
        kind(transit.encrypt("rsa-2048", b"x", b"associated").await),
        ErrorKind::Unsupported
    );
    engine.remove().await;
}

#[tokio::test]
async fn an_hmac_is_valid_for_its_input_alone() {
    let Some(engine) = Engine::new("an_hmac_is_valid_for_its_input_alone").await else {
        return;
    };
    let transit = &engine.transit;
    transit.create_key("k", TransitKeyType::Aes256Gcm96).await.unwrap();
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        let hmac = transit.hmac("k", b"", hash).await.unwrap();
        assert_eq!(hmac, transit.hmac("k", b"", hash).await.unwrap());
        assert!(transit.verify_hmac("k", b"", &hmac, hash).await.unwrap());
        assert!(!transit.verify_hmac("k", b"x", &hmac, hash).await.unwrap());
        assert!(!transit.verify_hmac("k", b"", "vault:v1:AAAA", hash).await.unwrap());
        assert!(!transit.verify_hmac("k", b"", "garbage", hash).await.unwrap());
    }
    engine.remove().await;
}

#[tokio::test]
async fn a_rotated_key_opens_what_is_old_until_it_is_told_not_to() {
    let Some(engine) = Engine::new("a_rotated_key_opens_what_is_old").await else {
        return;
    };
    let transit = &engine.transit;
    let made = transit.create_key("k", TransitKeyType::Aes256Gcm96).await.unwrap();
    assert_eq!(
        (made.key_type.as_str(), made.latest_version, made.exportable),
        ("aes256-gcm96", 1, false)
    );
    assert_eq!(transit.create_key("k", TransitKeyType::Aes256Gcm96).await.unwrap(), made);
    assert_eq!(
        kind(transit.create_key("k", TransitKeyType::Ed25519).await),
        ErrorKind::AlreadyExists
    );

    let old = transit.encrypt("k", b"kfcanary-transitvalue3", b"").await.unwrap();
    transit.rotate_key("k").await.unwrap();
    let rotated = transit.key("k").await.unwrap();
    assert_eq!((rotated.latest_version, rotated.versions), (2, vec![1, 2]));
    assert!(transit.decrypt("k", &old, b"").await.unwrap().expose_secret() == b"kfcanary-transitvalue3");
    let new = transit.rewrap("k", &old).await.unwrap();
    assert!(new.starts_with("vault:v2:"));
    let bound = transit.encrypt("k", b"kfcanary-transitvalue3", b"a").await.unwrap();
    assert_eq!(
        kind(transit.rewrap("k", &bound).await),
        ErrorKind::Corrupt,
        "the server has learnt it: pass it on"
    );

    transit.set_min_decryption_version("k", 2).await.unwrap();
    let error = transit.decrypt("k", &old, b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("min_decryption_version"));
    assert!(transit.decrypt("k", &new, b"").await.unwrap().expose_secret() == b"kfcanary-transitvalue3");
    assert_eq!(
        kind(transit.set_min_decryption_version("k", 9).await),
        ErrorKind::InvalidInput
    );
    engine.remove().await;
}
