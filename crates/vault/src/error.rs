//! What the server, or the way to it, says → our errors.
//!
//! By an allow-list: the status, the request id, and texts that are recognised and said in our own words. The body never
//! gets into an error.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind};

/// A text in a refusal that says more than its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    /// The status with which it comes.
    pub(crate) status: u16,
    /// A part of one of the server's `errors`.
    pub(crate) text: &'static str,
    /// What it means.
    pub(crate) kind: ErrorKind,
    /// In our words.
    pub(crate) message: &'static str,
    /// What to do, or nothing.
    pub(crate) hint: &'static str,
}

/// What any path may answer.
const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 503,
        text: "sealed",
        kind: ErrorKind::Unavailable,
        message: "the server is sealed",
        hint: "someone with the unseal keys must unseal it",
    },
    Refusal {
        status: 400,
        text: "check-and-set parameter did not match the current version",
        kind: ErrorKind::Conflict,
        message: "the secret was changed meanwhile",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "check-and-set parameter required",
        kind: ErrorKind::Conflict,
        message: "the server takes only writes that name the version they replace",
        hint: "the mount or the secret is configured with `cas_required`",
    },
    Refusal {
        status: 400,
        text: "Client sent an HTTP request to an HTTPS server",
        kind: ErrorKind::InvalidConfig,
        message: "the server wants TLS, and the address says plain HTTP",
        hint: "write `https://` in the address, or leave `tls=off` out of the store's URL",
    },
    Refusal {
        status: 400,
        text: "missing required X-Vault-Token",
        kind: ErrorKind::Unauthenticated,
        message: "the server wants a token",
        hint: "",
    },
    Refusal {
        status: 429,
        text: "",
        kind: ErrorKind::RateLimited,
        message: "the server asks for fewer requests",
        hint: "",
    },
];

/// The error for a status that is neither a success nor a 404. `texts` is what the server wrote.
pub(crate) fn from_status(status: u16, texts: &str, refusals: &[Refusal], writes: bool, retry_after: Option<Duration>) -> Error {
    let known = refusals
        .iter()
        .chain(REFUSALS)
        .find(|refusal| refusal.status == status && texts.contains(refusal.text));
    let error = match known {
        Some(refusal) if refusal.hint.is_empty() => Error::new(refusal.kind, refusal.message),
        Some(refusal) => Error::new(refusal.kind, refusal.message).with_hint(refusal.hint),
        None => by_status(status, writes),
    };
    match retry_after {
        Some(wait) if error.kind().is_retryable() => error.with_retry_after(wait),
        _ => error,
    }
}

fn by_status(status: u16, writes: bool) -> Error {
    match status {
        401 => Error::new(ErrorKind::Unauthenticated, "the server does not know who asks"),
        403 => Error::new(ErrorKind::PermissionDenied, "the token may not do this")
            .with_hint("a policy of the token must allow it; `vault token capabilities PATH` shows what is allowed"),
        405 => Error::new(ErrorKind::Unsupported, "the server has no such operation at this path"),
        413 => Error::new(ErrorKind::InvalidInput, "this is too large for the server"),
        400 | 422 => Error::new(ErrorKind::InvalidInput, "the server says that the request is wrong"),
        412 => Error::new(ErrorKind::Unavailable, "the node that answered has not caught up yet"),
        // Something on the way gave up; what it passed on may still be done.
        502 | 504 if writes => unknown_outcome("what stands before the server got no answer from it"),
        502 | 504 => Error::new(ErrorKind::Unavailable, "what stands before the server got no answer from it"),
        472 | 473 => Error::new(ErrorKind::Unavailable, "the node that answered is a standby"),
        500..=599 => Error::new(ErrorKind::Unavailable, "the server can't serve the request now"),
        _ => Error::new(ErrorKind::Other, "the server answered with an unexpected status"),
    }
}

/// A write whose answer never came.
pub(crate) fn unknown_outcome(message: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, message).with_hint("read the secret to see whether it was written")
}

/// The deadline passed.
pub(crate) fn too_late(writes: bool) -> Error {
    if writes {
        unknown_outcome("the server did not answer in time")
    } else {
        Error::new(ErrorKind::Timeout, "the server did not answer in time")
    }
}

/// The error for a request that got no answer, or only a part of one.
pub(crate) fn from_transport(error: &reqwest::Error, writes: bool) -> Error {
    let below = Below::of(error);
    if let Some(error) = below.certificate_error() {
        return error;
    }
    if error.is_builder() {
        return Error::new(ErrorKind::Other, "the request can't be written as HTTP");
    }
    // Nothing was sent before there was a connection.
    let connecting = error.is_connect();
    if error.is_timeout() {
        return match connecting {
            true => Error::new(ErrorKind::Timeout, "no connection to the server came about in time"),
            false => too_late(writes),
        };
    }
    if connecting {
        return below.connect_error();
    }
    if writes {
        return unknown_outcome("the connection broke before the server's answer was complete");
    }
    match below.io {
        Some(_) => Error::new(
            ErrorKind::Unavailable,
            "the connection broke before the server's answer was complete",
        ),
        None if below.mentions("parse") || below.mentions("invalid HTTP") => {
            Error::new(ErrorKind::Other, "what answered does not speak HTTP as the server does")
        }
        None => Error::new(
            ErrorKind::Unavailable,
            "the connection broke before the server's answer was complete",
        ),
    }
}

/// What lies below an error of the HTTP client.
struct Below {
    io: Option<io::ErrorKind>,
    dns: bool,
    /// Only searched, never shown.
    text: String,
}

impl Below {
    fn of(error: &reqwest::Error) -> Self {
        let mut below = Self {
            io: None,
            dns: error.is_dns(),
            text: String::new(),
        };
        let mut next = error.source();
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                below.io = Some(error.kind());
                // An error inside an I/O error is not its source.
                if let Some(inner) = error.get_ref() {
                    below.text.push_str(&inner.to_string());
                }
            }
            below.text.push_str(&error.to_string());
            below.text.push('\n');
            next = error.source();
        }
        below
    }

    fn mentions(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// Trying again can't help against these, so they are no `Unavailable`.
    fn certificate_error(&self) -> Option<Error> {
        if self.mentions("received corrupt message of type InvalidContentType") {
            return Some(
                Error::new(
                    ErrorKind::InvalidConfig,
                    "the address says TLS, and what answered does not speak it",
                )
                .with_hint("for a server without TLS write `tls=off` into the store's URL, or `http://` in `VAULT_ADDR`"),
            );
        }
        if self.mentions("CertificateRequired") || self.mentions("HandshakeFailure") {
            return Some(
                Error::new(ErrorKind::Unauthenticated, "the server refused the TLS connection")
                    .with_hint("if it wants a client certificate, set `VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY`"),
            );
        }
        if !self.mentions("certificate") {
            return None;
        }
        let (message, hint) = if self.mentions("not valid for name") || self.mentions("NotValidForName") {
            (
                "the server's certificate is for another name",
                "use a name of the server that its certificate holds",
            )
        } else if self.mentions("expired") || self.mentions("Expired") {
            ("the server's certificate has expired", "the server needs a new certificate")
        } else {
            (
                "no trusted authority vouches for the server's certificate",
                "name the file of its certificate authority with `VAULT_CACERT`",
            )
        };
        Some(Error::new(ErrorKind::InvalidConfig, message).with_hint(hint))
    }

    fn connect_error(&self) -> Error {
        let message = match self.io {
            Some(io::ErrorKind::ConnectionRefused) => "the server refused the connection: nothing listens at the address",
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
                "the server broke the connection while it was made"
            }
            Some(io::ErrorKind::NotFound) => "there is no socket at the address",
            Some(io::ErrorKind::PermissionDenied) => "the socket at the address may not be used",
            _ if self.dns => "the name of the server can't be found",
            _ => "the server can't be reached",
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, texts: &str) -> ErrorKind {
        from_status(status, texts, &[], false, None).kind()
    }

    #[test]
    fn a_status_has_a_kind() {
        for (status, expected) in [
            (400, ErrorKind::InvalidInput),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (405, ErrorKind::Unsupported),
            (412, ErrorKind::Unavailable),
            (413, ErrorKind::InvalidInput),
            (418, ErrorKind::Other),
            (429, ErrorKind::RateLimited),
            (472, ErrorKind::Unavailable),
            (500, ErrorKind::Unavailable),
            (502, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (504, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(status, ""), expected, "{status}");
        }
        assert_eq!(from_status(504, "", &[], true, None).kind(), ErrorKind::Timeout);
    }

    #[test]
    fn only_known_texts_say_more_and_none_is_repeated() {
        let text = "check-and-set parameter did not match the current version";
        assert_eq!(kind(400, text), ErrorKind::Conflict);
        assert_eq!(kind(500, text), ErrorKind::Unavailable);
        assert!(
            from_status(503, "Vault is sealed", &[], false, None)
                .to_string()
                .contains("sealed")
        );
        let error = from_status(400, "kfcanary-inabody123", &[], false, None);
        assert!(!format!("{error:?}").contains("kfcanary-"));
        const OWN: &[Refusal] = &[Refusal {
            status: 400,
            text: "encryption key not found",
            kind: ErrorKind::NotFound,
            message: "no such key",
            hint: "",
        }];
        let own = from_status(400, "encryption key not found", OWN, false, None);
        assert_eq!(own.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn the_time_to_wait_is_kept_where_waiting_helps() {
        let wait = Some(Duration::from_secs(7));
        assert_eq!(from_status(429, "", &[], false, wait).retry_after(), wait);
        assert_eq!(from_status(403, "", &[], false, wait).retry_after(), None);
    }
}
