use super::*;
use crate::capabilities::{Capabilities, NameRule};
use crate::options::{Expired, GetRequest, ListOptions, PageRequest};
use crate::scripted::error;
use crate::secret::PassedOver;

#[tokio::test(start_paused = true)]
async fn a_healthy_first_store_answers_alone() {
    let list = List::pair(FailoverOptions::default()).await;
    let secret = list.get().await.unwrap();
    assert_eq!(value(&secret), FIRST);
    assert_eq!(secret.metadata.origin.member.as_deref(), Some("a"));
    assert_eq!(passed(&secret), Vec::<String>::new());
    assert_eq!(list.asked(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn exactly_three_kinds_fall_through_and_the_metadata_says_so() {
    for kind in ErrorKind::ALL {
        let list = List::pair(FailoverOptions::default()).await;
        list.script(0, [Step::fail(kind)]);
        let answer = list.get().await;
        if kind.is_retryable() {
            let secret = answer.unwrap();
            assert_eq!(value(&secret), SECOND);
            assert_eq!(secret.metadata.origin.member.as_deref(), Some("b"));
            assert_eq!(passed(&secret), [format!("a: {kind}")]);
            let PassedOver { store, asked, .. } = &secret.metadata.origin.passed_over[0];
            assert_eq!((&**store, *asked), ("scripted", true));
        } else {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, "as the script says"));
            assert_eq!(fact(&error, "member"), Some("a"));
            assert_eq!(list.asked(), [1, 0], "{kind} must not reach the second store");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_first_store_is_left_after_its_time() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::hang()]);
    let start = tokio::time::Instant::now();
    let secret = list.get().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!((value(&secret), passed(&secret)), (SECOND, vec!["a: timeout".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn where_the_deadline_is_short_each_store_has_its_share() {
    let options = FailoverOptions {
        deadline: Some(Duration::from_secs(3)),
        ..FailoverOptions::default()
    };
    let list = List::pair(options).await;
    list.script(0, [Step::hang()]);
    let start = tokio::time::Instant::now();
    assert_eq!(value(&list.get().await.unwrap()), SECOND);
    assert_eq!(start.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_time_is_taken() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::after(4999, Step::Answer)]);
    assert_eq!(value(&list.get().await.unwrap()), FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_not_masked_by_an_old_copy_unless_asked_for() {
    for falls in [false, true] {
        let options = FailoverOptions {
            not_found_falls_through: falls,
            ..FailoverOptions::default()
        };
        let list = List::new(vec![ScriptedStore::new([]), ScriptedStore::new([])], options);
        list.put_into(1, &name(), SECOND).await;
        match list.get().await {
            Ok(secret) => assert_eq!((falls, passed(&secret)), (true, vec!["a: not_found".to_owned()])),
            Err(error) => assert_eq!((falls, error.kind()), (false, ErrorKind::NotFound)),
        }
        // Missing in both is missing.
        let missing = list.store.get(&other(), &GetOptions::default()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(fact(&missing, "asked"), falls.then_some("a: not_found; b: not_found"));
    }
}

#[tokio::test(start_paused = true)]
async fn not_found_in_a_copy_does_not_hide_that_the_first_store_was_not_asked() {
    for (believes, kind) in [(false, ErrorKind::Unavailable), (true, ErrorKind::NotFound)] {
        let options = FailoverOptions {
            believe_not_found: believes,
            ..FailoverOptions::default()
        };
        let list = List::new(
            vec![
                ScriptedStore::new([Step::fail(ErrorKind::Unavailable)]),
                ScriptedStore::new([]),
            ],
            options,
        );
        list.put_into(0, &name(), FIRST).await;
        let error = list.get().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(fact(&error, "asked"), Some("a: unavailable; b: not_found"));
        assert_eq!(fact(&error, "name"), Some("team/name"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_store_without_the_secret_and_an_ill_second_one_are_not_not_found() {
    let options = FailoverOptions {
        not_found_falls_through: true,
        ..FailoverOptions::default()
    };
    let list = List::new(
        vec![ScriptedStore::new([]), ScriptedStore::new([Step::fail(ErrorKind::Timeout)])],
        options,
    );
    assert_eq!(list.get().await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_error_says_who_was_asked_and_why_each_did_not_answer() {
    let list = List::pair(FailoverOptions::default()).await;
    let limited = error(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(3));
    let gone = error(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(2));
    list.script(0, [Step::Fail(limited)]);
    list.script(1, [Step::Fail(gone)]);
    let error = list.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(
        error.to_string(),
        "no store of the list could answer (asked `a: rate_limited; b: unavailable`, name `team/name`)"
    );
    assert_eq!(
        error.retry_after(),
        Some(Duration::from_secs(2)),
        "the second may answer by then"
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "as the script says");
}

#[tokio::test(start_paused = true)]
async fn without_a_time_from_every_ill_store_asking_again_is_not_put_off() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(
        0,
        [Step::Fail(
            error(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(3)),
        )],
    );
    list.script(1, [Step::hang()]);
    assert_eq!(list.get().await.unwrap_err().retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn denied_in_a_copy_is_the_answer_and_says_who_was_passed_over() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    list.script(1, [Step::fail(ErrorKind::PermissionDenied)]);
    let error = list.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(fact(&error, "asked"), Some("a: unavailable; b: permission_denied"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_not_replaced_by_a_copy() {
    let list = List::pair(FailoverOptions::default()).await;
    let mut request = PutRequest::new(FIRST);
    request.expires_at = crate::options::Change::Set(SystemTime::UNIX_EPOCH);
    list.members[0].memory.put(&name(), request).await.unwrap();
    assert_eq!(list.get().await.unwrap_err().kind(), ErrorKind::Expired);
    let options = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    assert_eq!(value(&list.store.get(&name(), &options).await.unwrap()), FIRST);
    assert_eq!(list.asked(), [2, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_asked_only_of_the_store_that_gave_it() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    let current = list.get().await.unwrap().metadata.version.clone().unwrap();
    assert_eq!(current, version("b:2"));
    let before = list.asked();
    assert_eq!(value(&list.get_version("b:2").await.unwrap()), SECOND);
    assert_eq!(value(&list.get_version("b:1").await.unwrap()), "kfcanary-beforebefore");
    assert_eq!(list.asked(), [before[0], before[1] + 2]);
    assert_eq!(list.get_version("b:1").await.unwrap().metadata.version, Some(version("b:1")));
    // The first store's stay as they are, and answer under a label too.
    let before = list.asked();
    assert_eq!(list.get_version("1").await.unwrap().metadata.version, Some(version("1")));
    assert_eq!(list.get_version("a:1").await.unwrap().metadata.version, Some(version("1")));
    assert_eq!(list.asked(), [before[0] + 2, before[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_version_of_an_ill_store_is_not_looked_for_elsewhere() {
    let list = List::pair(FailoverOptions::default()).await;
    for (rank, token) in [(0, "1"), (1, "b:1")] {
        let before = list.asked();
        list.script(rank, [Step::fail(ErrorKind::Unavailable)]);
        let error = list.get_version(token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(fact(&error, "member"), Some(["a", "b"][rank]));
        let after = list.asked();
        assert_eq!(after[1 - rank], before[1 - rank], "the other store was asked for `{token}`");
    }
    for token in ["b:", "b:7", "9", "x:1"] {
        assert_eq!(
            list.get_version(token).await.unwrap_err().kind(),
            ErrorKind::NotFound,
            "{token}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_not_found_in_its_store_is_not_looked_for_elsewhere_even_when_secrets_are() {
    let list = List::pair(FailoverOptions {
        not_found_falls_through: true,
        ..FailoverOptions::default()
    })
    .await;
    assert_eq!(list.get_version("2").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(list.asked(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn previous_may_come_from_any_store() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::RateLimited)]);
    let secret = list.get_version("previous").await.unwrap();
    assert_eq!(value(&secret), "kfcanary-beforebefore");
    assert_eq!(secret.metadata.version, Some(version("b:1")));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_not_have_what_is_asked_for_is_passed_over() {
    let mut can = Capabilities::NONE;
    can.names = NameRule::Custom(|name| match name.as_str().contains("team") {
        true => Err("not here"),
        false => Ok(()),
    });
    let members = vec![
        ScriptedStore::new([Step::fail(ErrorKind::Unavailable), Step::fail(ErrorKind::Unavailable)]),
        ScriptedStore::with(can, []),
        ScriptedStore::new([]),
    ];
    let list = List::new(members, FailoverOptions::default());
    list.put_into(2, &name(), SECOND).await;
    let secret = list.get().await.unwrap();
    assert_eq!(passed(&secret), ["a: unavailable", "b: unsupported, not asked"]);
    let page = list.store.list(&ListOptions::default()).await.unwrap();
    assert_eq!(page.items[0].origin.member.as_deref(), Some("c"));
    assert_eq!(list.asked(), [2, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_the_first_store_can_not_do_is_refused_before_any_store_is_asked() {
    let list = List::new(
        vec![ScriptedStore::with(Capabilities::NONE, []), ScriptedStore::new([])],
        FailoverOptions::default(),
    );
    let store = &list.store;
    let kinds = [
        list.get_version("1").await.unwrap_err().kind(),
        list.get_version("previous").await.unwrap_err().kind(),
        store.versions(&name(), &PageRequest::default()).await.unwrap_err().kind(),
        store.list(&ListOptions::default()).await.unwrap_err().kind(),
        store.put(&name(), PutRequest::new(FIRST)).await.unwrap_err().kind(),
        store.restore(&name()).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unsupported; 6]);
    assert_eq!(list.asked(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_of_one_store_to_its_end() {
    let list = List::pair(FailoverOptions::default()).await;
    list.put_into(1, &SecretName::new("only/second").unwrap(), SECOND).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    let mut options = ListOptions::default();
    options.page.limit = Some(1);
    let mut names = Vec::new();
    loop {
        let page = list.store.list(&options).await.unwrap();
        for metadata in &page.items {
            assert_eq!(metadata.origin.member.as_deref(), Some("b"));
            names.push(metadata.name.to_string());
        }
        match page.next {
            Some(next) => options.page.token = Some(next),
            None => break,
        }
    }
    assert_eq!(names, ["only/second", "team/name", "team/other"]);
    assert_eq!(list.asked(), [1, 3], "only the first page may choose");
    assert!(options.page.token.as_ref().unwrap().as_str().starts_with("b:"));
    // A page of an ill store is not continued in another one.
    list.script(1, [Step::fail(ErrorKind::Unavailable)]);
    assert_eq!(list.store.list(&options).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(list.asked(), [1, 4]);
    options.page.token = Some(crate::options::PageToken::new("team/name"));
    assert_eq!(list.store.list(&options).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn versions_are_listed_as_they_can_be_asked_for() {
    let list = List::pair(FailoverOptions::default()).await;
    let mut page = PageRequest {
        limit: Some(1),
        token: None,
    };
    list.script(0, [Step::fail(ErrorKind::Timeout)]);
    let newest = list.store.versions(&name(), &page).await.unwrap();
    page.token = newest.next;
    let oldest = list.store.versions(&name(), &page).await.unwrap();
    for (info, expected) in [(&newest.items[0], SECOND), (&oldest.items[0], "kfcanary-beforebefore")] {
        assert_eq!(value(&list.get_version(info.version.as_str()).await.unwrap()), expected);
    }
    assert_eq!(list.asked(), [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn errors_hold_neither_value_nor_the_names_of_others() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    list.script(1, [Step::fail(ErrorKind::Unavailable)]);
    let error = format!("{:?} {:?}", list.get().await.unwrap_err(), list.store);
    assert!(!error.contains("kfcanary-"), "a value is shown");
    assert!(!error.contains("team/other"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_later_store_can_not_do_does_not_hide_why_the_first_did_not() {
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable), Step::fail(ErrorKind::Unavailable)]);
    list.script(
        1,
        [
            Step::fail(ErrorKind::Unsupported),
            Step::FailSome(vec![(0, error(ErrorKind::Unsupported))]),
        ],
    );
    assert_eq!(list.get().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let answers = list.store.get_many(&[GetRequest::new(name())]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);

    // Of the first store it is the answer.
    list.script(0, [Step::fail(ErrorKind::Unsupported)]);
    assert_eq!(list.get().await.unwrap_err().kind(), ErrorKind::Unsupported);
}
