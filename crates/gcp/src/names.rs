//! The map from secret names to what Secret Manager calls secret ids, and back.
//!
//! An id has letters, digits, `_` and `-`; a portable name has `.` and `/` too. These two are written `_x2E` and `_x2F`. So
//! that no other name meets that spelling, text that reads like an escape already is quoted: its `_` becomes `_x5F`.
//!
//! ```text
//! token  = "_x" ( "5Fx" )* ( "2E" | "2F" )
//! ```
//!
//! A token with k times `5Fx` is `.` or `/` for k = 0, and otherwise the text of the token with k - 1. A token is the only
//! place in which `_` is followed by what could continue it, so where one ends is never in doubt.
//!
//! Read like this, some ids would be no name (`a_x2F` ends with a `/`). Other tools may have made them all the same, so
//! they are names as they stand, together with all their quoted forms. With that the map goes from all portable names that
//! are short enough to *all* ids, one to one: every id that another tool made is the name of exactly one secret.

use std::borrow::Cow;

use keyfob_core::SecretName;

/// The longest id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 255;

const SLASH: &str = "_x2F";
const DOT: &str = "_x2E";
const QUOTED: &str = "5Fx";

/// The map of one store: the prefix, then the name, then escapes.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` is portable: see [`is_prefix`].
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many bytes of an id are left behind the prefix.
    pub(crate) fn room(&self) -> usize {
        // The end of the prefix and the beginning of a name can look like a token together, which is then quoted.
        let end = self.prefix.rfind('_').map_or("", |start| &self.prefix[start + 1..]);
        let may_join = self.prefix.contains('_') && end.bytes().all(|byte| b"x5F2".contains(&byte));
        let margin = if may_join { QUOTED.len() } else { 0 };
        MAX_ID_BYTES.saturating_sub(escape(&self.prefix).len() + margin)
    }

    /// The id of the secret `name`.
    pub(crate) fn id(&self, name: &SecretName) -> String {
        id_of(&format!("{}{name}", self.prefix)).into_owned()
    }

    /// An id behind the prefix that no secret has.
    pub(crate) fn id_of_nothing(&self) -> String {
        id_of(&format!("{}keyfob-asks-what-it-may", self.prefix)).into_owned()
    }

    /// The name of the secret with this id; `None` when it isn't one of this store's.
    pub(crate) fn name(&self, id: &str) -> Option<SecretName> {
        let whole = name_of(id);
        let name = SecretName::new(whole.strip_prefix(&self.prefix)?).ok()?;
        // Behind a prefix can stand what is a name only together with it (`/b` of `a/b` behind `a`).
        (name.is_portable() && self.id(&name) == id).then_some(name)
    }

    /// Text that stands in the id of every name that begins with `prefix`; perhaps empty.
    pub(crate) fn common(&self, prefix: &str) -> String {
        let whole = format!("{}{prefix}", self.prefix);
        // What follows can turn the last of it into a part of a token, or quote it, or make the whole another kind of name.
        let sure = whole.split(['/', '.', '_']).max_by_key(|part| part.len()).unwrap_or_default();
        sure.to_owned()
    }
}

/// Whether names can stand behind `prefix`.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let with_name = SecretName::new(format!("{prefix}x"));
    prefix.is_empty() || with_name.is_ok_and(|name| name.is_portable()) && escape(prefix).len() <= MAX_ID_BYTES / 2
}

/// Which names can be asked for where `ROOM` bytes of an id are left for them.
fn rule<const ROOM: usize>(name: &SecretName) -> Result<(), &'static str> {
    if !name.is_portable() {
        return Err("only letters, digits, `.`, `_`, `-` and `/` are possible in names here");
    }
    if id_of(name.as_str()).len() > ROOM {
        return Err("it would need an id of more than 255 bytes: each `.` and `/` takes four, and the prefix counts");
    }
    Ok(())
}

/// What [`NameRule::Custom`](keyfob_core::NameRule::Custom) takes.
type Rule = fn(&SecretName) -> Result<(), &'static str>;

/// The rule for so much room. A rule is a plain function and can't carry a number with it: there is one for each.
pub(crate) fn rule_for(room: usize) -> Rule {
    macro_rules! table {
        ([$($high:literal)*] $low:tt) => { [$(table!(@row $high $low)),*] };
        (@row $high:literal [$($low:literal)*]) => { [$(rule::<{ 16 * $high + $low }> as Rule),*] };
    }
    let rules: [[Rule; 16]; 16] = table!([0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
    let room = room.min(MAX_ID_BYTES);
    rules[room / 16][room % 16]
}

/// The id of a whole name, prefix included.
fn id_of(name: &str) -> Cow<'_, str> {
    if is_literal(name) { Cow::Borrowed(name) } else { escape(name) }
}

/// The whole name of an id.
fn name_of(id: &str) -> Cow<'_, str> {
    if is_literal(id) { Cow::Borrowed(id) } else { unescape(id) }
}

/// Whether a text is both an id and the name of that id: it has no token, or is of a family that is no name without its
/// quotes.
fn is_literal(text: &str) -> bool {
    if text.contains(['/', '.']) {
        return false;
    }
    let Some(quotes) = Tokens(text).filter_map(|piece| piece.quotes).min() else {
        return true;
    };
    let mut bare = Cow::Borrowed(text);
    for _ in 0..=quotes {
        bare = Cow::Owned(unescape(&bare).into_owned());
    }
    !SecretName::new(&*bare).is_ok_and(|name| name.is_portable())
}

fn escape(name: &str) -> Cow<'_, str> {
    let mut escaped = String::with_capacity(name.len() + 16);
    for piece in Tokens(name) {
        match piece.quotes {
            Some(_) => {
                escaped.push_str("_x");
                escaped.push_str(QUOTED);
                escaped.push_str(&piece.text["_x".len()..]);
            }
            None => match piece.text {
                "/" => escaped.push_str(SLASH),
                "." => escaped.push_str(DOT),
                plain => escaped.push_str(plain),
            },
        }
    }
    Cow::Owned(escaped)
}

fn unescape(id: &str) -> Cow<'_, str> {
    let mut name = String::with_capacity(id.len());
    for piece in Tokens(id) {
        match piece.quotes {
            None => name.push_str(piece.text),
            Some(0) => name.push(if piece.text == SLASH { '/' } else { '.' }),
            Some(_) => {
                name.push_str("_x");
                name.push_str(&piece.text["_x".len() + QUOTED.len()..]);
            }
        }
    }
    Cow::Owned(name)
}

/// A token, or a character that begins none.
struct Piece<'t> {
    text: &'t str,
    /// How often a token is quoted.
    quotes: Option<usize>,
}

/// Splits text into pieces.
struct Tokens<'t>(&'t str);

impl<'t> Iterator for Tokens<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let first = self.0.chars().next()?;
        let (length, quotes) = match token(self.0) {
            Some((length, quotes)) => (length, Some(quotes)),
            None => (first.len_utf8(), None),
        };
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Piece { text, quotes })
    }
}

/// The token that `text` begins with: its length, and how often it is quoted.
fn token(text: &str) -> Option<(usize, usize)> {
    let mut rest = text.strip_prefix("_x")?;
    let mut quotes = 0;
    while let Some(further) = rest.strip_prefix(QUOTED) {
        rest = further;
        quotes += 1;
    }
    let rest = rest.strip_prefix("2E").or_else(|| rest.strip_prefix("2F"))?;
    Some((text.len() - rest.len(), quotes))
}

#[cfg(test)]
mod tests {
    use keyfob_core::Capabilities;
    use keyfob_core::NameRule;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn ordinary_names_are_their_own_ids() {
        for text in [
            "a",
            "DB_PASSWORD",
            "app-db--x__y",
            "_",
            "-",
            "_x",
            "_x2",
            "_x5F",
            "_x2f",
            "auth_2FA",
            "x2F",
            "0",
        ] {
            assert_eq!(Names::new("").id(&name(text)), text);
            assert_eq!(Names::new("").name(text), Some(name(text)));
        }
    }

    #[test]
    fn the_map_is_the_documented_one() {
        for (text, id) in [
            ("team/db/password", "team_x2Fdb_x2Fpassword"),
            ("tls.crt", "tls_x2Ecrt"),
            ("a_/b", "a__x2Fb"),
            ("_x2/F", "_x2_x2FF"),
            ("_x5F/2F", "_x5F_x2F2F"),
            // Written like an escape, and none.
            ("a_x2Fb", "a_x5Fx2Fb"),
            ("a_x5Fx2Fb", "a_x5Fx5Fx2Fb"),
            ("a_x2Fb/c", "a_x5Fx2Fb_x2Fc"),
            // No name would be written like these.
            ("a_x2F", "a_x2F"),
            ("a_x5Fx2F", "a_x5Fx2F"),
            ("_x2Fa", "_x2Fa"),
            ("a_x2F_x2Fb", "a_x2F_x2Fb"),
            ("_x2E", "_x2E"),
            ("a_x2F_x2E_x2E_x2Fb", "a_x2F_x2E_x2E_x2Fb"),
        ] {
            assert_eq!(Names::new("").id(&name(text)), id, "{text}");
            assert_eq!(Names::new("").name(id), Some(name(text)), "{id}");
        }
    }

    #[test]
    fn a_prefix_stands_in_front_before_anything_is_escaped() {
        let names = Names::new("app_");
        assert_eq!(names.id(&name("x2Fb")), "app_x5Fx2Fb");
        assert_eq!(names.name("app_x5Fx2Fb"), Some(name("x2Fb")));
        assert_eq!(names.name("app_x2Fb"), None, "that is `app/b`, which has another prefix");
        assert_eq!(
            Names::new("a").name("a_x2Fb"),
            None,
            "`/b` is no name that could be asked for"
        );
        assert_eq!(Names::new("app/").name("app_x2Fdb"), Some(name("db")));
        for id in ["other", "app", "app_x2F", "App_x2Fdb"] {
            assert_eq!(Names::new("app/").name(id), None, "{id}");
        }
    }

    #[test]
    fn a_prefix_is_checked() {
        for prefix in ["", "app/", "app-", "a.b/", "x_"] {
            assert!(is_prefix(prefix), "{prefix}");
        }
        for prefix in ["/app/", "a//", "a/../", " a", "é/", "a b", &"x".repeat(200)] {
            assert!(!is_prefix(prefix), "{prefix}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_just_fits_is_not() {
        for prefix in ["", "app/", "app_", "app_x2"] {
            let names = Names::new(prefix);
            let mut can = Capabilities::FULL;
            can.names = NameRule::Custom(rule_for(names.room()));
            can.max_name_bytes = names.room();
            let fits = name(&"n".repeat(names.room()));
            assert!(can.check_name(&fits).is_ok());
            assert!(names.id(&fits).len() <= MAX_ID_BYTES);
            assert!(can.check_name(&name(&"n".repeat(names.room() + 1))).is_err());
            let slashes = name(&format!("{}/n", "n".repeat(names.room() - 4)));
            assert!(can.check_name(&slashes).is_err());
        }
        assert_eq!(Names::new("").room(), MAX_ID_BYTES);
        assert_eq!(Names::new("app/").room(), MAX_ID_BYTES - 7);
    }

    /// Text out of what tokens are made of, so that they and their broken forms are frequent.
    fn pieces(plain: &'static [&'static str]) -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "_x2F", "_x2E", "_x5Fx2F", "_x5F", "5Fx", "2F", "2E", "_", "x", "2", "F", "_x"
            ]),
            prop::sample::select(plain.to_vec()),
        ];
        prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
    }

    fn ids() -> impl Strategy<Value = String> {
        prop_oneof!["[A-Za-z0-9_-]{1,255}", pieces(&["a", "Z", "0", "-"])]
    }

    fn portable_names() -> impl Strategy<Value = SecretName> {
        let text = prop_oneof!["[A-Za-z0-9._/-]{1,60}", pieces(&["a", "/", ".", "-", "b/c", "a.b"])];
        text.prop_filter_map("a portable name", |text| {
            SecretName::new(text).ok().filter(SecretName::is_portable)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn every_id_is_the_id_of_exactly_one_name(id in ids()) {
            let names = Names::new("");
            let name = names.name(&id);
            prop_assert!(name.is_some(), "{} can't be reached", id);
            prop_assert_eq!(names.id(&name.unwrap()), id);
        }

        #[test]
        fn every_name_comes_back_from_its_id(name in portable_names()) {
            let names = Names::new("");
            let id = names.id(&name);
            prop_assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{}", id);
            prop_assert_eq!(names.name(&id), Some(name));
        }

        #[test]
        fn two_names_never_have_one_id(one in portable_names(), other in portable_names(), prefix in "([a-z]{0,3}[_/.-]?x?2?)?") {
            prop_assume!(one != other && is_prefix(&prefix));
            let names = Names::new(prefix);
            prop_assert_ne!(names.id(&one), names.id(&other));
        }

        #[test]
        fn behind_a_prefix_names_come_back_too(name in portable_names(), prefix in "([a-z]{0,3}[_/.-]?x?(5Fx)?2?)?") {
            prop_assume!(is_prefix(&prefix));
            let names = Names::new(prefix);
            let id = names.id(&name);
            prop_assert_eq!(names.name(&id), Some(name.clone()));
            if rule_for(names.room())(&name).is_ok() {
                prop_assert!(id.len() <= MAX_ID_BYTES, "{}", id);
            }
        }

        #[test]
        fn what_is_common_to_names_stands_in_their_ids(name in portable_names(), cut in 0usize..60, prefix in "([a-z]{0,3}[_/.-]?x?2?)?") {
            prop_assume!(is_prefix(&prefix));
            let names = Names::new(prefix);
            let begin: String = name.as_str().chars().take(cut).collect();
            prop_assert!(names.id(&name).contains(&names.common(&begin)));
        }
    }
}
