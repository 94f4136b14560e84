//! A configuration file with references, read into a type.
//!
//! Run it with `DB_USER=app DB_PASSWORD=hunter2 cargo run -p keyfob-examples --bin typed_configuration`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use keyfob::SecretValue;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Config {
    listen: String,
    database: Database,
    features: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Database {
    user: String,
    password: SecretValue,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), keyfob::Error> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/config/app.yaml").to_owned());
    let config: Config = keyfob::load(&path).await?;
    println!("listening on {} with {}", config.listen, config.features.join(", "));
    println!(
        "connecting as {} with a password of {} bytes",
        config.database.user,
        config.database.password.len()
    );
    println!("{:?}", config.database);
    Ok(())
}
