//! The double of Azure Key Vault's secrets, with the parts of Microsoft Entra and of Azure that lead to it.
//!
//! Three ports: the vault (TLS), sign-in (TLS), and what is without TLS in reality too, the endpoints of managed
//! identities; there are also the double's own controls. `README.md` says what is modelled, and after which pages.

mod bodies;
mod certificates;
mod control;
mod directory;
mod errors;
mod faults;
mod jwt;
mod login;
mod managed;
mod pages;
mod permissions;
mod random;
mod routes;
mod secret;
mod service;
mod tokens;
mod vault;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::directory::{Directory, Given};
use self::faults::Faults;
use self::jwt::Issuer;
use self::pages::Pages;
use self::permissions::Role;
use self::secret::{Properties, Version};
use self::tokens::Tokens;
use self::vault::{Rules, Vault};
use crate::Failure;
use crate::arguments::Arguments;
use crate::server::{self, Request, Response};

/// The secret that backs a certificate from the start.
const MANAGED_SECRET: &str = "keyfob-double-certificate";
/// How long the federated token is good, in seconds: longer than any run.
const FEDERATED_LIFETIME: i64 = 7 * 24 * 60 * 60;

/// Everything that the requests share.
struct Double {
    directory: Directory,
    tokens: Tokens,
    pages: Pages,
    vault: Mutex<Vault>,
    faults: Mutex<Faults>,
    /// Address of the sign-in, without a slash at its end.
    authority: String,
    /// What `IDENTITY_HEADER` says in App Service.
    identity_header: String,
}

/// What the command line says.
struct Settings {
    directory: PathBuf,
    port: u16,
    login_port: u16,
    metadata_port: u16,
    token_seconds: u32,
    requests_per_10s: Option<usize>,
    rules: Rules,
    given: Given,
}

/// Serves until the process ends.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let settings = Settings::parse(arguments)?;
    let directory = settings.directory.clone();
    certificates::make_directory(&directory)?;
    certificates::make_server(&directory)?;
    let tls = server::tls(&directory.join("server.pem"), &directory.join("server.key"))?;
    let vault_listener = server::listen(settings.port).await?;
    let login_listener = server::listen(settings.login_port).await?;
    let metadata_listener = server::listen(settings.metadata_port).await?;
    let authority = format!("https://{}", login_listener.local_addr()?);
    let double = Arc::new(Double::new(settings, authority)?);
    let vault_url = format!("https://{}", vault_listener.local_addr()?);
    let metadata_url = format!("http://{}", metadata_listener.local_addr()?);
    announce(&directory, &double.description(&directory, &vault_url, &metadata_url))?;

    let handler = |handle: fn(&Double, &Request, i64) -> Response| {
        let double = Arc::clone(&double);
        move |request: Request| {
            let response = handle(&double, &request, Timestamp::now().as_millisecond());
            async move { response }
        }
    };
    let vault = server::serve(vault_listener, Some(Arc::clone(&tls)), handler(service::handle));
    let login = server::serve(
        login_listener,
        Some(tls),
        handler(|double, request, now| login::handle(double, request, now / 1000)),
    );
    let metadata = server::serve(metadata_listener, None, handler(metadata));
    tokio::try_join!(vault, login, metadata)?;
    Ok(())
}

/// The port without TLS.
fn metadata(double: &Double, request: &Request, now: i64) -> Response {
    let now = now / 1000;
    match request.path.as_str() {
        managed::IMDS_PATH => managed::imds(double, request, now),
        managed::APP_SERVICE_PATH => managed::app_service(double, request, now),
        path if path.starts_with(control::PREFIX) => control::handle(double, request),
        _ => Response::json(501, &json!({ "error": "not known to this double" })),
    }
}

impl Settings {
    fn parse(mut arguments: Arguments) -> Result<Self, Failure> {
        let settings = Self {
            directory: std::path::absolute(arguments.path("--directory")?)?,
            port: arguments.number("--port")?.unwrap_or(0),
            login_port: arguments.number("--login-port")?.unwrap_or(0),
            metadata_port: arguments.number("--metadata-port")?.unwrap_or(0),
            token_seconds: arguments.number("--token-seconds")?.unwrap_or(3599),
            requests_per_10s: arguments.number("--requests-per-10s")?,
            rules: Rules {
                settle: arguments.number::<u32>("--settle-ms")?.unwrap_or(300).into(),
                purge_protection: arguments.flag("--purge-protection"),
                recoverable_days: arguments.number::<u8>("--recoverable-days")?.unwrap_or(90).into(),
            },
            given: Given {
                tenant: arguments.text("--tenant-id")?,
                client_id: arguments.text("--client-id")?,
                secret: arguments.text("--client-secret")?,
            },
        };
        arguments.finish()?;
        if !(7..=90).contains(&settings.rules.recoverable_days) {
            return Err("`--recoverable-days` is between 7 and 90".into());
        }
        Ok(settings)
    }
}

impl Double {
    /// Makes the certificate and the federated token of the clients in the directory.
    fn new(settings: Settings, authority: String) -> Result<Self, Failure> {
        let now = Timestamp::now().as_second();
        let certificate = certificates::make_client(&settings.directory)?;
        let issuer = Issuer::generate()?;
        let claims = json!({
            "iss": directory::FEDERATED_ISSUER,
            "sub": directory::FEDERATED_SUBJECT,
            "aud": directory::FEDERATED_AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + FEDERATED_LIFETIME,
        });
        let federated = issuer.sign(("kid", "double"), &claims)?;
        certificates::write_private(&settings.directory.join("federated-token"), federated.as_bytes())?;
        let mut vault = Vault::new(settings.rules);
        vault.add_managed(MANAGED_SECRET, managed_version(now)?);
        Ok(Self {
            directory: Directory::new(settings.given, certificate, issuer.public_key()?)?,
            tokens: Tokens::new(settings.token_seconds)?,
            pages: Pages::new()?,
            vault: Mutex::new(vault),
            faults: Mutex::new(Faults::new(settings.requests_per_10s)),
            authority,
            identity_header: random::password()?,
        })
    }

    /// Everything that a test has to know.
    fn description(&self, directory: &Path, vault_url: &str, metadata_url: &str) -> Value {
        let file = |name: &str| directory.join(name).display().to_string();
        let mut principals = Map::new();
        for role in Role::ALL {
            if let Some(principal) = self.directory.by_role(role) {
                let json = json!({
                    "client_id": principal.client_id,
                    "client_secret": principal.secret,
                    "object_id": principal.object_id,
                });
                principals.insert(role.name().to_owned(), json);
            }
        }
        json!({
            "vault_url": vault_url,
            "authority": self.authority,
            "ca": file("ca.pem"),
            "tenant_id": self.directory.tenant,
            "principals": principals,
            "certificate": file("client.pem"),
            "federated_token": file("federated-token"),
            "imds_url": metadata_url,
            "app_service_url": format!("{metadata_url}{}", managed::APP_SERVICE_PATH),
            "app_service_header": self.identity_header,
            "control_url": format!("{metadata_url}{}", control::PREFIX.trim_end_matches('/')),
            "managed_secret": MANAGED_SECRET,
        })
    }
}

/// A certificate's secret is a PKCS #12 file; nobody here opens it.
fn managed_version(now: i64) -> Result<Version, Failure> {
    let properties = Properties {
        content_type: Some("application/x-pkcs12".to_owned()),
        enabled: Some(true),
        not_before: Some(now),
        expires: Some(now + 365 * 24 * 60 * 60),
        ..Properties::default()
    };
    let value = STANDARD.encode(random::bytes::<64>()?);
    Ok(Version::new(random::version()?, value, properties, now))
}

/// Writes the file that says everything, and then the same as one line to standard output: whoever reads it can begin.
fn announce(directory: &Path, description: &Value) -> Result<(), Failure> {
    let line = format!("{description}\n");
    certificates::write_private(&directory.join("double.json"), line.as_bytes())?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// A panic in the middle of a request leaves nothing half done that a later one could trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
