//! Flaws of `get_many`.

use std::collections::BTreeSet;

use keyfob_core::{
    Error, ErrorKind, Expired, GetOptions, GetRequest, MemoryStore, Result, Secret, SecretStore, VersionSelector, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        AnswersInTheOrderOfNames => [
            "get_many::answers_twice_what_is_asked_twice",
            "get_many::keeps_the_order_asked_for",
            "get_many::one_failure_does_not_touch_the_others",
            "get_many::takes_more_than_a_service_does_at_once",
        ],
        AnswersEachNameOnce => [
            "get_many::answers_twice_what_is_asked_twice",
            "get_many::answers_versions_as_get_does",
            "get_many::one_failure_does_not_touch_the_others",
        ],
        LeavesOutTheMissing => [
            "delete::for_good_takes_the_secret_away",
            "delete::recoverable_takes_the_secret_away",
            "delete::store_default_takes_the_secret_away",
            "get_many::all_missing_are_not_found",
            "get_many::answers_twice_what_is_asked_twice",
            "get_many::one_failure_does_not_touch_the_others",
            "get_many::takes_more_than_a_service_does_at_once",
        ],
        OneFailureFailsAll => [
            "expiry::passed_expiry_is_refused_in_a_batch",
            "get_many::answers_twice_what_is_asked_twice",
            "get_many::one_failure_does_not_touch_the_others",
            "get_many::takes_more_than_a_service_does_at_once",
        ],
        TakesTwentyAtMost => ["get_many::takes_more_than_a_service_does_at_once"],
        KnowsOnlyCurrent => ["get_many::answers_versions_as_get_does", "get_many::one_failure_does_not_touch_the_others"],
        HandsOutExpired => ["expiry::passed_expiry_is_refused_in_a_batch"],
        AnswersNothingWithAnError => ["get_many::empty_batch_is_an_empty_answer"],
        LastAnswerForAll => [
            "expiry::passed_expiry_is_refused_in_a_batch",
            "get_many::answers_twice_what_is_asked_twice",
            "get_many::answers_versions_as_get_does",
            "get_many::keeps_the_order_asked_for",
            "get_many::one_failure_does_not_touch_the_others",
            "get_many::takes_more_than_a_service_does_at_once",
        ],
    ]
}

macro_rules! get_many {
    ($flaw:ident, |$right:ident, $requests:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn get_many(&self, $right: &MemoryStore, $requests: &[GetRequest]) -> Vec<Result<Secret>> {
                $body
            }
        }
    };
}

get_many!(AnswersInTheOrderOfNames, |right, requests| {
    let mut sorted = requests.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    right.get_many(&sorted).await
});

get_many!(AnswersEachNameOnce, |right, requests| {
    let mut seen = BTreeSet::new();
    let once: Vec<_> = requests
        .iter()
        .filter(|request| seen.insert((&request.name, &request.options.version)))
        .cloned()
        .collect();
    right.get_many(&once).await
});

get_many!(LeavesOutTheMissing, |right, requests| {
    let mut answers = right.get_many(requests).await;
    answers.retain(|answer| !matches!(answer, Err(error) if error.kind() == ErrorKind::NotFound));
    answers
});

get_many!(OneFailureFailsAll, |right, requests| {
    let answers = right.get_many(requests).await;
    match answers.iter().find_map(|answer| answer.as_ref().err()) {
        Some(error) => vec![Err(error.clone()); requests.len()],
        None => answers,
    }
});

get_many!(TakesTwentyAtMost, |right, requests| right
    .get_many(&requests[..requests.len().min(20)])
    .await);

get_many!(KnowsOnlyCurrent, |right, requests| {
    let current: Vec<_> = requests
        .iter()
        .map(|request| GetRequest {
            name: request.name.clone(),
            options: GetOptions {
                version: VersionSelector::Current,
                ..request.options.clone()
            },
        })
        .collect();
    right.get_many(&current).await
});

get_many!(HandsOutExpired, |right, requests| {
    let mut requests = requests.to_vec();
    for request in &mut requests {
        request.options.expired = Expired::Allow;
    }
    right.get_many(&requests).await
});

get_many!(AnswersNothingWithAnError, |right, requests| {
    if requests.is_empty() {
        return vec![Err(Error::new(ErrorKind::InvalidInput, "an empty batch"))];
    }
    right.get_many(requests).await
});

get_many!(LastAnswerForAll, |right, requests| {
    let answers = right.get_many(requests).await;
    match answers.last() {
        Some(Ok(last)) => vec![Ok(last.clone()); answers.len()],
        _ => answers,
    }
});
