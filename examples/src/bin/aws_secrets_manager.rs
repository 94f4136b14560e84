//! AWS Secrets Manager: a batch in one request, an expiry, and what only AWS can do.
//!
//! Region, prefix and credentials come from the usual variables (`AWS_SECRET_MANAGER_REGION`, `AWS_SECRET_PREFIX`, ...).

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, SystemTime};

use keyfob::{Change, DeleteMode, DeleteOptions, Environment, GetRequest, PutRequest, Result, SecretName, SecretStore};
use keyfob_aws::{AwsConfig, AwsStore};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = AwsStore::connect(&AwsConfig::from_environment(&Environment::from_process())?).await?;
    let names: Vec<SecretName> = ["db/user", "db/password", "mail/token"]
        .into_iter()
        .map(SecretName::new)
        .collect::<Result<_>>()?;
    for name in &names {
        let mut request = PutRequest::new(format!("the value of {name}"));
        request.expires_at = Change::Set(SystemTime::now() + Duration::from_secs(90 * 86_400));
        store.put(name, request).await?;
    }

    let requests: Vec<GetRequest> = names.iter().cloned().map(GetRequest::new).collect();
    for answer in store.get_many(&requests).await {
        let secret = answer?;
        let metadata = &secret.metadata;
        println!(
            "{}: {} bytes, expires: {}",
            metadata.name,
            secret.value.len(),
            metadata.expires_at.is_some()
        );
    }
    let policy = store.resource_policy(&names[0]).await?;
    println!("resource policy: {}", policy.as_deref().unwrap_or("none"));

    let for_good = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    for name in &names {
        store.delete(name, &for_good).await?;
    }
    Ok(())
}
