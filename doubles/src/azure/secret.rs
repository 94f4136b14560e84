//! A secret and its versions, and how the service writes them as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a caller can set about a version, besides its value. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) content_type: Option<String>,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) enabled: Option<bool>,
    /// Seconds since 1970, like every time here.
    pub(super) not_before: Option<i64>,
    pub(super) expires: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: String,
    pub(super) properties: Properties,
    pub(super) created: i64,
    pub(super) updated: i64,
}

impl Version {
    pub(super) fn new(id: String, value: String, properties: Properties, now: i64) -> Self {
        Self {
            id,
            value,
            properties,
            created: now,
            updated: now,
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.properties.enabled.unwrap_or(true)
    }

    /// Replaces what is given.
    pub(super) fn update(&mut self, new: Properties, now: i64) {
        let old = &mut self.properties;
        old.content_type = new.content_type.or(old.content_type.take());
        old.tags = new.tags.or(old.tags.take());
        old.enabled = new.enabled.or(old.enabled);
        old.not_before = new.not_before.or(old.not_before);
        old.expires = new.expires.or(old.expires);
        self.updated = now;
    }
}

/// When a secret was deleted, and when it will be gone for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) deleted: i64,
    pub(super) scheduled_purge: i64,
}

/// What the vault says about how it deletes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recovery {
    pub(super) level: &'static str,
    pub(super) days: i64,
}

/// One version as it was at the time of the answer.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) managed: bool,
    pub(super) deletion: Option<Deletion>,
    pub(super) recovery: Recovery,
}

/// How much of a secret an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `SecretBundle` with its value.
    Value,
    /// `SecretBundle` without: after an update, a deletion or a recovery.
    Properties,
    /// `SecretItem` in a list of secrets: its id has no version.
    Item,
    /// `SecretItem` in a list of versions.
    VersionItem,
}

impl Snapshot {
    /// `vault` is the address of the vault, without a slash at its end.
    pub(super) fn json(&self, vault: &str, form: Form) -> Value {
        let Self { name, version, .. } = self;
        let mut json = Map::new();
        if form == Form::Value {
            json.insert("value".to_owned(), json!(version.value));
        }
        if let Some(content_type) = &version.properties.content_type {
            json.insert("contentType".to_owned(), json!(content_type));
        }
        let secret = format!("{vault}/secrets/{name}");
        let id = match form {
            Form::Item => secret,
            Form::Value | Form::Properties | Form::VersionItem => format!("{secret}/{}", version.id),
        };
        json.insert("id".to_owned(), json!(id));
        if self.managed {
            json.insert("managed".to_owned(), json!(true));
            if matches!(form, Form::Value | Form::Properties) {
                json.insert("kid".to_owned(), json!(format!("{vault}/keys/{name}/{}", version.id)));
            }
        }
        json.insert("attributes".to_owned(), self.attributes());
        if let Some(tags) = &version.properties.tags {
            json.insert("tags".to_owned(), json!(tags));
        }
        if let Some(deletion) = self.deletion {
            json.insert("recoveryId".to_owned(), json!(format!("{vault}/deletedsecrets/{name}")));
            json.insert("deletedDate".to_owned(), json!(deletion.deleted));
            json.insert("scheduledPurgeDate".to_owned(), json!(deletion.scheduled_purge));
        }
        Value::Object(json)
    }

    fn attributes(&self) -> Value {
        let Version {
            properties,
            created,
            updated,
            ..
        } = &self.version;
        let mut attributes = Map::new();
        attributes.insert("enabled".to_owned(), json!(self.version.enabled()));
        for (name, time) in [("nbf", properties.not_before), ("exp", properties.expires)] {
            if let Some(time) = time {
                attributes.insert(name.to_owned(), json!(time));
            }
        }
        attributes.insert("created".to_owned(), json!(created));
        attributes.insert("updated".to_owned(), json!(updated));
        attributes.insert("recoveryLevel".to_owned(), json!(self.recovery.level));
        attributes.insert("recoverableDays".to_owned(), json!(self.recovery.days));
        Value::Object(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(properties: Properties) -> Snapshot {
        Snapshot {
            name: "Name".to_owned(),
            version: Version::new("0f".repeat(16), "kfcanary-snapshot1".to_owned(), properties, 7),
            managed: false,
            deletion: None,
            recovery: Recovery {
                level: "Recoverable+Purgeable",
                days: 90,
            },
        }
    }

    #[test]
    fn only_a_value_bundle_has_the_value() {
        for (form, has_value) in [
            (Form::Value, true),
            (Form::Properties, false),
            (Form::Item, false),
            (Form::VersionItem, false),
        ] {
            let json = snapshot(Properties::default()).json("https://v", form);
            assert_eq!(json.get("value").is_some(), has_value, "{form:?}");
        }
    }

    #[test]
    fn an_item_of_a_list_of_secrets_names_no_version() {
        let json = |form| snapshot(Properties::default()).json("https://v", form)["id"].clone();
        assert_eq!(json(Form::Item), "https://v/secrets/Name");
        assert_eq!(json(Form::VersionItem), format!("https://v/secrets/Name/{}", "0f".repeat(16)));
    }

    #[test]
    fn what_was_not_set_is_not_written() {
        let json = snapshot(Properties::default()).json("https://v", Form::Value);
        for field in ["contentType", "tags", "managed", "kid", "recoveryId"] {
            assert!(json.get(field).is_none(), "{field}");
        }
        let attributes = json!({
            "enabled": true, "created": 7, "updated": 7, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90,
        });
        assert_eq!(json["attributes"], attributes);
    }

    #[test]
    fn an_update_replaces_what_it_names_and_keeps_the_rest() {
        let tags = |key: &str| Some(BTreeMap::from([(key.to_owned(), "1".to_owned())]));
        let mut version = snapshot(Properties {
            content_type: Some("text/plain".to_owned()),
            tags: tags("old"),
            expires: Some(9),
            ..Properties::default()
        })
        .version;
        let new = Properties {
            tags: tags("new"),
            enabled: Some(false),
            ..Properties::default()
        };
        version.update(new, 8);
        assert_eq!(version.properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(version.properties.tags, tags("new"));
        assert_eq!(version.properties.expires, Some(9));
        assert!(!version.enabled());
        assert_eq!((version.created, version.updated), (7, 8));
    }
}
