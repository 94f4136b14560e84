use super::*;
use crate::capabilities::Capabilities;
use crate::failover::ReplicationError;
use crate::layer::Layer as _;
use crate::limit::{LimitLayer, LimitOptions};
use crate::options::{Change, DeleteMode, DeleteOptions, PutMode};
use crate::secret::{Metadata, Replica};

const NEW: &str = "kfcanary-newnewnew";

async fn put(list: &List, mode: PutMode) -> Result<Metadata, Error> {
    list.store.put(&name(), PutRequest::new(NEW).mode(mode)).await
}

async fn value_in(list: &List, rank: usize) -> Option<String> {
    let secret = list.members[rank].memory.get(&name(), &GetOptions::default()).await;
    secret.ok().map(|secret| value(&secret).to_owned())
}

fn report(error: &Error) -> &ReplicationError {
    std::error::Error::source(error).unwrap().downcast_ref().unwrap()
}

fn shown(replicas: &[Replica]) -> Vec<String> {
    replicas.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn writes_go_to_the_first_store_only() {
    let list = List::pair(FailoverOptions::default()).await;
    let metadata = put(&list, PutMode::Upsert).await.unwrap();
    assert_eq!(metadata.origin.member.as_deref(), Some("a"));
    assert_eq!(metadata.origin.replicas, []);
    list.store.delete(&name(), &DeleteOptions::default()).await.unwrap();
    let restored = list.store.restore(&name()).await.unwrap();
    assert_eq!((restored.version, list.asked()), (metadata.version, vec![3, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_write_never_goes_to_another_store_in_place_of_the_first() {
    for writes in [FailoverWrites::First, FailoverWrites::Replicate] {
        for kind in ErrorKind::ALL {
            let list = List::pair(FailoverOptions {
                writes,
                ..FailoverOptions::default()
            })
            .await;
            list.script(0, [Step::fail(kind), Step::fail(kind), Step::fail(kind)]);
            let kinds = [
                put(&list, PutMode::Upsert).await.unwrap_err().kind(),
                list.store
                    .delete(&name(), &DeleteOptions::default())
                    .await
                    .unwrap_err()
                    .kind(),
                list.store.restore(&name()).await.unwrap_err().kind(),
            ];
            assert_eq!(kinds, [kind; 3]);
            assert_eq!(list.asked(), [3, 0], "{writes:?} {kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_a_timeout_with_the_outcome_unknown() {
    for writes in [FailoverWrites::First, FailoverWrites::Replicate] {
        let list = List::pair(FailoverOptions {
            writes,
            ..FailoverOptions::default()
        })
        .await;
        list.script(0, [Step::hang()]);
        let start = tokio::time::Instant::now();
        let error = put(&list, PutMode::Upsert).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(15));
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.hint(), Some("read the secret to see whether it was written"));
        assert_eq!((fact(&error, "member"), fact(&error, "name")), (Some("a"), Some("team/name")));
        assert_eq!(list.asked(), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ill_first_store_is_not_asked_to_write() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, (0..5).map(|_| Step::fail(ErrorKind::Unavailable)));
    for _ in 0..5 {
        put(&list, PutMode::Upsert).await.unwrap_err();
    }
    let error = put(&list, PutMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), list.store.status()[0].wait);
    assert_eq!(list.asked(), [5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_version_of_another_store_does_not_match_in_the_first() {
    let list = List::pair(FailoverOptions::default()).await;
    let error = put(&list, PutMode::Match(version("b:1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        (fact(&error, "version_of"), fact(&error, "writes_to")),
        (Some("b"), Some("a"))
    );
    assert_eq!(
        put(&list, PutMode::Match(version("b:"))).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(list.asked(), [0, 0]);
    put(&list, PutMode::Match(version("1"))).await.unwrap();
    put(&list, PutMode::Match(version("a:2"))).await.unwrap();
    assert_eq!(
        put(&list, PutMode::Match(version("2"))).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[tokio::test(start_paused = true)]
async fn replicated_writes_reach_every_store_and_each_one_reports() {
    let list = List::pair(replicate()).await;
    let metadata = put(&list, PutMode::Upsert).await.unwrap();
    assert_eq!(shown(&metadata.origin.replicas), ["b: written"]);
    assert_eq!(metadata.origin.replicas[0].outcome, Ok(Some(version("b:3"))));
    assert_eq!(value(&list.get_version("b:3").await.unwrap()), NEW);
    list.store.delete(&name(), &DeleteOptions::default()).await.unwrap();
    assert_eq!((value_in(&list, 0).await, value_in(&list, 1).await), (None, None));
    let restored = list.store.restore(&name()).await.unwrap();
    assert_eq!(shown(&restored.origin.replicas), ["b: written"]);
    assert_eq!(value_in(&list, 1).await.as_deref(), Some(NEW));
}

#[tokio::test(start_paused = true)]
async fn a_precondition_is_that_of_the_first_store_and_the_others_follow() {
    let list = List::pair(replicate()).await;
    // The second one has version 2 already: the precondition would not hold there.
    put(&list, PutMode::Match(version("1"))).await.unwrap();
    assert_eq!(value_in(&list, 1).await.as_deref(), Some(NEW));
    let mode = DeleteMode::Permanent;
    list.members[0].memory.delete(&name(), &DeleteOptions { mode }).await.unwrap();
    put(&list, PutMode::Create).await.unwrap();
    let before = list.asked();
    assert_eq!(
        put(&list, PutMode::Create).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        put(&list, PutMode::Match(version("9"))).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(list.asked(), [before[0] + 2, before[1]], "a refused write reaches no replica");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_not_every_store_has_is_neither_a_success_nor_undone_nor_repeated() {
    let members = (0..3).map(|_| ScriptedStore::new([])).collect();
    let list = List::new(members, replicate());
    list.script(1, [Step::fail(ErrorKind::PermissionDenied)]);
    let error = put(&list, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert!(!error.kind().is_retryable());
    assert_eq!(
        error.to_string(),
        "`a` has the write, but not every replica has (name `team/name`, stores `a: written; b: permission_denied; c: written`)"
    );
    let report = report(&error);
    assert_eq!(
        (&*report.first, report.to_string().as_str()),
        ("a", "as the script says (member `b`)")
    );
    let metadata = report.metadata.as_ref().unwrap();
    assert_eq!((&metadata.version, metadata.origin.replicas.len()), (&Some(version("1")), 2));
    assert_eq!(report.replicas[0].outcome, Err(ErrorKind::PermissionDenied));
    assert_eq!(report.replicas[1].outcome, Ok(Some(version("c:1"))));
    assert_eq!(value_in(&list, 0).await.as_deref(), Some(NEW));
    // The remedy of the hint.
    put(&list, PutMode::Upsert).await.unwrap();
    assert_eq!(value_in(&list, 1).await.as_deref(), Some(NEW));
}

#[tokio::test(start_paused = true)]
async fn replicas_are_written_at_once_and_a_hung_one_is_unknown() {
    let members = (0..3).map(|_| ScriptedStore::new([])).collect();
    let list = List::new(members, replicate());
    list.script(1, [Step::hang()]);
    list.script(2, [Step::after(14_000, Step::Answer)]);
    let start = tokio::time::Instant::now();
    let error = put(&list, PutMode::Upsert).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(15));
    assert_eq!(shown(&report(&error).replicas), ["b: timeout", "c: written"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_what_a_replica_never_had_is_done_there() {
    let list = List::new(vec![ScriptedStore::new([]), ScriptedStore::new([])], replicate());
    list.put_into(0, &name(), FIRST).await;
    list.store.delete(&name(), &DeleteOptions::default()).await.unwrap();
    assert_eq!(list.asked(), [1, 1]);
    // But there is nothing to restore, nor metadata to change.
    let error = list.store.restore(&name()).await.unwrap_err();
    assert_eq!(shown(&report(&error).replicas), ["b: not_found"]);
    let request = PutRequest {
        description: Change::Set("mine".to_owned()),
        ..PutRequest::default()
    };
    let error = list.store.put(&name(), request).await.unwrap_err();
    assert_eq!(shown(&report(&error).replicas), ["b: not_found"]);
    // A failed delete has no metadata.
    list.script(1, [Step::fail(ErrorKind::Unavailable)]);
    let error = list.store.delete(&name(), &DeleteOptions::default()).await.unwrap_err();
    assert!(report(&error).metadata.is_none());
    assert_eq!(error.kind(), ErrorKind::Other);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_replicated_write_goes_to_its_end_in_every_store() {
    let list = List::pair(replicate()).await;
    list.script(0, [Step::after(100, Step::Answer)]);
    list.script(1, [Step::after(100, Step::Answer)]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), put(&list, PutMode::Upsert))
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    for rank in [0, 1] {
        assert_eq!(value_in(&list, rank).await.as_deref(), Some(NEW), "store {rank}");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_to_one_name_reach_every_store_in_one_order() {
    let list = List::pair(replicate()).await;
    // Without an order the slow write to the replica would come last there.
    list.script(1, [Step::after(1000, Step::Answer)]);
    let write = async |value: &str| list.store.put(&name(), PutRequest::new(value)).await;
    let (first, second) = tokio::join!(write("kfcanary-oneoneone"), write("kfcanary-twotwotwo"));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(value_in(&list, 0).await, value_in(&list, 1).await);
}

#[tokio::test(start_paused = true)]
async fn replicated_only_what_every_store_can_is_written_and_nothing_in_part() {
    let mut text = Capabilities::FULL;
    text.binary = false;
    text.tags = false;
    text.delete_recoverable = false;
    text.max_value_bytes = 20;
    text.put_create = false;
    text.versions = false;
    text.value_rule = Some(|bytes| match bytes.starts_with(b"kfcanary-never") {
        true => Err("never"),
        false => Ok(()),
    });
    let list = List::new(vec![ScriptedStore::new([]), ScriptedStore::with(text, [])], replicate());
    let can = list.store.info().capabilities;
    assert!(!can.binary && !can.tags && !can.delete_recoverable && can.delete_permanent);
    assert!(
        can.put_create && can.put_match && can.versions,
        "reads and preconditions are the first store's"
    );
    assert_eq!(can.max_value_bytes, 20);
    for (value, kind) in [
        (&b"\xff"[..], ErrorKind::NotText),
        (&[b'x'; 21], ErrorKind::InvalidInput),
        (b"kfcanary-never", ErrorKind::InvalidInput),
    ] {
        let error = list.store.put(&name(), PutRequest::new(value.to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(list.asked(), [0, 0]);
    put(&list, PutMode::Create).await.unwrap();
    // What can be restored in one store only would not be gone everywhere: it is deleted for good.
    list.store.delete(&name(), &DeleteOptions::default()).await.unwrap();
    assert_eq!(
        list.members[0].memory.restore(&name()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_says_that_it_replicates_also_as_the_first_of_another_list() {
    let pair = async |options| Arc::new(List::pair(options).await.store) as Arc<dyn SecretStore>;
    let (plain, replicated) = (pair(FailoverOptions::default()).await, pair(replicate()).await);
    assert!(!plain.info().replicates && replicated.info().replicates);
    let over = |options, stores: &[&Arc<dyn SecretStore>]| {
        let labelled = ["a", "b"].into_iter().zip(stores.iter().map(|store| Arc::clone(store)));
        Failover::new(options).over(labelled).unwrap().info().replicates
    };
    assert!(over(FailoverOptions::default(), &[&replicated, &plain]));
    assert!(
        !over(FailoverOptions::default(), &[&plain, &replicated]),
        "nothing is written to the second"
    );
    assert!(!over(replicate(), &[&plain]));
    assert!(over(replicate(), &[&plain, &plain]));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waited_for_a_place_all_its_time_was_not_sent() {
    for (writes, full) in [
        (FailoverWrites::First, 0),
        (FailoverWrites::Replicate, 0),
        (FailoverWrites::Replicate, 1),
    ] {
        let options = LimitOptions {
            first: 1,
            least: 1,
            most: 1,
        };
        let stores = [(); 2].map(|()| Arc::new(ScriptedStore::new([])));
        stores[full].then([Step::hang()]);
        let limited = stores
            .clone()
            .map(|store| LimitLayer::new(options.clone()).unwrap().layer(store));
        let holder = Arc::clone(&limited[full]);
        tokio::spawn(async move { drop(holder.health().await) });
        tokio::task::yield_now().await;
        let list = Failover::new(FailoverOptions {
            writes,
            ..FailoverOptions::default()
        });
        let list = list
            .clock(Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH)))
            .over(["a", "b"].into_iter().zip(limited))
            .unwrap();
        let error = list.put(&name(), PutRequest::new(NEW)).await.unwrap_err();
        assert_eq!(stores[full].verbs(), ["health"]);
        if full == 0 {
            assert_eq!((error.kind(), stores[1].verbs().len()), (ErrorKind::RateLimited, 0));
            assert!(error.message().contains("not sent within 15s"), "{error}");
        } else {
            assert_eq!(shown(&report(&error).replicas), ["b: rate_limited"]);
        }
    }
}
