//! The URL of a store.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{ParseError, Url};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::nearest::nearest;
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
        Parameters {
            url: self.to_string(),
            left: self.parameters.clone(),
            known: Vec::new(),
        }
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

/// The parameters of a [`StoreUrl`], taken one by one, so that what nobody took can be refused.
#[derive(Debug)]
pub struct Parameters {
    url: String,
    left: Vec<(String, SecretValue)>,
    known: Vec<String>,
}

impl Parameters {
    /// Takes a parameter that holds no secret.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.take_secret(name)
            .map(|value| String::from_utf8_lossy(value.expose_secret()).into_owned())
    }

    /// Takes a parameter that holds a secret.
    pub fn take_secret(&mut self, name: &str) -> Option<SecretValue> {
        self.known.push(name.to_owned());
        let index = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.remove(index).1)
    }

    /// Takes a parameter and parses it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] naming the parameter, saying that `expected` would be right.
    pub fn take_parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, format!("the parameter `{name}` is not {expected}"))
                .with("url", self.url.as_str())
        })
    }

    /// Refuses parameters that nobody took.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] naming the first of them and the nearest known one.
    pub fn finish(self) -> Result<()> {
        let Some((unknown, _)) = self.left.first() else {
            return Ok(());
        };
        let error = Error::new(
            ErrorKind::InvalidConfig,
            format!("unknown parameter `{}`", unknown.escape_debug()),
        )
        .with("url", self.url.as_str());
        let known = self.known.iter().map(String::as_str);
        Err(match nearest(unknown, known).first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None if self.known.is_empty() => error.with_hint("this store's URL takes no parameters"),
            None => error.with_hint(format!("known are: `{}`", self.known.join("`, `"))),
        })
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
/// The name of a file that holds a key is no secret.
fn is_hidden(name: &str, value: &SecretValue) -> bool {
    const TELLING: &[&str] = &["auth", "credential", "key", "pass", "pw", "secret", "sig", "token"];
    let name = name.to_ascii_lowercase();
    let names_file = name.ends_with("-file") || name.ends_with("_file");
    let is_url_with_user = value
        .expose_str()
        .is_ok_and(|text| text.contains("://") && text.contains('@'));
    is_url_with_user || !names_file && TELLING.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> StoreUrl {
        StoreUrl::parse(text).unwrap()
    }

    #[test]
    fn the_shapes_of_the_documentation_are_understood() {
        let env = Environment::fake().build();
        let file = |text: &str| parse(text).file_path(&env).unwrap();
        assert_eq!(file("sqlite:secrets.db").unwrap(), Path::new("/home/user/project/secrets.db"));
        assert_eq!(
            file("sqlite:../my secrets.db").unwrap(),
            Path::new("/home/user/project/../my secrets.db")
        );
        assert_eq!(file("sqlite:~/secrets%23.db").unwrap(), Path::new("/home/user/secrets#.db"));
        assert_eq!(
            file("sqlite:///var/lib/x.db?key-file=/etc/k").unwrap(),
            Path::new("/var/lib/x.db")
        );
        assert_eq!(file("sqlite:/var/lib/x.db").unwrap(), Path::new("/var/lib/x.db"));
        assert_eq!(file("dotenv:.env").unwrap(), Path::new("/home/user/project/.env"));
        assert_eq!(file("env:"), None);

        let aws = parse("aws://eu-west-1?prefix=app/");
        assert_eq!(
            (aws.scheme(), aws.host(), aws.path().unwrap().as_str()),
            ("aws", Some("eu-west-1"), "")
        );
        assert_eq!(aws.parameters().take("prefix").unwrap(), "app/");
        let vault = parse("vault://host:8200/secret");
        assert_eq!(
            (vault.host(), vault.port(), vault.path().unwrap().as_str()),
            (Some("host"), Some(8200), "/secret")
        );
        let postgres = parse("postgres://us%40er:p%2Fw@host/db");
        assert_eq!(postgres.user(), Some("us@er"));
        assert_eq!(postgres.password().unwrap().expose_secret(), b"p/w");
    }

    #[test]
    fn a_base_moves_relative_paths_only() {
        let env = Environment::fake().build();
        let file = |text: &str| parse(text).with_base("/srv/app").file_path(&env).unwrap().unwrap();
        assert_eq!(file("sqlite:a.db"), Path::new("/srv/app/a.db"));
        assert_eq!(file("sqlite:/a.db"), Path::new("/a.db"));
        assert_eq!(file("sqlite:~/a.db"), Path::new("/home/user/a.db"));
    }

    #[test]
    fn a_file_after_two_slashes_is_explained() {
        let error = parse("sqlite://secrets.db")
            .file_path(&Environment::fake().build())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid store URL: what follows `//` is a host, and a file has none (url `sqlite://secrets.db`)"
        );
        assert_eq!(
            error.hint(),
            Some("write `sqlite:FILE`, or `sqlite:///FILE` with an absolute path")
        );
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (text, shown) in [
            ("postgres://u:canary@h/db", "postgres://u:***@h/db"),
            ("postgres://u:ca%6eary@h:1/db?x=1", "postgres://u:***@h:1/db?x=1"),
            ("postgres://:canary@h/db", "postgres://:***@h/db"),
            ("vault://canary@h/x", "vault://***@h/x"),
            ("sqlite:x?key=canary&key-file=/k", "sqlite:x?key=***&key-file=/k"),
            ("sqlite:x?PassPhrase=canary", "sqlite:x?PassPhrase=***"),
            ("aws:?endpoint=http://u:canary@h", "aws:?endpoint=***"),
            (
                "aws:?access_token=canary&prefix=a%20%26b",
                "aws:?access_token=***&prefix=a%20%26b",
            ),
        ] {
            let url = parse(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("StoreUrl({shown})"));
            assert!(!format!("{:?}", url.parameters()).contains("canary"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_says_why_and_repeats_no_password() {
        for (text, reason) in [
            ("", "it is empty"),
            (" env:", "it begins or ends with white space"),
            ("canary", "it has no scheme"),
            ("/canary/x", "it has no scheme"),
            (
                "postgres://u:canary@h:99999/db",
                "its port is not a number up to 65535 (scheme `postgres`)",
            ),
            (
                "postgres://u:canary@[::z]/db",
                "its host is not a valid address (scheme `postgres`)",
            ),
            (
                "postgres://u:can#ary@h/db",
                "its port is not a number up to 65535 (scheme `postgres`)",
            ),
            ("sqlite:x#canary", "it has a `#` (scheme `sqlite`)"),
            (
                "sqlite:x%zzcanary",
                "its path has a `%` that is not followed by two hexadecimal digits (write `%25` for a `%`) (scheme `sqlite`)",
            ),
            ("sqlite:x%00canary", "its path contains a control character (scheme `sqlite`)"),
            (
                "sqlite:x?a=%FFcanary",
                "its parameter `a` is not UTF-8 text (scheme `sqlite`)",
            ),
            (
                "sqlite:x?a=canary&a=b",
                "its parameter `a` stands there twice (scheme `sqlite`)",
            ),
            (
                "postgres://u:canary%@h/db",
                "its password has a `%` that is not followed by two hexadecimal digits (write `%25` for a `%`) (scheme `postgres`)",
            ),
            ("sqlite:a\nb", "it contains a control character"),
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.to_string(), format!("invalid store URL: {reason}"), "{text}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        assert!(StoreUrl::of_scheme("a:b").is_err());
        assert_eq!(StoreUrl::of_scheme("sqlite").unwrap().to_string(), "sqlite:");
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest_known_one() {
        let error = |text: &str, known: &[&str]| {
            let mut parameters = parse(text).parameters();
            for name in known {
                parameters.take(name);
            }
            parameters.finish().unwrap_err()
        };
        let near = error("sqlite:x?key-flie=canary", &["key-file", "mode"]);
        assert_eq!(near.to_string(), "unknown parameter `key-flie` (url `sqlite:x?key-flie=***`)");
        assert_eq!(near.hint(), Some("did you mean `key-file`?"));
        assert_eq!(
            error("sqlite:x?zzz=1", &["key-file", "mode"]).hint(),
            Some("known are: `key-file`, `mode`")
        );
        assert_eq!(error("env:?zzz=1", &[]).hint(), Some("this store's URL takes no parameters"));
    }

    #[test]
    fn a_parameter_of_the_wrong_type_says_what_would_be_right() {
        let mut parameters = parse("sqlite:x?wait=soon").parameters();
        let error = parameters.take_parsed::<u32>("wait", "a number of milliseconds").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the parameter `wait` is not a number of milliseconds (url `sqlite:x?wait=soon`)"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_an_error_and_never_a_panic(text in any::<String>()) {
            if let Ok(url) = StoreUrl::parse(&text) {
                let _ = (url.to_string(), url.path(), url.file_path(&Environment::fake().build()));
            }
        }

        #[test]
        fn what_is_shown_reads_back(scheme in "[a-z]{1,5}", path in "[a-z /%.]{0,8}", name in "[a-z]{1,4}", value in "[ -~]{0,9}") {
            let query = encode(value.as_bytes());
            if let Ok(url) = StoreUrl::parse(&format!("{scheme}:{path}?{name}={query}")) {
                let shown = url.to_string();
                let again = StoreUrl::parse(&shown).unwrap();
                prop_assert_eq!(again.to_string(), shown);
                if !url.holds_secret() {
                    prop_assert_eq!(again.parameters().take(&name), Some(value));
                }
            }
        }

        #[test]
        fn no_password_is_ever_shown(password in "[A-Za-z0-9%/@:#?]{6,20}", rest in "[a-z0-9/?&=:]{0,10}") {
            let text = format!("postgres://user:{password}@host/{rest}");
            let shown = match StoreUrl::parse(&text) {
                Ok(url) if url.password().is_some() => format!("{url} {url:?}"),
                // A raw `/`, `?` or `#` ends the host: then this is not a password any more.
                Ok(_) => String::new(),
                Err(error) => format!("{error:?}"),
            };
            prop_assert!(!shown.contains(&password), "{}", shown);
        }
    }
}
