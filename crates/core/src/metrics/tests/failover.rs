use super::*;
use crate::failover::{Failover, FailoverOptions, FailoverStore, FailoverWrites};
use crate::random::Random;

fn list(options: FailoverOptions, near: &Arc<ScriptedStore>, far: &Arc<ScriptedStore>) -> FailoverStore {
    let stores: [(&str, Arc<dyn SecretStore>); 2] = [("near", near.clone()), ("far", far.clone())];
    let failover = Failover::new(options).clock(clock()).random(Random::seeded(1));
    failover.over(stores).unwrap()
}

fn fail() -> Step {
    Step::fail(ErrorKind::Unavailable)
}

/// The state of the first store's breaker.
fn state(recorded: &Recorded) -> Vec<String> {
    recorded.moved(r#"keyfob_breaker_state{store="near,far",member="near""#)
}

#[tokio::test(start_paused = true)]
async fn the_breaker_and_who_answered_can_be_followed() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let near = store_with(&["a"], (0..6).map(|_| fail())).await;
    let store = list(FailoverOptions::default(), &near, &store_with(&["a"], []).await);
    let closed = [r#"breaker_state{store="near,far",member="near",state="closed"} 1"#];
    let open = [r#"breaker_state{store="near,far",member="near",state="open"} 1"#];
    assert_eq!(state(&recorded), closed);

    // Five failures open it, then it is not asked.
    for _ in 0..7 {
        get(&store, "a").await.unwrap();
    }
    assert_eq!(state(&recorded), open);
    // The sixth failure is that of the probe.
    wait(2).await;
    get(&store, "a").await.unwrap();
    assert_eq!(state(&recorded), open);
    // The next probe hangs, and in this time it is half open.
    wait(4).await;
    near.then([Step::after(1000, Step::Answer)]);
    let (asked, options) = (name("a"), GetOptions::default());
    let mut probe = store.get(&asked, &options);
    assert!(futures_util::poll!(&mut probe).is_pending());
    assert_eq!(
        state(&recorded),
        [r#"breaker_state{store="near,far",member="near",state="half_open"} 1"#]
    );
    probe.await.unwrap();
    assert_eq!(state(&recorded), closed);

    assert_eq!(
        recorded.moved("keyfob_breaker_transitions_total"),
        [
            r#"breaker_transitions_total{store="near,far",member="near",from="closed",to="open"} 1"#,
            r#"breaker_transitions_total{store="near,far",member="near",from="half_open",to="closed"} 1"#,
            r#"breaker_transitions_total{store="near,far",member="near",from="half_open",to="open"} 1"#,
            r#"breaker_transitions_total{store="near,far",member="near",from="open",to="half_open"} 2"#,
        ]
    );
    assert_eq!(
        recorded.moved("keyfob_failover"),
        [
            r#"failover_answers_total{store="near,far",member="far"} 8"#,
            r#"failover_answers_total{store="near,far",member="near"} 1"#,
            r#"failover_passed_over_total{store="near,far",member="near",kind="unavailable",asked="false"} 2"#,
            r#"failover_passed_over_total{store="near,far",member="near",kind="unavailable",asked="true"} 6"#,
        ]
    );
    drop(store);
    assert!(recorded.moved("keyfob_breaker_state").is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_each_secret_counts() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let failed = vec![(1, Error::new(ErrorKind::RateLimited, "as the script says"))];
    let near = store_with(&["a", "b"], [Step::FailSome(failed)]).await;
    let store = list(FailoverOptions::default(), &near, &store_with(&["a", "b"], []).await);
    store
        .get_many(&[GetRequest::new(name("a")), GetRequest::new(name("b"))])
        .await;
    assert_eq!(
        recorded.moved("keyfob_failover"),
        [
            r#"failover_answers_total{store="near,far",member="far"} 1"#,
            r#"failover_answers_total{store="near,far",member="near"} 1"#,
            r#"failover_passed_over_total{store="near,far",member="near",kind="rate_limited",asked="true"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_replica_has_not_is_counted() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let options = FailoverOptions {
        writes: FailoverWrites::Replicate,
        ..FailoverOptions::default()
    };
    let far = store_with(&[], [Step::fail(ErrorKind::PermissionDenied)]).await;
    let store = list(options, &store_with(&[], []).await, &far);
    let written = store.put(&name("a"), PutRequest::new("kfcanary-measured4")).await;
    assert!(written.is_err());
    assert_eq!(
        recorded.moved("keyfob_replication"),
        [r#"replication_failures_total{store="near,far",member="far",kind="permission_denied"} 1"#]
    );
}
