//! Who asks: Application Default Credentials, with keyfob's view of the environment in front of them.
//!
//! The SDK's own loader reads the process's environment and can't be given another. So the file is found here, in the order
//! of AIP-4110 (the variable, gcloud's own place, the machine), and handed to the SDK's builders. What a file of the kind
//! `external_account` refers to further (AWS's variables, a program) the SDK reads from the process.

mod source;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use keyfob_core::{Error, ErrorKind, Result};
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;

use self::source::Source;
use crate::config::GcpConfig;
use crate::error::Failed;

/// The domain of Google's services.
const GOOGLE: &str = "googleapis.com";
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
mod tests;
