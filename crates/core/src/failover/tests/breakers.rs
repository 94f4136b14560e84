use super::*;
use crate::failover::BreakerState;
use crate::scripted::error;

/// Fails so often that the breaker opens.
async fn open(list: &List) {
    list.script(0, (0..5).map(|_| Step::fail(ErrorKind::Unavailable)));
    for _ in 0..5 {
        list.get().await.unwrap();
    }
    assert_eq!(list.store.status()[0].state, BreakerState::Open);
}

async fn wait_until_it_may_be_asked(list: &List) {
    tokio::time::sleep(list.store.status()[0].wait.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn an_ill_store_is_not_asked_until_its_time_is_over_and_then_tried_by_one_call() {
    let list = List::pair(FailoverOptions::default()).await;
    open(&list).await;
    let asked = list.asked()[0];
    let start = tokio::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(passed(&list.get().await.unwrap()), ["a: unavailable, not asked"]);
    }
    assert_eq!((list.asked()[0], start.elapsed()), (asked, Duration::ZERO));
    wait_until_it_may_be_asked(&list).await;
    assert_eq!(value(&list.get().await.unwrap()), FIRST);
    assert_eq!(
        list.transitions(),
        ["a: closed>open", "a: open>half_open", "a: half_open>closed"]
    );
    let numbers: Vec<u64> = list
        .transitions
        .lock()
        .unwrap()
        .iter()
        .map(|transition| transition.number)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn of_many_callers_exactly_one_tries_an_ill_store() {
    let list = List::pair(FailoverOptions::default()).await;
    open(&list).await;
    wait_until_it_may_be_asked(&list).await;
    let asked = list.asked()[0];
    list.script(0, [Step::after(1000, Step::Answer)]);
    let answers = futures_util::future::join_all((0..50).map(|_| list.get())).await;
    assert_eq!(list.asked()[0], asked + 1);
    let from_first = answers
        .iter()
        .filter(|answer| value(answer.as_ref().unwrap()) == FIRST)
        .count();
    assert_eq!((from_first, answers.len()), (1, 50));
    assert_eq!(list.store.status()[0].state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back() {
    let list = List::pair(FailoverOptions::default()).await;
    open(&list).await;
    wait_until_it_may_be_asked(&list).await;
    list.script(0, [Step::hang()]);
    let probe = tokio::time::timeout(Duration::from_millis(10), list.get()).await;
    assert!(probe.is_err(), "the probe waits for the hung store");
    assert_eq!(list.store.status()[0].state, BreakerState::HalfOpen);
    assert_eq!(value(&list.get().await.unwrap()), FIRST);
    assert_eq!(
        list.transitions(),
        ["a: closed>open", "a: open>half_open", "a: half_open>closed"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_falls_through_after_its_time_and_opens_again_for_longer() {
    let list = List::pair(FailoverOptions::default()).await;
    open(&list).await;
    let mut open_for = vec![list.store.status()[0].wait.unwrap()];
    for _ in 0..9 {
        wait_until_it_may_be_asked(&list).await;
        list.script(0, [Step::hang()]);
        assert_eq!(passed(&list.get().await.unwrap()), ["a: timeout"]);
        let status = &list.store.status()[0];
        assert_eq!(
            (status.state, status.last_kind),
            (BreakerState::Open, Some(ErrorKind::Timeout))
        );
        open_for.push(status.wait.unwrap());
    }
    for (open_for, seconds) in open_for.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]) {
        let longest = Duration::from_secs(seconds);
        assert!(*open_for >= longest / 2 && *open_for <= longest, "{open_for:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_a_pause_is_left_alone_for_it() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(
        0,
        [Step::Fail(
            error(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(7)),
        )],
    );
    assert_eq!(passed(&list.get().await.unwrap()), ["a: rate_limited"]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(passed(&list.get().await.unwrap()), ["a: rate_limited, not asked"]);
    let status = &list.store.status()[0];
    assert_eq!(
        (status.state, status.wait),
        (BreakerState::Closed, Some(Duration::from_secs(1)))
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(value(&list.get().await.unwrap()), FIRST);
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_store_that_works_do_not_open_it() {
    let list = List::pair(FailoverOptions::default()).await;
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::PermissionDenied,
        ErrorKind::Unauthenticated,
        ErrorKind::Corrupt,
    ] {
        list.script(0, (0..30).map(|_| Step::fail(kind)));
        for _ in 0..30 {
            list.get().await.unwrap_err();
        }
    }
    let status = &list.store.status()[0];
    assert_eq!((status.state, status.failed, status.answered), (BreakerState::Closed, 0, 120));
    assert_eq!(list.transitions(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn when_every_store_is_ill_the_error_comes_at_once_and_says_when_to_ask_again() {
    let list = List::pair(FailoverOptions::default()).await;
    for rank in [0, 1] {
        list.script(rank, (0..5).map(|_| Step::fail(ErrorKind::Unavailable)));
    }
    for _ in 0..5 {
        list.get().await.unwrap_err();
    }
    let waits: Vec<Duration> = list.store.status().iter().map(|status| status.wait.unwrap()).collect();
    let error = list.get().await.unwrap_err();
    assert_eq!(
        fact(&error, "asked"),
        Some("a: unavailable, not asked; b: unavailable, not asked")
    );
    assert_eq!(error.retry_after(), waits.iter().min().copied());
    assert_eq!(list.asked(), [5, 5]);
}

#[tokio::test(start_paused = true)]
async fn status_tells_since_when_why_and_how_often() {
    let list = List::pair(FailoverOptions::default()).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    list.get().await.unwrap();
    list.script(0, (0..5).map(|_| Step::fail(ErrorKind::RateLimited)));
    for _ in 0..7 {
        list.get().await.unwrap();
    }
    let status = list.store.status();
    let a = &status[0];
    assert_eq!((&*a.label, &*a.store, a.state), ("a", "scripted", BreakerState::Open));
    assert_eq!(a.since, SystemTime::UNIX_EPOCH + Duration::from_secs(100));
    assert_eq!(a.last_kind, Some(ErrorKind::RateLimited));
    assert_eq!((a.asked, a.answered, a.failed, a.not_asked, a.opened), (6, 1, 5, 2, 1));
    let b = &status[1];
    assert_eq!(
        (&*b.label, b.state, b.wait, b.last_kind),
        ("b", BreakerState::Closed, None, None)
    );
    assert_eq!((b.asked, b.answered, b.failed, b.not_asked, b.opened), (7, 7, 0, 0, 0));
    let transitions = list.transitions.lock().unwrap();
    assert_eq!(
        (transitions[0].kind, transitions[0].open_for),
        (Some(ErrorKind::RateLimited), a.wait)
    );
}
