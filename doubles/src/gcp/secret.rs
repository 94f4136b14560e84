//! The resource `Secret`: what a request may say of it, and what an answer says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::json::{Message, camel_case};
use super::metadata::{check_annotations, check_labels, check_tags};
use super::names::{SecretName, is_alias};
use super::status::Status;

/// Every field of the message, in `camelCase`.
pub(super) const FIELDS: &[&str] = &[
    "annotations",
    "createTime",
    "customerManagedEncryption",
    "etag",
    "expireTime",
    "labels",
    "name",
    "policyMember",
    "replication",
    "rotation",
    "secretType",
    "tags",
    "topics",
    "ttl",
    "versionAliases",
    "versionDestroyTtl",
];

const DAY: i64 = 24 * 60 * 60;
const HUNDRED_YEARS: i64 = 3_153_600_000;

/// Where the values of a secret are kept; a regional secret has none, its location says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Replication {
    Automatic,
    UserManaged(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expiration {
    At(Timestamp),
    After(SignedDuration),
}

/// A `Secret` as it stands in a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) replication: Option<Replication>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) aliases: BTreeMap<String, u64>,
    pub(super) expiration: Option<Expiration>,
    pub(super) destroy_ttl: Option<SignedDuration>,
    pub(super) etag: String,
}

impl Fields {
    /// Reads the message and checks what can be checked without the resource.
    pub(super) fn read(value: Value) -> Result<Self, Status> {
        let mut message = Message::read(value, "secret", FIELDS)?;
        for (field, what) in [
            ("customerManagedEncryption", "keys of the customer"),
            ("rotation", "rotation"),
            ("secretType", "typed secrets"),
        ] {
            if message.take(field).is_some_and(|value| !is_default(&value)) {
                return Err(Status::not_doubled(what));
            }
        }
        if !message.list("topics")?.is_empty() {
            return Err(Status::not_doubled("topics"));
        }
        // Only put out; what comes in is not looked at.
        for field in ["createTime", "name", "policyMember"] {
            message.take(field);
        }
        check_tags(&message.text_map("tags")?)?;
        let fields = Self {
            replication: message
                .message("replication", &["automatic", "userManaged"])?
                .map(replication)
                .transpose()?,
            labels: message.text_map("labels")?,
            annotations: message.text_map("annotations")?,
            aliases: aliases(&mut message)?,
            expiration: expiration(&mut message)?,
            destroy_ttl: message.seconds("versionDestroyTtl")?.map(destroy_ttl).transpose()?,
            etag: message.text("etag")?,
        };
        check_labels(&fields.labels)?;
        check_annotations(&fields.annotations)?;
        Ok(fields)
    }

    /// When the secret ends, if it does: at least a minute away and at most a hundred years.
    pub(super) fn expires(&self, now: Timestamp) -> Result<Option<Timestamp>, Status> {
        let refused = || {
            let message = "The expiration must be at least 60s and at most 3153600000s in the future.";
            Status::field("secret.expire_time", message)
        };
        let time = match self.expiration {
            None => return Ok(None),
            Some(Expiration::At(time)) => time,
            Some(Expiration::After(ttl)) => now.checked_add(ttl).map_err(|_| refused())?,
        };
        let away = time.duration_since(now).as_secs();
        if (60..=HUNDRED_YEARS).contains(&away) {
            Ok(Some(time))
        } else {
            Err(refused())
        }
    }
}

/// The part of a secret that an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Annotations,
    Expiration,
    Labels,
    Aliases,
    DestroyTtl,
}

/// Reads an `updateMask`: paths with commas between them, in either case.
pub(super) fn mask(text: &str) -> Result<Vec<Part>, Status> {
    let refused = |message: String| Status::field("update_mask", message);
    if text.is_empty() {
        return Err(refused("The update_mask must be specified.".to_owned()));
    }
    text.split(',')
        .map(|path| match camel_case(path.trim()).as_str() {
            "annotations" => Ok(Part::Annotations),
            "expiration" | "expireTime" | "ttl" => Ok(Part::Expiration),
            "labels" => Ok(Part::Labels),
            "versionAliases" => Ok(Part::Aliases),
            "versionDestroyTtl" => Ok(Part::DestroyTtl),
            "customerManagedEncryption" | "rotation" | "topics" => Err(Status::not_doubled(path)),
            "createTime" | "name" | "policyMember" | "replication" | "secretType" | "tags" => {
                Err(refused(format!("The field [{path}] is immutable.")))
            }
            _ => Err(refused(format!("The update_mask has the invalid path [{path}]."))),
        })
        .collect()
}

/// A secret that is there, without its versions.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    pub(super) name: SecretName,
    pub(super) created: Timestamp,
    pub(super) etag: String,
    pub(super) replication: Option<Replication>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) aliases: BTreeMap<String, u64>,
    pub(super) expires: Option<Timestamp>,
    pub(super) destroy_ttl: Option<SignedDuration>,
}

impl Secret {
    /// As JSON; what is empty is left out.
    pub(super) fn json(&self) -> Value {
        let mut json = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                json.insert(name.to_owned(), value);
            }
        };
        let filled = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| json!(map));
        put("name", Some(json!(self.name.path())));
        put("replication", self.replication.as_ref().map(Replication::json));
        put("createTime", Some(json!(self.created.to_string())));
        put("labels", filled(&self.labels));
        put("expireTime", self.expires.map(|time| json!(time.to_string())));
        put("etag", Some(json!(self.etag)));
        let aliases: BTreeMap<_, _> = self
            .aliases
            .iter()
            .map(|(alias, version)| (alias, version.to_string()))
            .collect();
        put("versionAliases", (!aliases.is_empty()).then(|| json!(aliases)));
        put("annotations", filled(&self.annotations));
        put(
            "versionDestroyTtl",
            self.destroy_ttl.map(|ttl| json!(format!("{}s", ttl.as_secs()))),
        );
        Value::Object(json)
    }
}

impl Replication {
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Automatic => json!({ "automatic": {} }),
            Self::UserManaged(locations) => {
                let replicas: Vec<Value> = locations.iter().map(|location| json!({ "location": location })).collect();
                json!({ "userManaged": { "replicas": replicas } })
            }
        }
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() || text == "SECRET_TYPE_UNSPECIFIED",
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

fn replication(mut message: Message) -> Result<Replication, Status> {
    let automatic = message.message("automatic", &["customerManagedEncryption"])?;
    let managed = message.message("userManaged", &["replicas"])?;
    match (automatic, managed) {
        (Some(mut automatic), None) => {
            if automatic.take("customerManagedEncryption").is_some() {
                return Err(Status::not_doubled("keys of the customer"));
            }
            Ok(Replication::Automatic)
        }
        (None, Some(mut managed)) => {
            let mut locations = Vec::new();
            for replica in managed.list("replicas")? {
                let known = ["customerManagedEncryption", "location"];
                let location = Message::read(replica, "secret.replication.user_managed.replicas", &known)?.text("location")?;
                if location.is_empty() || locations.contains(&location) {
                    let message = "Each replica must have a location of its own.";
                    return Err(Status::field("secret.replication.user_managed.replicas", message));
                }
                locations.push(location);
            }
            if locations.is_empty() {
                let message = "At least one replica must be specified.";
                return Err(Status::field("secret.replication.user_managed.replicas", message));
            }
            Ok(Replication::UserManaged(locations))
        }
        (None, None) => Err(Status::invalid("Secret must be provided.")),
        (Some(_), Some(_)) => Err(oneof("replication", "userManaged")),
    }
}

fn expiration(message: &mut Message) -> Result<Option<Expiration>, Status> {
    let time = message.timestamp("expireTime")?.map(Expiration::At);
    let ttl = message.seconds("ttl")?.map(SignedDuration::from_secs).map(Expiration::After);
    if time.is_some() && ttl.is_some() {
        return Err(oneof("expiration", "ttl"));
    }
    Ok(time.or(ttl))
}

fn oneof(group: &str, second: &str) -> Status {
    let message = format!("Invalid value: oneof field '{group}' is already set. Cannot set '{second}'");
    Status::field("secret", message)
}

fn aliases(message: &mut Message) -> Result<BTreeMap<String, u64>, Status> {
    let refused = |message: String| Status::field("secret.version_aliases", message);
    let mut aliases = BTreeMap::new();
    for (alias, version) in message.map("versionAliases")? {
        if !is_alias(&alias) {
            return Err(refused(format!("The version alias [{alias}] is not in a valid format.")));
        }
        let number = version.as_u64().or_else(|| version.as_str()?.parse().ok());
        let number = number.ok_or_else(|| refused(format!("The version alias [{alias}] has no number.")))?;
        aliases.insert(alias, number);
    }
    if aliases.len() > 50 {
        return Err(refused(
            "No more than 50 aliases can be assigned to a given secret.".to_owned(),
        ));
    }
    Ok(aliases)
}

/// At least one day and at most a thousand: <https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions>.
fn destroy_ttl(seconds: i64) -> Result<SignedDuration, Status> {
    if (DAY..=1000 * DAY).contains(&seconds) {
        return Ok(SignedDuration::from_secs(seconds));
    }
    let message = "The version destroy TTL must be at least 86400s and at most 86400000s.";
    Err(Status::field("secret.version_destroy_ttl", message))
}

#[cfg(test)]
mod tests {
    use super::super::status::Code;
    use super::*;

    fn refused(value: Value) -> String {
        let status = Fields::read(value).unwrap_err();
        assert_eq!(status.code, Code::InvalidArgument);
        status.message
    }

    #[test]
    fn what_the_double_has_not_is_refused_and_not_ignored() {
        for field in [
            json!({ "topics": [{ "name": "projects/p/topics/t" }] }),
            json!({ "rotation": {} }),
            json!({ "secretType": 1 }),
            json!({ "customerManagedEncryption": { "kmsKeyName": "k" } }),
        ] {
            assert_eq!(Fields::read(field).unwrap_err().code, Code::Unimplemented);
        }
        let usual = json!({ "topics": [], "name": "x", "createTime": null, "secretType": 0, "etag": "" });
        assert_eq!(Fields::read(usual).unwrap(), Fields::default());
    }

    #[test]
    fn a_replication_is_one_of_two() {
        let read = |value: Value| Fields::read(json!({ "replication": value }));
        assert_eq!(
            read(json!({ "automatic": {} })).unwrap().replication,
            Some(Replication::Automatic)
        );
        let managed = json!({ "userManaged": { "replicas": [{ "location": "us-east1" }, { "location": "us-west1" }] } });
        assert_eq!(read(managed.clone()).unwrap().replication.unwrap().json(), managed);
        for bad in [
            json!({}),
            json!({ "automatic": {}, "userManaged": { "replicas": [{ "location": "a" }] } }),
            json!({ "userManaged": { "replicas": [] } }),
            json!({ "userManaged": { "replicas": [{ "location": "a" }, { "location": "a" }] } }),
        ] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn an_expiration_is_between_a_minute_and_a_hundred_years_away() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let expires = |value: Value| {
            Fields::read(value)
                .unwrap()
                .expires(now)
                .map(|time| time.unwrap().to_string())
        };
        assert_eq!(expires(json!({ "ttl": "60s" })).unwrap(), "2026-01-01T00:01:00Z");
        assert_eq!(
            expires(json!({ "expireTime": "2027-01-01T00:00:00+01:00" })).unwrap(),
            "2026-12-31T23:00:00Z"
        );
        assert!(expires(json!({ "ttl": "59s" })).is_err());
        assert!(expires(json!({ "ttl": "3153600001s" })).is_err());
        assert!(expires(json!({ "expireTime": "2025-01-01T00:00:00Z" })).is_err());
        refused(json!({ "ttl": "60s", "expireTime": "2027-01-01T00:00:00Z" }));
        refused(json!({ "versionDestroyTtl": "86399s" }));
    }

    #[test]
    fn a_mask_names_what_may_change() {
        assert_eq!(mask("labels,version_aliases").unwrap(), [Part::Labels, Part::Aliases]);
        assert_eq!(mask("versionDestroyTtl").unwrap(), [Part::DestroyTtl]);
        for bad in ["", "*", "replication", "name", "labels.a", "labels,", "nothing"] {
            assert_eq!(mask(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        assert_eq!(mask("topics").unwrap_err().code, Code::Unimplemented);
    }

    #[test]
    fn aliases_have_numbers_and_their_own_rules() {
        let read = |value: Value| Fields::read(json!({ "versionAliases": value }));
        assert_eq!(read(json!({ "a": "7", "b": 8 })).unwrap().aliases["a"], 7);
        for bad in [
            json!({ "latest": 1 }),
            json!({ "1a": 1 }),
            json!({ "a": "x" }),
            json!({ "a": -1 }),
        ] {
            assert!(read(bad).is_err());
        }
    }
}
