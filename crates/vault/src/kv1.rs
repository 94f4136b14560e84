//! KV 1: a secret is one map, without history and metadata.

use keyfob_core::{Capabilities, Metadata, NameRule, Result, Secret, SecretName, SecretValue};
use serde_json::value::RawValue;

use crate::client::{Answer, Vault};
use crate::kv::{MAX_VALUE_BYTES, Place, SCHEME, Written, check_name, not_found, value_of};

/// The engine of one mount.
pub(crate) struct Kv1<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) place: &'a Place,
}

pub(crate) fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::NONE;
    capabilities.put = true;
    capabilities.empty_value = true;
    capabilities.delete_permanent = true;
    capabilities.list = true;
    capabilities.names = NameRule::Custom(check_name);
    capabilities.max_value_bytes = MAX_VALUE_BYTES;
    capabilities
}

impl Kv1<'_> {
    pub(crate) async fn read(&self, name: &SecretName) -> Result<Secret> {
        let answer = self.present(name).await?;
        let map: Box<RawValue> = answer.data()?;
        Ok(Secret::new(value_of(map), self.metadata(name)))
    }

    pub(crate) async fn write(&self, name: &SecretName, value: &SecretValue) -> Result<Metadata> {
        let answer = self.vault.post(&self.place.direct(name)?, &Written::new(value)?).await?;
        answer.written()?;
        Ok(self.metadata(name))
    }

    /// The engine says of a delete only that nothing is there afterwards, so what is there is looked up before.
    pub(crate) async fn delete(&self, name: &SecretName) -> Result<()> {
        drop(self.present(name).await?);
        self.vault.delete(&self.place.direct(name)?).await?.written()
    }

    pub(crate) fn metadata(&self, name: &SecretName) -> Metadata {
        Metadata::new(name.clone(), SCHEME)
    }

    async fn present(&self, name: &SecretName) -> Result<Answer> {
        let answer = self.vault.get(&self.place.direct(name)?).await?;
        match answer.is_missing() {
            true => Err(not_found(name)),
            false => Ok(answer),
        }
    }
}
