use super::*;

#[tokio::test(start_paused = true)]
async fn every_call_is_counted_once_and_measured() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let second = || Step::after(1000, Step::Answer);
    let inner = store_with(&["a"], [Step::Answer, second(), second(), second(), Step::hang()]).await;
    let store = MetricsLayer::default().clock(clock()).layer(inner);

    store.put(&name("a"), PutRequest::new("kfcanary-measured2")).await.unwrap();
    get(&*store, "a").await.unwrap();
    get(&*store, "b").await.unwrap_err();
    store
        .get_many(&[GetRequest::new(name("a")), GetRequest::new(name("b"))])
        .await;
    let asked = name("a");
    let options = GetOptions::default();
    let cancelled = tokio::time::timeout(Duration::from_millis(10), store.get(&asked, &options));
    cancelled.await.unwrap_err();

    assert_eq!(
        recorded.moved("keyfob_"),
        [
            r#"request_duration_seconds{store="scripted",verb="get"} 2"#,
            r#"request_duration_seconds{store="scripted",verb="get_many"} 1"#,
            r#"request_duration_seconds{store="scripted",verb="put"} 1"#,
            r#"requests_total{store="scripted",verb="get",outcome="cancelled"} 1"#,
            r#"requests_total{store="scripted",verb="get",outcome="not_found"} 1"#,
            r#"requests_total{store="scripted",verb="get",outcome="ok"} 1"#,
            r#"requests_total{store="scripted",verb="get_many",outcome="not_found"} 1"#,
            r#"requests_total{store="scripted",verb="get_many",outcome="ok"} 1"#,
            r#"requests_total{store="scripted",verb="put",outcome="ok"} 1"#,
        ]
    );
    let took = recorded.all(r#"keyfob_request_duration_seconds{store="scripted",verb="get"}"#);
    assert_eq!(took, [1.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_it_ends_or_is_dropped() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let inner = store_with(&[], [Step::hang()]).await;
    let store = MetricsLayer::of_store("near").clock(clock()).layer(inner);
    let asked = name("a");
    let options = GetOptions::default();
    {
        let mut read = store.get(&asked, &options);
        assert!(futures_util::poll!(&mut read).is_pending());
        assert_eq!(recorded.moved("keyfob_"), [r#"store_in_flight{store="near"} 1"#]);
    }
    assert_eq!(
        recorded.moved("keyfob_"),
        [r#"store_requests_total{store="near",verb="get",outcome="cancelled"} 1"#]
    );
}

#[tokio::test]
async fn the_label_of_a_store_holds_for_all_above_it() {
    let inner = store_with(&[], []).await;
    let store = MetricsLayer::of_store("near").layer(inner);
    let above = MetricsLayer::default().layer(store);
    assert_eq!((&*above.info().label, &*above.info().scheme), ("near", "scripted"));
}

#[tokio::test]
async fn a_recorder_that_comes_after_the_store_does_no_harm() {
    let inner = store_with(&["a"], []).await;
    let store = MetricsLayer::default().layer(inner);
    let recorded = Recorded::default();
    let _here = recorded.here();
    get(&*store, "a").await.unwrap();
    // The counter of an outcome is made when it is first met, everything else when the layer is laid.
    assert_eq!(
        recorded.moved("keyfob_"),
        [r#"requests_total{store="scripted",verb="get",outcome="ok"} 1"#]
    );
}
