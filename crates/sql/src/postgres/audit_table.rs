//! The table of an audit log in a schema of its own.

use keyfob_audit::LineTable;
use keyfob_core::{Environment, Error, ErrorKind, Result, StoreUrl};
use tokio::runtime::Runtime;

use super::config::PostgresConfig;
use super::connection::{COMMIT, Connection, Connections, READ, WRITE, pool};
use super::create::layout;
use super::engine::within;
use super::error::{is_collision, of_reading};
use super::fetch::column;
use crate::audit_table::{negative_number, of_the_log, only_read};

/// Where the log is when the URL names no schema.
const SCHEMA: &str = "keyfob_audit";

pub(crate) struct PostgresTable {
    config: PostgresConfig,
    connections: Connections,
    /// The log is written on a thread of its own, which has no runtime.
    runtime: Runtime,
    may_make: bool,
    /// Whether the table is known to be there.
    is_made: bool,
}

impl PostgresTable {
    /// Connects to nothing yet.
    pub(crate) fn open(url: &StoreUrl, environment: &Environment, may_make: bool) -> Result<Self> {
        let mut config = PostgresConfig::from_url(url, environment)?;
        if url.parameters().take("schema").is_none() {
            SCHEMA.clone_into(&mut config.schema);
        }
        config.max_connections = 1;
        config.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::new(ErrorKind::Other, "can't start a runtime").with_source(error))?;
        Ok(Self {
            connections: pool(&config)?,
            config,
            runtime,
            may_make,
            is_made: false,
        })
    }

    fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = self.runtime.block_on(async { within(self.config.timeout, work).await });
        done.map_err(|error| of_the_log(of_reading(error)).with("store", self.config.location()))
    }

    /// Whether the table is there.
    fn is_made(&mut self) -> Result<bool> {
        if !self.is_made {
            self.is_made = self.run(self.exists())?;
        }
        Ok(self.is_made)
    }

    async fn exists(&self) -> Result<bool> {
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        let table = format!("\"{}\".audit_line", self.config.schema);
        let mut connection = Connection::take(&self.connections).await?;
        let rows = connection.read(Some(READ), &[(sql, vec![&table])], Some(COMMIT)).await?;
        match rows.first().and_then(|rows| rows.first()) {
            Some(row) => column(row, 0),
            None => Ok(false),
        }
    }

    /// Makes the schema and the table.
    async fn make(&self) -> Result<()> {
        let schema = &self.config.schema;
        let mut connection = Connection::take(&self.connections).await?;
        connection.perform(WRITE).await?;
        if layout(&mut connection, schema, true).await?.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("the schema `{schema}` holds a store, and an audit log has one of its own"),
            )
            .with_hint("name another one: `schema=keyfob_audit`"));
        }
        let make = format!("CREATE TABLE IF NOT EXISTS \"{schema}\".audit_line (seq bigint PRIMARY KEY, line text NOT NULL)");
        connection.perform(&make).await?;
        connection.commit(self.config.timeout).await
    }

    async fn rows(&self, first: i64, most: i64) -> Result<Vec<(u64, String)>> {
        let sql = format!(
            "SELECT seq, line FROM \"{}\".audit_line WHERE seq >= $1 ORDER BY seq LIMIT $2",
            self.config.schema
        );
        let mut connection = Connection::take(&self.connections).await?;
        let answers = connection
            .read(Some(READ), &[(&sql, vec![&first, &most])], Some(COMMIT))
            .await?;
        let rows = answers.into_iter().flatten();
        rows.map(|row| Ok((column::<i64>(&row, 0)?.cast_unsigned(), column(&row, 1)?)))
            .collect()
    }

    async fn insert(&self, first: u64, lines: &[&str]) -> Result<()> {
        let sql = format!(
            "INSERT INTO \"{}\".audit_line (seq, line) SELECT * FROM unnest($1::bigint[], $2::text[]) \
             ON CONFLICT DO NOTHING RETURNING seq",
            self.config.schema
        );
        let numbers: Vec<i64> = (signed(first)..).take(lines.len()).collect();
        let mut connection = Connection::take(&self.connections).await?;
        let added = connection.read(Some(WRITE), &[(&sql, vec![&numbers, &lines])], None).await;
        let added = added.map_err(|error| if is_collision(&error) { too_late() } else { error })?;
        if added.iter().map(Vec::len).sum::<usize>() != lines.len() {
            connection.roll_back().await;
            return Err(too_late());
        }
        connection.commit(self.config.timeout).await
    }
}

impl LineTable for PostgresTable {
    fn place(&self) -> String {
        self.config.location()
    }

    fn last(&mut self) -> Result<u64> {
        if !self.is_made()? {
            return Ok(0);
        }
        let sql = format!("SELECT coalesce(max(seq), 0) FROM \"{}\".audit_line", self.config.schema);
        let last: i64 = self.run(async {
            let mut connection = Connection::take(&self.connections).await?;
            let rows = connection.read(Some(READ), &[(&sql, Vec::new())], Some(COMMIT)).await?;
            match rows.first().and_then(|rows| rows.first()) {
                Some(row) => column(row, 0),
                None => Ok(0),
            }
        })?;
        u64::try_from(last).map_err(|_| negative_number())
    }

    fn lines(&mut self, first: u64, most: u64) -> Result<Vec<(u64, String)>> {
        if !self.is_made()? {
            return Ok(Vec::new());
        }
        self.run(self.rows(signed(first), signed(most)))
    }

    fn add(&mut self, first: u64, lines: &[&str]) -> Result<()> {
        if !self.may_make {
            return Err(only_read());
        }
        if !self.is_made()? {
            self.run(self.make())?;
            self.is_made = true;
        }
        self.run(self.insert(first, lines))
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Conflict, "another writer was faster")
}

/// There are fewer lines than that.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
