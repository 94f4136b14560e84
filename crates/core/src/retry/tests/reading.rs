//! Reads: when, how long, how much.

use super::*;
use crate::options::{GetRequest, ListOptions, PageRequest};
use crate::secret::Secret;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn every_read_is_repeated_after_every_retryable_kind_and_after_no_other() {
    for kind in ErrorKind::ALL {
        let expected = if RETRYABLE.contains(&kind) { 3 } else { 1 };
        for verb in ["get", "get_many", "list", "versions", "health"] {
            let store = with_a([Step::fail(kind), Step::fail(kind)]).await;
            let layered = over(&store, generous());
            let error = match verb {
                "get" => layered.get(&name("a"), &GetOptions::default()).await.err(),
                "get_many" => layered.get_many(&[GetRequest::new(name("a"))]).await.remove(0).err(),
                "list" => layered.list(&ListOptions::default()).await.err(),
                "versions" => layered.versions(&name("a"), &PageRequest::default()).await.err(),
                _ => layered.health().await.err(),
            };
            assert_eq!(store.verbs(), vec![verb; expected], "{kind}");
            assert_eq!(error.as_ref().map(Error::kind), (expected == 1).then_some(kind), "{verb}");
            assert_eq!(error.as_ref().and_then(attempts), None, "one attempt needs no word");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_error_says_how_many_attempts_there_were_and_comes_without_a_wait() {
    let store = with_a(vec![Step::fail(ErrorKind::Unavailable); 9]).await;
    let began = Instant::now();
    let error = get(&over(&store, generous())).await.unwrap_err();
    assert_eq!(
        (error.kind(), attempts(&error).as_deref()),
        (ErrorKind::Unavailable, Some("4"))
    );
    assert_eq!(store.times().len(), 4);
    assert_eq!(began.elapsed().as_millis(), u128::from(*store.times().last().unwrap()));

    let once = RetryOptions {
        attempts: 1,
        ..generous()
    };
    let store = with_a([Step::fail(ErrorKind::Timeout)]).await;
    let error = get(&over(&store, once)).await.unwrap_err();
    assert_eq!((store.verbs().len(), attempts(&error).as_deref()), (1, Some("1")));

    let store = with_a([Step::fail(ErrorKind::Timeout), Step::fail(ErrorKind::PermissionDenied)]).await;
    let error = get(&over(&store, generous())).await.unwrap_err();
    assert_eq!(
        (error.kind(), attempts(&error).as_deref()),
        (ErrorKind::PermissionDenied, Some("2"))
    );
}

#[tokio::test(start_paused = true)]
async fn pauses_are_spread_from_nothing_to_what_doubles_up_to_the_cap() {
    let options = RetryOptions {
        attempts: 7,
        base: Duration::from_millis(100),
        cap: Duration::from_millis(1000),
        ..generous()
    };
    let ceilings = [100, 200, 400, 800, 1000, 1000];
    let mut seen: [Vec<u64>; 6] = Default::default();
    for seed in 0..300 {
        let store = with_a(vec![Step::fail(ErrorKind::Unavailable); 7]).await;
        get(&layer(options.clone(), seed).layer(store.clone())).await.unwrap_err();
        let times = store.times();
        for (index, pair) in times.windows(2).enumerate() {
            // The runtime's timer works in milliseconds.
            assert!(pair[1] - pair[0] <= ceilings[index] + 1, "seed {seed}: {times:?}");
            seen[index].push(pair[1] - pair[0]);
        }
    }
    for (pauses, ceiling) in seen.iter().zip(ceilings) {
        let mean = pauses.iter().sum::<u64>() / 300;
        assert!(mean.abs_diff(ceiling / 2) < ceiling / 10, "mean {mean} of {ceiling}");
        assert!(pauses.iter().any(|pause| *pause < ceiling / 10));
        assert!(pauses.iter().any(|pause| *pause > ceiling * 9 / 10));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_pauses() {
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let store = with_a(vec![Step::fail(ErrorKind::Unavailable); 4]).await;
        get(&layer(generous(), seed).layer(store.clone())).await.unwrap_err();
        runs.push(store.times());
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

fn limited(seconds: u64) -> Step {
    Step::Fail(error(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(seconds)))
}

#[tokio::test(start_paused = true)]
async fn a_store_is_never_asked_sooner_than_it_said() {
    for seed in 0..100 {
        let store = with_a([limited(7)]).await;
        get(&layer(generous(), seed).layer(store.clone())).await.unwrap();
        let wait = store.times()[1];
        assert!((7000..=7101).contains(&wait), "seed {seed}: {wait} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_gives_up_at_once_with_the_stores_error() {
    let store = with_a([limited(31)]).await;
    let began = Instant::now();
    let error = get(&over(&store, generous())).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::RateLimited, Some(Duration::from_secs(31)))
    );
    assert_eq!((attempts(&error).as_deref(), began.elapsed()), (Some("1"), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_the_call_as_a_whole_and_names_the_last_error() {
    let store = with_a([Step::after(20_000, Step::fail(ErrorKind::Unavailable)), Step::hang()]).await;
    let began = Instant::now();
    let error = get(&over(&store, generous())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("30s"), "{error}");
    let facts: Vec<(&str, &str)> = error.context().collect();
    assert!(
        facts.contains(&("store", "scripted")) && facts.contains(&("name", "a")),
        "{error}"
    );
    assert_eq!(
        (attempts(&error).as_deref(), source(&error)),
        (Some("2"), Some(ErrorKind::Unavailable))
    );
    assert!(began.elapsed().abs_diff(Duration::from_secs(30)) <= Duration::from_millis(1));

    let store = with_a([Step::hang()]).await;
    let error = get(&over(&store, generous())).await.unwrap_err();
    assert_eq!((error.kind(), source(&error)), (ErrorKind::Timeout, None));
}

#[tokio::test(start_paused = true)]
async fn a_call_never_takes_longer_than_its_deadline() {
    for seed in 0..200 {
        let random = Random::seeded(seed);
        let options = RetryOptions {
            attempts: 100,
            deadline: Duration::from_millis(1 + random.next() % 3000),
            cap: Duration::from_secs(60),
            ..generous()
        };
        let steps = (0..100).map(|_| Step::after(random.next() % 300, Step::fail(ErrorKind::Unavailable)));
        let store = with_a(steps).await;
        let began = Instant::now();
        get(&layer(options.clone(), seed).layer(store.clone())).await.unwrap_err();
        assert!(began.elapsed() <= options.deadline + Duration::from_millis(1), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let store = with_a(vec![Step::fail(ErrorKind::Unavailable); 10_000]).await;
    let options = RetryOptions {
        budget_per_second: 0.0,
        ..RetryOptions::default()
    };
    let layer = layer(options, 1);
    let layered = layer.layer(store.clone());
    for _ in 0..1000 {
        get(&layered).await.unwrap_err();
    }
    let stats = layer.stats();
    // Ten saved, and one for ten calls but the first one, which found the bucket full.
    assert_eq!((stats.retries, stats.attempts), (109, 1109));
    assert_eq!(store.verbs().len(), 1109);
    assert!(stats.budget_refusals > 900, "{stats:?}");
    assert_eq!(stats.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_after_the_caller_has_gone() {
    let store = with_a([Step::fail(ErrorKind::Unavailable), Step::hang()]).await;
    let layer = layer(generous(), 1);
    let layered = layer.layer(store.clone());
    for (after, requests) in [(0, 1), (5000, 2)] {
        let call = tokio::time::timeout(Duration::from_millis(after), get(&layered)).await;
        assert!(call.is_err());
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!((store.verbs().len(), layer.stats().in_flight), (requests, 0));
    }
}

async fn batch(store: &Arc<dyn SecretStore>, names: &[&str]) -> Vec<Result<Secret, Error>> {
    let requests: Vec<GetRequest> = names.iter().map(|text| GetRequest::new(name(text))).collect();
    store.get_many(&requests).await
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_what_failed_is_asked_again_and_the_order_stays() {
    let store = with_a([
        Step::FailSome(vec![
            (0, error(ErrorKind::Unavailable)),
            (2, error(ErrorKind::PermissionDenied)),
            (3, error(ErrorKind::Timeout)),
        ]),
        Step::FailSome(vec![(1, error(ErrorKind::RateLimited))]),
    ])
    .await;
    for text in ["b", "c", "d"] {
        store.memory.put(&name(text), PutRequest::new(value(text))).await.unwrap();
    }
    let answers = batch(&over(&store, generous()), &["a", "b", "c", "d", "none"]).await;
    let asked: Vec<Vec<String>> = store.asked().into_iter().map(|asked| asked.names).collect();
    assert_eq!(asked, [vec!["a", "b", "c", "d", "none"], vec!["a", "d"], vec!["d"]]);
    let text = |index: usize| answers[index].as_ref().unwrap().value.expose_str().unwrap().to_owned();
    assert_eq!([text(0), text(1), text(3)], ["a", "b", "d"].map(value));
    let kind = |index: usize| answers[index].as_ref().unwrap_err().kind();
    assert_eq!([kind(2), kind(4)], [ErrorKind::PermissionDenied, ErrorKind::NotFound]);
    assert_eq!(attempts(answers[2].as_ref().unwrap_err()), None);
}

#[tokio::test(start_paused = true)]
async fn what_must_wait_too_long_in_a_batch_does_not_hold_up_the_others() {
    let long = error(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(60));
    let short = error(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(2));
    let store = with_a([Step::FailSome(vec![(0, long), (1, short)])]).await;
    store.memory.put(&name("b"), PutRequest::new(value("b"))).await.unwrap();
    let answers = batch(&over(&store, generous()), &["a", "b"]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(
        (error.retry_after(), attempts(error).as_deref()),
        (Some(Duration::from_secs(60)), Some("1"))
    );
    assert!(answers[1].is_ok());
    assert!((2000..=2101).contains(&store.times()[1]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_beyond_its_deadline_keeps_what_it_has() {
    let store = with_a([Step::FailSome(vec![(1, error(ErrorKind::Unavailable))]), Step::hang()]).await;
    let answers = batch(&over(&store, generous()), &["a", "b"]).await;
    assert!(answers[0].is_ok());
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), source(error)),
        (ErrorKind::Timeout, Some(ErrorKind::Unavailable))
    );
    assert_eq!(attempts(error).as_deref(), Some("2"));
    let store = with_a(vec![Step::fail(ErrorKind::Unavailable); 9]).await;
    let answers = batch(&over(&store, generous()), &["a", "a"]).await;
    assert!(
        answers
            .iter()
            .all(|answer| attempts(answer.as_ref().unwrap_err()).as_deref() == Some("4"))
    );
    assert!(batch(&over(&store, generous()), &[]).await.is_empty());
}

#[test]
fn a_read_that_is_answered_at_once_needs_no_runtime() {
    let store: Arc<dyn SecretStore> = RetryLayer::default().layer(Arc::new(crate::memory::MemoryStore::new()));
    let read = get(&store);
    let error = futures_util::FutureExt::now_or_never(read).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let wrong = |change: fn(&mut RetryOptions)| {
        let mut options = RetryOptions::default();
        change(&mut options);
        let error = RetryLayer::new(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    };
    assert!(wrong(|options| options.attempts = 0).contains("`attempts`"));
    assert!(wrong(|options| options.base = Duration::from_secs(6)).contains("`base`"));
    assert!(wrong(|options| options.deadline = Duration::ZERO).contains("`deadline`"));
    assert!(wrong(|options| options.budget = 1.1).contains("`budget`"));
    assert!(wrong(|options| options.budget = f64::NAN).contains("`budget`"));
    assert!(wrong(|options| options.budget_per_second = -1.0).contains("`budget_per_second`"));
    assert!(RetryLayer::new(RetryOptions::default()).is_ok());
}
