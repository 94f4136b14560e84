//! What a batch found in memory and what it waits for.

use super::*;
use crate::options::{Change, GetRequest, PutRequest};
use crate::retry::{RetryLayer, RetryOptions};
use crate::store::SecretStore as _;

type Answers = Vec<Result<(String, Freshness)>>;

fn batch(store: &Arc<CachedStore>, keys: &'static [&str]) -> tokio::task::JoinHandle<Answers> {
    let store = store.clone();
    tokio::spawn(async move {
        let requests: Vec<GetRequest> = keys.iter().map(|key| GetRequest::new(name(key))).collect();
        let answers = store.get_many(&requests).await;
        answers
            .into_iter()
            .map(|answer| answer.map(|secret| shown(&secret)))
            .collect()
    })
}

fn kinds(answers: &Answers) -> Vec<Option<ErrorKind>> {
    let kind = |answer: &Result<_>| answer.as_ref().err().map(crate::error::Error::kind);
    answers.iter().map(kind).collect()
}

#[tokio::test(start_paused = true)]
async fn what_becomes_too_old_while_a_batch_waits_is_asked_for_in_a_second_call() {
    let upstream = Upstream::with(&["old", "young", "new"]).await;
    let times = CacheTimes::new(ms(100)).hard_max_age(ms(200));
    let store = plain(times).build(upstream.clone());
    read(&store, "old").await;
    advance(95).await;
    read(&store, "young").await;
    upstream.asked();
    upstream.set("old", "2").await;
    upstream.close();
    let waiting = batch(&store, &["old", "new", "young"]);
    settle().await;
    // A batch that ends before the hard maximum age hands out what was fresh when it began.
    advance(104).await;
    upstream.open();
    let answers: Vec<_> = waiting.await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [from_memory("old"), from_store("new"), from_memory("young")]);
    assert_eq!(upstream.asked(), [["new"]]);

    store.clear(&name("new"));
    read(&store, "old").await;
    advance(95).await;
    upstream.set("old", "3").await;
    upstream.asked();
    upstream.close();
    let waiting = batch(&store, &["old", "new"]);
    settle().await;
    advance(105).await;
    upstream.open();
    let answers: Vec<_> = waiting.await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [from_store("3"), from_store("new")]);
    assert_eq!(upstream.asked(), [["new"], ["old"]]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_failed_a_batch_is_not_asked_again_for_what_became_too_old() {
    let upstream = Upstream::with(&["old", "new"]).await;
    let store = plain(CacheTimes::new(ms(100)).hard_max_age(ms(200))).build(upstream.clone());
    read(&store, "old").await;
    advance(95).await;
    upstream.asked();
    upstream.close();
    upstream.fail(ErrorKind::Timeout);
    let waiting = batch(&store, &["old", "new"]);
    settle().await;
    advance(105).await;
    upstream.open();
    assert_eq!(kinds(&waiting.await.unwrap()), [Some(ErrorKind::Timeout); 2]);
    assert_eq!(upstream.asked(), [["new"]]);
}

#[tokio::test(start_paused = true)]
async fn what_expires_while_a_batch_waits_is_not_handed_out() {
    let upstream = Upstream::with(&["new"]).await;
    let request = PutRequest {
        expires_at: Change::Set(SystemTime::now() + Duration::from_secs(3600)),
        ..PutRequest::new("1")
    };
    let expires = upstream.memory().put(&name("a"), request).await.unwrap().expires_at.unwrap();
    let store = plain(ms(1000).into())
        .clock(Arc::new(VirtualClock::starting_at(expires - ms(50))))
        .build(upstream.clone());
    read(&store, "a").await;
    upstream.asked();
    upstream.close();
    let waiting = batch(&store, &["a", "new"]);
    settle().await;
    advance(50).await;
    upstream.open();
    waiting.await.unwrap();
    assert_eq!(upstream.asked(), [["new"], ["a"]]);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_has_what_is_left_of_the_deadline_of_the_first() {
    let upstream = Upstream::with(&["old", "new"]).await;
    let clock = Arc::new(VirtualClock::starting_at(DAY));
    let options = RetryOptions {
        deadline: ms(300),
        ..RetryOptions::default()
    };
    let retried = RetryLayer::new(options).unwrap().clock(clock.clone()).layer(upstream.clone());
    let store = plain(CacheTimes::new(ms(100)).hard_max_age(ms(200))).build(retried);
    read(&store, "old").await;
    advance(95).await;
    upstream.asked();
    upstream.close();
    let began = clock.now();
    let waiting = batch(&store, &["old", "new"]);
    settle().await;
    advance(250).await;
    // Enough for the first call and not for the second.
    upstream.let_pass(1);
    settle().await;
    assert_eq!(upstream.asked(), [["new"], ["old"]]);
    // Who asks for the same meanwhile has the time of a call of its own, or the rest of that of the call that it joins.
    let other = tokio::spawn({
        let store = store.clone();
        async move { get(&store, "old").await }
    });
    let answers = waiting.await.unwrap();
    assert_eq!(kinds(&answers), [Some(ErrorKind::Timeout), None]);
    assert_eq!(clock.now() - began, ms(300));
    upstream.open();
    assert_eq!(shown(&other.await.unwrap().unwrap()), from_store("old"));
}
