//! Requests to the vault: typed, each with a time limit, each once.

mod listing;
mod told;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use azure_core::Bytes;
use azure_core::http::{ClientOptions, RequestContent, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientGetSecretOptions, SecretClientUpdateSecretPropertiesOptions, SetSecretParameters,
    UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use futures_util::future::join;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use tokio::sync::Notify;
use url::Url;
use zeroize::Zeroizing;

pub(crate) use self::listing::{Listing, MAX_PAGE, not_a_token};
pub(crate) use self::told::{Record, Tags, Told, is_own, never};
use crate::config::AzureConfig;
use crate::credentials::Tokens;
use crate::error::{Failed, failed};
use crate::http::{Http, Refused, Server, client};
use crate::names::{AzureName, VersionId};
use crate::permissions::Permission;

/// A vault.
pub(crate) struct Vault {
    client: SecretClient,
    url: Url,
    tokens: Arc<Tokens>,
    /// What a token for it is called, where that is known without asking.
    scope: Option<String>,
    /// A request has been answered, so the vault's challenge is known.
    is_met: AtomicBool,
    /// Told of each answer, a challenge too.
    heard: Arc<Notify>,
    timeout: Duration,
}

/// What is written: everything of the new version.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) value: SecretValue,
    pub(crate) tags: Tags,
    pub(crate) content_type: Option<String>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What is changed at a version: its tags as a whole, and the expiry unless it stays.
pub(crate) struct Changed {
    pub(crate) tags: Tags,
    pub(crate) expires_at: Option<SystemTime>,
}

impl Vault {
    /// Which of several possible credentials gave the last token.
    pub(crate) fn chosen_credential(&self) -> Option<&'static str> {
        self.tokens.chosen()
    }

    /// Makes the clients. Reads what is logged in with, and asks nobody.
    pub(crate) fn new(config: &AzureConfig) -> Result<Self> {
        config.check()?;
        let http = client(config)?;
        let refused = Arc::new(Refused::default());
        let tokens = Arc::new(Tokens::new(config, &http, Arc::clone(&refused))?);
        let url = config.vault.url().clone();
        let heard = Arc::new(Notify::new());
        let transport = Http::new(http, url.origin(), Server::Vault(refused, Arc::clone(&heard)));
        let options = SecretClientOptions {
            client_options: ClientOptions {
                retry: RetryOptions::none(),
                transport: Some(Transport::new(Arc::new(transport))),
                ..ClientOptions::default()
            },
            verify_challenge_resource: Some(config.verify_challenge),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(url.as_str(), Arc::clone(&tokens) as _, Some(options))
            .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the client of the vault can't be made"))?;
        Ok(Self {
            client,
            url,
            tokens,
            scope: config.vault.scope(),
            is_met: AtomicBool::new(false),
            heard,
            timeout: config.timeout,
        })
    }

    /// Whether a request has been answered, so that the next ones need one round trip each.
    pub(crate) fn is_met(&self) -> bool {
        self.is_met.load(Ordering::Relaxed)
    }

    /// Whether only an answer will tell what a token for it is called, and there was none yet.
    pub(crate) fn must_be_met(&self) -> bool {
        self.scope.is_none() && !self.is_met()
    }

    /// Waits for the vault's next answer, of whatever kind. It may never come.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Reads a secret with its value.
    pub(crate) async fn get(&self, name: &AzureName, version: Option<&VersionId>) -> Result<(Told, SecretValue), Failed> {
        let options = SecretClientGetSecretOptions {
            secret_version: version.map(|version| version.as_str().to_owned()),
            ..SecretClientGetSecretOptions::default()
        };
        let answer = self
            .ask(Permission::Get, self.client.get_secret(name.as_str(), Some(options)))
            .await?;
        let secret = answer.into_model().map_err(failed)?;
        let value = SecretValue::from(secret.value.clone().ok_or_else(Failed::incomprehensible)?);
        let told = Told::of_secret(&secret)
            .filter(|told| told.is(name, version))
            .ok_or_else(Failed::incomprehensible)?;
        Ok((told, value))
    }

    /// Asks for a secret that nobody has: whether secrets may be read.
    pub(crate) async fn get_nothing(&self) -> Result<(), Failed> {
        let answer = self.ask(Permission::Get, self.client.get_secret(NOTHING, None)).await;
        match answer {
            Err(failed) if failed.is_not_found() => Ok(()),
            // Whoever has made it has nothing to do with us, but an answer has to be one.
            answer => wiped(answer?.into_model().map_err(failed)?)
                .map(drop)
                .ok_or_else(Failed::incomprehensible),
        }
    }

    /// Makes a new version.
    pub(crate) async fn set(&self, name: &AzureName, written: Written) -> Result<Told, Failed> {
        let parameters = SetSecretParameters {
            content_type: written.content_type,
            secret_attributes: written.expires_at.map(expiring),
            tags: Some(written.tags.into_iter().collect()),
            value: Some(written.value.expose_str().map_err(|_| Failed::incomprehensible())?.to_owned()),
        };
        let body = body(&parameters, written.value.len())?;
        wipe(parameters.value);
        let answer = self
            .ask(Permission::Set, self.client.set_secret(name.as_str(), body, None))
            .await;
        wiped(answer?.into_model().map_err(failed)?)
            .filter(|told| told.is(name, None) && told.version.is_some())
            .ok_or_else(Failed::incomprehensible)
    }

    /// Changes the metadata of a version.
    pub(crate) async fn update(&self, name: &AzureName, version: &VersionId, changed: Changed) -> Result<Told, Failed> {
        let parameters = UpdateSecretPropertiesParameters {
            content_type: None,
            secret_attributes: changed.expires_at.map(expiring),
            tags: Some(changed.tags.into_iter().collect()),
        };
        let options = SecretClientUpdateSecretPropertiesOptions {
            secret_version: Some(version.as_str().to_owned()),
            ..SecretClientUpdateSecretPropertiesOptions::default()
        };
        let body = body(&parameters, 0)?;
        let answer = self
            .ask(
                Permission::Update,
                self.client.update_secret_properties(name.as_str(), body, Some(options)),
            )
            .await;
        wiped(answer?.into_model().map_err(failed)?)
            .filter(|told| told.is(name, Some(version)))
            .ok_or_else(Failed::incomprehensible)
    }

    /// Begins to delete. Says whether it can be recovered then.
    pub(crate) async fn delete(&self, name: &AzureName) -> Result<bool, Failed> {
        let answer = self
            .ask(Permission::Delete, self.client.delete_secret(name.as_str(), None))
            .await;
        let deleted = answer?.into_model().map_err(failed)?;
        let told = Told::of_deleted(&deleted).filter(|told| told.is(name, None));
        told.map(|_| deleted.recovery_id.is_some())
            .ok_or_else(Failed::incomprehensible)
    }

    /// What is deleted and can be recovered.
    pub(crate) async fn deleted(&self, name: &AzureName) -> Result<Told, Failed> {
        let answer = self
            .ask(Permission::GetDeleted, self.client.get_deleted_secret(name.as_str(), None))
            .await?;
        let deleted = answer.into_model().map_err(failed)?;
        Told::of_deleted(&deleted)
            .filter(|told| told.is(name, None))
            .ok_or_else(Failed::incomprehensible)
    }

    /// Begins to recover.
    pub(crate) async fn recover(&self, name: &AzureName) -> Result<(), Failed> {
        let answer = self
            .ask(Permission::Recover, self.client.recover_deleted_secret(name.as_str(), None))
            .await;
        let told = wiped(answer?.into_model().map_err(failed)?);
        told.filter(|told| told.is(name, None))
            .map(|_| ())
            .ok_or_else(Failed::incomprehensible)
    }

    /// Begins to take away for good.
    pub(crate) async fn purge(&self, name: &AzureName) -> Result<(), Failed> {
        let answer = self
            .ask(Permission::Purge, self.client.purge_deleted_secret(name.as_str(), None))
            .await;
        answer.map(|_| ())
    }

    /// One request, within its time, and what it needs to be allowed. The first of all is challenged by the vault; where it is known what the vault will
    /// say, the log-in doesn't wait for it.
    async fn ask<T>(&self, permission: Permission, request: impl Future<Output = azure_core::Result<T>>) -> Result<T, Failed> {
        let answer = async {
            match &self.scope {
                Some(scope) if !self.is_met() => join(request, self.tokens.token(scope)).await.0,
                _ => request.await,
            }
        };
        let answer = match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(Failed::too_late()),
        };
        if answer.as_ref().map_or_else(Failed::is_answer_to_one_known, |_| true) {
            self.is_met.store(true, Ordering::Relaxed);
        }
        answer.map_err(|failed| failed.at(permission))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// The name of a secret that nobody has.
const NOTHING: &str = "keyfob-asks-what-it-may";

fn expiring(at: SystemTime) -> SecretAttributes {
    SecretAttributes {
        expires: Some(OffsetDateTime::from(at)),
        ..SecretAttributes::default()
    }
}

/// The JSON of a request, in a buffer that is wiped when the request is over.
fn body<T: serde::Serialize, F>(parameters: &T, value_bytes: usize) -> Result<RequestContent<T, F>, Failed> {
    // Every character may be escaped, and a buffer that grows leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(6 * value_bytes + 16 * 1024));
    serde_json::to_writer(&mut *json, parameters).map_err(|_| Failed::incomprehensible())?;
    Ok(Bytes::from_owner(json).into())
}

/// What an answer to a write tells. The value that it repeats is wiped.
fn wiped(secret: azure_security_keyvault_secrets::models::Secret) -> Option<Told> {
    let told = Told::of_secret(&secret);
    wipe(secret.value);
    told
}

fn wipe(value: Option<String>) {
    drop(value.map(Zeroizing::new));
}
