//! The store keeps the contract, on two services that know Secrets Manager's API.
//!
//! Neither is AWS. What they get wrong is listed case by case with the reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use keyfob_aws::BACKEND;
use keyfob_core::{Environment, SecretStore, StoreUrl};
use keyfob_testkit::{CapturedLogs, RunOptions, run, server};

const NO_SORT: &str = "the service lists in the order of creation and ignores SortBy, which AWS knows";
const LABELS_LOST: &str =
    "a put takes every label from the version that was current; AWS moves AWSCURRENT and AWSPREVIOUS and leaves the others";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn localstack_conforms() {
    let Some(url) = server("localstack_conforms", "KEYFOB_TEST_LOCALSTACK_URL") else {
        return;
    };
    let options = RunOptions::new()
        .title("AWS")
        .known_deviation("list::names_come_in_byte_order", NO_SORT)
        .known_deviation("expiry::belongs_to_the_version", LABELS_LOST);
    conforms(&url, options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_conforms() {
    let Some(url) = server("moto_conforms", "KEYFOB_TEST_MOTO_URL") else {
        return;
    };
    let versions_of_nothing = "ListSecretVersionIds of a missing secret is an internal error (500)";
    let options = RunOptions::new()
        .known_deviation("list::names_come_in_byte_order", NO_SORT)
        .known_deviation("expiry::belongs_to_the_version", LABELS_LOST)
        .known_deviation(
            "metadata::description_is_cleared",
            "UpdateSecret ignores an empty description",
        )
        .known_deviation("versions::of_a_missing_secret_are_not_found", versions_of_nothing)
        .known_deviation("delete::for_good_takes_the_secret_away", versions_of_nothing);
    conforms(&url, options).await;
}

async fn conforms(endpoint: &str, options: RunOptions) {
    let environment = Environment::fake()
        .var("AWS_ACCESS_KEY_ID", "test")
        .var("AWS_SECRET_ACCESS_KEY", "test")
        .build();
    let prefix = format!("kfc{:08x}/", std::process::id());
    let url = format!("aws://us-east-1?endpoint={endpoint}&prefix={prefix}");
    let store: Arc<dyn SecretStore> = (BACKEND.connect)(StoreUrl::parse(&url).unwrap(), &environment)
        .await
        .unwrap()
        .store;
    let report = run(store, options.logs(CapturedLogs::install_global().unwrap())).await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}
