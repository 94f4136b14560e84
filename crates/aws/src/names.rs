//! The map from secret names to what AWS calls a secret id, and back.

use keyfob_core::SecretName;

use crate::config::is_name_byte;

/// The longest name of a secret in AWS, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 512;

/// The map of one store: the prefix, then the name, unless the name says already which secret of AWS is meant.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The longest name that fits behind the prefix.
    pub(crate) fn max_bytes(&self) -> usize {
        MAX_NAME_BYTES - self.prefix.len()
    }

    /// What AWS calls the secret `name`.
    pub(crate) fn id(&self, name: &SecretName) -> String {
        if is_given_by_aws(name) {
            name.as_str().to_owned()
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// What keyfob calls the secret that AWS lists as `listed`; `None` when it isn't one of this store's, or has a name
    /// that keyfob can't express.
    pub(crate) fn name(&self, listed: &str) -> Option<SecretName> {
        let name = SecretName::new(listed.strip_prefix(&self.prefix)?).ok()?;
        // With a prefix, `rds!…` behind it would be asked for without.
        (rule(&name).is_ok() && self.id(&name) == listed).then_some(name)
    }
}

/// Whether the name is an ARN or one that only AWS itself gives (`rds!cluster-…`): no prefix stands in front of it, and
/// keyfob reads it and doesn't write it.
pub(crate) fn is_given_by_aws(name: &SecretName) -> bool {
    name.as_str().starts_with("arn:") || name.as_str().contains('!')
}

/// Which names can be asked for.
pub(crate) fn rule(name: &SecretName) -> Result<(), &'static str> {
    let text = name.as_str();
    if text.starts_with("arn:") {
        return match arn_of_secret(text) {
            true => Ok(()),
            false => Err("an ARN is like `arn:aws:secretsmanager:eu-west-1:123456789012:secret:NAME-AbCdEf`"),
        };
    }
    let own = match text.split_once('!') {
        None => text,
        Some((service, rest)) => {
            let is_service = service
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if service.is_empty() || !is_service || rest.is_empty() {
                return Err("a `!` stands only in names that AWS gives itself, like `rds!cluster-1`");
            }
            rest
        }
    };
    if own.bytes().all(is_name_byte) {
        Ok(())
    } else {
        Err("AWS takes letters, digits and `/_+=.@-` in names")
    }
}

/// The name in a complete ARN, with the six characters that AWS hangs on.
fn arn_of_secret(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(7, ':').collect();
    let [_, partition, service, region, account, kind, name] = parts[..] else {
        return false;
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_word(partition)
        && service == "secretsmanager"
        && is_word(region)
        && is_word(account)
        && kind == "secret"
        && has_suffix(name)
        && name.bytes().all(|byte| is_name_byte(byte) || byte == b'!')
}

fn has_suffix(name: &str) -> bool {
    let Some((before, suffix)) = name.rsplit_once('-') else {
        return false;
    };
    !before.is_empty() && suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn takes_what_aws_takes() {
        for text in [
            "a",
            "team/db+x=1@y.z",
            "/team/db",
            "app-config",
            "rds!cluster-1",
            "events!connection/a",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/db-AbCdEf",
            "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:rds!db-1-AbCdEf",
        ] {
            assert_eq!(rule(&name(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "a b",
            "a:b",
            "ключ",
            "a%b",
            "!x",
            "rds!",
            "team/rds!x",
            "a!b!c",
            "arn:aws:s3:::bucket",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/db",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a b-AbCdEf",
            "arn:x",
        ] {
            assert!(rule(&name(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_map_is_injective_and_goes_both_ways() {
        for prefix in ["", "app/", "app", "/x/"] {
            let names = Names::new(prefix);
            let mut ids = std::collections::BTreeSet::new();
            for text in ["a", "/a", "app/a", "a/b", "x/a", "/x/a", "rds!a", "rds-a"] {
                let name = name(text);
                let id = names.id(&name);
                assert!(ids.insert(id.clone()), "`{text}` meets another behind `{prefix}`");
                if !is_given_by_aws(&name) {
                    assert_eq!(names.name(&id), Some(name), "{prefix}{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_behind_the_prefix_is_not_this_stores() {
        let names = Names::new("app/");
        for listed in ["other/a", "app", "app/", "app/a//b", "app/rds!x", "rds!x"] {
            assert_eq!(names.name(listed), None, "{listed}");
        }
        assert_eq!(Names::new("").name("rds!x"), Some(name("rds!x")));
    }
}
