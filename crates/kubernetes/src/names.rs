//! The maps from secret names to names of objects and to keys of an object's data, and back.
//!
//! A name that can be the name of an object (a key) is it, so that what other tools made is reached by its own name. Any
//! other is [`MARK`] and the name in an alphabet that leaves room for it. Both maps are injective and can be undone, and
//! what could be taken for such a form (because it is one, letter by letter) gets one itself.

use keyfob_core::SecretName;

/// In front of what is not the name itself.
const MARK: &str = "keyfob.";
/// The longest name of an object and the longest key.
pub(crate) const MAX_BYTES: usize = 253;

/// Whether `text` can be the name of an object: a DNS subdomain (RFC 1123), as the API server checks it.
pub(crate) fn is_object_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.as_bytes().iter().all(inner)
    };
    text.len() <= MAX_BYTES && text.split('.').all(is_label)
}

/// Whether `text` can be a key of an object's data, as the API server checks it.
pub(crate) fn is_data_key(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(inner) && text != "." && !text.starts_with("..")
}

/// The name of the object for `name`; `None` when it would be too long.
pub(crate) fn object_name(name: &SecretName) -> Option<String> {
    encoded::<ObjectNames>(name.as_str())
}

/// The name that an object of this name has.
pub(crate) fn name_of_object(object: &str) -> Option<SecretName> {
    SecretName::new(decoded::<ObjectNames>(object).as_deref().unwrap_or(object)).ok()
}

/// The key of `name` in the data of the one Secret object that a store such as `k8s://NAMESPACE/OBJECT` is; `None` when it
/// would be too long.
#[must_use]
pub fn data_key(name: &SecretName) -> Option<String> {
    encoded::<DataKeys>(name.as_str())
}

/// The name that a key has.
pub(crate) fn name_of_key(key: &str) -> Option<SecretName> {
    SecretName::new(decoded::<DataKeys>(key).as_deref().unwrap_or(key)).ok()
}

/// For [`NameRule::Custom`](keyfob_core::NameRule::Custom).
pub(crate) fn object_rule(name: &SecretName) -> Result<(), &'static str> {
    object_name(name)
        .map(|_| ())
        .ok_or("as the name of an object it would be longer than 253 characters")
}

/// For [`NameRule::Custom`](keyfob_core::NameRule::Custom).
pub(crate) fn key_rule(name: &SecretName) -> Result<(), &'static str> {
    data_key(name)
        .map(|_| ())
        .ok_or("as a key of the Secret's data it would be longer than 253 characters")
}

/// An alphabet and how everything else is written in it.
trait Alphabet {
    /// Whether the text can stand there as it is.
    fn is_plain(text: &str) -> bool;
    /// Any text, without the mark.
    fn escape(text: &str) -> String;
    /// The text that this could be the escaped form of.
    fn unescape(text: &str) -> Option<String>;
}

fn encoded<A: Alphabet>(name: &str) -> Option<String> {
    if A::is_plain(name) && decoded::<A>(name).is_none() {
        return Some(name.to_owned());
    }
    let form = format!("{MARK}{}", A::escape(name));
    (form.len() <= MAX_BYTES).then_some(form)
}

/// The name whose form this is, if it is one: letter by letter what [`encoded`] makes of it.
fn decoded<A: Alphabet>(form: &str) -> Option<String> {
    let name = A::unescape(form.strip_prefix(MARK)?)?;
    // Each step takes the mark away, so this ends.
    let has_form = A::escape(&name) == form[MARK.len()..] && (!A::is_plain(&name) || decoded::<A>(&name).is_some());
    (has_form && SecretName::new(&name).is_ok()).then_some(name)
}

/// `.` for `/`, `zu` before capitals and `zl` before the small letters after them, `z` and two hexadecimal digits for every
/// other byte, `z` itself among them: `Team/DB_url` is `zutzleam.zudbz5fzlurl`.
struct ObjectNames;

impl Alphabet for ObjectNames {
    fn is_plain(text: &str) -> bool {
        is_object_name(text)
    }

    fn escape(text: &str) -> String {
        let bytes = text.as_bytes();
        let mut form = String::with_capacity(bytes.len() + 8);
        let mut is_upper = false;
        for (index, &byte) in bytes.iter().enumerate() {
            let lower = byte.to_ascii_lowercase();
            let is_letter = lower.is_ascii_lowercase() && lower != b'z';
            let is_within = |other: Option<&u8>| other.is_some_and(|other| *other != b'/');
            match byte {
                _ if is_letter && byte.is_ascii_uppercase() != is_upper => {
                    is_upper = !is_upper;
                    form.push_str(if is_upper { "zu" } else { "zl" });
                    form.push(char::from(lower));
                }
                _ if is_letter => form.push(char::from(lower)),
                b'0'..=b'9' => form.push(char::from(byte)),
                b'/' if index > 0 => form.push('.'),
                // A label neither begins nor ends with it.
                b'-' if index > 0 && is_within(bytes.get(index - 1)) && is_within(bytes.get(index + 1)) => form.push('-'),
                _ => form.push_str(&format!("z{byte:02x}")),
            }
        }
        form
    }

    fn unescape(form: &str) -> Option<String> {
        let mut rest = form.as_bytes();
        let mut bytes = Vec::with_capacity(rest.len());
        let mut is_upper = false;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'z' => match rest {
                    [b'u', after @ ..] => (is_upper, rest) = (true, after),
                    [b'l', after @ ..] => (is_upper, rest) = (false, after),
                    [high, low, after @ ..] => {
                        bytes.push(hexadecimal(*high, *low)?);
                        rest = after;
                    }
                    _ => return None,
                },
                b'.' => bytes.push(b'/'),
                b'a'..=b'y' if is_upper => bytes.push(byte.to_ascii_uppercase()),
                b'a'..=b'y' | b'0'..=b'9' | b'-' => bytes.push(byte),
                _ => return None,
            }
        }
        String::from_utf8(bytes).ok()
    }
}

/// `.` for `/`, `__` for `_`, `_` and two hexadecimal digits for every other byte: `db/user_name` is `db.user__name`.
struct DataKeys;

impl Alphabet for DataKeys {
    fn is_plain(text: &str) -> bool {
        is_data_key(text)
    }

    fn escape(text: &str) -> String {
        let mut form = String::with_capacity(text.len() + 8);
        for (index, byte) in text.bytes().enumerate() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => form.push(char::from(byte)),
                b'/' if index > 0 => form.push('.'),
                b'_' => form.push_str("__"),
                _ => form.push_str(&format!("_{byte:02x}")),
            }
        }
        form
    }

    fn unescape(form: &str) -> Option<String> {
        let mut rest = form.as_bytes();
        let mut bytes = Vec::with_capacity(rest.len());
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'_' => match rest {
                    [b'_', after @ ..] => {
                        bytes.push(b'_');
                        rest = after;
                    }
                    [high, low, after @ ..] => {
                        bytes.push(hexadecimal(*high, *low)?);
                        rest = after;
                    }
                    _ => return None,
                },
                b'.' => bytes.push(b'/'),
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => bytes.push(byte),
                _ => return None,
            }
        }
        String::from_utf8(bytes).ok()
    }
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn ordinary_names_are_themselves_and_others_can_be_read() {
        for (text, object, key) in [
            ("db-password", "db-password", "db-password"),
            ("tls.crt", "tls.crt", "tls.crt"),
            ("team/db/password", "keyfob.team.db.password", "keyfob.team.db.password"),
            ("DATABASE_URL", "keyfob.zudatabasez5furl", "DATABASE_URL"),
            ("Team/DB_url", "keyfob.zutzleam.zudbz5fzlurl", "keyfob.Team.DB__url"),
            ("app/db_user", "keyfob.app.dbz5fuser", "keyfob.app.db__user"),
            ("/a", "keyfob.z2fa", "keyfob._2fa"),
            ("-a-b-", "keyfob.z2da-bz2d", "-a-b-"),
            ("a..b", "keyfob.az2ez2eb", "a..b"),
            ("...", "keyfob.z2ez2ez2e", "keyfob._2e_2e_2e"),
            ("size", "size", "size"),
            ("size/z", "keyfob.siz7ae.z7a", "keyfob.size.z"),
            ("é", "keyfob.zc3za9", "keyfob._c3_a9"),
        ] {
            assert_eq!(object_name(&name(text)).as_deref(), Some(object));
            assert_eq!(data_key(&name(text)).as_deref(), Some(key));
            assert_eq!(name_of_object(object), Some(name(text)));
            assert_eq!(name_of_key(key), Some(name(text)));
        }
    }

    #[test]
    fn what_looks_like_a_form_and_is_none_is_itself() {
        for text in [
            "keyfob.app",
            "keyfob.",
            "keyfob",
            "keyfob.zzz",
            "keyfob.az2fb",
            "keyfob.zuzla.b",
        ] {
            if is_object_name(text) {
                assert_eq!(object_name(&name(text)).as_deref(), Some(text));
                assert_eq!(name_of_object(text), Some(name(text)));
            }
        }
        // A form itself is somebody else's; as a name it has a form of its own.
        assert_eq!(object_name(&name("keyfob.a.b")).as_deref(), Some("keyfob.keyfobz2eaz2eb"));
        assert_eq!(name_of_object("keyfob.a.b"), Some(name("a/b")));
        assert_eq!(data_key(&name("keyfob.a.b")).as_deref(), Some("keyfob.keyfob_2ea_2eb"));
    }

    #[test]
    fn the_longest_is_253_characters() {
        let long = "a".repeat(253);
        assert_eq!(object_name(&name(&long)), Some(long.clone()));
        assert_eq!(data_key(&name(&long)), Some(long));
        let longer = name(&"a".repeat(254));
        assert!(object_name(&longer).is_none() && data_key(&longer).is_none());
        let escaped = name(&format!("a/{}", "b".repeat(245)));
        assert!(object_name(&escaped).is_none() && object_rule(&escaped).is_err() && key_rule(&escaped).is_err());
    }

    #[test]
    fn object_names_and_keys_are_those_of_the_api_server() {
        for text in ["a", "0", "a-b.c", "a.b.c"] {
            assert!(is_object_name(text), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A", "a_b", "a/b", "é"] {
            assert!(!is_object_name(text), "{text}");
        }
        for text in ["a", "A.b_c-", "...a".trim_start_matches('.'), ".a", "a..", "_"] {
            assert!(is_data_key(text), "{text}");
        }
        for text in ["", ".", "..", "...", "..a", "a/b", "a b", "é"] {
            assert!(!is_data_key(text), "{text}");
        }
    }

    /// Names that meet the alphabets' corners more often than any text does.
    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9._/-]{1,20}",
            "(keyfob\\.){0,3}[a-zA-Z0-9._/-]{1,12}",
            "(keyfob\\.)?(z[0-9a-fulz]{1,2}|_[0-9a-f_]{1,2}|[.az-]){1,8}",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn every_name_comes_back(text in names()) {
            let Ok(name) = SecretName::new(&text) else { return Ok(()) };
            if let Some(object) = object_name(&name) {
                prop_assert!(is_object_name(&object), "{object}");
                prop_assert_eq!(name_of_object(&object), Some(name.clone()));
            }
            if let Some(key) = data_key(&name) {
                prop_assert!(is_data_key(&key), "{key}");
                prop_assert_eq!(name_of_key(&key), Some(name));
            }
        }

        #[test]
        fn every_object_and_every_key_is_reached_by_one_name(text in names()) {
            if is_object_name(&text) {
                let name = name_of_object(&text).expect("a name");
                prop_assert_eq!(object_name(&name), Some(text.clone()));
            }
            if is_data_key(&text) {
                let name = name_of_key(&text).expect("a name");
                prop_assert_eq!(data_key(&name), Some(text));
            }
        }

        #[test]
        fn two_names_never_meet(one in names(), other in names()) {
            let (Ok(one), Ok(other)) = (SecretName::new(&one), SecretName::new(&other)) else { return Ok(()) };
            if one != other {
                prop_assert!(object_name(&one).is_none() || object_name(&one) != object_name(&other));
                prop_assert!(data_key(&one).is_none() || data_key(&one) != data_key(&other));
            }
        }
    }
}
