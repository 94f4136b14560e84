//! Vault or OpenBao: a secret of KV, and credentials that the server makes for this program alone.
//!
//! Address and log-in come from the usual variables (`VAULT_ADDR`, `VAULT_TOKEN`, ...). The argument is a path that gives
//! out a lease, for example `/database/creds/app`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use keyfob::{
    DeleteMode, DeleteOptions, Environment, Error, ErrorKind, GetOptions, PutRequest, Result, SecretName, SecretStore, StoreUrl,
};
use keyfob_vault::{VaultConfig, VaultStore};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let config = VaultConfig::from_url(&StoreUrl::of_scheme("vault")?, &Environment::from_process())?;
    let store = VaultStore::connect(&config).await?;
    let name = SecretName::new("db/password")?;
    let written = store.put(&name, PutRequest::new("a password")).await?;
    let secret = store.get(&name, &GetOptions::default()).await?;
    println!(
        "{name}: {} bytes, the version that was written: {}",
        secret.value.len(),
        secret.metadata.version == written.version
    );
    let for_good = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    store.delete(&name, &for_good).await?;

    let path = std::env::args().nth(1);
    let path = path.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "give the path of a lease"))?;
    let lease = store.vault().read_lease(&path).await?;
    println!("a user name of {} bytes", lease.field("username")?.len());
    lease.renew(None).await?;
    // A program that ends doesn't leave its credentials behind.
    lease.revoke().await?;
    println!("renewed and revoked");
    Ok(())
}
