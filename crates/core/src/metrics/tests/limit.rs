use super::*;
use crate::limit::{LimitLayer, LimitOptions};

fn moved(recorded: &Recorded) -> Vec<String> {
    let mut moved = recorded.moved("keyfob_concurrency");
    moved.extend(recorded.moved("keyfob_throttled"));
    moved
}

#[tokio::test(start_paused = true)]
async fn the_limit_who_waits_for_it_and_what_made_it_fall() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let options = LimitOptions {
        first: 10,
        ..LimitOptions::default()
    };
    let inner = store_with(&["a"], (0..10).map(|_| Step::after(1000, Step::fail(ErrorKind::RateLimited)))).await;
    let layer = LimitLayer::new(options).unwrap().clock(clock());
    let store = layer.layer(inner);
    assert_eq!(moved(&recorded), [r#"concurrency_limit{store="scripted"} 10"#]);

    let (asked, options) = (name("a"), GetOptions::default());
    let mut reads: Vec<_> = (0..13).map(|_| store.get(&asked, &options)).collect();
    for read in &mut reads {
        assert!(futures_util::poll!(read).is_pending());
    }
    assert_eq!(
        moved(&recorded),
        [
            r#"concurrency_limit{store="scripted"} 10"#,
            r#"concurrency_waiting{store="scripted"} 3"#,
        ]
    );
    futures_util::future::join_all(reads).await;
    // Once for all that were sent under the old limit.
    assert_eq!(layer.stats().limit, 8);
    assert_eq!(
        moved(&recorded),
        [
            r#"concurrency_limit{store="scripted"} 8"#,
            r#"throttled_total{store="scripted"} 10"#,
        ]
    );
    drop((store, layer));
    assert_eq!(moved(&recorded), [r#"throttled_total{store="scripted"} 10"#]);
}
