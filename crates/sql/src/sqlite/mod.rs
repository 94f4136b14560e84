//! SQLite: one file, opened by several connections.

#[cfg(feature = "audit")]
pub(crate) mod audit_table;
mod error;
mod file_id;
mod side_files;
mod tables;

use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub(crate) use error::from_io;
use error::{from_sqlite, not_a_store, uncommitted, written_elsewhere};
use file_id::{FileId, NOT_A_FILE};
pub(crate) use tables::SqliteTables;

use crate::root_tables::RootTables;

/// In the header of the file: "keyf".
const APPLICATION_ID: i32 = 0x6b65_7966;

/// The `user_version` in the header of the file.
const SCHEMA_VERSION: i32 = 1;

/// Clustered by bucket: what one read must check is one stretch of one table.
const SCHEMA: &str = "
    CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        store_id BLOB NOT NULL,
        kek BLOB NOT NULL,
        generation INTEGER NOT NULL,
        next_purge INTEGER,
        mac BLOB NOT NULL
    ) STRICT;
    CREATE TABLE key_slot (
        kek BLOB NOT NULL,
        source TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        PRIMARY KEY (kek, source)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE bucket (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL
    ) STRICT;
    CREATE TABLE secret (
        bucket INTEGER NOT NULL,
        name TEXT NOT NULL,
        last INTEGER NOT NULL,
        deleted_at INTEGER,
        purge_at INTEGER,
        digest BLOB NOT NULL,
        history BLOB NOT NULL,
        PRIMARY KEY (bucket, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE version (
        bucket INTEGER NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        expires_at INTEGER,
        description TEXT,
        tags TEXT NOT NULL,
        ciphertext_digest BLOB NOT NULL,
        wrapped_key BLOB NOT NULL,
        ciphertext BLOB NOT NULL,
        PRIMARY KEY (bucket, name, number)
    ) STRICT, WITHOUT ROWID;
";

/// As many connections are kept open at most; each has a cache of its own.
pub(crate) const CONNECTIONS: usize = 4;

/// One database file and its idle connections.
pub(crate) struct Sqlite {
    path: PathBuf,
    file: FileId,
    busy_timeout: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Sqlite {
    /// Opens an existing file.
    pub(crate) fn open(path: PathBuf, busy_timeout: Duration) -> Result<Self> {
        let file = FileId::of(&check_file(&path)?);
        side_files::mend_permissions(&path);
        let sqlite = Self {
            path,
            file,
            busy_timeout,
            idle: Mutex::default(),
        };
        let connection = sqlite.take()?;
        check_format(&connection).map_err(|error| sqlite.locate(error))?;
        sqlite.give_back(connection);
        Ok(sqlite)
    }

    /// Makes a new file and fills it; a process that is killed meanwhile leaves no half of it at `path`.
    pub(crate) fn create(path: &Path, fill: impl FnOnce(&dyn RootTables) -> Result<()>) -> Result<()> {
        let temporary = new_owner_only_file(path)?;
        let made = (|| {
            let mut connection = Connection::open(temporary.path()).map_err(from_sqlite)?;
            // The switch to WAL stays in the file; before it, the temporary file needs no journal.
            connection.pragma_update(None, "journal_mode", "OFF").map_err(from_sqlite)?;
            connection
                .pragma_update(None, "application_id", APPLICATION_ID)
                .map_err(from_sqlite)?;
            connection
                .pragma_update(None, "user_version", SCHEMA_VERSION)
                .map_err(from_sqlite)?;
            let transaction = connection.transaction().map_err(from_sqlite)?;
            transaction.execute_batch(SCHEMA).map_err(from_sqlite)?;
            fill(&SqliteTables::new(&transaction))?;
            transaction.commit().map_err(from_sqlite)?;
            connection.pragma_update(None, "journal_mode", "WAL").map_err(from_sqlite)?;
            connection.close().map_err(|(_, error)| from_sqlite(error))
        })();
        made.map_err(|error| error.with("path", path.display().to_string()))?;
        temporary.keep_as(path)
    }

    /// Runs `read` in a transaction that sees one moment.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&SqliteTables<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.take()?;
        let result = (|| {
            let transaction = connection.transaction().map_err(from_sqlite)?;
            read(&SqliteTables::new(&transaction))
        })();
        self.give_back(connection);
        result.map_err(|error| self.locate(error))
    }

    /// Runs `write` in a transaction that excludes other writers, and commits durably if it returns `Ok(Some)`.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&SqliteTables<'_>) -> Result<Outcome<T>>) -> Result<T> {
        let mut connection = self.take()?;
        let result = (|| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(from_sqlite)?;
            let outcome = write(&SqliteTables::new(&transaction))?;
            match outcome {
                Outcome::Unchanged(result) => Ok(result),
                Outcome::Commit(result) => {
                    transaction.commit().map_err(uncommitted)?;
                    self.file.check_still_at(&self.path).map_err(written_elsewhere)?;
                    Ok(result)
                }
            }
        })();
        self.give_back(connection);
        result.map_err(|error| self.locate(error))
    }

    /// What SQLite itself finds wrong with the structure of the file.
    pub(crate) fn structure_problem(&self) -> Result<Option<String>> {
        let connection = self.take()?;
        let answer: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        self.give_back(connection);
        let answer = answer.map_err(from_sqlite)?;
        Ok((answer != "ok").then_some(answer))
    }

    /// Writes a consistent copy of everything committed so far to `to`, which must not exist. It gets its name only
    /// when `check` finds it good.
    pub(crate) fn copy_to<T>(&self, to: &Path, check: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let temporary = new_owner_only_file(to)?;
        let connection = self.take()?;
        let target = temporary.path().to_str().ok_or_else(|| not_text(to))?;
        let copied = connection.execute("VACUUM INTO ?1", [target]).map_err(from_sqlite);
        self.give_back(connection);
        copied.map_err(|error| self.locate(error))?;
        let result = check(temporary.path())?;
        temporary.keep_as(to)?;
        Ok(result)
    }

    /// Whether others than the owner may read the file.
    pub(crate) fn is_readable_by_others(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.mode() & 0o044 != 0)
    }

    /// The first of the store's files that this process may not write.
    pub(crate) fn unwritable_file(&self) -> Option<PathBuf> {
        side_files::unwritable(&self.path)
    }

    fn take(&self) -> Result<Connection> {
        self.file.check_still_at(&self.path)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let connection = self.connect()?;
        self.file.check_still_at(&self.path)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONNECTIONS {
            idle.push(connection);
        }
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(from_sqlite);
        connection
            .and_then(|connection| {
                configure(&connection, self.busy_timeout).map_err(from_sqlite)?;
                Ok(connection)
            })
            .map_err(|error| self.locate(error))
    }

    fn locate(&self, error: Error) -> Error {
        side_files::explain(error, &self.path).with("store", self.path.display().to_string())
    }
}

/// What a write did.
pub(crate) enum Outcome<T> {
    /// Nothing that must be kept.
    Unchanged(T),
    /// Something: commit.
    Commit(T),
}

/// Reads a backup file that nobody is writing, without making files beside it.
pub(crate) fn read_only<T>(path: &Path, read: impl FnOnce(&SqliteTables<'_>) -> Result<T>) -> Result<T> {
    let locate = |error: Error| error.with("path", path.display().to_string());
    check_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = Connection::open_with_flags(immutable_uri(path)?, flags)
        .map_err(from_sqlite)
        .map_err(locate)?;
    restrict(&connection).map_err(from_sqlite).map_err(locate)?;
    check_format(&connection).map_err(locate)?;
    let transaction = connection.transaction().map_err(from_sqlite).map_err(locate)?;
    read(&SqliteTables::new(&transaction)).map_err(locate)
}

fn immutable_uri(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| not_text(path))?;
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // `file:a/b` is relative, `file:/a/b` absolute; two slashes at the front would begin a host.
    let escaped = match escaped.strip_prefix("//") {
        Some(rest) => format!("/{}", rest.trim_start_matches('/')),
        None => escaped,
    };
    Ok(format!("file:{escaped}?immutable=1"))
}

fn not_text(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidInput, "the path of a backup must be UTF-8 text").with("path", path.display().to_string())
}

/// What an attacker could put into the schema must not run.
fn restrict(connection: &Connection) -> rusqlite::Result<()> {
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        connection.set_db_config(option, on)?;
    }
    Ok(())
}

fn configure(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    restrict(connection)?;
    // Without this, binding another bucket or name prepares the statement anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(32);
    // FULL: a commit is on the disk when it returns. A cache of 16 MiB.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA cell_size_check = ON; PRAGMA cache_size = -16384",
    )
}

fn check_format(connection: &Connection) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id").map_err(from_sqlite)? != APPLICATION_ID {
        return Err(not_a_store());
    }
    let version = pragma("user_version").map_err(from_sqlite)?;
    if version != SCHEMA_VERSION {
        let message = format!("the store has format {version}, this keyfob knows {SCHEMA_VERSION}");
        return Err(Error::new(ErrorKind::InvalidConfig, message).with_hint("use the keyfob that wrote it, or a newer one"));
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<Metadata> {
    // Only its status: to open and close it here would drop the locks that SQLite holds on it in this process.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::NotFound, "there is no store here")
                .with("path", path.display().to_string())
                .with_hint("make one with `keyfob init`"));
        }
        Err(error) => return Err(from_io(error, "can't look at the store's file", path)),
    };
    let refuse = |kind, message: &'static str, hint: String| {
        Err(Error::new(kind, message)
            .with("path", path.display().to_string())
            .with_hint(hint))
    };
    if !metadata.is_file() {
        return refuse(ErrorKind::InvalidConfig, NOT_A_FILE, "give the path of a file".to_owned());
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(
            ErrorKind::PermissionDenied,
            "others may write to the store's file",
            format!("`chmod 600 {}`, after looking at who may have changed it", path.display()),
        );
    }
    Ok(metadata)
}

/// A file beside its final place that goes away unless it is kept.
struct TemporaryFile(PathBuf);

fn new_owner_only_file(target: &Path) -> Result<TemporaryFile> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, "there is a file already").with("path", target.display().to_string()));
    }
    let directory = directory_of(target);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| from_io(error, "can't make the directory", directory))?;
    let random = keyfob_envelope::KekId::generate()?;
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{random}.tmp"));
    let temporary = TemporaryFile(directory.join(name));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.0)
        .map_err(|error| from_io(error, "can't make a file", target))?;
    Ok(temporary)
}

impl TemporaryFile {
    fn path(&self) -> &Path {
        &self.0
    }

    /// Syncs the file and gives it its name, unless that is taken meanwhile.
    fn keep_as(self, target: &Path) -> Result<()> {
        let failed = |error| from_io(error, "can't put the file in its place", target);
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&self.0).map_err(failed)?;
        // Unlike a rename, a link does not replace what is there.
        fs::hard_link(&self.0, target).map_err(failed)?;
        let directory = directory_of(target);
        drop(self);
        sync(directory).map_err(failed)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            // What isn't there needs no removal, and nobody waits for the rest.
            let _ = fs::remove_file(path);
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
