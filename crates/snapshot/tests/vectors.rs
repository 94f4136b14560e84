//! The test vectors of `FORMAT.md`. They were computed by `vectors.py`, which shares no code with this crate.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::process::Command;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, HEXLOWER};
use keyfob_core::{Change, ErrorKind, MemoryStore, PutRequest, Result, SecretName, SecretStore as _};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, Snapshot, SnapshotDirectory, SnapshotId};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn document() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn key(document: &Value) -> RawKey {
    RawKey::new(&bytes(&document["key"]).try_into().unwrap())
}

/// Puts a file under the name of the snapshot `of`.
fn put(directory: &SnapshotDirectory, of: &Value, file: &Value) -> SnapshotId {
    let id: SnapshotId = HEXLOWER.encode(&bytes(&of["id"])).parse().unwrap();
    std::fs::write(directory.path_of(id), bytes(file)).unwrap();
    id
}

async fn whole(directory: &SnapshotDirectory, id: SnapshotId, key: &RawKey) -> Result<Snapshot> {
    let snapshot = directory.open_snapshot(id, key).await?;
    snapshot.verify().await?;
    Ok(snapshot)
}

fn time(value: &Value) -> Option<SystemTime> {
    let time: jiff::Timestamp = value.as_str()?.parse().unwrap();
    Some(time.try_into().unwrap())
}

#[tokio::test]
async fn what_another_program_wrote_is_read() {
    let document = document();
    let place = tempfile::tempdir().unwrap();
    let directory = SnapshotDirectory::new(place.path());
    let snapshots = document["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2);
    for vector in snapshots {
        let id = put(&directory, vector, &vector["file"]);
        let snapshot = whole(&directory, id, &key(&document)).await.unwrap();
        directory.check(id).await.unwrap();
        let secrets = vector["secrets"].as_array().unwrap();
        assert_eq!(snapshot.manifest().secrets.len(), secrets.len());
        for secret in secrets {
            let name = SecretName::new(secret["name"].as_str().unwrap()).unwrap();
            let read = snapshot.secret(&name).await.unwrap();
            assert!(read.value.expose_secret() == bytes(&secret["value"]), "{name}");
            let metadata = &read.metadata;
            assert_eq!(
                metadata.version.as_ref().map(|version| version.as_str()),
                secret["version"].as_str()
            );
            assert_eq!(
                (metadata.created, metadata.updated),
                (time(&secret["created"]), time(&secret["updated"]))
            );
            assert_eq!(metadata.expires_at, time(&secret["expires"]));
            assert_eq!(metadata.description.as_deref(), secret["description"].as_str());
            let tags = serde_json::to_value(&metadata.tags).unwrap();
            assert!(tags == secret["tags"] || metadata.tags.is_empty() && secret["tags"].is_null());
        }
    }
    let summaries = directory.list().await.unwrap();
    let own: Vec<usize> = summaries.iter().map(|listed| listed.summary.as_ref().unwrap().own).collect();
    assert_eq!(own.iter().sum::<usize>(), 4 + 1, "the second builds on the first");
}

#[tokio::test]
async fn what_was_changed_is_refused() {
    let document = document();
    let refused = document["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 15);
    for vector in refused {
        let place = tempfile::tempdir().unwrap();
        let directory = SnapshotDirectory::new(place.path());
        let id = put(&directory, &document["snapshots"][0], &vector["file"]);
        let error = whole(&directory, id, &key(&document)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}: {error:?}", vector["why"]);
    }
}

/// `KEYFOB_TEST_PYTHON=…/python cargo test -p keyfob-snapshot --test vectors -- --ignored`
#[tokio::test]
#[ignore = "needs Python with the package `cryptography`"]
async fn what_keyfob_wrote_is_read_by_another_program() {
    let place = tempfile::tempdir().unwrap();
    let directory = SnapshotDirectory::new(place.path().join("snapshots"));
    let (key, store) = (RawKey::create_file(place.path().join("key")).unwrap(), MemoryStore::new());
    let value = |number: usize| format!("kfcanary-vector{number:03}").repeat(number);
    let mut last = None;
    for changed in [0..300, 7..9] {
        for number in changed {
            let request = PutRequest {
                description: Change::Set(format!("größe {number}")),
                expires_at: Change::Set(SystemTime::UNIX_EPOCH + Duration::new(2_000_000_000, 5)),
                ..PutRequest::new(value(number + usize::from(last.is_some())))
            };
            store
                .put(&SecretName::new(format!("ключ/{number:03}")).unwrap(), request)
                .await
                .unwrap();
        }
        let made = directory
            .create(&store, &key, &CreateOptions::default(), |_| {})
            .await
            .unwrap();
        last = Some(made.summary);
    }
    let last = last.unwrap();
    assert_eq!((last.own, last.bases.len()), (2, 1));
    let read = Command::new(std::env::var_os("KEYFOB_TEST_PYTHON").unwrap_or("python3".into()))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.py"))
        .args([place.path().join("key"), directory.path_of(last.id)])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).unwrap();
    assert_eq!(lines.lines().count(), 300);
    for (number, line) in lines.lines().enumerate() {
        let secret: Value = serde_json::from_str(line).unwrap();
        let expected = Sha256::digest(value(number + usize::from((7..9).contains(&number))));
        assert_eq!(bytes(&secret["value"]), expected.as_slice(), "{number}");
        assert_eq!(secret["name"], format!("ключ/{number:03}"));
        assert_eq!(secret["description"], format!("größe {number}"));
    }
}
