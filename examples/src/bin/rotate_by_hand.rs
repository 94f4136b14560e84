//! Compare-and-set: of two writers that saw the same version, one succeeds and the other is told.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use keyfob::{ErrorKind, MemoryStore, PutMode, PutRequest, SecretManager};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), keyfob::Error> {
    // Any store that can compare versions does; an application says `SecretManager::from_env().await?`.
    let secrets = SecretManager::builder()
        .with_store("secret", Arc::new(MemoryStore::new()))
        .build()
        .await?;
    secrets.put("api/key", PutRequest::new("first")).await?;

    let seen = secrets.get("api/key").await?.metadata.version.clone();
    let mode = seen.map_or(PutMode::Create, PutMode::Match);
    for writer in ["one", "two"] {
        let value = format!("from writer {writer}");
        match secrets
            .put("api/key", PutRequest::new(value.as_str()).mode(mode.clone()))
            .await
        {
            Ok(_) => println!("writer {writer}: written"),
            Err(error) if error.kind() == ErrorKind::Conflict => println!("writer {writer}: somebody was faster, read again"),
            Err(error) => return Err(error),
        }
    }
    assert_eq!(secrets.get("api/key").await?.value.expose_str()?, "from writer one");
    assert_eq!(secrets.get("api/key@previous").await?.value.expose_str()?, "first");
    Ok(())
}
