use super::*;
use crate::options::PutMode;
use crate::random::Random;
use crate::retry::{RetryLayer, RetryOptions};

fn over(inner: &Arc<ScriptedStore>, options: RetryOptions) -> Arc<dyn SecretStore> {
    let layer = RetryLayer::new(options).unwrap().clock(clock()).random(Random::seeded(1));
    layer.layer(inner.clone())
}

/// What moved but for the first word, which all have.
fn moved(recorded: &Recorded) -> Vec<String> {
    recorded.moved("keyfob_")
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_by_the_error_before_them() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let kinds = [ErrorKind::RateLimited, ErrorKind::Unavailable, ErrorKind::Unavailable];
    let inner = store_with(&["a"], kinds.map(Step::fail)).await;
    get(&*over(&inner, RetryOptions::default()), "a").await.unwrap();
    assert_eq!(
        moved(&recorded),
        [
            r#"retries_total{store="scripted",kind="rate_limited"} 1"#,
            r#"retries_total{store="scripted",kind="unavailable"} 2"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_retried_once_however_many_of_it_failed() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let error = |kind| Error::new(kind, "as the script says");
    let failed = vec![(0, error(ErrorKind::Timeout)), (2, error(ErrorKind::Timeout))];
    let inner = store_with(&["a", "b", "c"], [Step::FailSome(failed)]).await;
    let requests = ["a", "b", "c"].map(|key| GetRequest::new(name(key)));
    let answers = over(&inner, RetryOptions::default()).get_many(&requests).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(moved(&recorded), [r#"retries_total{store="scripted",kind="timeout"} 1"#]);
}

#[tokio::test(start_paused = true)]
async fn what_the_budget_does_not_pay_for_is_counted() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let inner = store_with(&[], (0..100).map(|_| Step::fail(ErrorKind::Unavailable))).await;
    let options = RetryOptions {
        attempts: 2,
        budget: 0.1,
        budget_per_second: 0.0,
        ..RetryOptions::default()
    };
    let store = over(&inner, options);
    for _ in 0..20 {
        get(&*store, "a").await.unwrap_err();
    }
    // Ten at once, and two that twenty calls pay for.
    assert_eq!(
        moved(&recorded),
        [
            r#"retries_total{store="scripted",kind="unavailable"} 11"#,
            r#"retry_budget_exhausted_total{store="scripted"} 9"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn hedges_are_counted_and_who_won() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let quick = (0..16).map(|_| Step::after(2, Step::Answer));
    let inner = store_with(&["a"], quick).await;
    let options = RetryOptions {
        hedge: true,
        ..RetryOptions::default()
    };
    let store = over(&inner, options);
    for _ in 0..16 {
        get(&*store, "a").await.unwrap();
    }
    // The second request wins; the first one does; the first one, because the second fails.
    let pairs = [
        [Step::hang(), Step::Answer],
        [Step::after(10, Step::Answer), Step::hang()],
        [Step::after(10, Step::Answer), Step::fail(ErrorKind::Unavailable)],
    ];
    for pair in pairs {
        inner.then(pair);
        get(&*store, "a").await.unwrap();
    }
    assert_eq!(
        moved(&recorded),
        [
            r#"hedges_total{store="scripted"} 3"#,
            r#"hedges_won_total{store="scripted"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_met_its_own_first_attempt_is_counted() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let lost = Step::DoneButFail(Error::new(ErrorKind::Timeout, "as the script says"));
    let inner = store_with(&[], [lost]).await;
    let request = PutRequest::new("kfcanary-measured3").mode(PutMode::Create);
    let store = over(&inner, RetryOptions::default());
    store.put(&name("a"), request).await.unwrap();
    assert_eq!(
        moved(&recorded),
        [
            r#"retries_total{store="scripted",kind="timeout"} 1"#,
            r#"writes_settled_total{store="scripted"} 1"#,
        ]
    );
}
