use super::*;
use crate::failover::BreakerState;

#[tokio::test(start_paused = true)]
async fn is_ok_when_any_store_can_serve_and_warns_of_the_ill_ones() {
    for rank in [0, 1] {
        let list = List::pair(FailoverOptions::default()).await;
        list.script(rank, [Step::fail(ErrorKind::Unavailable)]);
        let health = list.store.health().await.unwrap();
        let label = ["a", "b"][rank];
        assert_eq!(health.warnings, [format!("`{label}` can't serve: as the script says")]);
        let states: Vec<&str> = health.details.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(states, [["a: unavailable", "b: ok"], ["a: ok", "b: unavailable"]][rank]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_store_is_ill_after_the_time_of_a_read() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::hang()]);
    list.script(1, [Step::after(4000, Step::Answer)]);
    let start = tokio::time::Instant::now();
    let health = list.store.health().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(5), "they are asked at once");
    assert_eq!(health.warnings, ["`a` can't serve: no answer within 5s (store `scripted`)"]);
}

#[tokio::test(start_paused = true)]
async fn is_the_error_of_all_when_none_can_serve() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Timeout)]);
    list.script(1, [Step::fail(ErrorKind::Unavailable)]);
    let error = list.store.health().await.unwrap_err();
    assert_eq!(
        (error.kind(), fact(&error, "asked")),
        (ErrorKind::Timeout, Some("a: timeout; b: unavailable"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_at_which_reads_stop_is_the_answer() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unauthenticated)]);
    assert_eq!(list.store.health().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    // Behind a store that serves it is only a warning.
    list.script(1, [Step::fail(ErrorKind::Unauthenticated)]);
    assert_eq!(list.store.health().await.unwrap().warnings.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn asks_ill_stores_too_and_changes_no_breaker() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, (0..5).map(|_| Step::fail(ErrorKind::Unavailable)));
    for _ in 0..5 {
        list.get().await.unwrap();
    }
    let asked = list.asked()[0];
    let health = list.store.health().await.unwrap();
    assert_eq!(health.warnings, ["`a` can serve again, the next reads will find out"]);
    assert_eq!(list.asked()[0], asked + 1);
    assert_eq!(list.store.status()[0].state, BreakerState::Open);
    for _ in 0..20 {
        list.script(1, [Step::fail(ErrorKind::Unavailable)]);
        list.store.health().await.unwrap();
    }
    assert_eq!(list.store.status()[1].state, BreakerState::Closed);
}
