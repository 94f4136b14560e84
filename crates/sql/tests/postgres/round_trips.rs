//! How often a call waits for the server. Statements that a connection has not seen yet cost one more.

use keyfob_core::{GetOptions, GetRequest, PutRequest, SecretName, SecretStore};
use keyfob_sql::PostgresStore;

use crate::proxy::{Loss, Proxy};
use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_secrets_are_one_round_trip_and_a_write_is_three() {
    let Some(place) = Place::new("a_hundred_secrets_are_one_round_trip_and_a_write_is_three") else {
        return;
    };
    let direct = place.create().await;
    let names: Vec<SecretName> = (0..100)
        .map(|number| SecretName::new(format!("s{number}")).unwrap())
        .collect();
    for name in &names {
        direct.put(name, PutRequest::new("kfcanary-turns001")).await.unwrap();
    }
    let mut config = place.config();
    // Never used to lose anything.
    let proxy = Proxy::to(config.port, Loss::Closed).await;
    config.port = proxy.port;
    config.max_connections = 1;
    let store = PostgresStore::open(config).await.unwrap();
    let opened = proxy.round_trips();

    let requests: Vec<GetRequest> = names.iter().map(|name| GetRequest::new(name.clone())).collect();
    let read = async || assert!(store.get_many(&requests).await.iter().all(Result::is_ok));
    read().await;
    let first = proxy.round_trips();
    read().await;
    let again = proxy.round_trips();
    store.put(&names[0], PutRequest::new("kfcanary-turns002")).await.unwrap();
    proxy.round_trips();
    store.put(&names[1], PutRequest::new("kfcanary-turns003")).await.unwrap();
    let written = proxy.round_trips();
    store.get(&names[2], &GetOptions::default()).await.unwrap();
    let got = proxy.round_trips();

    assert_eq!((first, again, got, written), (2, 1, 1, 3));
    // Log-in with SCRAM is three, then come the connection's settings, the statements, and twice the head.
    assert!(opened <= 7, "{opened}");
    place.remove().await;
}
