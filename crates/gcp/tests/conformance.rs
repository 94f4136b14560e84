//! The store keeps the contract, on a strict double of Secret Manager and on drongo, which is laxer than Google. What drongo
//! gets wrong is listed case by case with the reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use keyfob_core::{Environment, SecretStore, StoreUrl};
use keyfob_gcp::BACKEND;
use keyfob_testkit::{CapturedLogs, RunOptions, run, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_double_conforms() {
    let Some(url) = server("the_double_conforms", "KEYFOB_TEST_GCP_DOUBLE_URL") else {
        return;
    };
    conforms(&url, "keyfob-test", RunOptions::new().title("Google Cloud")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regional_secrets_of_the_double_conform() {
    let Some(url) = server("regional_secrets_of_the_double_conform", "KEYFOB_TEST_GCP_DOUBLE_URL") else {
        return;
    };
    conforms(&url, "keyfob-test/europe-west4", RunOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drongo_conforms() {
    let Some(url) = server("drongo_conforms", "KEYFOB_TEST_DRONGO_URL") else {
        return;
    };
    let options = NEEDS_ANNOTATIONS
        .iter()
        .fold(RunOptions::new(), |options, case| {
            options.known_deviation(*case, "annotations are not kept")
        })
        .known_deviation("list::comes_in_pages_each_once", "pageSize is ignored");
    conforms(&url, "keyfob-test", options).await;
}

/// Description, tags, expiry and deletion are kept in annotations, which drongo takes and forgets. The store notices.
const NEEDS_ANNOTATIONS: &[&str] = &[
    "cancellation::dropped_delete_is_whole_or_nothing",
    "cancellation::dropped_put_is_whole_or_nothing",
    "capabilities::delete_works_or_is_refused",
    "capabilities::description_works_or_is_refused",
    "capabilities::expiry_works_or_is_refused",
    "capabilities::tags_work_or_are_refused",
    "concurrency::reads_see_whole_writes",
    "delete::does_not_touch_other_secrets",
    "delete::for_good_takes_the_metadata",
    "delete::for_good_takes_what_is_deleted",
    "delete::recoverable_takes_the_secret_away",
    "delete::store_default_takes_the_secret_away",
    "delete::twice_is_not_found",
    "expiry::belongs_to_the_version",
    "expiry::expired_secret_can_be_renewed",
    "expiry::future_expiry_is_kept",
    "expiry::is_carried_over",
    "expiry::is_cleared",
    "expiry::passed_expiry_is_handed_out_when_asked",
    "expiry::passed_expiry_is_refused",
    "expiry::passed_expiry_is_refused_in_a_batch",
    "list::deleted_are_left_out",
    "list::deleted_are_listed_when_asked",
    "list::deleted_come_in_pages",
    "list::expired_are_listed",
    "metadata::as_many_tags_as_promised",
    "metadata::change_without_a_value_keeps_other_metadata",
    "metadata::change_without_a_value_keeps_the_value",
    "metadata::description_is_carried_over",
    "metadata::description_is_cleared",
    "metadata::description_is_kept_as_written",
    "metadata::description_is_replaced",
    "metadata::tags_are_carried_over",
    "metadata::tags_are_cleared",
    "metadata::tags_are_kept_as_written",
    "metadata::tags_are_replaced_as_a_whole",
    "put::deleted_name_is_reserved_or_free",
    "restore::brings_the_metadata_back",
    "restore::brings_the_value_back",
    "restore::brings_the_versions_back",
    "restore::is_listed_again",
    "restore::restored_secret_can_be_written_and_deleted",
    "secrecy::failed_reads_do_not_show_the_value",
    "versions::of_a_deleted_secret_are_not_found",
];

async fn conforms(endpoint: &str, place: &str, options: RunOptions) {
    let environment = Environment::fake().build();
    let prefix = format!("kfc{:08x}/", std::process::id());
    let url = format!("gcp://{place}?endpoint={endpoint}&prefix={prefix}");
    let store: Arc<dyn SecretStore> = (BACKEND.connect)(StoreUrl::parse(&url).unwrap(), &environment)
        .await
        .unwrap()
        .store;
    let report = run(store, options.logs(CapturedLogs::install_global().unwrap())).await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}
