//! Measures how many writes a second 1, 8 and 32 writers get confirmed, each in a process of its own as far as keyfob can tell
//! (a handle with its own connection): each to secrets of its own, beside all of them to one secret, whose record they have to
//! wait for, as all would for a record with a single root.
//!
//! `KEYFOB_TEST_POSTGRES_URL` names the server: `cargo run --release -p keyfob-sql --features postgres --example
//! postgres_writers`.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use keyfob_core::{Environment, PutRequest, SecretName, SecretStore as _, StoreUrl};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, PostgresConfig, PostgresStore};
use tokio_postgres::{Client, NoTls};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SCHEMA: &str = "keyfob_writers_example";
const TIME: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Outcome<()> {
    let server = std::env::var("KEYFOB_TEST_POSTGRES_URL")?;
    let administrator = connect(&server).await?;
    println!("| writers | own secrets, writes/s | one secret, writes/s | ratio |\n|---|---|---|---|");
    for writers in [1, 8, 32] {
        // Turn by turn, so that both meet the same machine; the middle one of each counts.
        let (mut own, mut one) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            own.push(rate(&server, &administrator, writers, true).await?);
            one.push(rate(&server, &administrator, writers, false).await?);
        }
        let (own, one) = (middle(own), middle(one));
        println!("| {writers} | {own:.0} | {one:.0} | {:.1} |", own / one);
    }
    Ok(())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

async fn rate(server: &str, administrator: &Client, writers: usize, is_own: bool) -> Outcome<f64> {
    administrator
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await?;
    let key = KeyConfig::Source(std::sync::Arc::new(RawKey::generate()?));
    let url = StoreUrl::parse(&format!("{server}?schema={SCHEMA}&connections=1&timeout=60"))?;
    let environment = Environment::fake().var("KEYFOB_KEY_FILE", "/nowhere").build();
    let mut config = PostgresConfig::from_url(&url, &environment)?;
    config.key = key;
    config.state_dir = None;
    PostgresStore::create(config.clone()).await?;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let store = PostgresStore::open(config.clone()).await?;
        tasks.push(tokio::spawn(async move {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < TIME {
                let name = match is_own {
                    true => format!("service{writer}/secret{}", count % 50),
                    false => "secret".to_owned(),
                };
                let name = SecretName::new(name)?;
                store.put(&name, PutRequest::new("a value of some length")).await?;
                count += 1;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(f64::from(count) / begin.elapsed().as_secs_f64())
        }));
    }
    let rate = sum(tasks).await;
    administrator
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await?;
    rate
}

async fn sum(tasks: Vec<tokio::task::JoinHandle<Outcome<f64>>>) -> Outcome<f64> {
    let mut all = 0.0;
    for task in tasks {
        all += task.await??;
    }
    Ok(all)
}

async fn connect(server: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
