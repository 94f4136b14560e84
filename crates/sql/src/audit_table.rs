//! Audit logs in tables.

use keyfob_audit::LineTable;
use keyfob_core::{Environment, Error, ErrorKind, Result, StoreUrl};

/// The table of an audit log at `url`, made if it is missing. Blocks, here and in its methods, for as long as the database takes.
///
/// - `sqlite:FILE` is a file of its own, which only its owner may access. It takes the parameter `busy-timeout`.
/// - `postgres://USER@HOST/DATABASE` is the table `audit_line` of the schema `keyfob_audit`, or of the one that `schema` names, which
///   holds no store. Parameters, variables and TLS are those of a store's URL. A role that may only `SELECT` and `INSERT` there can write the
///   log; to make it, it has to be allowed to create a schema.
///
/// # Errors
/// - `InvalidConfig`: the URL is wrong, or leads to a store or to a file that others may write.
/// - `Unsupported`: the URL is of another kind of store, or this build lacks the database.
/// - What the database says.
pub fn audit_table(url: &StoreUrl, environment: &Environment) -> Result<Box<dyn LineTable>> {
    match url.scheme() {
        #[cfg(feature = "sqlite")]
        crate::engine::SCHEME => Ok(Box::new(crate::sqlite::audit_table::SqliteTable::open(url, environment)?)),
        #[cfg(feature = "postgres")]
        crate::postgres::SCHEME | "postgresql" => {
            Ok(Box::new(crate::postgres::audit_table::PostgresTable::open(url, environment)?))
        }
        other => {
            let problem = format!("this build keeps no audit log in a store of the kind `{other}`");
            Err(Error::new(ErrorKind::Unsupported, problem).with_hint("name `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`"))
        }
    }
}
