//! The table of an audit log in a SQLite file of its own.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use keyfob_audit::LineTable;
use keyfob_core::{Environment, Error, ErrorKind, Result, StoreUrl};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::error::{from_io, from_sqlite};
use super::{check_file, configure, restrict};
use crate::audit_table::{negative_number, of_the_log, only_read};

/// In the header of the file: "keya".
const APPLICATION_ID: i32 = 0x6b65_7961;

pub(crate) struct SqliteTable {
    path: PathBuf,
    /// `None` when there is no file and none is to be made.
    connection: Option<Connection>,
    /// How long a writer is waited for.
    patience: Duration,
    is_configured: bool,
    /// Whether the table is known to be there.
    is_made: bool,
}

impl SqliteTable {
    /// Opens the file, and makes an empty one if it is missing and may be made. Waits for nobody.
    pub(crate) fn open(url: &StoreUrl, environment: &Environment, may_make: bool) -> Result<Self> {
        let Some(path) = url.file_path(environment)? else {
            return Err(
                Error::new(ErrorKind::InvalidConfig, "the URL names no file for the audit log")
                    .with_hint("for example `sqlite:audit.db`"),
            );
        };
        let mut parameters = url.parameters();
        let seconds = parameters.take_parsed::<u32>("busy-timeout", "a number of seconds from 0 to 3600")?;
        parameters.finish()?;
        let patience = Duration::from_secs(seconds.unwrap_or(10).min(3600).into());
        if may_make {
            // SQLite would make it with whatever the umask leaves.
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(from_io(error, "can't make the file of the audit log", &path)),
            }
        } else if !path.exists() {
            return Ok(Self {
                path,
                patience,
                connection: None,
                is_configured: false,
                is_made: false,
            });
        }
        check_file(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed);
        let opened = connection.and_then(|connection| {
            restrict(&connection).map_err(failed)?;
            connection.busy_timeout(Duration::ZERO).map_err(failed)?;
            match is_log(&connection) {
                // Somebody is writing. It is looked at again when it is asked.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                found => drop(found?),
            }
            Ok(connection)
        });
        let connection = opened.map_err(|error| error.with("store", path.display().to_string()))?;
        Ok(Self {
            path,
            patience,
            connection: Some(connection),
            is_configured: false,
            is_made: false,
        })
    }

    /// The database, once there is a table in it.
    fn made(&mut self) -> Result<Option<&Connection>> {
        let Some(connection) = &self.connection else { return Ok(None) };
        if !self.is_configured {
            configure(connection, self.patience).map_err(|error| self.locate(failed(error)))?;
            self.is_configured = true;
        }
        if !self.is_made {
            self.is_made = is_log(connection).map_err(|error| self.locate(error))?;
        }
        Ok(Some(connection).filter(|_| self.is_made))
    }

    fn locate(&self, error: Error) -> Error {
        error.with("store", self.path.display().to_string())
    }
}

/// Whether there is a table in the file, which is empty otherwise.
///
/// # Errors
/// `InvalidConfig` when the file is something else.
fn is_log(connection: &Connection) -> Result<bool> {
    let found: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed)?;
    if found == APPLICATION_ID {
        return Ok(true);
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    // Made between the two looks.
    let is_log_now = || connection.pragma_query_value(None, "application_id", |row| Ok(row.get::<_, i32>(0)? == APPLICATION_ID));
    if (found != 0 || tables != 0) && !is_log_now().map_err(failed)? {
        return Err(something_else());
    }
    Ok(false)
}

/// Makes the table in an empty file.
fn make(connection: &mut Connection) -> Result<()> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    if is_log(&transaction)? {
        return Ok(());
    }
    transaction
        .execute_batch("CREATE TABLE audit_line (seq INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT")
        .map_err(failed)?;
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)
}

impl LineTable for SqliteTable {
    fn place(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn last(&mut self) -> Result<u64> {
        let Some(connection) = self.made()? else { return Ok(0) };
        let last = connection
            .query_row("SELECT coalesce(max(seq), 0) FROM audit_line", [], |row| row.get::<_, i64>(0))
            .map_err(|error| self.locate(failed(error)))?;
        u64::try_from(last).map_err(|_| self.locate(negative_number()))
    }

    fn lines(&mut self, first: u64, most: u64) -> Result<Vec<(u64, String)>> {
        let Some(connection) = self.made()? else {
            return Ok(Vec::new());
        };
        let read = || {
            let sql = "SELECT seq, line FROM audit_line WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![signed(first), signed(most)], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.locate(failed(error)))
    }

    fn add(&mut self, first: u64, lines: &[&str]) -> Result<()> {
        let place = self.path.display().to_string();
        let is_made = self.made()?.is_some();
        let connection = self.connection.as_mut().ok_or_else(only_read)?;
        let mut add = || {
            if !is_made {
                make(connection)?;
            }
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let mut insert = transaction
                .prepare_cached("INSERT INTO audit_line (seq, line) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                .map_err(failed)?;
            for (number, line) in (signed(first)..).zip(lines) {
                if insert.execute(params![number, line]).map_err(failed)? == 0 {
                    return Err(Error::new(ErrorKind::Conflict, "another writer was faster"));
                }
            }
            drop(insert);
            transaction.commit().map_err(failed)
        };
        add().map_err(|error: Error| error.with("store", place))
    }
}

fn something_else() -> Error {
    Error::new(ErrorKind::InvalidConfig, "the file is something else than an audit log")
        .with_hint("give the audit log a file of its own")
}

fn failed(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => something_else(),
        _ => of_the_log(from_sqlite(error)),
    }
}

/// There are fewer lines than that.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
