//! What is the matter with Redis, in words that hold nothing of what it said.

use std::fmt;

use redis::{RedisError, ServerError, Value};

/// Why the second level can't be used. From an allow-list: an answer of the server can hold names of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    Slow,
    Refused,
    Gone,
    Credentials,
    Permission,
    Replica,
    Full,
    Loading,
    Cluster,
    Busy,
    Identity,
    Tls,
    Answer(Code),
}

/// The first word of an error of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code(String);

impl Problem {
    pub(crate) fn of_error(error: &RedisError) -> Self {
        if let Some(code) = error.code() {
            return Self::of_code(code);
        }
        if error.is_timeout() {
            Self::Slow
        } else if error.is_connection_refusal() {
            Self::Refused
        } else if error.kind() == redis::ErrorKind::AuthenticationFailed {
            Self::Credentials
        } else if is_tls(error) {
            Self::Tls
        } else if error.is_io_error() || error.is_connection_dropped() {
            Self::Gone
        } else {
            Self::Answer(Code("none".to_owned()))
        }
    }

    /// The first error among answers that is one of the server. That a key holds something else than the cache put there
    /// is one of that key.
    pub(crate) fn among(values: &[Value]) -> Option<Self> {
        values.iter().find_map(|value| match value {
            Value::ServerError(error) if !is_wrong_type(error) => Some(Self::of_server(error)),
            _ => None,
        })
    }

    fn of_server(error: &ServerError) -> Self {
        // Within a script, servers say in words what they say with a code elsewhere, each version in its own.
        let words = error.details().unwrap_or_default();
        let says = |told: &[&str]| told.iter().any(|told| words.contains(told));
        match error.code() {
            "ERR" if says(&["NOPERM", "The user executing the script", "no permissions to run"]) => Self::Permission,
            "ERR" if says(&["READONLY"]) => Self::Replica,
            "ERR" if says(&["OOM "]) => Self::Full,
            code => Self::of_code(code),
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::Credentials,
            "NOPERM" => Self::Permission,
            "READONLY" => Self::Replica,
            "OOM" => Self::Full,
            "LOADING" | "MASTERDOWN" => Self::Loading,
            "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN" => Self::Cluster,
            "BUSY" => Self::Busy,
            code => {
                let is_code = !code.is_empty() && code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase());
                Self::Answer(Code(if is_code { code } else { "none" }.to_owned()))
            }
        }
    }
}

fn is_wrong_type(error: &ServerError) -> bool {
    error.code() == "WRONGTYPE" || error.code() == "ERR" && error.details().is_some_and(|details| details.contains("WRONGTYPE"))
}

/// A handshake that failed comes as an I/O error around one of the TLS library.
fn is_tls(error: &RedisError) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(|source| source.to_string().contains("certificate"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "it did not answer in time",
            Self::Refused => "it refused the connection",
            Self::Gone => "it can't be reached, or the connection broke",
            Self::Credentials => "it does not accept the user or the password",
            Self::Permission => {
                "the user may not do what the cache does: it needs `+eval +info +time +get +set +del +hget +hset +hlen +hexists +pttl +pexpire` on the keys of the prefix"
            }
            Self::Replica => "it is a replica, which takes no writes",
            Self::Full => "its memory is full and its eviction policy is `noeviction`",
            Self::Loading => "it is loading its data",
            Self::Cluster => "it is a node of a cluster, which the cache can't use",
            Self::Busy => "it is busy with a script",
            Self::Identity => "it does not say its `run_id`, so it is neither Redis nor Valkey",
            Self::Tls => "its certificate is not trusted",
            Self::Answer(Code(code)) => return write!(f, "it answered with an error (`{code}`)"),
        })
    }
}
