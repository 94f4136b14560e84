//! The URL of a store.

mod parameters;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{ParseError, Url};

pub use self::parameters::Parameters;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::value::SecretValue;

/// What stands in place of a secret part when a URL is shown.
const HIDDEN: &str = "***";

/// A parsed store URL: `scheme:path` or `scheme://user:password@host:port/path`, then `?parameter=value&...`.
///
/// Everything is percent-decoded when it is asked for; `+` is a plus. `Display` and `Debug` are safe to show: the
/// password, a user name that stands alone (it could be a token), and the value of every parameter whose name
/// suggests a secret are hidden.
///
/// ```
/// use keyfob_core::StoreUrl;
///
/// let url: StoreUrl = "postgres://app:s3cr3t@db.example/secrets?sslmode=require".parse()?;
/// assert_eq!(url.to_string(), "postgres://app:***@db.example/secrets?sslmode=require");
/// assert_eq!(url.host(), Some("db.example"));
///
/// let mut parameters = url.parameters();
/// assert_eq!(parameters.take("sslmode").as_deref(), Some("require"));
/// parameters.finish()?;
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Clone)]
pub struct StoreUrl {
    /// Without password, query and fragment.
    url: Url,
    user: Option<String>,
    password: Option<SecretValue>,
    parameters: Vec<(String, SecretValue)>,
    base: Option<PathBuf>,
}

impl StoreUrl {
    /// The longest URL, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Parses `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], with the reason and, when there is one, the scheme; nothing else of the text is
    /// repeated, because it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(problem) = unfit(text) {
            return Err(invalid(problem));
        }
        let mut url = Url::parse(text).map_err(|error| unparsable(text, error))?;
        let scheme = url.scheme().to_owned();
        let invalid_here = |problem: String| invalid(problem).with("scheme", scheme.as_str());
        // The URL Standard reads these by rules of their own (`\\` is `/`, `file://m//e:` loses its host), so that
        // what is shown would not be what was given.
        if matches!(scheme.as_str(), "file" | "http" | "https" | "ws" | "wss" | "ftp") {
            return Err(invalid_here("its scheme is no store's".to_owned())
                .with_hint("a store's URL begins with its provider, for example `vault://vault.example:8200`"));
        }
        if url.fragment().is_some() {
            return Err(invalid_here("it has a `#`".to_owned()).with_hint("write `%23` for a `#` that belongs to a name"));
        }
        let user = match url.username() {
            "" => None,
            user => Some(decode(user).map_err(|problem| invalid_here(format!("its user name {problem}")))?),
        };
        let password = match url.password() {
            None => None,
            Some(password) => {
                let password = decode(password).map_err(|problem| invalid_here(format!("its password {problem}")))?;
                Some(SecretValue::from(password))
            }
        };
        let mut parameters: Vec<(String, SecretValue)> = Vec::new();
        for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|problem| invalid_here(format!("the name of a parameter {problem}")))?;
            let value = decode(value).map_err(|problem| invalid_here(format!("its parameter `{name}` {problem}")))?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(invalid_here(format!("its parameter `{name}` stands there twice")));
            }
            parameters.push((name, value.into()));
        }
        decode_bytes(url.path()).map_err(|problem| invalid_here(format!("its path {problem}")))?;
        url.set_query(None);
        if password.is_some() && url.set_password(None).is_err() {
            return Err(invalid_here("it can't have a password".to_owned()));
        }
        Ok(Self {
            url,
            user,
            password,
            parameters,
            base: None,
        })
    }

    /// The URL that says only which kind of store, for example `sqlite:`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when `scheme` can't be one.
    pub fn of_scheme(scheme: &str) -> Result<Self> {
        if scheme.contains(':') {
            return Err(invalid("a scheme has no `:`"));
        }
        Self::parse(&format!("{scheme}:"))
    }

    /// Makes relative paths stand below `directory` instead of the current directory.
    #[must_use]
    pub fn with_base(mut self, directory: impl Into<PathBuf>) -> Self {
        self.base = Some(directory.into());
        self
    }

    /// What stands before the first `:`, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The host after `//`, as it was written; `None` where there is none.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.url.host_str().filter(|host| !host.is_empty())
    }

    /// The port after the host.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.url.port()
    }

    /// The user name before the host.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password before the host.
    #[must_use]
    pub fn password(&self) -> Option<&SecretValue> {
        self.password.as_ref()
    }

    /// The path: after a host it begins with `/` or is empty, without one it is all that follows `scheme:`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is not UTF-8 text.
    pub fn path(&self) -> Result<String> {
        decode(self.url.path()).map_err(|problem| self.invalid(format!("its path {problem}")))
    }

    /// The path of a store that is a file, made absolute: below the [base](Self::with_base), else the current
    /// directory; `~/` is the home directory. `None` when the URL names no file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when there is a host (`sqlite://secrets.db` instead of `sqlite:secrets.db`).
    pub fn file_path(&self, environment: &Environment) -> Result<Option<PathBuf>> {
        let scheme = self.scheme();
        if self.host().is_some() || self.user.is_some() || self.password.is_some() {
            return Err(self
                .invalid("what follows `//` is a host, and a file has none")
                .with_hint(format!("write `{scheme}:FILE`, or `{scheme}:///FILE` with an absolute path")));
        }
        let bytes = decode_bytes(self.url.path()).map_err(|problem| self.invalid(format!("its path {problem}")))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        let path = match &self.base {
            Some(base) if !path.starts_with("~") => base.join(path),
            _ => path,
        };
        Ok(Some(environment.absolute(path)))
    }

    /// The directory that relative paths stand below, if it is not the current one.
    #[must_use]
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// The parameters, to be taken one by one.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        Parameters::new(self)
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: impl Into<SecretValue>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// The text that gives this URL again, for a file; `None` when it [holds a secret](Self::holds_secret). Not for people to
    /// see: [`Display`](fmt::Display) hides a user without a password, which can be a token.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = self.url.to_string();
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            let (name, value) = (encode(name.as_bytes()), encode(value.expose_secret()));
            text += &format!("{separator}{name}={value}");
        }
        (!self.holds_secret()).then_some(text)
    }

    /// Whether it carries something that [`Display`](fmt::Display) hides, such as a password.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        self.password.is_some() || self.parameters.iter().any(|(name, value)| is_hidden(name, value))
    }

    fn invalid(&self, problem: impl fmt::Display) -> Error {
        invalid(problem).with("url", self.to_string())
    }
}

impl FromStr for StoreUrl {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        // Neither can fail: where there is a user or a password, there can be one.
        if self.password.is_some() {
            let _ = shown.set_password(Some(HIDDEN));
        } else if self.user.is_some() {
            let _ = shown.set_username(HIDDEN);
        }
        f.write_str(shown.as_str())?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            let name = encode(name.as_bytes());
            match is_hidden(&name, value) {
                true => write!(f, "{separator}{name}={HIDDEN}")?,
                false => write!(f, "{separator}{name}={}", encode(value.expose_secret()))?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

fn invalid(problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("invalid store URL: {problem}"))
}

fn unfit(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty".to_owned());
    }
    if text.len() > StoreUrl::MAX_BYTES {
        return Some(format!("it has {} bytes, the limit is {}", text.len(), StoreUrl::MAX_BYTES));
    }
    if text.chars().any(char::is_control) {
        return Some("it contains a control character".to_owned());
    }
    if text.trim() != text {
        return Some("it begins or ends with white space".to_owned());
    }
    None
}

/// The words of the `url` crate are about URLs in browsers; these are about stores. Only a text that is a scheme by
/// its looks is repeated.
fn unparsable(text: &str, error: ParseError) -> Error {
    let scheme = text
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .filter(|scheme| scheme.len() <= 32 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
    let problem = match error {
        ParseError::RelativeUrlWithoutBase => "it has no scheme",
        ParseError::EmptyHost => "it has no host",
        ParseError::InvalidPort => "its port is not a number up to 65535",
        ParseError::InvalidIpv4Address | ParseError::InvalidIpv6Address => "its host is not a valid address",
        ParseError::IdnaError | ParseError::InvalidDomainCharacter => "its host has a character that no host has",
        _ => "it can't be understood",
    };
    let error = invalid(problem)
        .with_hint("a store URL is like `sqlite:secrets.db`, `dotenv:.env` or `scheme://host/path?parameter=value`");
    match scheme {
        Some(scheme) => error.with("scheme", scheme),
        None => error,
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    String::from_utf8(decode_bytes(text)?).map_err(|_| "is not UTF-8 text")
}

fn decode_bytes(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut rest = text.as_bytes();
    while let Some(percent) = memchr::memchr(b'%', rest) {
        rest = &rest[percent + 1..];
        if !rest.iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count().eq(&2) {
            return Err("has a `%` that is not followed by two hexadecimal digits (write `%25` for a `%`)");
        }
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("contains a control character");
    }
    Ok(bytes)
}

/// What must be encoded so that a shown URL reads back as the same parameters.
const IN_PARAMETER: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b'%').add(b'&').add(b'#').add(b'=');

fn encode(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, IN_PARAMETER).to_string()
}

/// Whether a parameter is hidden when the URL is shown: by its name, or because its value is a URL with a user.
/// The name of a file that holds a key, or of a service that keeps one, is no secret.
fn is_hidden(name: &str, value: &SecretValue) -> bool {
    const TELLING: &[&str] = &["auth", "credential", "key", "pass", "pw", "secret", "sig", "token"];
    let name = name.to_ascii_lowercase();
    let names_place = ["-file", "_file", "-source"].iter().any(|end| name.ends_with(end));
    let is_url_with_user = value
        .expose_str()
        .is_ok_and(|text| text.contains("://") && text.contains('@'));
    if name == "credentials" && !is_url_with_user && value.expose_str().is_ok_and(names_credentials) {
        return false;
    }
    is_url_with_user || !names_place && TELLING.iter().any(|word| name.contains(word))
}

/// Whether the value of the parameter `credentials` says where they are and not what they are: a word for that, or the path of
/// a file with an ending. What could be a key or a token has no such form, and stays hidden.
fn names_credentials(value: &str) -> bool {
    if matches!(value, "default" | "none") {
        return true;
    }
    let is_path = ["/", "~/", "./", "../"].iter().any(|begin| value.starts_with(begin));
    let file = value.rsplit('/').next().unwrap_or_default();
    let ending = file.rsplit_once('.').map(|(_, ending)| ending);
    is_path && matches!(ending, Some("json" | "pem" | "toml" | "yaml" | "yml" | "conf" | "ini"))
}
