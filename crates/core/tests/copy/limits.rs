//! Bounds, and what is refused before any I/O.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyfob_core::copy::{self, CopyOptions};
use keyfob_core::{Capabilities, ErrorKind, MemoryStore};

use crate::support::{Fault, Peak, Store, copied, words};

#[tokio::test]
async fn writes_run_at_the_same_time_up_to_the_bound() {
    let from = Store::new();
    for index in 0..100 {
        from.add(&format!("s/{index:03}"), "one").await;
    }
    for bound in [1, 5] {
        let to = Store::failing(Fault::Slow);
        let mut options = CopyOptions::default();
        options.concurrency = bound;
        let report = copied(&from, &to, options).await;
        assert!(words(&report).iter().all(|line| line.ends_with(" created")));
        assert_eq!(to.at_once.most(), bound);
    }
}

#[tokio::test]
async fn the_values_in_memory_are_bounded_however_many_there_are() {
    let in_flight: Arc<Peak> = Arc::default();
    let from = Store::sharing(|_| {}, Fault::None, in_flight.clone());
    let to = Store::sharing(|_| {}, Fault::Slow, in_flight.clone());
    for index in 0..500 {
        from.add(&format!("s/{index:03}"), "one").await;
    }
    let plan = copy::plan(from, to.clone(), CopyOptions::default(), |_| {}).await.unwrap();
    in_flight.reset();
    let report = plan.carry_out(|_| {}).await;
    assert_eq!(to.puts.load(Ordering::SeqCst), 500);
    assert!(words(&report).iter().all(|line| line.ends_with(" created")));
    assert_eq!(in_flight.most(), copy::DEFAULT_CONCURRENCY);
}

#[tokio::test]
async fn what_the_stores_cannot_do_is_refused_before_anything_is_asked() {
    let read_only = |can: &mut Capabilities| can.put = false;
    let without_list = |can: &mut Capabilities| can.list = false;
    for (from, to, message) in [
        (
            Store::new(),
            Store::with(read_only, Fault::None),
            "the target is read-only (store `this process`)",
        ),
        (
            Store::with(without_list, Fault::None),
            Store::new(),
            "this store can't list its secrets (store `this process`)",
        ),
    ] {
        let error = copy::plan(from.clone(), to.clone(), CopyOptions::default(), |_| {})
            .await
            .unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unsupported, message));
        assert_eq!(from.calls.load(Ordering::SeqCst) + to.calls.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_target_that_cannot_list_can_be_copied_to() {
    let (from, to) = (Store::new(), Store::with(|can| can.list = false, Fault::None));
    from.add("a", "one").await;
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a created"]);
}

#[test]
fn a_copy_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let copying = async {
        let (from, to) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        let plan = copy::plan(from, to, CopyOptions::default(), |_| {}).await?;
        Ok::<_, keyfob_core::Error>(plan.carry_out(|_| {}).await)
    };
    is_send(&copying);
}

#[test]
fn links_to_one_file_are_one_store() {
    use keyfob_core::{SecretStore, StoreInfo};
    let directory = tempfile::tempdir().unwrap();
    let path = |file: &str| directory.path().join(file).display().to_string();
    for file in ["a.env", "b.env"] {
        std::fs::write(path(file), "").unwrap();
    }
    std::os::unix::fs::symlink(path("a.env"), path("link.env")).unwrap();
    let is_same = |one: &str, other: &str| {
        let at = |location: String| -> Arc<dyn SecretStore> { Store::at(StoreInfo::new("x", location, Capabilities::FULL)) };
        copy::is_same_store(&*at(path(one)), &*at(path(other)))
    };
    assert!(is_same("a.env", "a.env") && is_same("a.env", "link.env"));
    assert!(!is_same("a.env", "b.env") && !is_same("a.env", "none.env") && !is_same("none.env", "nor.env"));
}

#[tokio::test]
async fn names_that_the_target_cannot_keep_beside_each_other_are_refused_before_anything_is_written() {
    let from = Store::new();
    for name in ["db/password", "db.password", "DB/user", "there/too", "free"] {
        from.add(name, "one").await;
    }
    let lower = |can: &mut Capabilities| can.name_key = Some(|name| name.as_str().to_lowercase().replace(['/', '.'], "_"));
    let to = Store::with(lower, Fault::None);
    to.add("there.too", "another").await;
    to.add("db/user", "another").await;
    let before = to.puts.load(Ordering::SeqCst);
    let plan = copy::plan(from, to.clone(), CopyOptions::default(), |_| {}).await.unwrap();
    assert_eq!(to.puts.load(Ordering::SeqCst), before);
    let planned = plan.report();
    let failed: Vec<String> = planned
        .failures()
        .map(|(name, error)| {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let other = error.context().find(|(key, _)| *key == "other").unwrap();
            format!("{name} {}", other.1)
        })
        .collect();
    assert_eq!(
        failed,
        [
            "DB/user db/user",
            "db.password db/password",
            "db/password db.password",
            "there/too there.too"
        ]
    );
    let report = plan.carry_out(|_| {}).await;
    assert_eq!(report.failures().count(), 4);
    assert!(words(&report).contains(&"free created".to_owned()), "{:?}", words(&report));
}
