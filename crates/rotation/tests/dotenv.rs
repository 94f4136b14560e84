//! Rotations in a `.env` file that somebody wrote by hand: no versions, and one token for all of it.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, SecretName, SecretStore};
use keyfob_env::{DotenvConfig, DotenvStore};
use keyfob_rotation::{Alphabet, CharacterClass, Generator, Outcome, Recipe, Rotation, RotationOptions};

const FILE: &str = "# the database\nDB_HOST=localhost\nDB_PASSWORD=kfcanary-byhand0001 # changed by the team\nOTHER=1\n";

fn options(grace: Duration) -> RotationOptions {
    RotationOptions {
        grace,
        ..RotationOptions::default()
    }
}

#[tokio::test]
async fn a_variable_written_by_hand_is_rotated_and_the_rest_of_the_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    std::fs::write(&path, FILE).unwrap();
    let store: Arc<dyn SecretStore> = Arc::new(DotenvStore::new(&DotenvConfig::new(&path)).unwrap());
    let name = SecretName::new("DB_PASSWORD").unwrap();
    let recipe = Recipe::text(20, Alphabet::symbols(), &CharacterClass::ALL).unwrap();
    let rotator = Generator::new(recipe.clone());

    let rotation = Rotation::new(Arc::clone(&store)).options(options(Duration::from_secs(3600)));
    let outcome = rotation.rotate(&name, &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Grace { .. }), "{outcome:?}");
    let value = store.get(&name, &GetOptions::default()).await.unwrap().value;
    assert!(recipe.fits(&value));
    let previous = rotation.previous(&name).await.unwrap().value;
    assert!(previous.expose_str().unwrap() == "kfcanary-byhand0001");

    let back = Rotation::new(Arc::clone(&store)).options(options(Duration::ZERO));
    back.rollback(&name, &rotator).await.unwrap();
    let value = store.get(&name, &GetOptions::default()).await.unwrap().value;
    assert!(value.expose_str().unwrap() == "kfcanary-byhand0001");

    back.rotate(&name, &rotator).await.unwrap();
    back.forget(&name).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for line in ["# the database", "DB_HOST=localhost", "OTHER=1"] {
        assert!(text.lines().any(|kept| kept == line), "`{line}` is gone");
    }
    assert!(!text.contains("kfcanary-") && !text.contains("KEYFOB"));
}

#[tokio::test]
async fn of_many_in_one_file_each_is_rotated_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    std::fs::write(&path, "A=1\nB=2\nC=3\n").unwrap();
    let runs = ["A", "B", "C"].into_iter().flat_map(|name| [name, name]).map(|name| {
        let store = Arc::new(DotenvStore::new(&DotenvConfig::new(&path)).unwrap());
        tokio::spawn(async move {
            let name = SecretName::new(name).unwrap();
            let rotation = Rotation::new(store).options(options(Duration::from_secs(3600)));
            rotation.rotate(&name, &Generator::new(Recipe::uuid())).await
        })
    });
    let runs: Vec<_> = runs.collect();
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
    assert_eq!(won, 3);
    let store = DotenvStore::new(&DotenvConfig::new(&path)).unwrap();
    for name in ["A", "B", "C"] {
        let name = SecretName::new(name).unwrap();
        let value = store.get(&name, &GetOptions::default()).await.unwrap().value;
        assert!(Recipe::uuid().fits(&value), "{name}");
    }
}
