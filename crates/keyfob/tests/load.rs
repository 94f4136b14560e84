//! Typed loading: every format, coercion of references, and errors without values.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use keyfob::{ErrorKind, MemoryStore, PutRequest, Report, SecretManager, SecretValue};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Config {
    host: String,
    port: u16,
    tls: bool,
    ratio: f64,
    level: Level,
    #[serde(default)]
    token: Option<SecretValue>,
    database: Database,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Level {
    Info,
    Debug,
}

#[derive(Debug, Deserialize)]
struct Database {
    user: String,
    password: SecretValue,
    replicas: Vec<SecretValue>,
}

async fn manager() -> SecretManager {
    let store = MemoryStore::new();
    let manager = SecretManager::builder()
        .with_store("secret", Arc::new(store))
        .build()
        .await
        .unwrap();
    for (name, value) in [
        ("db", r##"{"user":"jo","password":"hunter2: \"#'\n${secret:db}"}"##),
        ("port", "5432"),
        ("tls", "true"),
        ("ratio", "0.5"),
        ("level", "debug"),
        ("word", "hunter2"),
    ] {
        manager.put(name, PutRequest::new(value)).await.unwrap();
    }
    manager
}

async fn load(file: &str, text: &str) -> keyfob::Result<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    std::fs::write(&path, text).unwrap();
    manager().await.load(&path).await
}

const YAML: &str = r##"
host: db.example  # ${secret:not/a/reference}
port: ${secret:port}
tls: ${secret:tls}
ratio: "${secret:ratio}"
level: ${secret:level}
token: ${secret:absent?}
labels: {a: "x${secret:word}y"}
database:
  user: ${secret:db#user}
  password: ${secret:db#password}
  replicas: ["${secret:word}", plain]
"##;
const JSON: &str = r#"{"host":"db.example","port":"${secret:port}","tls":"${secret:tls}","ratio":"${secret:ratio}",
 "level":"${secret:level}","token":"${secret:absent?}","labels":{"a":"x${secret:word}y"},
 "database":{"user":"${secret:db#user}","password":"${secret:db#password}","replicas":["${secret:word}","plain"]}}"#;
const TOML: &str = r#"host = "db.example"
port = "${secret:port}"
tls = "${secret:tls}"
ratio = "${secret:ratio}"
level = "${secret:level}"
token = "${secret:absent?}"
labels = { a = "x${secret:word}y" }
[database]
user = "${secret:db#user}"
password = "${secret:db#password}"
replicas = ["${secret:word}", "plain"]
"#;

#[tokio::test]
async fn every_format_gives_the_same_typed_configuration() {
    for (file, text) in [("app.yaml", YAML), ("app.json", JSON), ("app.toml", TOML)] {
        let config = load(file, text).await.unwrap();
        assert_eq!(
            (config.host.as_str(), config.port, config.tls, config.ratio),
            ("db.example", 5432, true, 0.5),
            "{file}"
        );
        assert_eq!(config.level, Level::Debug);
        assert!(config.token.is_none());
        assert_eq!(config.labels["a"], "xhunter2y");
        assert_eq!(config.database.user, "jo");
        assert_eq!(config.database.password.expose_str().unwrap(), "hunter2: \"#'\n${secret:db}");
        assert_eq!(config.database.replicas[0].expose_str().unwrap(), "hunter2");
        assert_eq!(config.database.replicas[1].expose_str().unwrap(), "plain");
        assert!(!format!("{:?}", config.database).contains("hunter2"));
        assert_ne!(config.level, Level::Info);
    }
}

#[tokio::test]
async fn a_dotenv_file_is_a_flat_map() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    std::fs::write(&path, "PORT=${secret:port}\nexport NAME='x'\n").unwrap();
    #[derive(Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    struct Flat {
        port: u16,
        name: String,
    }
    let flat: Flat = manager().await.load(&path).await.unwrap();
    assert_eq!((flat.port, flat.name.as_str()), (5432, "x"));
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_named_by_its_key_and_not_shown() {
    for (from, to, key) in [
        ("port: ${secret:port}", "port: ${secret:word}", "`port`"),
        ("tls: ${secret:tls}", "tls: ${secret:word}", "`tls`"),
        ("level: ${secret:level}", "level: ${secret:word}", "`level`"),
        ("  user: ${secret:db#user}", "  user: ['${secret:word}']", "`database.user`"),
        ("port: ${secret:port}", "port: hunter2", "`port`"),
    ] {
        let error = load("app.yaml", &YAML.replace(from, to)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{to}");
        assert!(error.to_string().contains(key), "{to}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{to}: {error:?}");
    }
}

#[tokio::test]
async fn a_failure_carries_the_whole_report() {
    let text = YAML
        .replace("secret:port", "secret:prot")
        .replace("secret:tls", "secret:word#x");
    let error = load("app.yaml", &text).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let report = std::error::Error::source(&error).unwrap().downcast_ref::<Report>().unwrap();
    assert_eq!(report.failures.len(), 2);
    assert!(error.to_string().contains("app.yaml:3:7 (port)"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_document_that_is_not_one_is_not_quoted() {
    for (file, text) in [
        ("a.json", "{\"hunter2"),
        ("a.toml", "hunter2"),
        ("a.yaml", "a: [hunter2"),
        (".env", "hunter2 '"),
    ] {
        let error = load(file, text).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{file}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{file}: {error:?}");
    }
}
