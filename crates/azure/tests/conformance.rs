//! The store keeps the contract, on the double of Key Vault, with and without a prefix.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyfob_azure::BACKEND;
use keyfob_core::{Environment, StoreUrl};
use keyfob_testkit::{CapturedLogs, RunOptions, run, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_vault_conforms() {
    conforms("key_vault_conforms", "", RunOptions::new().title("Azure Key Vault")).await;
}

/// A prefix whose end changes how the names behind it are spelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_vault_conforms_behind_a_prefix() {
    conforms("key_vault_conforms_behind_a_prefix", "&prefix=Team-ABC-", RunOptions::new()).await;
}

async fn conforms(test: &str, prefix: &str, options: RunOptions) {
    let variables = [
        "AZURE_URL",
        "AZURE_CA",
        "AZURE_AUTHORITY",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
    ];
    let mut values = Vec::new();
    for variable in variables {
        let Some(value) = server(test, &format!("KEYFOB_TEST_{variable}")) else {
            return;
        };
        values.push(value);
    }
    let [url, ca, authority, tenant, client, secret] = values.try_into().unwrap();
    let environment = Environment::fake()
        .host_files()
        .var("AZURE_AUTHORITY_HOST", authority)
        .var("AZURE_TENANT_ID", tenant)
        .var("AZURE_CLIENT_ID", client)
        .var("AZURE_CLIENT_SECRET", secret)
        .build();
    let host = url.strip_prefix("https://").unwrap().trim_end_matches('/');
    let url = format!("azure://{host}?ca={ca}&challenge=unverified{prefix}");
    let store = (BACKEND.connect)(StoreUrl::parse(&url).unwrap(), &environment)
        .await
        .unwrap()
        .store;
    let options = options
        .known_deviation(
            "list::names_come_in_byte_order",
            "Azure's own order, as the adapter's page says",
        )
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(store, options).await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}
