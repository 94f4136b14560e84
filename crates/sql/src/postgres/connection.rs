//! Connections: a pool that fills when it is used, and transactions that never go back to it open.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::{join_all, join3};
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::StoreId;
use tokio_postgres::{NoTls, Row, Statement};

use super::config::{PostgresConfig, PostgresTls};
use super::dial::{CONNECT, Dial};
use super::error::{from_pool, from_postgres, is_consequence, not_written, of_beginning, unknown_outcome};
use super::schema::Parameter;
use super::tls;

/// Reads see one moment and can change nothing.
pub(super) const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Writes see what is committed at the time of each statement: after the wait for a lock, what its owner has left.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
pub(super) const COMMIT: &str = "COMMIT";

/// How long the check of everything, or a step of a change of the key or of the tables, may take.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// The beginning of a transaction with statements that may take so long.
pub(super) fn lasting(begin: &str) -> String {
    format!("{begin}; {}", for_long())
}

/// What lets the statements of the rest of a transaction take so long.
pub(super) fn for_long() -> String {
    format!("SET LOCAL statement_timeout = {}", LONG.as_millis())
}

/// A statement that reads, with its parameters.
pub(super) type Query<'a> = (&'a str, Vec<Parameter<'a>>);

/// A statement that writes, with its parameters and how many rows it must change, if that is known.
pub(super) type Execution<'a> = (&'a str, Vec<Parameter<'a>>, Option<u64>);

/// The connections to one server.
pub(super) struct Connections {
    pool: Pool,
    /// Ends every transaction that begins on a connection which this pool has not made.
    guard: Arc<str>,
}

/// Makes the pool. Nothing is connected yet.
pub(super) fn pool(config: &PostgresConfig) -> Result<Connections> {
    let settings = Dial::of(config).settings();
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = match &config.tls {
        PostgresTls::Off => Manager::from_config(settings, NoTls, recycling),
        PostgresTls::Verified { authorities } => {
            Manager::from_config(settings, tls::connector(authorities.as_deref())?, recycling)
        }
    };
    // Sixteen random bytes.
    let mark = StoreId::generate()?.to_string();
    let session = session(config.timeout, &mark);
    let pool = Pool::builder(manager)
        .max_size(config.max_connections)
        .runtime(Runtime::Tokio1)
        // Before the call itself is given up, so that it says why.
        .wait_timeout(Some(config.timeout * 3 / 4))
        .create_timeout(Some(CONNECT.min(config.timeout)))
        .post_create(Hook::async_fn(move |client, _| {
            let session = session.clone();
            Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|_| Error::new(ErrorKind::Other, "the pool of connections can't be made"))?;
    Ok(Connections {
        pool,
        guard: guard(&mark).into(),
    })
}

/// A pooler in between may give every transaction another connection, on which nothing of `session` is set, and on which the
/// prepared statements are another client's under the same names: what is meant to read could delete. So no statement comes
/// before this one, which fails there, and what follows in a transaction that has failed is not done.
fn guard(mark: &str) -> String {
    format!("SELECT 1 / (current_setting('keyfob.session', true) IS NOT DISTINCT FROM '{mark}')::int")
}

/// Nothing that somebody put into another schema is ever called, a server that is left alone gives up too, and a commit is
/// durable whatever the server's default says.
fn session(timeout: Duration, mark: &str) -> String {
    let whole = timeout.as_millis();
    let waiting = whole / 2;
    format!(
        "SET search_path = pg_catalog; SET keyfob.session = '{mark}'; SET statement_timeout = {whole}; SET lock_timeout = {waiting}; \
         SET idle_in_transaction_session_timeout = {}; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        whole.saturating_mul(2)
    )
}

/// A connection that may have a transaction open, or a request without an answer. When it is dropped like that, it is closed,
/// and the server rolls back.
pub(super) struct Connection {
    client: Option<Object>,
    guard: Arc<str>,
    is_open: bool,
}

impl Connection {
    pub(super) async fn take(connections: &Connections) -> Result<Self> {
        let client = connections.pool.get().await.map_err(from_pool)?;
        Ok(Self {
            client: Some(client),
            guard: Arc::clone(&connections.guard),
            is_open: false,
        })
    }

    /// Sends all of it at once: the beginning of a transaction, if there is one, then the queries, then its end.
    pub(super) async fn read(&mut self, begin: Option<&str>, queries: &[Query<'_>], end: Option<&str>) -> Result<Vec<Vec<Row>>> {
        let sql: Vec<&str> = queries.iter().map(|(sql, _)| *sql).collect();
        let statements = self.prepare(&sql).await?;
        let was_open = std::mem::replace(&mut self.is_open, true);
        let guarded = begin.map(|begin| self.guarded(begin));
        let client = self.client()?;
        let rows = join_all(
            statements
                .iter()
                .zip(queries)
                .map(|(statement, (_, parameters))| client.query(statement, parameters)),
        );
        let (begun, rows, ended) = join3(perform(client, guarded.as_deref()), rows, perform(client, end)).await;
        self.is_open = was_open || begin.is_some();
        let begun = begun.map_err(of_beginning);
        let answers = first_cause(begun, rows.into_iter().map(|rows| rows.map_err(from_postgres)), ended)?;
        self.is_open &= end.is_none();
        Ok(answers)
    }

    /// Sends all changes at once, and looks whether each has changed what it should.
    pub(super) async fn write(&mut self, changes: &[Execution<'_>]) -> Result<()> {
        let sql: Vec<&str> = changes.iter().map(|(sql, ..)| *sql).collect();
        let statements = self.prepare(&sql).await?;
        let client = self.client()?;
        let counts = changes.chunks(SENT_AT_ONCE).zip(statements.chunks(SENT_AT_ONCE));
        for (changes, statements) in counts {
            let sent = statements
                .iter()
                .zip(changes)
                .map(|(statement, (_, parameters, _))| client.execute(statement, parameters));
            let counts = join_all(sent).await;
            let counts = first_cause(Ok(()), counts.into_iter().map(|count| count.map_err(from_postgres)), Ok(()))?;
            let is_as_expected =
                |(count, (.., expected)): (&u64, &Execution<'_>)| expected.is_none_or(|expected| expected == *count);
            if !counts.iter().zip(changes).all(is_as_expected) {
                return Err(not_written());
            }
        }
        Ok(())
    }

    /// Sends commands that have neither parameters nor answers.
    pub(super) async fn perform(&mut self, commands: &str) -> Result<()> {
        let is_beginning = commands.starts_with("BEGIN");
        self.is_open |= is_beginning;
        if is_beginning {
            let guarded = self.guarded(commands);
            return perform(self.client()?, Some(&guarded)).await.map_err(of_beginning);
        }
        perform(self.client()?, Some(commands)).await
    }

    fn guarded(&self, begin: &str) -> String {
        format!("{begin}; {}", self.guard)
    }

    /// What was changed stays. An error of the server's says that it does not; without an answer nobody knows.
    pub(super) async fn commit(mut self, within: Duration) -> Result<()> {
        let client = self.client()?;
        let answer = tokio::time::timeout(within, client.batch_execute(COMMIT)).await;
        match answer {
            Ok(Ok(())) => {
                self.is_open = false;
                Ok(())
            }
            // A server that is being shut down may have committed before it said so.
            Ok(Err(error)) if error.code().is_some_and(|code| !code.code().starts_with("57P")) => Err(from_postgres(error)),
            Ok(Err(_)) | Err(_) => Err(unknown_outcome()),
        }
    }

    /// What was changed goes. When even that fails, dropping the connection does it.
    pub(super) async fn roll_back(mut self) {
        if let Ok(client) = self.client()
            && client.batch_execute("ROLLBACK").await.is_ok()
        {
            self.is_open = false;
        }
    }

    async fn prepare(&mut self, sql: &[&str]) -> Result<Vec<Statement>> {
        let was_open = std::mem::replace(&mut self.is_open, true);
        let client = self.client()?;
        // All but the first time they are there already, and nothing is sent.
        let prepared = sql.iter().map(|sql| client.prepare_cached(sql));
        let prepared = join_all(prepared).await;
        self.is_open = was_open;
        prepared.into_iter().collect::<Result<_, _>>().map_err(from_postgres)
    }

    fn client(&self) -> Result<&Object> {
        self.client
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Other, "the connection has been given back"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_open
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

/// The most futures that are surely sent in their order.
const SENT_AT_ONCE: usize = 30;

async fn perform(client: &Object, commands: Option<&str>) -> Result<()> {
    match commands {
        Some(commands) => client.batch_execute(commands).await.map_err(from_postgres),
        None => Ok(()),
    }
}

/// All answers, or the error that the others follow from.
fn first_cause<T>(before: Result<()>, answers: impl Iterator<Item = Result<T>>, after: Result<()>) -> Result<Vec<T>> {
    before?;
    let mut found = Vec::new();
    let mut failed: Option<Error> = None;
    for answer in answers {
        match answer {
            Ok(answer) => found.push(answer),
            Err(error) if failed.as_ref().is_none_or(is_consequence) => failed = Some(error),
            Err(_) => {}
        }
    }
    match failed {
        Some(error) => Err(error),
        None => after.map(|()| found),
    }
}

#[cfg(test)]
mod tests {
    use keyfob_core::{Environment, StoreUrl};

    use super::*;

    #[tokio::test]
    async fn nothing_is_done_on_a_connection_that_a_pooler_has_exchanged() {
        let test = "nothing_is_done_on_a_connection_that_a_pooler_has_exchanged";
        let Some(server) = keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_URL") else {
            return;
        };
        let environment = Environment::fake().var("KEYFOB_KEY_FILE", "/nowhere").build();
        let url = StoreUrl::parse(&format!("{server}?connections=1")).unwrap();
        let pool = pool(&PostgresConfig::from_url(&url, &environment).unwrap()).unwrap();
        let query: [Query<'_>; 1] = [("CREATE TABLE pg_temp.made_by_keyfob ()", Vec::new())];
        let look: [Query<'_>; 1] = [("SELECT 1 WHERE to_regclass('pg_temp.made_by_keyfob') IS NULL", Vec::new())];
        let is_not_made = async || {
            let mut connection = Connection::take(&pool).await.unwrap();
            connection.read(None, &look, None).await.unwrap()[0].len() == 1
        };
        // Another client's connection has another mark, and a fresh one has none.
        for other in ["SET keyfob.session = 'another'", "RESET keyfob.session"] {
            let mut connection = Connection::take(&pool).await.unwrap();
            connection.perform(other).await.unwrap();
            let error = connection.read(Some(WRITE), &query, Some(COMMIT)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.message().contains("pooler"), "{error}");
            let error = connection.perform(WRITE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            connection.perform("ROLLBACK").await.unwrap();
            connection.is_open = false;
            drop(connection);
            assert!(is_not_made().await, "a statement was done");
        }
        let mut connection = Connection::take(&pool).await.unwrap();
        let mark = StoreId::generate().unwrap().to_string();
        connection.perform(&format!("SET keyfob.session = '{mark}'")).await.unwrap();
        connection.guard = guard(&mark).into();
        connection.read(Some(WRITE), &query, Some(COMMIT)).await.unwrap();
        drop(connection);
        assert!(!is_not_made().await, "the look sees what is made");
    }
}
