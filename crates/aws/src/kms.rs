//! An AWS KMS key as the key of an encrypted store: it never leaves KMS.

mod error;
mod key_name;

use std::fmt;

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use keyfob_core::{Environment, Error, ErrorKind, Result};
use keyfob_envelope::{KeySource, KeySourceId};
use zeroize::Zeroizing;

use self::error::{Meaning, failed};
use self::key_name::KeyName;
use crate::client::{hide_bodies, sdk_config};
use crate::config::{AwsConfig, check_endpoint, variable};

/// A symmetric KMS key as a [`KeySource`].
///
/// KMS binds the context as encryption context, under the key `keyfob`, in base64. CloudTrail shows it; nothing of it is
/// secret. Its id is `aws-kms:` and the ARN of the key, also when the key was named by an alias: an alias that is
/// pointed at another key later does not open what the first one protected, and says so.
///
/// The credentials need `kms:Encrypt` and `kms:Decrypt` on the key, and `kms:DescribeKey` unless the key is named by the
/// ARN of a key. To open a store `kms:Decrypt` is enough.
///
/// In [`wrap`](KeySource::wrap) and [`unwrap`](KeySource::unwrap), `Unauthenticated` means only that the key does not
/// open the slot. Credentials that AWS does not know are `PermissionDenied`, and a missing key is `InvalidConfig`:
/// neither may look like a key that does not fit, or like a secret that is not there.
pub struct KmsKeySource {
    id: KeySourceId,
    arn: KeyName,
    client: Client,
}

impl KmsKeySource {
    /// The word before `:` in the id.
    pub const KIND: &'static str = "aws-kms";

    /// The key `key`: an ARN of a key or of an alias, a key id, or `alias/NAME`.
    ///
    /// Region and credentials come from the environment as for the store, except that an ARN says its region itself, and
    /// that the endpoint is `AWS_ENDPOINT_URL_KMS` or `AWS_ENDPOINT_URL`. Unless `key` is the ARN of a key, KMS is asked
    /// for it.
    ///
    /// # Errors
    /// `InvalidConfig` when `key` is none of these, when there is no such key, when it can't encrypt, and without a region;
    /// `Unauthenticated` without credentials; `PermissionDenied`, `Unavailable`, `Timeout` and `RateLimited` as KMS says.
    pub async fn connect(key: &str, environment: &Environment) -> Result<Self> {
        let name = KeyName::parse(key)?;
        let mut config = AwsConfig::from_environment(environment)?;
        if let Some(region) = name.region() {
            config.region = Some(region.to_owned());
        }
        let mut builder = Builder::from(&sdk_config(&config).await?);
        builder.push_interceptor(hide_bodies());
        if let Some(endpoint) = variable(environment, "AWS_ENDPOINT_URL_KMS")? {
            check_endpoint(&endpoint)?;
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        let arn = if name.is_key_arn() {
            name
        } else {
            describe(&client, &name).await?
        };
        Ok(Self {
            id: KeySourceId::new(format!("{}:{}", Self::KIND, arn.as_str())),
            arn,
            client,
        })
    }

    fn damaged(&self) -> Error {
        Error::new(ErrorKind::Corrupt, "the key slot was changed or belongs to another store")
            .with("key_source", self.id.as_str())
            .with_hint("put back a backup of the store")
    }
}

#[async_trait]
impl KeySource for KmsKeySource {
    fn id(&self) -> &KeySourceId {
        &self.id
    }

    /// Replicas of a multi-Region key open each other's slots.
    fn fits(&self, slot_source: &str) -> bool {
        let arn = slot_source.strip_prefix(Self::KIND).and_then(|rest| rest.strip_prefix(':'));
        arn.and_then(|arn| KeyName::parse(arn).ok())
            .is_some_and(|arn| arn.is_key_arn() && arn.is_same_key(&self.arn))
    }

    /// Two requests, because a store that nobody can open again must not come about: what was made is opened once.
    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>> {
        let request = self.client.encrypt().key_id(self.arn.as_str());
        let request = request
            .plaintext(Blob::new(key.as_slice()))
            .encryption_context(CONTEXT_KEY, encoded(context));
        let answer = request
            .send()
            .await
            .map_err(|error| failed(error, self.id.as_str(), Meaning::OfRequest))?;
        let Some(ciphertext) = answer.ciphertext_blob else {
            return Err(incomprehensible(&self.id));
        };
        let wrapped = [&HEADER, ciphertext.as_ref()].concat();
        if *self.unwrap(context, &wrapped).await? != *key {
            return Err(incomprehensible(&self.id));
        }
        Ok(wrapped)
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let ciphertext = wrapped.strip_prefix(&HEADER).ok_or_else(|| self.damaged())?;
        // The key is named, so that KMS uses no other one that the ciphertext asks for.
        let request = self.client.decrypt().key_id(self.arn.as_str());
        let request = request
            .ciphertext_blob(Blob::new(ciphertext))
            .encryption_context(CONTEXT_KEY, encoded(context));
        let answer = request
            .send()
            .await
            .map_err(|error| failed(error, self.id.as_str(), Meaning::OfCiphertext))?;
        let plaintext = answer.plaintext.map(|blob| Zeroizing::new(blob.into_inner()));
        let plaintext = plaintext.ok_or_else(|| incomprehensible(&self.id))?;
        let mut key = Zeroizing::new([0; 32]);
        if plaintext.len() != key.len() {
            return Err(self.damaged());
        }
        key.copy_from_slice(&plaintext);
        Ok(key)
    }
}

impl fmt::Debug for KmsKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsKeySource({})", self.id)
    }
}

/// Version 1, wrapped by a KMS key; KMS's blob follows.
const HEADER: [u8; 2] = [1, 4];

const CONTEXT_KEY: &str = "keyfob";

fn encoded(context: &[u8]) -> String {
    aws_smithy_types::base64::encode(context)
}

/// The ARN of the key that is meant.
async fn describe(client: &Client, name: &KeyName) -> Result<KeyName> {
    let shown = format!("{}:{}", KmsKeySource::KIND, name.as_str());
    let answer = client.describe_key().key_id(name.as_str()).send().await;
    let answer = answer.map_err(|error| failed(error, &shown, Meaning::OfRequest))?;
    let key = answer.key_metadata();
    let is_fit = key.is_some_and(|key| {
        key.key_usage() == Some(&KeyUsageType::EncryptDecrypt) && key.key_spec() == Some(&KeySpec::SymmetricDefault)
    });
    if !is_fit {
        return Err(Error::new(ErrorKind::InvalidConfig, "this KMS key can't protect a store")
            .with("key_source", shown)
            .with_hint("a symmetric key for encryption is needed: `SYMMETRIC_DEFAULT`, `ENCRYPT_DECRYPT`"));
    }
    let arn = key.and_then(|key| key.arn()).and_then(|arn| KeyName::parse(arn).ok());
    arn.filter(KeyName::is_key_arn)
        .ok_or_else(|| incomprehensible(&KeySourceId::new(shown)))
}

fn incomprehensible(id: &KeySourceId) -> Error {
    Error::new(ErrorKind::Other, "the answer of KMS can't be understood").with("key_source", id.as_str())
}
