//! KV 1: a secret is one map, without history and metadata.

use keyfob_core::{Capabilities, ErrorKind, Metadata, NameRule, Result, Secret, SecretName, SecretValue};
use serde_json::value::RawValue;

use crate::client::Vault;
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
        let map = self.present(name).await?;
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

    /// The map of a secret that is there.
    async fn present(&self, name: &SecretName) -> Result<Box<RawValue>> {
        let answer = self.vault.get(&self.place.direct(name)?).await?;
        if answer.is_missing() {
            return Err(not_found(name));
        }
        let map: Box<RawValue> = answer.data()?;
        match map.get().starts_with('{') {
            true => Ok(map),
            false => Err(answer.error(ErrorKind::Other, "what the server has there is not a map")),
        }
    }
}
