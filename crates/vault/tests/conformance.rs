//! The contract of `SecretStore`, on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mounts;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use keyfob_testkit::{CapturedLogs, RunOptions, run, server};
use keyfob_vault::{AuthConfig, CertificateAuthority, KvVersion, VaultConfig, VaultStore};

use mounts::Mount;
use support::config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_2_conforms() {
    let Some(mount) = Mount::kv("kv_2_conforms", KvVersion::V2).await else {
        return;
    };
    let mut config = mount.config(None);
    config.prefix = "app/".to_owned();
    conforms(&config, "Vault KV 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_1_conforms() {
    let Some(mount) = Mount::kv("kv_1_conforms", KvVersion::V1).await else {
        return;
    };
    conforms(&mount.config(Some(KvVersion::V1)), "Vault KV 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_2_over_tls_with_a_private_authority_conforms() {
    let test = "kv_2_over_tls_with_a_private_authority_conforms";
    let (Some(url), Some(token), Some(authority)) = (
        server(test, "KEYFOB_TEST_OPENBAO_TLS_URL"),
        server(test, "KEYFOB_TEST_OPENBAO_TLS_TOKEN"),
        server(test, "KEYFOB_TEST_OPENBAO_TLS_CA"),
    ) else {
        return;
    };
    let mut config = config(&url, AuthConfig::token(token));
    config.tls.authorities = vec![CertificateAuthority::File(PathBuf::from(authority))];
    conforms(&config, "Vault KV 2").await;
}

async fn conforms(config: &VaultConfig, title: &str) {
    let store = VaultStore::connect(config).await.unwrap();
    let options = RunOptions::new().title(title).logs(CapturedLogs::install_global().unwrap());
    let report = run(Arc::new(store), options).await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}
