//! Errors of PostgreSQL → our errors.
//!
//! By the code alone: the server's own words and details repeat what stands in a row.

use std::error::Error as _;

use deadpool_postgres::HookError;
use deadpool_postgres::PoolError;
use keyfob_core::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

use crate::error::{PUT_BACK, SEE_WHETHER_WRITTEN, corrupt};

/// Under which key an error carries the server's code.
const CODE: &str = "sqlstate";

/// Maps an error of a statement.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn from_postgres(error: tokio_postgres::Error) -> Error {
    if let Some(code) = error.code() {
        return from_code(code).with(CODE, code.code());
    }
    let below = || std::iter::successors(error.source(), |&error: &&(dyn std::error::Error + 'static)| error.source());
    if let Some(tls) = below().find_map(tls_error) {
        return untrusted(tls);
    }
    let io = below().filter_map(|error| error.downcast_ref::<std::io::Error>()).last();
    let said = error.to_string();
    if said.starts_with("error performing TLS handshake") {
        return Error::new(ErrorKind::InvalidConfig, "the server does not speak TLS")
            .with_hint("let it, or write `sslmode=disable` for a network that you trust");
    }
    if said.starts_with("timeout") || said.starts_with("error connecting") || io.is_some() || error.is_closed() {
        return match io {
            // The words of the operating system or of the resolver: they know nothing of user and password.
            Some(io) => lost().with("cause", io.to_string()),
            None if said.starts_with("timeout") || said.contains("timed out") => lost().with("cause", "no answer came in time"),
            None => lost(),
        };
    }
    if said.starts_with("error deserializing column") || said.contains("unexpected number of rows") {
        return strange();
    }
    if said.starts_with("invalid configuration") || said.starts_with("authentication error") {
        return Error::new(
            ErrorKind::Unauthenticated,
            "the database wants a log-in that keyfob was not given",
        )
        .with_hint("set `PGPASSWORD` or `PGPASSFILE`, or put the password into the store's URL");
    }
    Error::new(ErrorKind::Other, "the database's answer was not understood")
}

/// What a log-in is refused with: a wrong password, and a role that may not log in, from here or at all.
#[cfg(feature = "rotation")]
pub(super) const LOGIN_REFUSED: [&str; 2] = ["28P01", "28000"];

/// Whether the server asked for a password and none was given.
#[cfg(feature = "rotation")]
pub(super) fn wants_password(error: &tokio_postgres::Error) -> bool {
    error.code().is_none() && error.to_string().starts_with("invalid configuration")
}

/// Maps an error of taking a connection.
pub(super) fn from_pool(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => from_postgres(error),
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => Error::new(
            ErrorKind::Unavailable,
            "all connections to the database were busy for too long",
        )
        .with_hint("try again, or allow more of them with `connections` in the store's URL"),
        PoolError::Timeout(_) => no_answer(),
        _ => Error::new(ErrorKind::Other, "no connection to the database"),
    }
}

/// A column is not what was written there.
pub(super) fn strange() -> Error {
    corrupt("a column holds something that was never written there")
}

/// Nothing came of it: what was begun is rolled back.
pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, NO_ANSWER).with_hint("try again; nothing was changed")
}

/// What only reads and had no answer in time. Of a write, *timeout* would say that nobody knows what became of it.
pub(super) fn of_reading(error: Error) -> Error {
    let is_stopped = has_code(&error, &["57014", "55P03"]);
    if !is_stopped && error.message() != NO_ANSWER {
        return error;
    }
    let late = Error::new(ErrorKind::Timeout, NO_ANSWER)
        .with_hint("try again; somebody may hold a lock on the store's tables, or the server is overloaded");
    if is_stopped { late.with_source(error) } else { late }
}

/// The beginning of a transaction: a standby refuses one that is to write, and nothing divides by zero but what looks whose
/// connection it is.
pub(super) fn of_beginning(error: Error) -> Error {
    if has_code(&error, &["0A000"]) {
        read_only()
    } else if has_code(&error, &["22012"]) {
        pooled()
    } else {
        error
    }
}

/// Between transactions the connection becomes another client's.
fn pooled() -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        "a pooler between keyfob and the server gives the connection away after each transaction",
    )
    .with_hint("name the server itself in the store's URL, or a pool in `session` mode")
}

/// The server is not the one that takes writes.
fn read_only() -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        "the server takes no writes: it is a standby, or read-only",
    )
    .with_hint("name the primary in the store's URL")
}

/// The answer to a commit did not come.
pub(super) fn unknown_outcome() -> Error {
    Error::new(ErrorKind::Timeout, "the database did not confirm the write").with_hint(SEE_WHETHER_WRITTEN)
}

/// Rows were not there to be changed.
pub(super) fn not_written() -> Error {
    Error::new(ErrorKind::PermissionDenied, "the database did not let a row be changed")
        .with_hint("a policy of row-level security hides it from this role, or it was deleted from outside: see `keyfob doctor`")
}

/// With the advice for a store in a file replaced by that for one in a database.
pub(super) fn advised(error: Error) -> Error {
    if error.hint() == Some(PUT_BACK) {
        error.with_hint("see `keyfob doctor`; put the schema back from a backup of the database, or set the secret anew")
    } else {
        error
    }
}

/// Whether the connection is what failed.
pub(super) fn is_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && (error.message() == LOST || has_code(error, &["57P01", "57P02"]))
}

/// Whether the server gave the transaction up for another's sake: it surely did not happen.
pub(super) fn is_collision(error: &Error) -> bool {
    has_code(error, &["40001", "40P01"])
}

/// The transaction was over before this statement came to it: another one's error is the reason.
pub(super) fn is_consequence(error: &Error) -> bool {
    has_code(error, &["25P02"])
}

/// Whether a table or a column is not there, which happens where there is no store and with one of a newer keyfob.
pub(super) fn is_other_layout(error: &Error) -> bool {
    has_code(error, &["42P01", "42703", "3F000"])
}

/// Whether the server said that the role may not do that.
pub(super) fn is_denied(error: &Error) -> bool {
    has_code(error, &["42501"])
}

pub(super) fn has_code(error: &Error, codes: &[&str]) -> bool {
    error.context().any(|(key, value)| key == CODE && codes.contains(&value))
}

const NO_ANSWER: &str = "the database did not answer in time";
const LOST: &str = "the connection to the database can't be made or was lost";

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, LOST).with_hint("look whether the server runs, and at host and port in the store's URL")
}

fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    // An I/O error shows what it holds only by itself, not as its source.
    error
        .downcast_ref::<std::io::Error>()?
        .get_ref()?
        .downcast_ref::<rustls::Error>()
}

fn untrusted(error: &rustls::Error) -> Error {
    let message = match error {
        rustls::Error::InvalidCertificate(_) => "the server's certificate is not trusted, or is for another name",
        _ => "the TLS connection to the database failed",
    };
    Error::new(ErrorKind::InvalidConfig, message)
        .with_hint("name the file of its authority with `sslrootcert` in the store's URL, and the host as the certificate does")
        .with_source(error.clone())
}

fn from_code(code: &SqlState) -> Error {
    let (kind, message, hint) = match code.code() {
        "28P01" | "28000" => (
            ErrorKind::Unauthenticated,
            "the database refuses this log-in",
            Some("check user and password, and whether the server wants TLS (`sslmode=verify-full`)"),
        ),
        "3D000" => (
            ErrorKind::InvalidConfig,
            "there is no such database",
            Some("make it, or name another in the store's URL"),
        ),
        "42501" => (
            ErrorKind::PermissionDenied,
            "this role may not do that in the database",
            Some("the page of the PostgreSQL store has the grants that readers and writers need"),
        ),
        "25006" => return read_only(),
        "57014" => (
            ErrorKind::Unavailable,
            "the database gave the work up because it took too long",
            Some("try again; nothing was changed"),
        ),
        "55P03" => (
            ErrorKind::Unavailable,
            "another client has been writing to the same place for too long",
            Some("try again; nothing was changed"),
        ),
        "40001" | "40P01" => (
            ErrorKind::Unavailable,
            "the database gave the work up for another client's sake",
            Some("try again; nothing was changed"),
        ),
        "53300" => (
            ErrorKind::Unavailable,
            "the server has no connection left",
            Some("raise its `max_connections`, or lower `connections` in the URLs of its stores"),
        ),
        "53100" | "53200" | "53400" => (ErrorKind::Unavailable, "the server has no space or memory left", None),
        "54000" | "54001" | "54011" | "54023" => (ErrorKind::InvalidInput, "this is too large for the database", None),
        // A prepared statement that is there already, or not there any more.
        "42P05" | "26000" => return pooled(),
        "42P06" | "42P07" | "42710" => (
            ErrorKind::InvalidConfig,
            "the schema holds tables that are not this store's",
            Some("name a schema of its own with `schema` in the store's URL"),
        ),
        // A table or column is not there, has other columns, or holds what it must not.
        "42P01" | "42703" | "3F000" | "42804" | "42883" => {
            return corrupt("the store's tables are not those that were made");
        }
        code if code.starts_with("23") => return corrupt("a row stands where none was written"),
        code if code.starts_with("XX") => return corrupt("the database found its own files damaged"),
        // The last two: the server's limits for a transaction that is left alone, or lasts.
        code if code.starts_with("08") || code.starts_with("57") || matches!(code, "25P03" | "25P04") => {
            (ErrorKind::Unavailable, LOST, Some("try again"))
        }
        code if code.starts_with("22") => (ErrorKind::InvalidInput, "the database can't keep this text", None),
        _ => (ErrorKind::Other, "the database refused a request", None),
    };
    let error = Error::new(kind, message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_says(code: &str) -> Error {
        from_code(&SqlState::from_code(code)).with(CODE, code)
    }

    #[test]
    fn a_standby_says_that_it_takes_no_writes_already_at_the_beginning() {
        // "cannot set transaction read-write mode during recovery" has this code, which others share.
        let error = of_beginning(server_says("0A000"));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(error.message(), server_says("25006").message());
        assert_eq!(of_beginning(server_says("53300")).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn only_a_read_times_out() {
        for code in ["57014", "55P03"] {
            assert_eq!(server_says(code).kind(), ErrorKind::Unavailable);
            assert_eq!(of_reading(server_says(code)).kind(), ErrorKind::Timeout);
        }
        assert_eq!(of_reading(no_answer()).kind(), ErrorKind::Timeout);
        assert_eq!(of_reading(lost()).kind(), ErrorKind::Unavailable);
        assert_eq!(of_reading(server_says("42501")).kind(), ErrorKind::PermissionDenied);
    }

    #[tokio::test]
    async fn no_connection_says_why_and_never_who_with_what_password() {
        use tokio::io::AsyncReadExt as _;

        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let ending = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ended_by = ending.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = ending.accept().await {
                let _ = connection.read(&mut [0; 64]).await;
            }
        });
        let of = |host: &str, port: u16| {
            let mut settings = tokio_postgres::Config::new();
            settings
                .host(host)
                .port(port)
                .user("kfcanary-username1")
                .password("kfcanary-password1");
            settings.connect_timeout(std::time::Duration::from_secs(5));
            async move { from_postgres(settings.connect(tokio_postgres::NoTls).await.err().unwrap()) }
        };
        for (error, cause) in [
            (of("127.0.0.1", address.port()).await, "refused"),
            (of("no-such-host.invalid", 5432).await, "lookup"),
            (of("127.0.0.1", ended_by.port()).await, ""),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(is_lost(&error), "{error:?}");
            let told = error.context().find(|(key, _)| *key == "cause").map_or("", |(_, text)| text);
            assert!(told.to_lowercase().contains(cause), "{error:?}");
            assert!(!format!("{error:?}").contains("kfcanary"));
        }
    }

    #[test]
    fn a_connection_that_the_server_ended_is_lost() {
        for code in ["57P01", "57P02", "57P05", "25P03", "25P04", "08006"] {
            assert!(is_lost(&server_says(code)), "{code}");
        }
        assert!(!is_lost(&server_says("57014")) && !is_lost(&server_says("40001")));
    }
}
