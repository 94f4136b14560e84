//! The names of a KMS key.

use keyfob_core::{Error, ErrorKind, Result};

/// `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, the same with `alias/NAME`, `ID`, or `alias/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName(String);

impl KeyName {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let name = Self(text.to_owned());
        let resource = match text.strip_prefix("arn:") {
            None => Some(text),
            Some(_) => name.parts().map(|parts| parts.resource),
        };
        let id = resource.map(|resource| {
            let bare = resource.strip_prefix("alias/");
            match text.starts_with("arn:") {
                true => bare.or_else(|| resource.strip_prefix("key/")).unwrap_or_default(),
                false => bare.unwrap_or(resource),
            }
        });
        let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
        if text.len() <= MAX_BYTES && id.is_some_and(is_id) {
            return Ok(name);
        }
        Err(Error::new(ErrorKind::InvalidConfig, "this can't be the name of a KMS key")
            .with("key", text.chars().take(128).flat_map(char::escape_debug).collect::<String>())
            .with_hint("write `alias/NAME`, the id of a key, or an ARN such as `arn:aws:kms:eu-west-1:123456789012:key/ID`"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The region, if it is an ARN.
    pub(super) fn region(&self) -> Option<&str> {
        self.parts().map(|parts| parts.region)
    }

    /// Whether it is the ARN of a key, and so means one key for ever.
    pub(super) fn is_key_arn(&self) -> bool {
        self.parts().is_some_and(|parts| parts.resource.starts_with("key/"))
    }

    /// Whether two ARNs are of one key, or of replicas of one multi-Region key. AWS gives such a key one id in every
    /// region, which begins with `mrk-`.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (self.parts(), other.parts()) else {
            return false;
        };
        let is_replicated = own.resource.starts_with("key/mrk-");
        own.partition == others.partition
            && own.account == others.account
            && own.resource == others.resource
            && (is_replicated || own.region == others.region)
    }

    fn parts(&self) -> Option<Parts<'_>> {
        let mut parts = self.0.strip_prefix("arn:")?.splitn(5, ':');
        let (partition, service) = (parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = service == "kms" && ![partition, region, account].contains(&"");
        is_whole.then_some(Parts {
            partition,
            region,
            account,
            resource,
        })
    }
}

struct Parts<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

/// AWS's own limit.
const MAX_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn a_key_has_four_kinds_of_names() {
        let alias = "arn:aws-cn:kms:cn-north-1:123456789012:alias/team/app";
        for (text, region, is_key_arn) in [
            (KEY, Some("eu-west-1"), true),
            (alias, Some("cn-north-1"), false),
            ("1234abcd-12ab-34cd-56ef-1234567890ab", None, false),
            ("alias/team/app", None, false),
        ] {
            let name = KeyName::parse(text).unwrap();
            assert_eq!((name.region(), name.is_key_arn()), (region, is_key_arn), "{text}");
        }
        for text in [
            "",
            "alias/",
            "arn:aws:kms:eu-west-1:123456789012:key/",
            "arn:aws:kms:eu-west-1:123456789012:secret/x",
            "arn:aws:kms::123456789012:key/x",
            "arn:aws:s3:eu-west-1:123456789012:key/x",
            "a b",
            "a\nb",
        ] {
            assert_eq!(KeyName::parse(text).unwrap_err().kind(), ErrorKind::InvalidConfig, "{text:?}");
        }
    }

    #[test]
    fn replicas_of_a_multi_region_key_are_one_key_and_nothing_else_is() {
        let same = |one: &str, other: &str| KeyName::parse(one).unwrap().is_same_key(&KeyName::parse(other).unwrap());
        let other_region = KEY.replace("eu-west-1", "us-east-1");
        let replicated = |key: &str| key.replace("key/", "key/mrk-");
        assert!(same(KEY, KEY));
        assert!(!same(KEY, &other_region));
        assert!(same(&replicated(KEY), &replicated(&other_region)));
        assert!(!same(
            &replicated(KEY),
            &replicated(&KEY.replace("123456789012", "210987654321"))
        ));
        assert!(!same(&replicated(KEY), &format!("{}c", replicated(KEY))));
    }
}
