//! Rotations in a SQLite file, by several at once.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, PageRequest, PutRequest, SecretName, SecretStore, VersionSelector};
use keyfob_envelope::RawKey;
use keyfob_rotation::{Generator, Outcome, Recipe, Rotation, RotationOptions};
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_who_rotate_many_secrets_of_one_file_rotate_each_once() {
    let directory = tempfile::tempdir().unwrap();
    let (key, file) = (directory.path().join("key"), directory.path().join("secrets.db"));
    RawKey::create_file(&key).unwrap();
    let config = || SqlConfig::new(&file, KeyConfig::File(key.clone())).with_state_dir(directory.path());
    let store = SqlStore::create(config()).await.unwrap();
    let names: Vec<SecretName> = (0..8)
        .map(|number| SecretName::new(format!("web/{number}")).unwrap())
        .collect();
    for name in &names {
        store.put(name, PutRequest::new("kfcanary-first00001")).await.unwrap();
    }
    let mut runs = Vec::new();
    for _ in 0..3 {
        let store: Arc<dyn SecretStore> = Arc::new(SqlStore::open(config()).await.unwrap());
        for name in names.clone() {
            let rotation = Rotation::new(Arc::clone(&store)).options(RotationOptions {
                grace: Duration::from_secs(3600),
                ..RotationOptions::default()
            });
            runs.push(tokio::spawn(async move {
                rotation.rotate(&name, &Generator::new(Recipe::uuid())).await
            }));
        }
    }
    let mut won = 0;
    for run in runs {
        match run.await.unwrap() {
            Ok(outcome) => {
                assert!(matches!(outcome, Outcome::Grace { .. }));
                won += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
        }
    }
    assert_eq!(won, names.len());
    for name in &names {
        let value = store.get(name, &GetOptions::default()).await.unwrap().value;
        assert!(Recipe::uuid().fits(&value), "{name}");
        let previous = store
            .get(name, &GetOptions::version(VersionSelector::Previous))
            .await
            .unwrap()
            .value;
        assert!(previous.expose_str().unwrap() == "kfcanary-first00001");
        assert_eq!(store.versions(name, &PageRequest::default()).await.unwrap().items.len(), 2);
    }
    let rotation = Rotation::new(Arc::new(store)).options(RotationOptions {
        end_grace: true,
        ..RotationOptions::default()
    });
    for name in &names {
        let outcome = rotation.resume(name, &Generator::new(Recipe::uuid())).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }));
        rotation.forget(name).await.unwrap();
    }
}
