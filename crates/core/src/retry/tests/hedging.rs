//! Second requests for slow reads.

use super::*;
use crate::options::{DeleteOptions, GetRequest, PutMode};

fn hedging() -> RetryOptions {
    RetryOptions {
        hedge: true,
        ..generous()
    }
}

/// A store whose 160 reads so far have taken 1 to 20 ms, evenly.
async fn warm(options: RetryOptions) -> (Arc<ScriptedStore>, RetryLayer, Arc<dyn SecretStore>) {
    let store = with_a((0..160).map(|index| Step::after(1 + index * 7 % 20, Step::Answer))).await;
    let layer = layer(options, 1);
    let layered = layer.layer(store.clone());
    // All at once, so that none waits for another's hedge.
    let reads = (0..160).map(|_| get(&layered));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
    assert_eq!(layer.stats().hedges, 0, "nothing was known when they began");
    (store, layer, layered)
}

/// How long the next read takes, in milliseconds, and its answer.
async fn timed(layered: &Arc<dyn SecretStore>) -> (u128, Result<String, Error>) {
    let began = tokio::time::Instant::now();
    let answer = get(layered).await;
    (began.elapsed().as_millis(), answer)
}

#[tokio::test(start_paused = true)]
async fn a_read_slower_than_most_is_sent_again_and_the_first_good_answer_wins() {
    // The percentile of 1 to 20 ms is 19 or 20 ms.
    for (first, second, took) in [
        (Step::after(500, Step::Answer), Step::after(3, Step::Answer), 22..=24),
        (Step::after(30, Step::Answer), Step::after(500, Step::Answer), 30..=31),
        // An error that may pass is no good answer, while the other request is still on its way.
        (
            Step::after(500, Step::Answer),
            Step::after(3, Step::fail(ErrorKind::Unavailable)),
            500..=501,
        ),
        (
            Step::after(30, Step::fail(ErrorKind::Timeout)),
            Step::after(50, Step::Answer),
            68..=72,
        ),
    ] {
        let (store, layer, layered) = warm(hedging()).await;
        store.then([first, second]);
        let (time, answer) = timed(&layered).await;
        assert_eq!(answer.unwrap(), value("a"));
        assert!(took.contains(&time), "{time} ms");
        let stats = layer.stats();
        assert_eq!((stats.hedges, stats.retries, stats.attempts, stats.in_flight), (1, 0, 162, 0));
        assert_eq!(store.verbs().len(), 162);
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_error_wins_too_and_two_that_may_pass_are_retried() {
    let (store, _, layered) = warm(hedging()).await;
    store.then([Step::hang(), Step::fail(ErrorKind::PermissionDenied)]);
    assert_eq!(timed(&layered).await.1.unwrap_err().kind(), ErrorKind::PermissionDenied);

    let (store, layer, layered) = warm(hedging()).await;
    store.then([
        Step::after(40, Step::fail(ErrorKind::Timeout)),
        Step::after(5, Step::fail(ErrorKind::Unavailable)),
    ]);
    assert!(timed(&layered).await.1.is_ok());
    assert_eq!((layer.stats().hedges, layer.stats().retries), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_either_request_was_asked_for_is_kept() {
    let refused = |milliseconds| error(ErrorKind::RateLimited).with_retry_after(Duration::from_millis(milliseconds));
    for (first, second) in [(900, 300), (300, 900)] {
        let (store, _, layered) = warm(hedging()).await;
        store.then([
            Step::after(40, Step::Fail(refused(first))),
            Step::after(5, Step::Fail(refused(second))),
        ]);
        let (time, answer) = timed(&layered).await;
        assert!(answer.is_ok() && time >= 925, "{time} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_usual_read_is_sent_once() {
    let (store, layer, layered) = warm(hedging()).await;
    for time in 1..=18 {
        store.then([Step::after(time, Step::Answer)]);
        get(&layered).await.unwrap();
    }
    assert_eq!((layer.stats().hedges, store.verbs().len()), (0, 178));
}

#[tokio::test(start_paused = true)]
async fn without_the_option_or_without_a_budget_nothing_is_sent_twice() {
    let (store, layer, layered) = warm(generous()).await;
    store.then([Step::after(500, Step::Answer)]);
    assert!((500..=501).contains(&timed(&layered).await.0));
    assert_eq!((layer.stats().hedges, layer.stats().budget_refusals), (0, 0));

    let without = RetryOptions {
        budget: 0.0,
        budget_per_second: 0.0,
        ..hedging()
    };
    let (store, layer, layered) = warm(without).await;
    store.then([Step::after(500, Step::Answer)]);
    assert!((500..=501).contains(&timed(&layered).await.0));
    assert_eq!((layer.stats().hedges, layer.stats().budget_refusals), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn hedges_count_against_the_budget() {
    let options = RetryOptions {
        budget_per_second: 0.0,
        budget: 0.1,
        ..hedging()
    };
    let (store, layer, layered) = warm(options).await;
    let calls = 200;
    // Ever slower, so that each is slower than most.
    for index in 0..calls {
        store.then([Step::after(100 + 10 * index, Step::Answer)]);
        get(&layered).await.unwrap();
        // The script's next step may have gone to a hedge: begin anew.
        store.clear();
    }
    let hedges = layer.stats().hedges;
    assert!(
        (20..=30).contains(&hedges),
        "{hedges} hedges, at most 10 + a tenth of {calls}"
    );
}

#[tokio::test(start_paused = true)]
async fn batches_are_hedged_and_writes_never() {
    let (store, layer, layered) = warm(hedging()).await;
    let requests = [GetRequest::new(name("a"))];
    for _ in 0..16 {
        store.then([Step::after(5, Step::Answer)]);
        layered.get_many(&requests).await;
    }
    store.then([Step::hang()]);
    assert!(layered.get_many(&requests).await[0].is_ok());
    assert_eq!(layer.stats().hedges, 1);
    let before = store.verbs().len();
    for _ in 0..5 {
        store.then(vec![Step::after(5000, Step::Answer); 4]);
        layered.put(&name("a"), PutRequest::new(value("a"))).await.unwrap();
        layered.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
        layered.restore(&name("a")).await.unwrap();
        let create = PutRequest::new(value("a")).mode(PutMode::Create);
        layered.put(&name("a"), create).await.unwrap_err();
    }
    assert_eq!((layer.stats().hedges, store.verbs().len()), (1, before + 20));
}
