use keyfob_core::{Environment, StoreUrl};

use super::source::{FEDERATED, USER};
use super::*;

const FEDERATED_FILE: &str = r#"{"type": "external_account", "audience": "a", "subject_token_type": "t",
    "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": "/t"}}"#;
const USER_FILE: &str = r#"{"type": "authorized_user", "client_id": "id", "client_secret": "kfcanary-clientsec1",
    "refresh_token": "kfcanary-refresh001", "quota_project_id": "quota"}"#;

fn identity(environment: &Environment) -> Result<Identity> {
    Identity::find(&GcpConfig::from_url(&StoreUrl::parse("gcp://p").unwrap(), environment).unwrap())
}

#[tokio::test]
async fn the_named_file_beats_gclouds_and_gclouds_the_machine() {
    let place = "~/.config/gcloud/application_default_credentials.json";
    let neither = Environment::fake().var("GCE_METADATA_HOST", "127.0.0.1:1").build();
    assert_eq!(identity(&neither).unwrap().kind(), "the machine's service account");
    let usual = Environment::fake().file(place, USER_FILE).build();
    assert_eq!(identity(&usual).unwrap().kind(), USER);
    let named = Environment::fake()
        .file(place, USER_FILE)
        .file("/keys/f.json", FEDERATED_FILE)
        .var("GOOGLE_APPLICATION_CREDENTIALS", "/keys/f.json")
        .build();
    assert_eq!(identity(&named).unwrap().kind(), FEDERATED);
}

#[test]
fn who_asks_is_told_with_the_reason_and_without_a_secret() {
    let who = |url: &str, environment: &Environment| {
        described(&GcpConfig::from_url(&StoreUrl::parse(url).unwrap(), environment).unwrap()).unwrap()
    };
    let key =
        r#"{"type": "service_account", "client_email": "app@p.iam.gserviceaccount.com", "private_key": "kfcanary-privkey01"}"#;
    let named = Environment::fake()
        .file("/k.json", key)
        .var("GOOGLE_APPLICATION_CREDENTIALS", "/k.json")
        .build();
    assert_eq!(
        who("gcp://p", &named),
        "a service account's key `app@p.iam.gserviceaccount.com` (the variable `GOOGLE_APPLICATION_CREDENTIALS`)"
    );
    assert!(who("gcp://p?endpoint=http://127.0.0.1:1", &named).starts_with("nobody"));
    let user = Environment::fake()
        .file("~/.config/gcloud/application_default_credentials.json", USER_FILE)
        .build();
    assert_eq!(
        who("gcp://p", &user),
        "a user's log-in (the file `~/.config/gcloud/application_default_credentials.json`)"
    );
    assert!(who("gcp://p", &Environment::fake().build()).starts_with("the service account of the machine"));
}

#[tokio::test]
async fn a_file_that_can_not_be_used_is_named_and_not_quoted() {
    for contents in [
        "kfcanary-notjson01",
        r#"{"type": "kfcanary-nosuchtype"}"#,
        r#"{"client_secret": "kfcanary-notype0001"}"#,
        r#"{"type": "authorized_user", "client_secret": "kfcanary-missing001"}"#,
        r#"{"type": "service_account", "private_key": "kfcanary-badkey0001"}"#,
        r#"{"type": "authorized_user", "universe_domain": "evil.example/kfcanary-universe1"}"#,
    ] {
        let environment = Environment::fake()
            .file("/keys/x.json", contents)
            .var("GOOGLE_APPLICATION_CREDENTIALS", "/keys/x.json")
            .build();
        let error = identity(&environment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"), "a file is quoted");
    }
    let missing = Environment::fake()
        .var("GOOGLE_APPLICATION_CREDENTIALS", "/keys/none.json")
        .build();
    let error = identity(&missing).unwrap_err();
    assert!(error.context().any(|fact| fact == ("file", "/keys/none.json")), "{error:?}");
}

#[tokio::test]
async fn the_universe_decides_where_google_is() {
    let file = |domain: &str| FEDERATED_FILE.replace("\"audience\"", &format!("\"universe_domain\": \"{domain}\", \"audience\""));
    let environment = |variable: &str| {
        Environment::fake()
            .file("/k.json", file("cloud.example"))
            .var("GOOGLE_APPLICATION_CREDENTIALS", "/k.json")
            .var("GOOGLE_CLOUD_UNIVERSE_DOMAIN", variable)
            .build()
    };
    assert_eq!(identity(&environment("")).unwrap().universe(), "cloud.example");
    assert_eq!(identity(&environment("cloud.example")).unwrap().universe(), "cloud.example");
    assert!(identity(&environment("googleapis.com")).is_err());
}

#[tokio::test]
async fn where_no_machine_answers_there_are_no_credentials() {
    let environment = Environment::fake().var("GCE_METADATA_HOST", "127.0.0.1:1").build();
    let error = identity(&environment).unwrap().headers().await.unwrap_err().into_error();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.hint().unwrap().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error:?}");
}
