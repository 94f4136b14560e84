//! Where credentials are found: a file, or the machine.

use google_cloud_auth::build_errors::Error as BuildError;
use google_cloud_auth::credentials::{
    Credentials, external_account, external_account_authorized_user, impersonated, mds, service_account, user_account,
};
use keyfob_core::{Environment, Error, Result};
use serde_json::Value;
use zeroize::Zeroizing;

use super::GOOGLE;
use crate::config::{invalid, variable};

/// What the tokens are good for. IAM decides what it comes to.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const MAX_FILE_BYTES: usize = 1 << 20;

/// Who asks.
pub(super) struct Source {
    pub(super) file: Option<File>,
    pub(super) quota_project: Option<String>,
    pub(super) universe: String,
    /// `host:port` of the machine's metadata service, if it is another than usual.
    pub(super) machine: Option<String>,
    pub(super) environment: Environment,
}

pub(super) struct File {
    pub(super) path: String,
    /// What made it so, for the user.
    pub(super) why: String,
    pub(super) kind: &'static str,
    /// The service account, if it is one.
    pub(super) email: Option<String>,
    pub(super) project: Option<String>,
}

impl Source {
    /// Looks at files. Asks nobody.
    pub(super) fn find(environment: &Environment) -> Result<Self> {
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
    pub(super) fn build(&self) -> Result<Credentials> {
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
pub(super) const USER: &str = "a user's log-in";
const IMPERSONATED: &str = "an impersonated service account";
const WORKFORCE: &str = "a workforce user's log-in";
pub(super) const FEDERATED: &str = "a federated identity";

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
