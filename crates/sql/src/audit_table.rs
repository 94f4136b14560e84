//! Audit logs in tables.

use keyfob_audit::LineTable;
use keyfob_core::{Environment, Error, ErrorKind, Result, StoreUrl};

use crate::error::SEE_WHETHER_WRITTEN;

/// The table of an audit log at `url`, to be written. The database is asked by its methods, which block for as long as that takes, and the
/// table is made with the first line. Here only the file of SQLite is made, if it is missing.
///
/// - `sqlite:FILE` is a file of its own, which only its owner may access. It takes the parameter `busy-timeout`.
/// - `postgres://USER@HOST/DATABASE` is the table `audit_line` of the schema `keyfob_audit`, or of the one that `schema` names, which
///   holds no store. Parameters, variables and TLS are those of a store's URL. A role that may only `SELECT` and `INSERT` there can write the
///   log; to make it, it has to be allowed to create a schema.
///
/// # Errors
/// - `InvalidConfig`: the URL is wrong, or leads to a store or to a file that others may write.
/// - `Unsupported`: the URL is of another kind of store, or this build lacks the database.
/// - What the file system says.
pub fn audit_table(url: &StoreUrl, environment: &Environment) -> Result<Box<dyn LineTable>> {
    open(url, environment, true)
}

/// The same, to be read: nothing is made, and a table that is not there is an empty one.
///
/// # Errors
/// Those of [`audit_table`].
pub fn audit_table_to_read(url: &StoreUrl, environment: &Environment) -> Result<Box<dyn LineTable>> {
    open(url, environment, false)
}

fn open(url: &StoreUrl, environment: &Environment, may_make: bool) -> Result<Box<dyn LineTable>> {
    match url.scheme() {
        #[cfg(feature = "sqlite")]
        crate::engine::SCHEME => Ok(Box::new(crate::sqlite::audit_table::SqliteTable::open(
            url,
            environment,
            may_make,
        )?)),
        #[cfg(feature = "postgres")]
        crate::postgres::SCHEME | "postgresql" => Ok(Box::new(crate::postgres::audit_table::PostgresTable::open(
            url,
            environment,
            may_make,
        )?)),
        other => {
            let problem = format!("this build keeps no audit log in a store of the kind `{other}`");
            Err(Error::new(ErrorKind::Unsupported, problem).with_hint("name `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`"))
        }
    }
}

/// A table that was opened to be read.
pub(crate) fn only_read() -> Error {
    Error::new(ErrorKind::Unsupported, "the audit log was opened to be read")
}

/// An error of the database that keeps a log. What is advised for a store is about secrets.
pub(crate) fn of_the_log(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt {
        return error.with_hint("`keyfob audit verify` says up to where the log is intact; put the database back from a backup");
    }
    match error.hint() {
        Some(SEE_WHETHER_WRITTEN) => error.with_hint("`keyfob audit tail` shows whether it was recorded"),
        _ => error,
    }
}

/// Nobody who kept a log wrote that.
pub(crate) fn negative_number() -> Error {
    of_the_log(Error::new(ErrorKind::Corrupt, "the audit log has a negative number"))
}
