//! secret-vault, without its encryption.

use std::hint::black_box;

use keyfob_bench_layers::{Contestant, Fixture, Outcome, Reader};
use secret_vault::{
    MockSecretsSource, SecretVault, SecretVaultBuilder, SecretVaultNoEncryption, SecretVaultRef, SecretVaultView,
};
use secret_vault_value::SecretValue;

struct Vault {
    vault: SecretVault<MockSecretsSource, SecretVaultNoEncryption>,
    refs: Vec<SecretVaultRef>,
}

impl Reader for Vault {
    /// By reference: by name it makes one for each read.
    async fn read(&self, index: usize) -> usize {
        let answer = self.vault.get_secret_by_ref(&self.refs[index]).await;
        let secret = black_box(&answer).as_ref().ok();
        secret
            .and_then(Option::as_ref)
            .map_or(0, |secret| secret.value.ref_sensitive_value().len())
    }
}

pub(crate) fn filled(fixture: &Fixture) -> Outcome<Contestant> {
    let secrets: Vec<(SecretVaultRef, SecretValue)> = crate::secrets(fixture)
        .map(|(name, value)| (SecretVaultRef::new(name.into()), value.into()))
        .collect();
    let refs: Vec<SecretVaultRef> = secrets.iter().map(|(reference, _)| reference.clone()).collect();
    let vault = SecretVaultBuilder::with_source(MockSecretsSource::new(secrets))
        .with_secret_refs(refs.iter().collect())
        .build()?;
    crate::block_on(async {
        vault.refresh().await?;
        Ok(())
    })?;
    Ok(Contestant::new("secret-vault", Vault { vault, refs }))
}
