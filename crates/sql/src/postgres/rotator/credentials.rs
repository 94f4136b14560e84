//! What a secret says of a log-in: a JSON object, or a bare password.

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

const USER: &str = "username";
const PASSWORD: &str = "password";
const DATABASE: &str = "dbname";
const ENGINE: &str = "engine";

/// The engines of AWS that speak PostgreSQL's protocol, and PostgreSQL's other name.
const ENGINES: [&str; 3] = ["postgres", "postgresql", "aurora-postgresql"];

pub(super) struct Credentials {
    /// Without the password, whose place is kept.
    fields: Option<Map<String, Value>>,
    password: SecretValue,
}

impl Credentials {
    /// Text that begins with `{` is an object, everything else a password.
    ///
    /// # Errors
    /// `InvalidInput` for what is neither. Never with a word of the value.
    pub(super) fn parse(value: &SecretValue) -> Result<Self> {
        let text = value.expose_str().map_err(|_| invalid("the password is not UTF-8 text"))?;
        let (fields, password) = match text.trim_start().starts_with('{') {
            true => {
                let (fields, password) = object(text)?;
                (Some(fields), password)
            }
            false => (None, value.clone()),
        };
        // To PostgreSQL an empty password is none, and NUL can't be sent.
        match password.expose_secret() {
            [] => Err(invalid("the password is empty")),
            bytes if bytes.contains(&0) => Err(invalid("the password has a NUL character")),
            _ => Ok(Self { fields, password }),
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.text(USER)
    }

    pub(super) fn password(&self) -> &SecretValue {
        &self.password
    }

    pub(super) fn database(&self) -> Option<&str> {
        self.text(DATABASE)
    }

    /// The same with another user and password.
    pub(super) fn replaced(&self, user: &str, password: &SecretValue) -> Result<SecretValue> {
        let Some(mut fields) = self.fields.clone() else {
            return Ok(password.clone());
        };
        fields.insert(USER.to_owned(), Value::from(user));
        fields.insert(PASSWORD.to_owned(), Value::from(password.expose_str()?));
        let text = serde_json::to_string(&fields);
        if let Some(Value::String(password)) = fields.get_mut(PASSWORD) {
            password.zeroize();
        }
        text.map(SecretValue::from)
            .map_err(|_| invalid("the secret can't be written as JSON"))
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.fields.as_ref()?.get(field)?.as_str()
    }
}

fn object(text: &str) -> Result<(Map<String, Value>, SecretValue)> {
    // What the parser says could quote the value.
    let mut fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| invalid("the secret begins like a JSON object and is none"))?;
    let password = match fields.get_mut(PASSWORD).map(Value::take) {
        Some(Value::String(password)) => SecretValue::from(password),
        _ => return Err(invalid("the secret has no text `password`")),
    };
    let problem = match (fields.get(USER), fields.get(DATABASE), fields.get(ENGINE)) {
        (Some(Value::String(user)), ..) if user.is_empty() => "`username` of the secret is empty",
        (None, ..) => "the secret has no text `username`",
        (Some(user), ..) if !user.is_string() => "the secret has no text `username`",
        (_, Some(database), _) if database.as_str().is_none_or(str::is_empty) => "`dbname` of the secret names no database",
        (.., Some(engine)) if engine.as_str().is_none_or(|engine| !ENGINES.contains(&engine)) => {
            "`engine` of the secret is not `postgres`"
        }
        _ => return Ok((fields, password)),
    };
    Err(invalid(problem))
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
        .with_hint("a JSON object with `username` and `password`, or for one role its bare password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_all_but_user_and_password_in_its_order() {
        let text =
            r#"{"engine":"postgres","password":"kfcanary-before01","port":5432,"username":"app_a","extra":{"b":[1],"a":null}}"#;
        let credentials = Credentials::parse(&SecretValue::from(text)).unwrap();
        assert_eq!((credentials.user(), credentials.database()), (Some("app_a"), None));
        assert!(credentials.password().expose_secret() == b"kfcanary-before01");
        let new = SecretValue::from("kfcanary-\"after\\01");
        let replaced = credentials.replaced("app_b", &new).unwrap();
        let expected = text
            .replace("kfcanary-before01", r#"kfcanary-\"after\\01"#)
            .replace("app_a", "app_b");
        assert!(replaced.expose_str().unwrap() == expected);
    }

    #[test]
    fn a_bare_password_stays_bare() {
        let credentials = Credentials::parse(&SecretValue::from("kfcanary-before01")).unwrap();
        assert!(credentials.user().is_none());
        let replaced = credentials.replaced("app", &SecretValue::from("kfcanary-after0001")).unwrap();
        assert!(replaced.expose_secret() == b"kfcanary-after0001");
    }

    #[test]
    fn what_is_neither_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "a\0kfcanary-word00001",
            r#"{"username":"kfcanary-word00001""#,
            r#"{"username":"app"}"#,
            r#"{"username":"app","password":""}"#,
            r#"{"username":"app","password":{"a":"kfcanary-word00001"}}"#,
            r#"{"password":"kfcanary-word00001"}"#,
            r#"{"username":"","password":"kfcanary-word00001"}"#,
            r#"{"username":7,"password":"kfcanary-word00001"}"#,
            r#"{"username":"app","password":"kfcanary-word00001","engine":"mysql"}"#,
            r#"{"username":"app","password":"kfcanary-word00001","dbname":""}"#,
        ] {
            let error = Credentials::parse(&SecretValue::from(text)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!format!("{error:?}").contains("kfcanary"));
        }
        assert!(Credentials::parse(&SecretValue::new(vec![0xff])).is_err());
    }
}
