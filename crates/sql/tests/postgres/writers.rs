//! Several machines at once.

use std::time::{Duration, Instant};

use keyfob_core::{ErrorKind, GetOptions, PutMode, PutRequest, SecretName, SecretStore};
use keyfob_sql::PostgresStore;

use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_who_make_the_store_one_does() {
    let Some(place) = Place::new("of_several_who_make_the_store_one_does") else {
        return;
    };
    let attempts: Vec<_> = (0..4)
        .map(|machine| tokio::spawn(PostgresStore::create(place.config_on(&machine.to_string()))))
        .collect();
    let mut made = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(made, 1);
    place.open().await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_eight_writers_on_two_machines_is_lost() {
    let Some(place) = Place::new("no_write_of_eight_writers_on_two_machines_is_lost") else {
        return;
    };
    place.create().await;
    let mut machines = Vec::new();
    for machine in ["one", "two"] {
        machines.push(PostgresStore::open(place.config_on(machine)).await.unwrap());
    }
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = machines[writer % 2].clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let own = name(&format!("writer{writer}/{round}"));
                    store.put(&own, PutRequest::new("kfcanary-writers1")).await.unwrap();
                    count_up(&store).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let counter = machines[0].get(&name("counter"), &GetOptions::default()).await.unwrap();
    assert!(counter.value.expose_str().unwrap() == "160");
    let report = machines[1].verify().await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.secrets, 161);
    place.remove().await;
}

/// Adds one, by compare-and-set.
async fn count_up(store: &PostgresStore) {
    let counter = name("counter");
    loop {
        let (present, mode) = match store.get(&counter, &GetOptions::default()).await {
            Ok(secret) => {
                let version = secret.metadata.version.clone().unwrap();
                (secret.value.expose_str().unwrap().parse().unwrap(), PutMode::Match(version))
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                (0, PutMode::Create)
            }
        };
        let next: u32 = present + 1;
        let mut request = PutRequest::new(next.to_string());
        request.mode = mode;
        match store.put(&counter, request).await {
            Ok(_) => return,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists),
                "{error}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_one_bucket_keeps_nobody_from_another() {
    let Some(place) = Place::new("who_holds_one_bucket_keeps_nobody_from_another") else {
        return;
    };
    place.create().await;
    let mut config = place.config();
    config.timeout = Duration::from_secs(2);
    let store = PostgresStore::open(config).await.unwrap();
    store.put(&name("held"), PutRequest::new("kfcanary-bucket01")).await.unwrap();
    let mut other = place.administrator().await;
    let transaction = other.transaction().await.unwrap();
    let sql = format!(
        "SELECT id FROM {0}.bucket WHERE id = (SELECT bucket FROM {0}.secret WHERE name = 'held') FOR UPDATE",
        place.schema
    );
    assert_eq!(transaction.query(&sql, &[]).await.unwrap().len(), 1);

    store.put(&name("free"), PutRequest::new("kfcanary-bucket02")).await.unwrap();
    store.get(&name("held"), &GetOptions::default()).await.unwrap();
    let begin = Instant::now();
    let error = store
        .put(&name("held"), PutRequest::new("kfcanary-bucket03"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3), "it is given up in time");
    transaction.rollback().await.unwrap();
    store.put(&name("held"), PutRequest::new("kfcanary-bucket04")).await.unwrap();
    place.remove().await;
}
