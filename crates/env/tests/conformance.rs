//! Both stores keep the contract.

use std::sync::Arc;

use keyfob_core::SecretName;
use keyfob_env::{DotenvConfig, DotenvStore, ProcessEnv};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test]
async fn a_dotenv_file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let store = DotenvStore::new(&DotenvConfig::new(directory.path().join(".env"))).unwrap();
    let options = RunOptions::new()
        .title("`.env`")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(Arc::new(store), options).await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}

#[tokio::test]
async fn the_process_environment_conforms() {
    let value = "v".repeat(64);
    let store = ProcessEnv::new([("DB_PASSWORD".into(), value.clone().into())]);
    let options = RunOptions::new()
        .title("`env`")
        .logs(CapturedLogs::install_global().unwrap())
        .seed(SecretName::new("DB_PASSWORD").unwrap(), value.as_str());
    let report = run(Arc::new(store), options).await;
    report.print();
    report.assert();
}
