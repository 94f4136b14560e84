//! Who asks: Application Default Credentials, with keyfob's view of the environment in front of them.
//!
//! The SDK's own loader reads the process's environment and can't be given another. So the file is found here, in the order
//! of AIP-4110 (the variable, gcloud's own place, the machine), and handed to the SDK's builders. What a file of the kind
//! `external_account` refers to further (AWS's variables, a program) the SDK reads from the process.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use google_cloud_auth::build_errors::Error as BuildError;
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, external_account, external_account_authorized_user, impersonated, mds, service_account,
    user_account,
};
use google_cloud_auth::errors::CredentialsError;
use keyfob_core::{Environment, Error, ErrorKind, Result};
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::config::{GcpConfig, invalid, variable};
use crate::error::Failed;

/// What the tokens are good for. IAM decides what it comes to.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GOOGLE: &str = "googleapis.com";
const MAX_FILE_BYTES: usize = 1 << 20;
/// Where nobody answers for the machine, the wait is this long.
const MACHINE_TIMEOUT: Duration = Duration::from_secs(3);

const LOOKED_FOR: &str = "looked for the file that `GOOGLE_APPLICATION_CREDENTIALS` names, \
    `~/.config/gcloud/application_default_credentials.json` and the machine's service account: run \
    `gcloud auth application-default login`, or set the variable";

/// The credentials of a store. They are made again after they failed, so that a new log-in is seen.
pub(crate) struct Identity {
    source: Option<Source>,
    current: Mutex<Option<Credentials>>,
}

struct Source {
    file: Option<File>,
    quota_project: Option<String>,
    universe: String,
    /// `host:port` of the machine's metadata service, if it is another than usual.
    machine: Option<String>,
    environment: Environment,
}

struct File {
    path: String,
    /// What made it so, for the user.
    why: String,
    kind: &'static str,
    /// The service account, if it is one.
    email: Option<String>,
    project: Option<String>,
}

/// As whom a store would be asked, and what made it so.
pub(crate) fn described(config: &GcpConfig) -> Result<String> {
    if !config.uses_credentials() {
        return Ok("nobody (the endpoint is asked without credentials)".to_owned());
    }
    let source = Source::find(&config.environment)?;
    Ok(match &source.file {
        None => "the service account of the machine (there is no file with credentials)".to_owned(),
        Some(file) => {
            let email = file.email.as_ref().map(|email| format!(" `{email}`")).unwrap_or_default();
            format!("{}{email} ({})", file.kind, file.why)
        }
    })
}

impl Identity {
    /// Finds the credentials that `config` means. Asks nobody.
    ///
    /// # Errors
    /// `InvalidConfig` when a file is named that can't be read or is no credentials file.
    pub(crate) fn find(config: &GcpConfig) -> Result<Self> {
        if !config.uses_credentials() {
            return Ok(Self {
                source: None,
                current: Mutex::default(),
            });
        }
        let source = Source::find(&config.environment)?;
        let credentials = source.build()?;
        Ok(Self {
            source: Some(source),
            current: Mutex::new(Some(credentials)),
        })
    }

    /// The domain of Google's services: another only in a cloud of its own.
    pub(crate) fn universe(&self) -> &str {
        self.source.as_ref().map_or(GOOGLE, |source| &source.universe)
    }

    /// The project of a service account's key.
    pub(crate) fn project(&self) -> Option<String> {
        self.source.as_ref()?.file.as_ref()?.project.clone()
    }

    /// What kind of credentials, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.source {
            None => "none",
            Some(source) => source.file.as_ref().map_or("the machine's service account", |file| file.kind),
        }
    }

    /// The address of the machine's metadata service, when that is whom credentials come from.
    pub(crate) fn machine(&self) -> Option<String> {
        let source = self.source.as_ref().filter(|source| source.file.is_none())?;
        Some(
            source
                .machine
                .clone()
                .unwrap_or_else(|| "metadata.google.internal".to_owned()),
        )
    }

    /// What a request carries to say who asks.
    pub(crate) async fn headers(&self) -> Result<HeaderMap, Failed> {
        let Some(source) = &self.source else {
            return Ok(HeaderMap::new());
        };
        let credentials = {
            let mut current = self.current.lock().await;
            match &*current {
                Some(credentials) => credentials.clone(),
                None => current.insert(source.build().map_err(Failed::new)?).clone(),
            }
        };
        let is_machine = source.file.is_none();
        // The SDK's cache panics when the runtime that it was made on has gone.
        let asked = AssertUnwindSafe(credentials.headers(Default::default())).catch_unwind();
        let asked = match is_machine {
            true => tokio::time::timeout(MACHINE_TIMEOUT, asked).await.ok(),
            false => Some(asked.await),
        };
        let error = match asked {
            Some(Ok(Ok(CacheableResource::New { data, .. }))) => return Ok(data),
            Some(Ok(Err(error))) => unauthenticated(&error, is_machine),
            Some(Ok(Ok(CacheableResource::NotModified)) | Err(_)) => {
                Error::new(ErrorKind::Unauthenticated, "no credentials could be had")
            }
            None => nobody_answers(),
        };
        *self.current.lock().await = None;
        Err(Failed::new(error))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Source {
    fn find(environment: &Environment) -> Result<Self> {
        let named = variable(environment, "GOOGLE_APPLICATION_CREDENTIALS")?;
        let usual = "~/.config/gcloud/application_default_credentials.json";
        let named = named.map(|path| (path, "the variable `GOOGLE_APPLICATION_CREDENTIALS`".to_owned()));
        let file = named.or_else(|| {
            environment
                .is_file(usual)
                .then(|| (usual.to_owned(), format!("the file `{usual}`")))
        });
        let mut source = Self {
            file: None,
            quota_project: variable(environment, "GOOGLE_CLOUD_QUOTA_PROJECT")?,
            universe: GOOGLE.to_owned(),
            machine: variable(environment, "GCE_METADATA_HOST")?,
            environment: environment.clone(),
        };
        let wanted = variable(environment, "GOOGLE_CLOUD_UNIVERSE_DOMAIN")?;
        if let Some((path, why)) = file {
            let document = read(environment, &path)?;
            let text = |key: &str| document.0.get(key).and_then(Value::as_str).map(str::to_owned);
            let kind = kind(document.0.get("type").and_then(Value::as_str).unwrap_or_default())
                .ok_or_else(|| unusable(&path, "it says no `type` that is known"))?;
            if let Some(universe) = text("universe_domain") {
                source.universe = universe;
            }
            let of_account = |key: &str| text(key).filter(|_| kind == SERVICE_ACCOUNT);
            source.file = Some(File {
                project: of_account("project_id"),
                email: of_account("client_email").filter(|email| is_email(email)),
                path,
                why,
                kind,
            });
        } else if let Some(wanted) = &wanted {
            source.universe.clone_from(wanted);
        }
        if wanted.is_some_and(|wanted| wanted != source.universe) {
            return Err(invalid(
                "the credentials belong to another cloud than `GOOGLE_CLOUD_UNIVERSE_DOMAIN` says",
            ));
        }
        let is_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if source.universe.is_empty() || !source.universe.bytes().all(is_domain) {
            return Err(invalid("the universe domain of the credentials is no domain"));
        }
        Ok(source)
    }

    /// Hands the file to the SDK, as it is now.
    fn build(&self) -> Result<Credentials> {
        let quota = self.quota_project.clone();
        let scopes = [SCOPE];
        macro_rules! built {
            ($builder:expr) => {{
                let builder = $builder;
                match quota {
                    Some(project) => builder.with_quota_project_id(project).build(),
                    None => builder.build(),
                }
            }};
        }
        let Some(file) = &self.file else {
            let mut builder = mds::Builder::default()
                .with_scopes(scopes)
                .with_universe_domain(&self.universe);
            if let Some(host) = &self.machine {
                builder = builder.with_endpoint(format!("http://{host}"));
            }
            return built!(builder).map_err(|_| invalid("the machine's service account can't be used"));
        };
        let document = read(&self.environment, &file.path)?.0;
        let built = match file.kind {
            SERVICE_ACCOUNT => built!(
                service_account::Builder::new(document)
                    .with_access_specifier(service_account::AccessSpecifier::from_scopes(scopes))
            ),
            USER => built!(user_account::Builder::new(document).with_scopes(scopes)),
            IMPERSONATED => built!(impersonated::Builder::new(document).with_scopes(scopes)),
            // Its scopes were chosen at the log-in.
            WORKFORCE => built!(external_account_authorized_user::Builder::new(document)),
            _ => built!(external_account::Builder::new(document).with_scopes(scopes)),
        };
        built.map_err(|error| unusable(&file.path, unfit(&error)))
    }
}

const SERVICE_ACCOUNT: &str = "a service account's key";
const USER: &str = "a user's log-in";
const IMPERSONATED: &str = "an impersonated service account";
const WORKFORCE: &str = "a workforce user's log-in";
const FEDERATED: &str = "a federated identity";

/// What may be shown: a file can say anything.
fn is_email(text: &str) -> bool {
    text.len() <= 200
        && text.contains('@')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte))
}

/// The `type` of a credentials file.
fn kind(text: &str) -> Option<&'static str> {
    Some(match text {
        "service_account" => SERVICE_ACCOUNT,
        "authorized_user" => USER,
        "impersonated_service_account" => IMPERSONATED,
        "external_account_authorized_user" => WORKFORCE,
        "external_account" => FEDERATED,
        _ => return None,
    })
}

/// A JSON document that holds secrets. It goes to the SDK as it is, which keeps it.
struct Document(Value);

fn read(environment: &Environment, path: &str) -> Result<Document> {
    let bytes = environment.read(path, MAX_FILE_BYTES).map_err(|error| {
        invalid("the file with the credentials can't be read")
            .with("file", path)
            .with("reason", error.to_string())
            .with_hint("`GOOGLE_APPLICATION_CREDENTIALS` must name a credentials file; without it, others are looked for")
    })?;
    let bytes = Zeroizing::new(bytes);
    serde_json::from_slice(&bytes)
        .map(Document)
        .map_err(|_| unusable(path, "it is no JSON document"))
}

fn unusable(path: &str, problem: &'static str) -> Error {
    invalid("the file with the credentials can't be used")
        .with("file", path)
        .with("reason", problem)
        .with_hint("make a new one, for example with `gcloud auth application-default login`")
}

/// By its kind: the words of the builders can quote the file.
fn unfit(error: &BuildError) -> &'static str {
    if error.is_missing_field() {
        "something is missing in it"
    } else if error.is_not_supported() || error.is_unknown_type() {
        "it describes credentials that are not supported"
    } else {
        "its contents are not those of its `type`"
    }
}

/// By what is known of the error: its words can quote the answer of whoever gives tokens.
fn unauthenticated(error: &CredentialsError, is_machine: bool) -> Error {
    let chain = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |&error| error.source());
    let says = |words: &str| chain.clone().any(|error| error.to_string().contains(words));
    let io = chain
        .clone()
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .last();
    if says("invalid_grant") || says("invalid_rapt") {
        return Error::new(
            ErrorKind::Unauthenticated,
            "the log-in of the credentials has expired or was revoked",
        )
        .with_hint("log in again: `gcloud auth application-default login`");
    }
    if is_machine {
        let error = nobody_answers();
        return match io {
            Some(io) => error.with("reason", io.to_string()),
            None => error,
        };
    }
    let kind = match error.is_transient() {
        true => ErrorKind::Unavailable,
        false => ErrorKind::Unauthenticated,
    };
    let mapped = Error::new(kind, "no access token could be had for the credentials");
    match io {
        Some(io) => mapped.with("reason", io.to_string()),
        None => mapped.with_hint("check the credentials with `gcloud auth application-default print-access-token`"),
    }
}

fn nobody_answers() -> Error {
    Error::new(ErrorKind::Unauthenticated, "there are no Google Cloud credentials").with_hint(LOOKED_FOR)
}

#[cfg(test)]
mod tests {
    use keyfob_core::StoreUrl;

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
        let key = r#"{"type": "service_account", "client_email": "app@p.iam.gserviceaccount.com", "private_key": "kfcanary-privkey01"}"#;
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
        let file =
            |domain: &str| FEDERATED_FILE.replace("\"audience\"", &format!("\"universe_domain\": \"{domain}\", \"audience\""));
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
}
