use super::*;
use crate::audit::{Actor, AuditLayer, MemoryAudit};
use crate::cache::CacheLayer;
use crate::failover::{Failover, FailoverOptions};
use crate::layer::{Layer, stack};
use crate::limit::LimitLayer;
use crate::retry::{RetryLayer, RetryOptions};
use crate::trace::TraceLayer;

/// Every layer, over a list of two stores.
fn full(near: &Arc<ScriptedStore>, far: &Arc<ScriptedStore>) -> Arc<dyn SecretStore> {
    let members = [("near", near), ("far", far)].map(|(label, store)| {
        let measured = MetricsLayer::of_store(label).clock(clock()).layer(store.clone());
        (label, LimitLayer::default().clock(clock()).layer(measured))
    });
    let list = Failover::new(FailoverOptions::default()).clock(clock()).over(members);
    let retry = RetryLayer::new(RetryOptions::default()).unwrap().clock(clock());
    let cache = CacheLayer::new(Duration::from_secs(10)).clock(clock());
    let audit = AuditLayer::new(Actor::default()).sink(Arc::new(MemoryAudit::new(10)));
    let metrics = MetricsLayer::default().clock(clock());
    let layers: [&dyn Layer; 5] = [&retry, &cache, &metrics, &TraceLayer::default(), &audit];
    stack(Arc::new(list.unwrap()), layers)
}

#[tokio::test(start_paused = true)]
async fn one_read_can_be_followed_through_every_layer_and_no_name_or_value_is_told() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let key = "kfcanary-nameofasecret";
    let near = store_with(&[], (0..3).map(|_| Step::fail(ErrorKind::Unavailable))).await;
    let far = store_with(&[key], [Step::fail(ErrorKind::RateLimited)]).await;
    let store = full(&near, &far);
    for _ in 0..3 {
        get(&*store, key).await.unwrap();
    }
    assert_eq!(
        recorded.moved("keyfob_"),
        [
            r#"breaker_state{store="near,far",member="far",state="closed"} 1"#,
            r#"breaker_state{store="near,far",member="near",state="closed"} 1"#,
            &format!(
                r#"cache_bytes{{store="near,far"}} {}"#,
                512 + key.len() + "kfcanary-measured1".len()
            ),
            r#"cache_entries{store="near,far",kind="value"} 1"#,
            r#"cache_reads_total{store="near,far",result="hit"} 2"#,
            r#"cache_reads_total{store="near,far",result="miss"} 1"#,
            r#"concurrency_limit{store="far"} 12"#,
            r#"concurrency_limit{store="near"} 16"#,
            r#"failover_answers_total{store="near,far",member="far"} 1"#,
            r#"failover_passed_over_total{store="near,far",member="far",kind="rate_limited",asked="true"} 1"#,
            r#"failover_passed_over_total{store="near,far",member="near",kind="unavailable",asked="true"} 2"#,
            r#"request_duration_seconds{store="near,far",verb="get"} 3"#,
            r#"requests_total{store="near,far",verb="get",outcome="ok"} 3"#,
            r#"retries_total{store="near,far",kind="unavailable"} 1"#,
            r#"store_request_duration_seconds{store="far",verb="get"} 2"#,
            r#"store_request_duration_seconds{store="near",verb="get"} 2"#,
            r#"store_requests_total{store="far",verb="get",outcome="ok"} 1"#,
            r#"store_requests_total{store="far",verb="get",outcome="rate_limited"} 1"#,
            r#"store_requests_total{store="near",verb="get",outcome="unavailable"} 2"#,
            r#"throttled_total{store="far"} 1"#,
        ]
    );
    let keys = recorded.keys();
    assert!(!keys.iter().any(|key| key.contains("kfcanary")), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_is_told_stands_in_the_table_with_its_labels_its_unit_and_what_it_is() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let near = store_with(&["a"], (0..20).map(|_| Step::fail(ErrorKind::Unavailable))).await;
    let store = full(&near, &store_with(&["a"], []).await);
    for _ in 0..20 {
        get(&*store, "a").await.unwrap();
        wait(60).await;
    }
    let described = recorded.described.lock().unwrap();
    let labels = recorded.labels.lock().unwrap();
    let mut told = 0;
    for row in table::ROWS {
        let Some(labels) = labels.get(row.name) else { continue };
        told += 1;
        assert_eq!(labels, row.labels, "{}", row.name);
        assert_eq!(
            described[row.name],
            (row.kind, Some(row.unit), row.help.to_owned()),
            "{}",
            row.name
        );
    }
    assert_eq!((told, described.len()), (labels.len(), labels.len()));
    assert!(told > 20, "{told} of {}", table::ROWS.len());
}
