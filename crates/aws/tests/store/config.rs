//! From a URL and an environment to a store: what is taken from where, and what is refused.

use std::time::{Duration, Instant};

use keyfob_aws::{AwsConfig, AwsStore, BACKEND};
use keyfob_core::{Environment, ErrorKind, GetOptions, Result, SecretStore, StoreUrl};

use crate::support::{SECRET_KEY, entry, environment, json, name, service};

fn config(url: &str, environment: &Environment) -> Result<AwsConfig> {
    AwsConfig::from_url(&StoreUrl::parse(url).unwrap(), environment)
}

async fn connect(url: &str, environment: &Environment) -> Result<AwsStore> {
    AwsStore::connect(&config(url, environment)?).await
}

#[test]
fn a_url_says_everything() {
    let url = "aws://eu-west-1?prefix=app/&profile=dev&endpoint=http://localhost:4566&role_arn=arn:aws:iam::123456789012:role/r\
               &recovery-days=7&timeout=3";
    let config = config(url, &Environment::fake().build()).unwrap();
    assert_eq!(config.region.as_deref(), Some("eu-west-1"));
    assert_eq!((config.prefix.as_str(), config.profile.as_deref()), ("app/", Some("dev")));
    assert_eq!(config.endpoint.as_deref(), Some("http://localhost:4566"));
    assert_eq!(config.role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/r"));
    assert_eq!(config.recovery_window, Duration::from_secs(7 * 86_400));
    assert_eq!(config.timeout, Duration::from_secs(3));
}

#[test]
fn the_environment_says_the_rest_and_a_blank_variable_nothing() {
    let all = ["AWS_SECRET_MANAGER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];
    for skipped in 0..3 {
        let mut fake = Environment::fake()
            .var("AWS_SECRET_PREFIX", " app/ ")
            .var("AWS_ENDPOINT_URL", "http://a:1");
        for (index, variable) in all.iter().enumerate() {
            fake = fake.var(
                *variable,
                if index < skipped {
                    " ".to_owned()
                } else {
                    format!("region-{index}")
                },
            );
        }
        let config = config("aws:", &fake.clone().build()).unwrap();
        assert_eq!(config.region, Some(format!("region-{skipped}")));
        assert_eq!(
            (config.prefix.as_str(), config.endpoint.as_deref()),
            ("app/", Some("http://a:1"))
        );
        let own = fake.var("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://b:2").build();
        let config = self::config("aws://eu-west-1?prefix=", &own).unwrap();
        assert_eq!((config.region.as_deref(), config.prefix.as_str()), (Some("eu-west-1"), ""));
        assert_eq!(config.endpoint.as_deref(), Some("http://b:2"));
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for url in [
        "aws://user@eu-west-1",
        "aws://eu-west-1:443",
        "aws://eu-west-1/path",
        "aws:eu-west-1",
        "aws://evil.example",
        "aws://EU-WEST-1",
        "aws://eu-west-1?prefix=a%20b",
        "aws://eu-west-1?prefix=a%3Ab",
        "aws://eu-west-1?prefx=a",
        "aws://eu-west-1?endpoint=localhost:4566",
        "aws://eu-west-1?endpoint=http://user:kfcanary-endpoint1@host",
        "aws://eu-west-1?role_arn=reader",
        "aws://eu-west-1?profile=",
        "aws://eu-west-1?recovery-days=6",
        "aws://eu-west-1?recovery-days=31",
        "aws://eu-west-1?recovery-days=99999999999999999",
        "aws://eu-west-1?timeout=0",
        "aws://eu-west-1?timeout=301",
        "aws://eu-west-1?timeout=x",
    ] {
        let error = config(url, &environment()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(!format!("{error:?}").contains("kfcanary"), "an error shows a password");
    }
    assert!(
        config("aws://eu-west-1?prefx=a", &environment())
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("prefix")
    );
}

#[test]
fn every_parameter_of_the_help_is_taken() {
    for parameter in BACKEND.parameters {
        let url = format!("aws://eu-west-1?{}=", parameter.name);
        if let Err(error) = config(&url, &environment()) {
            assert!(!error.to_string().contains("unknown parameter"), "{}", parameter.name);
        }
    }
}

#[tokio::test]
async fn debug_shows_no_credential() {
    let (address, _) = service(|_| json("{}"));
    let config = config(&format!("aws://eu-west-1?endpoint={address}"), &environment()).unwrap();
    let store = AwsStore::connect(&config).await.unwrap();
    for text in [format!("{config:?}"), format!("{store:?}"), format!("{:?}", store.info())] {
        assert!(text.contains("eu-west-1"), "{text}");
        assert!(
            !text.contains("kfcanary") && !text.contains("AKIA"),
            "a `Debug` shows a credential"
        );
    }
}

#[tokio::test]
async fn a_missing_region_is_found_at_connect_with_what_was_looked_for() {
    let environment = Environment::fake().var("AWS_EC2_METADATA_DISABLED", "true").build();
    let error = connect("aws:", &environment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let hint = error.hint().unwrap();
    for place in [
        "AWS_SECRET_MANAGER_REGION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "~/.aws/config",
    ] {
        assert!(hint.contains(place), "{hint}");
    }
}

#[tokio::test]
async fn missing_credentials_are_found_at_connect_with_what_was_looked_for() {
    let environment = Environment::fake().var("AWS_EC2_METADATA_DISABLED", "true").build();
    let error = connect("aws://eu-west-1", &environment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    let hint = error.hint().unwrap();
    for place in ["AWS_ACCESS_KEY_ID", "~/.aws", "AWS_WEB_IDENTITY_TOKEN_FILE", "sso"] {
        assert!(hint.contains(place), "{hint}");
    }
    let error = connect("aws://eu-west-1?profile=nobody", &environment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.to_string().contains("nobody"));
}

#[tokio::test]
async fn half_a_pair_of_variables_is_refused() {
    let environment = Environment::fake().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").build();
    let error = connect("aws://eu-west-1", &environment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"));
}

#[tokio::test]
async fn away_from_the_cloud_the_machine_is_not_waited_for_long() {
    let begin = Instant::now();
    let error = connect("aws://eu-west-1", &Environment::fake().build()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(4), "took {:?}", begin.elapsed());
}

#[tokio::test]
async fn profiles_are_read_from_the_environments_files() {
    let environment = Environment::fake()
        .file("~/.aws/config", "[default]\nregion = eu-west-3\n[profile dev]\nregion = eu-north-1\n")
        .file(
            "~/.aws/credentials",
            format!("[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = {SECRET_KEY}\n[dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = {SECRET_KEY}\n"),
        )
        .var("AWS_EC2_METADATA_DISABLED", "true");
    for (parameter, variable, key, region) in [
        ("", "", "AKIADEFAULT", "eu-west-3"),
        ("", "dev", "AKIADEV", "eu-north-1"),
        ("&profile=dev", "", "AKIADEV", "eu-north-1"),
        ("&profile=dev", "default", "AKIADEV", "eu-north-1"),
    ] {
        let (address, asked) = service(|_| json(entry("a", "kfcanary-profile1")));
        let environment = environment.clone().var("AWS_PROFILE", variable).build();
        let store = connect(&format!("aws:?endpoint={address}{parameter}"), &environment)
            .await
            .unwrap();
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
        let headers = asked.lock().unwrap()[0].headers.clone();
        assert!(
            headers.contains(key) && headers.contains(region),
            "{parameter} {variable}: another profile was used"
        );
    }
    // Variables go before the profile, unless the URL names it.
    let (address, asked) = service(|_| json(entry("a", "kfcanary-profile1")));
    let both = environment
        .var("AWS_ACCESS_KEY_ID", "AKIAVARIABLE")
        .var("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .build();
    for (parameter, key) in [("", "AKIAVARIABLE"), ("&profile=dev", "AKIADEV")] {
        let store = connect(&format!("aws:?endpoint={address}{parameter}"), &both).await.unwrap();
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
        assert!(asked.lock().unwrap().last().unwrap().headers.contains(key), "{parameter}");
    }
}

#[tokio::test]
async fn a_role_is_assumed_once_at_connect_with_the_credentials_found() {
    let (sts, asked) = service(|_| {
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>kfcanary-role0001</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        crate::support::Reply::Answer(200, "content-type: text/xml\r\n".to_owned(), body)
    });
    let (address, secrets) = service(|_| json(entry("a", "kfcanary-withrole1")));
    let environment = environment().with_var("AWS_ENDPOINT_URL_STS", sts.as_str());
    let url = format!("aws://eu-west-1?endpoint={address}&role_arn=arn:aws:iam::123456789012:role/reader");
    let store = connect(&url, &environment).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert!(asked.lock().unwrap()[0].headers.contains("AKIAEXAMPLE"));
    for _ in 0..3 {
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
    }
    assert!(secrets.lock().unwrap()[0].headers.contains("ASIAROLE"));
    assert_eq!(asked.lock().unwrap().len(), 1, "the role was assumed again");
}

#[tokio::test]
async fn a_role_that_can_not_be_assumed_is_said_at_connect() {
    let (sts, _) = service(|_| crate::support::refusal(403, "AccessDenied", "kfcanary-stsmessage"));
    let environment = environment().with_var("AWS_ENDPOINT_URL_STS", sts.as_str());
    let url = "aws://eu-west-1?role_arn=arn:aws:iam::123456789012:role/reader";
    let error = connect(url, &environment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.hint().unwrap().contains("sts:AssumeRole"));
    crate::support::assert_harmless(&error);
}

#[tokio::test]
async fn connecting_with_credentials_at_hand_asks_nobody() {
    let (address, asked) = service(|_| json("{}"));
    connect(&format!("aws://eu-west-1?endpoint={address}"), &environment())
        .await
        .unwrap();
    assert!(asked.lock().unwrap().is_empty());
}
