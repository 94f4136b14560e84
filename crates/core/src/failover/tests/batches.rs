use super::*;
use crate::options::GetRequest;
use crate::scripted::error;

fn requests() -> Vec<GetRequest> {
    let missing = SecretName::new("team/missing").unwrap();
    [other(), missing, name(), other()].into_iter().map(GetRequest::new).collect()
}

fn outcomes(answers: &[Result<Secret, Error>]) -> Vec<String> {
    let outcome = |answer: &Result<Secret, Error>| match answer {
        Ok(secret) => format!(
            "{} {}",
            secret.metadata.name,
            secret.metadata.origin.member.as_deref().unwrap()
        ),
        Err(error) => error.kind().to_string(),
    };
    answers.iter().map(outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn a_healthy_first_store_is_asked_for_all_in_one_call() {
    let list = List::pair(FailoverOptions::default()).await;
    let answers = list.store.get_many(&requests()).await;
    assert_eq!(
        outcomes(&answers),
        ["team/other a", "not_found", "team/name a", "team/other a"]
    );
    assert_eq!(list.asked(), [1, 0]);
    assert!(list.store.get_many(&[]).await.is_empty());
    assert_eq!(list.asked(), [1, 0], "nothing is asked for nothing");
}

#[tokio::test(start_paused = true)]
async fn what_one_store_could_not_answer_goes_to_the_next_in_one_call_in_the_order_asked() {
    let list = List::pair(FailoverOptions::default()).await;
    let failed = vec![
        (3, error(ErrorKind::RateLimited)),
        (0, error(ErrorKind::Timeout)),
        (2, error(ErrorKind::Corrupt)),
    ];
    list.script(0, [Step::FailSome(failed)]);
    let answers = list.store.get_many(&requests()).await;
    assert_eq!(outcomes(&answers), ["team/other b", "not_found", "corrupt", "team/other b"]);
    assert_eq!(list.members[1].asked()[0].names, ["team/other", "team/other"]);
    assert_eq!(list.asked(), [1, 1]);
    assert_eq!(passed(answers[0].as_ref().unwrap()), ["a: timeout"]);
    assert_eq!(passed(answers[3].as_ref().unwrap()), ["a: rate_limited"]);
    assert_eq!(answers[0].as_ref().unwrap().metadata.version, Some(version("b:2")));
}

#[tokio::test(start_paused = true)]
async fn a_hung_store_has_the_time_of_a_read_for_each_20_names() {
    for (count, seconds) in [(1, 5), (20, 5), (21, 10), (40, 10), (41, 15)] {
        let list = List::pair(FailoverOptions::default()).await;
        list.script(0, [Step::hang()]);
        let start = tokio::time::Instant::now();
        let answers = list.store.get_many(&vec![GetRequest::new(name()); count]).await;
        assert_eq!(start.elapsed(), Duration::from_secs(seconds), "{count} names");
        assert!(outcomes(&answers).iter().all(|outcome| outcome == "team/name b"));
        assert_eq!(answers.len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_store_leaves_the_next_one_its_share_of_the_deadline() {
    let options = FailoverOptions {
        deadline: Some(Duration::from_secs(12)),
        ..FailoverOptions::default()
    };
    for (count, seconds) in [(1, 5), (21, 6), (1000, 6)] {
        let list = List::pair(options.clone()).await;
        list.script(0, [Step::hang()]);
        let start = tokio::time::Instant::now();
        let answers = list.store.get_many(&vec![GetRequest::new(name()); count]).await;
        assert_eq!(start.elapsed(), Duration::from_secs(seconds), "{count} names");
        assert!(outcomes(&answers).iter().all(|outcome| outcome == "team/name b"));
    }
}

#[tokio::test(start_paused = true)]
async fn exact_versions_go_to_their_stores_only() {
    let list = List::pair(FailoverOptions::default()).await;
    let requests: Vec<GetRequest> = ["b:1", "current", "1", "b:2", "b:", "previous"]
        .into_iter()
        .map(|version| GetRequest {
            name: name(),
            options: GetOptions::version(VersionSelector::parse(version).unwrap()),
        })
        .collect();
    let answers = list.store.get_many(&requests).await;
    let all = "team/name b, team/name a, team/name a, team/name b, not_found, not_found";
    assert_eq!(outcomes(&answers).join(", "), all);
    assert_eq!(answers[0].as_ref().unwrap().metadata.version, Some(version("b:1")));
    // The same while the first store is ill: its versions are not to be had.
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    let answers = list.store.get_many(&requests).await;
    let all = "team/name b, team/name b, unavailable, team/name b, not_found, team/name b";
    assert_eq!(outcomes(&answers).join(", "), all);
    assert_eq!(list.members[1].asked()[1].names.len(), 4);
    assert_eq!(list.asked(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn not_found_goes_on_when_asked_for_and_is_not_believed_beside_an_ill_store() {
    let list = List::pair(FailoverOptions {
        not_found_falls_through: true,
        ..FailoverOptions::default()
    })
    .await;
    list.put_into(1, &SecretName::new("team/missing").unwrap(), SECOND).await;
    let answers = list.store.get_many(&requests()).await;
    assert_eq!(
        outcomes(&answers),
        ["team/other a", "team/missing b", "team/name a", "team/other a"]
    );
    let list = List::pair(FailoverOptions::default()).await;
    list.script(0, [Step::fail(ErrorKind::Unavailable)]);
    let answers = list.store.get_many(&requests()).await;
    assert_eq!(
        outcomes(&answers),
        ["team/other b", "unavailable", "team/name b", "team/other b"]
    );
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(fact(error, "asked"), Some("a: unavailable; b: not_found"));
    assert_eq!(fact(error, "name"), Some("team/missing"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_call_for_the_breaker_and_failed_when_most_of_it_did() {
    let list = List::pair(FailoverOptions::default()).await;
    let fails = |count: usize| Step::FailSome((0..count).map(|index| (index, error(ErrorKind::Unavailable))).collect());
    for _ in 0..10 {
        list.script(0, [fails(2)]);
        list.store.get_many(&requests()).await;
    }
    let status = &list.store.status()[0];
    assert_eq!((status.asked, status.answered, status.failed, status.opened), (10, 10, 0, 0));
    for _ in 0..5 {
        list.script(0, [fails(3)]);
        list.store.get_many(&requests()).await;
    }
    let status = &list.store.status()[0];
    assert_eq!((status.asked, status.answered, status.failed, status.opened), (15, 10, 5, 1));
    // Open: all of the next batch goes past it.
    let answers = list.store.get_many(&requests()).await;
    assert_eq!(passed(answers[0].as_ref().unwrap()), ["a: unavailable, not asked"]);
    assert_eq!(list.store.status()[0].not_asked, 1);
}
