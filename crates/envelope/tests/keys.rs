//! Keys as text and in files.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use keyfob_core::{ErrorKind, SecretValue};
use keyfob_envelope::{Context, KeySource, RawKey, StoreId};
use proptest::prelude::*;
use tempfile::TempDir;

/// Its URL alphabet differs from the standard one.
const KEY: [u8; 32] = [0xfb; 32];

fn text() -> String {
    data_encoding::BASE64.encode(&KEY)
}

fn key_file(directory: &TempDir, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = directory.path().join("key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn refusal(path: &Path) -> keyfob_core::Error {
    let error = RawKey::from_file(path).unwrap_err();
    assert!(error.context().any(|(key, _)| key == "file"), "{error}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    error
}

#[test]
fn every_usual_spelling_of_a_key_is_the_same_key() {
    let expected = RawKey::new(&KEY);
    let hex = "fb".repeat(32);
    let url = data_encoding::BASE64URL.encode(&KEY);
    assert_ne!(url, text());
    for spelling in [
        text(),
        text().trim_end_matches('=').to_owned(),
        url.trim_end_matches('=').to_owned(),
        url,
        hex.to_uppercase(),
        hex,
    ] {
        for ending in ["", "\n", "\r\n"] {
            let key = RawKey::parse(&format!("{spelling}{ending}")).unwrap();
            assert_eq!(key.id(), expected.id());
        }
    }
    assert!(expected.id().as_str().starts_with("key:") && expected.id().as_str().len() == 20);
}

#[test]
fn anything_else_is_no_key_and_is_not_shown() {
    let short = data_encoding::BASE64.encode(&KEY[..31]);
    let long = data_encoding::BASE64.encode(&[KEY.as_slice(), &[1]].concat());
    let trailing_bits = format!("{}h", &"A".repeat(42));
    for wrong in [
        "canary",
        "canary canary canary canary canary canary!!",
        &short,
        &long,
        &"a".repeat(32),
        &"fb".repeat(31),
        &"fb".repeat(33),
        &"zz".repeat(32),
        &trailing_bits,
        &format!(" {}", text()),
        &format!("{}\n\n", text()),
        &format!("{}==", text()),
        &"é".repeat(32),
    ] {
        let error = RawKey::parse(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(
            error.message().contains("characters") && error.hint().unwrap().contains("openssl rand"),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains(&wrong[..6]), "{error:?}");
    }
    for empty in ["", "\n", "\r\n"] {
        assert_eq!(RawKey::parse(empty).unwrap_err().message(), "the key is empty");
    }
}

#[test]
fn a_new_key_file_is_private_complete_and_opens() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a/b/key");
    let made = RawKey::create_file(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("a")), 0o700);
    assert_eq!(mode(&directory.path().join("a/b")), 0o700);
    assert_eq!(fs::read(&path).unwrap().len(), 45);
    assert_eq!(
        fs::read_dir(directory.path().join("a/b")).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert_eq!(RawKey::from_file(&path).unwrap().id(), made.id());
}

#[test]
fn what_exists_is_never_overwritten() {
    let directory = TempDir::new().unwrap();
    let path = key_file(&directory, text(), 0o600);
    assert_eq!(RawKey::create_file(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), text());
    // Not even through a link that leads nowhere.
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    assert_eq!(RawKey::create_file(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(!directory.path().join("nowhere").exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn of_many_that_make_the_same_key_file_one_wins() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("new/key");
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| RawKey::create_file(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (winners, losers): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    assert!(
        losers
            .into_iter()
            .all(|loser| loser.unwrap_err().kind() == ErrorKind::AlreadyExists)
    );
    let winner = winners.into_iter().next().unwrap().unwrap();
    assert_eq!(RawKey::from_file(&path).unwrap().id(), winner.id());
}

#[test]
fn a_file_that_others_may_access_is_refused_with_the_remedy() {
    let directory = TempDir::new().unwrap();
    for mode in [0o604, 0o640, 0o620, 0o602, 0o644, 0o666, 0o710, 0o601] {
        let path = key_file(&directory, text(), mode);
        let error = refusal(&path);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(&format!("{mode:04o}")), "{error}");
        assert!(
            error.hint().unwrap().contains(&format!("`chmod 600 {}`", path.display())),
            "{error:?}"
        );
    }
    for mode in [0o600, 0o400, 0o700] {
        RawKey::from_file(key_file(&directory, text(), mode)).unwrap();
        fs::remove_file(directory.path().join("key")).unwrap();
    }
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("link");
    let path = key_file(&directory, text(), 0o600);
    symlink(&path, &link).unwrap();
    RawKey::from_file(&link).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(refusal(&link).kind(), ErrorKind::InvalidConfig);
    fs::remove_file(&path).unwrap();
    assert_eq!(refusal(&link).kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_no_key_file_is_refused() {
    let directory = TempDir::new().unwrap();
    assert_eq!(refusal(&directory.path().join("none")).kind(), ErrorKind::NotFound);
    assert_eq!(refusal(directory.path()).message(), "the key file is not a regular file");
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(refusal(&pipe).message(), "the key file is not a regular file");
    assert_eq!(
        refusal(Path::new("/dev/zero")).message(),
        "the key file is not a regular file"
    );
    for content in ["", "\n", "canary", &"canary".repeat(40), &"canary".repeat(10_000)] {
        let error = refusal(&key_file(&directory, content, 0o600));
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    }
    assert_eq!(
        refusal(&key_file(&directory, [0xff; 32], 0o600)).kind(),
        ErrorKind::InvalidConfig
    );
    assert_eq!(refusal(Path::new("a\0b")).kind(), ErrorKind::Other);
}

#[test]
fn a_key_file_that_cannot_be_made_says_which() {
    let directory = TempDir::new().unwrap();
    let file = key_file(&directory, "", 0o600);
    let error = RawKey::create_file(file.join("below")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other, "{error:?}");
    assert!(error.to_string().contains("key"), "{error}");
}

#[test]
fn a_key_is_shared_without_a_slot_and_has_children_that_know_nothing_of_each_other() {
    let (store, other) = (StoreId([1; 16]), StoreId([2; 16]));
    let shared = |key: [u8; 32]| RawKey::new(&key).shared_key();
    let context = Context {
        store,
        name: "db/password",
        version: 1,
        metadata: b"",
    };
    let sealed = shared(KEY)
        .child("cache", store)
        .seal(&context, &SecretValue::from("kfcanary-childvalue1"))
        .unwrap();
    // The same wherever the same raw key is, in another process too.
    let same = RawKey::parse(&text()).unwrap().shared_key();
    let opened = same
        .child("cache", store)
        .open(&context, &sealed.wrapped_key, &sealed.ciphertext);
    assert!(opened.unwrap().expose_secret() == b"kfcanary-childvalue1");
    let others = [
        shared(KEY),
        shared(KEY).child("cachf", store),
        shared(KEY).child("cache", other),
        shared(KEY).child("cache", store).child("cache", store),
        shared([0xfc; 32]).child("cache", store),
    ];
    for key in &others {
        assert_ne!(key.id(), same.child("cache", store).id());
        let error = key.open(&context, &sealed.wrapped_key, &sealed.ciphertext).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert!(!format!("{:?}{:?}", RawKey::new(&KEY), shared(KEY)).contains("fb, "));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String, digits in "[A-Za-z0-9+/=_-]{40,70}") {
        let _ = RawKey::parse(&text);
        let _ = RawKey::parse(&digits);
    }

    #[test]
    fn every_key_reads_back(key: [u8; 32]) {
        let expected = RawKey::new(&key);
        for text in [
            data_encoding::BASE64.encode(&key),
            data_encoding::BASE64URL_NOPAD.encode(&key),
            data_encoding::HEXLOWER.encode(&key),
        ] {
            let read = RawKey::parse(&text).unwrap();
            prop_assert_eq!(read.id(), expected.id());
        }
    }
}
