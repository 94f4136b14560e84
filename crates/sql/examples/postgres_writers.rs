//! Measures how many writes a second 1, 8 and 32 writers get confirmed, each in a process of its own as far as keyfob can tell
//! (a handle with its own connection), beside what the server can do at all:
//!
//! - each writer puts secrets of its own;
//! - all put the same secret, whose record they have to wait for, as all would for a record with a single root;
//! - each inserts rows with as many bytes as a secret's version has, by a prepared `INSERT` that commits for itself: no
//!   transaction of several statements, no lock, no check, no second table. What is lost against that is the price of the rest.
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
    let settings = administrator
        .query_one(
            "SELECT concat_ws(', ', 'PostgreSQL ' || current_setting('server_version'), 'fsync ' || current_setting('fsync'), \
             'synchronous_commit ' || current_setting('synchronous_commit'))",
            &[],
        )
        .await?;
    println!("{}\n", settings.get::<_, &str>(0));
    println!(
        "| writers | own secrets, /s | one secret, /s | bare `INSERT`, /s | own to one | own to bare |\n|---|---|---|---|---|---|"
    );
    for writers in [1, 8, 32] {
        // Turn by turn, so that all meet the same machine; the middle one of each counts.
        let (mut own, mut one, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            own.push(rate(&server, &administrator, writers, true).await?);
            one.push(rate(&server, &administrator, writers, false).await?);
            bare.push(bare_rate(&server, &administrator, writers).await?);
        }
        let (own, one, bare) = (middle(own), middle(one), middle(bare));
        println!(
            "| {writers} | {own:.0} | {one:.0} | {bare:.0} | {:.1} | {:.2} |",
            own / one,
            own / bare
        );
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

/// Rows of the size that a version has.
async fn bare_rate(server: &str, administrator: &Client, writers: usize) -> Outcome<f64> {
    let make = format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.bare \
         (name text COLLATE \"C\", number bigint, content bytea, PRIMARY KEY (name, number))"
    );
    administrator.batch_execute(&make).await?;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let client = connect(server).await?;
        let insert = client
            .prepare(&format!("INSERT INTO {SCHEMA}.bare VALUES ($1, $2, $3)"))
            .await?;
        tasks.push(tokio::spawn(async move {
            let (begin, mut count) = (Instant::now(), 0_u32);
            let content = [7_u8; 320];
            while begin.elapsed() < TIME {
                let name = format!("service{writer}/secret{}", count % 50);
                client
                    .execute(&insert, &[&name, &i64::from(count), &content.as_slice()])
                    .await?;
                count += 1;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(f64::from(count) / begin.elapsed().as_secs_f64())
        }));
    }
    let rate = sum(tasks).await;
    administrator.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
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
