//! What of a secret is encrypted: its value, its description and its tags.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Metadata, Result, Secret, SecretName, SecretValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::error::corrupt;
use crate::id::Digest;
use crate::pack::{Packer, most_packed, unpack};

/// What of a secret is encrypted.
pub(crate) struct Record {
    /// Description and tags, as JSON.
    details: Vec<u8>,
    value: SecretValue,
}

impl Record {
    /// # Errors
    /// `InvalidInput` for a value of 4 GiB or more.
    pub(crate) fn new(secret: &Secret) -> Result<Self> {
        let details = Details {
            description: secret.metadata.description.clone(),
            tags: secret.metadata.tags.clone(),
        };
        let details = serde_json::to_vec(&details)
            .map_err(|source| Error::new(ErrorKind::Other, "can't write the metadata of a secret").with_source(source))?;
        if [details.len(), secret.value.len()]
            .iter()
            .any(|length| u32::try_from(*length).is_err())
        {
            return Err(
                Error::new(ErrorKind::InvalidInput, "a snapshot holds values of less than 4 GiB")
                    .with("name", secret.metadata.name.as_str()),
            );
        }
        Ok(Self {
            details,
            value: secret.value.clone(),
        })
    }

    /// What no other name or content has.
    pub(crate) fn digest(&self, name: &SecretName) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"keyfob snapshot secret\0");
        for field in [name.as_str().as_bytes(), &self.details, self.value.expose_secret()] {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        Digest::of(hash)
    }

    pub(crate) fn has_value_of(&self, other: &Self) -> bool {
        self.value.expose_secret().ct_eq(other.value.expose_secret()).into()
    }

    pub(crate) fn pack(&self, packer: &mut Packer) -> Zeroizing<Vec<u8>> {
        let value = self.value.expose_secret();
        // A buffer that grew would leave a copy behind.
        let mut out = Zeroizing::new(Vec::with_capacity(most_packed(self.details.len()) + most_packed(value.len())));
        packer.pack(&self.details, &mut out);
        packer.pack(value, &mut out);
        out
    }

    /// # Errors
    /// `Corrupt` for anything else than [`pack`](Self::pack) gave.
    pub(crate) fn unpack(mut bytes: &[u8]) -> Result<Self> {
        let mut details = unpack(&mut bytes, usize::MAX)?;
        let mut value = unpack(&mut bytes, usize::MAX)?;
        if !bytes.is_empty() {
            return Err(corrupt("a secret of the snapshot is longer than it should be"));
        }
        Ok(Self {
            details: std::mem::take(&mut details),
            value: SecretValue::new(std::mem::take(&mut value)),
        })
    }

    /// Adds what was encrypted to what the manifest says.
    pub(crate) fn into_secret(self, mut metadata: Metadata) -> Result<Secret> {
        let details: Details = serde_json::from_slice(&self.details)
            .map_err(|source| corrupt("the metadata of a secret can't be read").with_source(source))?;
        metadata.description = details.description;
        metadata.tags = details.tags;
        Ok(Secret::new(self.value, metadata))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}
