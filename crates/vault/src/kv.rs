//! What both versions of the KV engine share: paths, names, and how a value stands in a map.

use std::borrow::Cow;
use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{ApiPath, Vault};
use crate::config::KvVersion;

/// The scheme of the store in URLs and references.
pub(crate) const SCHEME: &str = "vault";

/// The largest value in bytes. The integrated storage takes entries up to 1 MiB, with what the engine adds to them.
pub(crate) const MAX_VALUE_BYTES: usize = (1 << 20) - (4 << 10);

/// The key that holds the value of a secret that keyfob wrote.
const VALUE: &str = "value";

/// Where on the server a store's secrets are.
#[derive(Debug)]
pub(crate) struct Place {
    /// The path of the mount.
    pub(crate) mount: String,
    /// The text before every name.
    pub(crate) prefix: String,
}

impl Place {
    /// The path of a name below an endpoint of the mount (`data`, `metadata`, ...).
    pub(crate) fn endpoint(&self, endpoint: &'static str, name: &SecretName) -> Result<ApiPath> {
        ApiPath::parse(&self.mount)?.join(endpoint)?.join(&self.path(name))
    }

    /// The path of a name directly below the mount.
    pub(crate) fn direct(&self, name: &SecretName) -> Result<ApiPath> {
        ApiPath::parse(&self.mount)?.join(&self.path(name))
    }

    /// The name as the mount knows it.
    pub(crate) fn path(&self, name: &SecretName) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name of a path in the mount; `None` for one that keyfob can't express or does not show.
    pub(crate) fn name(&self, path: &str) -> Option<SecretName> {
        let name = SecretName::new(path.strip_prefix(&self.prefix)?).ok()?;
        (!name.is_absolute() && check_name(&name).is_ok()).then_some(name)
    }
}

/// Which names the server keeps as they are. It refuses text that isn't printable; everything else it tells apart byte
/// for byte: letter case, spaces at the ends of segments, `%`, `+`, `*`, composed and decomposed letters.
pub(crate) fn check_name(name: &SecretName) -> Result<(), &'static str> {
    match name.as_str().chars().all(is_printable) {
        true => Ok(()),
        false => Err("it has a character that the server does not count as printable"),
    }
}

/// Letters, marks, numbers, punctuation, symbols and the space.
fn is_printable(c: char) -> bool {
    // A mark is escaped only at the beginning of a text.
    c.is_ascii_graphic() || c == ' ' || !String::from_iter(['a', c]).escape_debug().any(|shown| shown == '\\')
}

/// The value of a map: what stands under its only key `value` if that is text, else the map as its JSON document, in
/// the server's order of keys and with its digits.
pub(crate) fn value_of(map: Box<RawValue>) -> SecretValue {
    // The text is taken over without a copy, and is wiped with the value.
    let document = SecretValue::from(Box::<str>::from(map).into_string());
    match only_value(&document) {
        Some(text) => text,
        None => document,
    }
}

fn only_value(document: &SecretValue) -> Option<SecretValue> {
    let map: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(document.expose_secret()).ok()?;
    let value = map
        .get(VALUE)
        .filter(|value| map.len() == 1 && value.get().starts_with('"'))?;
    serde_json::from_str::<String>(value.get()).ok().map(SecretValue::from)
}

/// A value as the map that is written.
#[derive(Serialize)]
pub(crate) struct Written<'v> {
    value: &'v str,
}

impl<'v> Written<'v> {
    /// # Errors
    /// `NotText` when it is not UTF-8.
    pub(crate) fn new(value: &'v SecretValue) -> Result<Self> {
        Ok(Self {
            value: value.expose_str()?,
        })
    }
}

/// Which version of the KV engine a mount has.
///
/// Any token that may do something in the mount may ask this.
///
/// # Errors
/// `PermissionDenied` when it may not, or there is no such mount: the server makes no difference. `InvalidConfig` when
/// the mount is of another engine.
pub(crate) async fn version_of(vault: &Vault, mount: &str) -> Result<KvVersion> {
    #[derive(Deserialize)]
    struct Mount {
        #[serde(rename = "type")]
        engine: String,
        options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        version: Option<String>,
    }
    let about = |error: Error| error.with("mount", mount);
    let path = ApiPath::of("sys/internal/ui/mounts").join(mount)?;
    let answer = vault.get(&path).await.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => about(error.context().fold(
            Error::new(
                ErrorKind::PermissionDenied,
                "there is no such mount, or the token may do nothing in it",
            ),
            |denied, (key, value)| denied.with(key, value),
        ))
        .with_hint("name the mount with `VAULT_PATH`; if the policy hides it from the token, set `VAULT_KV_VERSION`"),
        _ => about(error),
    })?;
    if answer.is_missing() {
        let error = answer.error(ErrorKind::InvalidConfig, "the server knows nothing of such a mount");
        return Err(about(error)
            .with_hint("is the namespace right (`VAULT_NAMESPACE`), and does the address lead to a Vault or OpenBao?"));
    }
    let found: Mount = answer.data().map_err(about)?;
    let version = found.options.and_then(|options| options.version);
    match (found.engine.as_str(), version.as_deref()) {
        ("kv", Some("2")) => Ok(KvVersion::V2),
        ("kv" | "generic", None | Some("1" | "")) => Ok(KvVersion::V1),
        _ => {
            let error = answer.error(
                ErrorKind::InvalidConfig,
                "the mount is of an engine that keeps no secrets as KV does",
            );
            Err(about(error).with_hint("name a KV mount with `VAULT_PATH`; paths of other engines are read as `${vault:/PATH}`"))
        }
    }
}

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret").with("name", name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(map: &str) -> String {
        let raw = RawValue::from_string(map.to_owned()).unwrap();
        value_of(raw).expose_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_single_text_is_unwrapped() {
        for (map, read) in [
            (r#"{"value":"a\nb"}"#, "a\nb"),
            (r#"{"value":""}"#, ""),
            (r#"{"value":"{\"value\":\"x\"}"}"#, r#"{"value":"x"}"#),
            (r#"{"value":1}"#, r#"{"value":1}"#),
            (r#"{"value":null}"#, r#"{"value":null}"#),
            (r#"{"value":{"value":"x"}}"#, r#"{"value":{"value":"x"}}"#),
            (r#"{"value":"x","user":"jo"}"#, r#"{"value":"x","user":"jo"}"#),
            (r#"{"Value":"x"}"#, r#"{"Value":"x"}"#),
            (
                r#"{"n":1.50,"a":10000000000000000001}"#,
                r#"{"n":1.50,"a":10000000000000000001}"#,
            ),
            ("{}", "{}"),
        ] {
            assert_eq!(value(map), read);
        }
    }

    #[test]
    fn names_are_text_that_the_server_prints() {
        for name in ["a b", "ключ", "e\u{301}", "🔑", "日本/語", "a%b", "a'\"\\b", "/sys/x"] {
            assert!(check_name(&SecretName::new(name).unwrap()).is_ok(), "{name}");
        }
        for name in ["a\u{a0}b", "a\u{2003}b", "a\u{e000}b", "a\u{3000}b"] {
            assert!(check_name(&SecretName::new(name).unwrap()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_path_is_its_name_behind_the_prefix_and_nothing_else() {
        let place = |prefix: &str| Place {
            mount: "secret".to_owned(),
            prefix: prefix.to_owned(),
        };
        let name = |prefix: &str, path: &str| place(prefix).name(path).map(|name| name.as_str().to_owned());
        assert_eq!(name("app/", "app/a/b").as_deref(), Some("a/b"));
        assert_eq!(name("app", "app/a"), None);
        assert_eq!(name("app", "apple").as_deref(), Some("le"));
        assert_eq!(name("app/", "other"), None);
        assert_eq!(name("", "a//b"), None);
        assert_eq!(name("", "a\nb"), None);
    }
}
