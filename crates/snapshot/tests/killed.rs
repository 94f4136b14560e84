//! A process that is killed while it makes snapshots leaves whole ones or none.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use keyfob_core::{MemoryStore, PutRequest, Random, SecretName, SecretStore as _};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, SnapshotDirectory};

const DIRECTORY: &str = "KEYFOB_TEST_SNAPSHOT_DIRECTORY";
const KILLS: u64 = 25;

fn key() -> RawKey {
    RawKey::new(&[3; 32])
}

/// Makes snapshots of a store that changes, for ever.
#[tokio::test]
#[ignore = "is started, and killed, by the other test"]
async fn make_snapshots() {
    let directory = SnapshotDirectory::new(std::env::var_os(DIRECTORY).map(PathBuf::from).unwrap());
    let store = MemoryStore::new();
    for round in 0_u32.. {
        for number in (0..60).filter(|number| round == 0 || number % 7 == round % 7) {
            let name = SecretName::new(format!("secret-{number:02}")).unwrap();
            let value = format!("kfcanary-killed{round:04}").repeat(100);
            store.put(&name, PutRequest::new(value)).await.unwrap();
        }
        directory
            .create(&store, &key(), &CreateOptions::default(), |_| {})
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_snapshots_or_none() {
    let place = tempfile::tempdir().unwrap();
    let directory = SnapshotDirectory::new(place.path().join("snapshots"));
    let (random, mut made) = (Random::seeded(11), 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "make_snapshots", "--ignored"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first is finished to after several.
        tokio::time::sleep(Duration::from_millis(20 + random.next() % 150)).await;
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        if !directory.path().exists() {
            continue;
        }
        for listed in directory.list().await.unwrap() {
            assert!(listed.summary.is_ok(), "after {kill} kills: {:?}", listed.summary);
            let snapshot = directory.open_snapshot(listed.id, &key()).await.unwrap();
            assert_eq!(snapshot.verify().await.unwrap().secrets, 60);
            made += 1;
        }
        let ids = directory.list().await.unwrap().iter().map(|listed| listed.id).collect();
        directory.delete(&ids).await.unwrap();
        let left: Vec<_> = std::fs::read_dir(directory.path()).into_iter().flatten().collect();
        assert!(left.len() <= 1, "only the lock is left: {left:?}");
    }
    assert!(made > 0, "no snapshot was finished before a kill");
}
