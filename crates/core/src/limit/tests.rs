//! Every sentence of the layer's documentation, in virtual time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{LimitLayer, LimitOptions};
use crate::clock::VirtualClock;
use crate::error::ErrorKind;
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, PageRequest, PutRequest};
use crate::scripted::{ScriptedStore, Step, error};
use crate::store::SecretStore;

fn layer(first: usize, least: usize, most: usize) -> LimitLayer {
    LimitLayer::new(LimitOptions { first, least, most })
        .unwrap()
        .clock(Arc::new(VirtualClock::starting_at(SystemTime::now())))
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn over(layer: &LimitLayer, script: impl IntoIterator<Item = Step>) -> (Arc<ScriptedStore>, Arc<dyn SecretStore>) {
    let store = Arc::new(ScriptedStore::new(script));
    (store.clone(), layer.layer(store))
}

async fn get(store: &Arc<dyn SecretStore>, text: &str) {
    let _ = store.get(&name(text), &GetOptions::default()).await;
}

/// So many reads at once, all done.
async fn reads(store: &Arc<dyn SecretStore>, many: usize) {
    join_all((0..many).map(|_| get(store, "a"))).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_limit_and_the_rest_wait_in_order() {
    let layer = layer(2, 2, 2);
    let (store, limited) = over(&layer, vec![Step::after(10, Step::Answer); 6]);
    let names = ["1", "2", "3", "4", "5", "6"];
    let all = join_all(names.map(|text| get(&limited, text)));
    let watch = async {
        for (waiting, in_flight) in [(4, 2), (2, 2), (0, 2), (0, 0)] {
            sleep(Duration::from_millis(5)).await;
            let stats = layer.stats();
            assert_eq!((stats.waiting, stats.in_flight, stats.limit), (waiting, in_flight, 2));
            sleep(Duration::from_millis(6)).await;
        }
    };
    tokio::join!(all, watch);
    let order: Vec<String> = store.asked().into_iter().flat_map(|asked| asked.names).collect();
    assert_eq!(order, names);
    assert_eq!(store.times().last(), Some(&20));
}

#[tokio::test(start_paused = true)]
async fn it_doubles_at_first_and_never_exceeds_its_bound() {
    let layer = layer(4, 1, 30);
    let (_, limited) = over(&layer, vec![Step::after(10, Step::Answer); 1000]);
    let watch = async {
        sleep(Duration::from_millis(5)).await;
        for limit in [4, 8, 16, 30, 30] {
            assert_eq!(layer.stats().limit, limit);
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(reads(&limited, 200), watch);
}

#[tokio::test(start_paused = true)]
async fn it_falls_once_a_round_when_the_store_throttles_and_then_grows_slowly() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Timeout] {
        let layer = layer(100, 10, 100);
        let (store, limited) = over(&layer, vec![Step::after(10, Step::fail(kind)); 100]);
        reads(&limited, 100).await;
        assert_eq!((layer.stats().limit, layer.stats().throttled), (80, 100));
        // A round of what was sent afterwards.
        store.then([Step::after(10, Step::fail(kind))]);
        store.then(vec![Step::after(11, Step::Answer); 79]);
        reads(&limited, 80).await;
        let limit = layer.stats().limit;
        assert!((64..=65).contains(&limit), "{limit}");
        store.then(vec![Step::after(10, Step::Answer); 64]);
        reads(&limited, 64).await;
        assert!((65..=66).contains(&layer.stats().limit), "{:?}", layer.stats());
        for _ in 0..20 {
            store.then([Step::after(1, Step::fail(kind))]);
            get(&limited, "a").await;
        }
        assert_eq!(layer.stats().limit, 10, "never below its bound");
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_the_load_changes_nothing() {
    let layer = layer(4, 1, 100);
    for kind in ErrorKind::ALL {
        let (_, limited) = over(&layer, vec![Step::after(10, Step::fail(kind)); 4]);
        let before = layer.stats().limit;
        reads(&limited, usize::try_from(before).unwrap()).await;
        let after = layer.stats().limit;
        let (down, up) = (
            matches!(kind, ErrorKind::RateLimited | ErrorKind::Timeout),
            matches!(
                kind,
                ErrorKind::AlreadyExists
                    | ErrorKind::Conflict
                    | ErrorKind::Corrupt
                    | ErrorKind::Expired
                    | ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::Unauthenticated
            ),
        );
        if !up {
            assert!(
                if down { after <= before } else { after == before },
                "{kind}: {before}, then {after}"
            );
        } else {
            assert!(after >= before, "{kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_used_does_not_grow() {
    let layer = layer(16, 1, 100);
    let (_, limited) = over(&layer, vec![Step::after(1, Step::Answer); 1000]);
    for _ in 0..100 {
        reads(&limited, 7).await;
    }
    assert_eq!(layer.stats().limit, 16);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_gives_its_place_or_its_turn_on() {
    let layer = layer(1, 1, 1);
    let (store, limited) = over(&layer, [Step::hang()]);
    let brief = |text: &'static str, milliseconds: u64| {
        let limited = limited.clone();
        async move {
            timeout(Duration::from_millis(milliseconds), get(&limited, text))
                .await
                .is_ok()
        }
    };
    // The first is under way and goes; the second waits and goes before; the third gets the place.
    let done = tokio::join!(brief("1", 100), brief("2", 50), brief("3", 1000));
    assert_eq!(done, (false, false, true));
    let order: Vec<String> = store.asked().into_iter().flat_map(|asked| asked.names).collect();
    assert_eq!((order, store.times()), (vec!["1".to_owned(), "3".to_owned()], vec![0, 100]));
    let stats = layer.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.throttled), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn places_are_neither_lost_nor_made_whatever_happens() {
    for seed in 0..50 {
        let random = crate::random::Random::seeded(seed);
        let layer = layer(8, 2, 40);
        let steps: Vec<Step> = (0..2000)
            .map(|_| {
                let end = match random.next() % 4 {
                    0 => Step::fail(ErrorKind::RateLimited),
                    _ => Step::Answer,
                };
                Step::after(random.next() % 20, end)
            })
            .collect();
        let (_, limited) = over(&layer, steps);
        let calls = (0..500).map(|_| {
            let (start, patience) = (random.next() % 200, 1 + random.next() % 60);
            let (layer, limited) = (&layer, &limited);
            async move {
                sleep(Duration::from_millis(start)).await;
                let _ = timeout(Duration::from_millis(patience), get(limited, "a")).await;
                let stats = layer.stats();
                assert!((2..=40).contains(&stats.limit), "seed {seed}: {stats:?}");
                assert!(stats.in_flight <= 40, "seed {seed}: {stats:?}");
            }
        });
        join_all(calls).await;
        let stats = layer.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "seed {seed}");
        assert_eq!(layer.gate.free(), usize::try_from(stats.limit).unwrap(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_counts_as_one_and_its_worst_answer_counts() {
    let layer = layer(10, 1, 10);
    let throttled = Step::FailSome(vec![(1, error(ErrorKind::RateLimited))]);
    let (_, limited) = over(&layer, [Step::after(10, throttled)]);
    let requests = ["a", "b", "c"].map(|text| GetRequest::new(name(text)));
    let watch = async {
        sleep(Duration::from_millis(5)).await;
        assert_eq!(layer.stats().in_flight, 1);
    };
    tokio::join!(limited.get_many(&requests), watch);
    assert_eq!((layer.stats().limit, layer.stats().throttled), (8, 1));
    assert!(limited.get_many(&[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_verb_needs_a_place() {
    let layer = layer(1, 1, 1);
    let (store, limited) = over(&layer, [Step::after(100, Step::Answer)]);
    let (a, page) = (name("a"), PageRequest::default());
    let (get_options, delete_options, list_options) = (GetOptions::default(), DeleteOptions::default(), ListOptions::default());
    let requests = [GetRequest::new(a.clone())];
    tokio::join!(
        get(&limited, "a"),
        async { limited.get(&a, &get_options).await.is_ok() },
        limited.get_many(&requests),
        async { limited.put(&a, PutRequest::new("kfcanary-limitlayer")).await.is_ok() },
        async { limited.delete(&a, &delete_options).await.is_ok() },
        async { limited.restore(&a).await.is_ok() },
        async { limited.list(&list_options).await.is_ok() },
        async { limited.versions(&a, &page).await.is_ok() },
        async {
            sleep(Duration::from_millis(50)).await;
            assert_eq!((layer.stats().in_flight, layer.stats().waiting), (1, 7));
            limited.health().await.is_ok()
        }
    );
    assert_eq!(store.verbs().len(), 9);
    assert!(store.times()[1..].iter().all(|time| *time >= 100));
}

#[test]
fn bounds_that_can_not_be_are_refused_by_name() {
    let wrong = |first, least, most| {
        let error = LimitLayer::new(LimitOptions { first, least, most }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    };
    assert!(wrong(1, 0, 1).contains("`least`"));
    assert!(wrong(3, 1, 2).contains("`first`"));
    assert!(wrong(1, 2, 3).contains("`first`"));
    assert!(wrong(1, 1, 10_001).contains("`most`"));
    assert!(LimitLayer::new(LimitOptions::default()).is_ok());
}
