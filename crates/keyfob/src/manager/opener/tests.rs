//! In virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use keyfob_core::{MemoryStore, StoreUrl};
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn opener() -> Arc<Opener> {
    Opener::new(Member::new(Some("near"), &StoreUrl::parse("dotenv:a.env").unwrap()))
}

/// Takes so long each time, and says how it ends; and how often it was begun.
fn after(seconds: u32, ends: fn() -> Result<Connected>) -> (impl Fn() -> Connecting, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    let connect = move || -> Connecting {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(seconds * SECOND).await;
            ends()
        })
    };
    (connect, begun)
}

fn well() -> Result<Connected> {
    Ok(Connected::new(MemoryStore::new()))
}

fn ill() -> Result<Connected> {
    Err(Error::new(ErrorKind::PermissionDenied, "no"))
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_takes_longer_than_its_callers_wait_comes_to_its_end() {
    let (opener, (connect, begun)) = (opener(), after(5, well));
    let start = Instant::now();
    for waited in 1..=2 {
        let error = opener.open_by(&connect, 2 * SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("within 2s (store `dotenv:a.env`)"), "{error}");
        assert_eq!(start.elapsed(), 2 * waited * SECOND);
    }
    opener.open_by(&connect, 2 * SECOND).await.unwrap();
    assert_eq!((start.elapsed(), begun.load(Ordering::Relaxed)), (5 * SECOND, 1));
    assert!(opener.opened().is_some());
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_open_it_once_and_no_one_waits_longer_than_it_may() {
    let (opener, (connect, begun)) = (opener(), after(5, well));
    let start = Instant::now();
    let short = join_all((0..50).map(|_| opener.open_by(&connect, SECOND)));
    let long = join_all((0..50).map(|_| opener.open_by(&connect, 9 * SECOND)));
    let short = async {
        let answers = short.await;
        (answers, start.elapsed())
    };
    let ((short, waited), long) = futures_util::future::join(short, long).await;
    assert!(short.iter().all(Result::is_err) && long.iter().all(Result::is_ok));
    assert_eq!((waited, start.elapsed()), (SECOND, 5 * SECOND));
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_also_when_nobody_was_left_to_hear_of_it() {
    let (opener, (connect, begun)) = (opener(), after(2, ill));
    assert_eq!(
        opener.open_by(&connect, 3 * SECOND).await.unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    assert_eq!(
        opener.open_by(&connect, SECOND).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    tokio::time::sleep(9 * SECOND).await;
    let (now_well, _) = after(0, well);
    opener.open_by(now_well, SECOND).await.unwrap();
    assert_eq!(begun.load(Ordering::Relaxed), 2);
}
