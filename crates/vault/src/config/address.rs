//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keyfob_core::{Error, ErrorKind, Result};
use url::{Host, Url};

/// The address of a server: `https://HOST:PORT`, `http://HOST:PORT` (not encrypted) or `unix:///SOCKET`.
///
/// A path is what a reverse proxy puts before the API. There are no credentials in it, so it is safe to show.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// Without `/` at the end of its path.
    Url(Url),
    Socket(PathBuf),
}

impl Address {
    /// The port of a server when a store's URL names none.
    pub const DEFAULT_PORT: u16 = 8200;

    /// Parses an address as `VAULT_ADDR` holds it. White space around it does not count.
    ///
    /// # Errors
    /// `InvalidConfig`, with the reason; nothing of the text is repeated, because it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(invalid("it has a character that no address has"));
        }
        if let Some(socket) = text.strip_prefix("unix:") {
            let path = socket.strip_prefix("//").unwrap_or(socket);
            if !path.starts_with('/') || path.len() < 2 {
                return Err(invalid("the path of its socket is not absolute").with_hint("write `unix:///run/vault.sock`"));
            }
            return Ok(Self(Place::Socket(path.into())));
        }
        if !text.contains("://") {
            return Err(invalid("it does not begin with `https://`"));
        }
        let mut url = Url::parse(text).map_err(|_| invalid("it can't be understood"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(invalid("its scheme is neither `https`, `http` nor `unix`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it has a user or a password").with_hint("log in with a token or a role"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has a `?` or a `#`"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(Place::Url(url)))
    }

    /// The server at a host, as a store's URL names it.
    pub(super) fn of_host(host: &str, port: Option<u16>, encrypted: bool) -> Result<Self> {
        let scheme = if encrypted { "https" } else { "http" };
        let port = port.unwrap_or(Self::DEFAULT_PORT);
        let address = Self::parse(&format!("{scheme}://{host}:{port}"))?;
        match &address.0 {
            Place::Url(url) if url.path() == "/" => Ok(address),
            _ => Err(invalid("its host is none")),
        }
    }

    /// Whether requests to it go through TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(&self.0, Place::Url(url) if url.scheme() == "https")
    }

    /// Whether it is on this machine: a socket, or a loopback address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.0 {
            Place::Socket(_) => true,
            Place::Url(url) => match url.host() {
                Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
                Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
                Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
                None => false,
            },
        }
    }

    /// The path of the socket, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.0 {
            Place::Socket(path) => Some(path),
            Place::Url(_) => None,
        }
    }

    /// What stands before every path of the API; ends with `/v1/`.
    pub(crate) fn base(&self) -> String {
        match &self.0 {
            Place::Url(url) => format!("{}/v1/", url.as_str().trim_end_matches('/')),
            // The host is for the header only.
            Place::Socket(_) => "http://localhost/v1/".to_owned(),
        }
    }
}

impl FromStr for Address {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Place::Socket(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn invalid(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("invalid address of the server: {problem}"))
        .with_hint("an address is like `https://vault.example:8200`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_used() {
        for (text, shown, base) in [
            ("https://v", "https://v", "https://v/v1/"),
            (
                " https://V.example:8200/\n",
                "https://v.example:8200",
                "https://v.example:8200/v1/",
            ),
            ("http://[::1]:8200", "http://[::1]:8200", "http://[::1]:8200/v1/"),
            ("https://p/vault//", "https://p/vault", "https://p/vault/v1/"),
            ("unix:///run/bao.sock", "unix:///run/bao.sock", "http://localhost/v1/"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.to_string().as_str(), address.base().as_str()), (shown, base));
        }
        let address = Address::of_host("v.example", None, true).unwrap();
        assert_eq!(address.to_string(), "https://v.example:8200");
        assert_eq!(Address::of_host("v", Some(80), false).unwrap().to_string(), "http://v");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in [
            "",
            "vault:8200",
            "vault.example",
            "ftp://v",
            "https://",
            "https://kfcanary-user1234@v",
            "https://u:kfcanary-pass1234@v",
            "https://v/?x=kfcanary-query123",
            "https://v#x",
            "https://v\n/x",
            "https:\\\\v",
            "unix:run/x",
            "unix:///",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text:?}");
            assert!(!format!("{error:?}").contains("kfcanary-"));
        }
        assert!(Address::of_host("v/../x", None, true).is_err());
        assert!(Address::of_host("v%2Fx", None, true).is_err());
    }

    #[test]
    fn only_this_machine_is_local() {
        for (text, local) in [
            ("http://127.0.0.1:8200", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost", true),
            ("unix:///run/x", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(Address::parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
