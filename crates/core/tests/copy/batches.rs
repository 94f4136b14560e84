//! How few requests a copy needs, and that none is missed.

use std::sync::atomic::Ordering;

use keyfob_core::Change;
use keyfob_core::copy::CopyOptions;

use crate::support::{Fault, Store, copied, overwrite, tags, words};

#[tokio::test]
async fn what_the_target_does_not_list_is_not_looked_at_one_by_one() {
    let (from, to) = (Store::new(), Store::new());
    for index in 0..50 {
        from.put_with(&format!("s/{index:02}"), "one", |request| {
            request.description = Change::Set("a description".to_owned());
            request.tags = Change::Set(tags(&[("team", "db")]));
        })
        .await;
    }
    let report = copied(&from, &to, CopyOptions::default()).await;
    assert!(words(&report).iter().all(|line| line.ends_with(" created")));
    // A page of what is deleted and one of what is there for the plan; eight for the proof of descriptions and tags, which a batch leaves out.
    assert_eq!(to.calls.load(Ordering::SeqCst), 2 + 8);
    // The listing of the source, and each secret once, when it is written.
    assert_eq!(from.calls.load(Ordering::SeqCst), 8 + 50);
}

#[tokio::test]
async fn a_listing_that_is_late_makes_nobody_lose_anything() {
    for options in [CopyOptions::default(), overwrite()] {
        let is_overwriting = options.overwrite;
        let (from, to) = (Store::new(), Store::failing(Fault::IsListedLate));
        for secret in ["new", "other", "same"] {
            from.put_with(secret, "one", |request| request.tags = Change::Set(tags(&[("team", "db")])))
                .await;
        }
        to.add("other", "two").await;
        to.put_with("same", "one", |request| request.tags = Change::Set(tags(&[("team", "db")])))
            .await;
        let report = copied(&from, &to, options).await;
        let other = if is_overwriting {
            "other failed already_exists"
        } else {
            "other left value"
        };
        assert_eq!(words(&report), ["new created", other, "same unchanged"]);
        assert!(to.has("other", "two").await && to.has("new", "one").await);
        assert_eq!(to.versions_of("same").await, 1);
    }
}

#[tokio::test]
async fn a_service_that_fails_at_batches_is_asked_one_by_one() {
    let (from, to) = (Store::failing(Fault::BatchesFail), Store::failing(Fault::BatchesFail));
    for index in 0..50 {
        from.add(&format!("s/{index:02}"), "one").await;
    }
    let report = copied(&from, &to, CopyOptions::default()).await;
    assert!(words(&report).iter().all(|line| line.ends_with(" created")));
    assert!(to.has("s/49", "one").await);
    let batches = from.batches.load(Ordering::SeqCst) + to.batches.load(Ordering::SeqCst);
    assert!(batches <= 2, "{batches}");
}
