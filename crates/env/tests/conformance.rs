//! Both stores keep the contract.

use std::sync::Arc;

use keyfob_core::SecretName;
use keyfob_env::{DotenvConfig, DotenvStore, ProcessEnv};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test]
async fn a_dotenv_file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let store = DotenvStore::new(&DotenvConfig::new(directory.path().join(".env"))).unwrap();
    let mut options = RunOptions::new().logs(CapturedLogs::install_global().unwrap());
    for case in [
        "names::portable_names_work",
        "list::names_come_in_byte_order",
        "list::prefix_has_no_wildcards",
    ] {
        let why = "it needs names beside each other that map to one variable; the second is a conflict";
        options = options.known_deviation(case, why);
    }
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
        .logs(CapturedLogs::install_global().unwrap())
        .seed(SecretName::new("DB_PASSWORD").unwrap(), value.as_str());
    let report = run(Arc::new(store), options).await;
    report.print();
    report.assert();
}
