//! The bodies of requests to the vault, checked field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::secret::Properties;

/// "25 KB" in the reference, in bytes of UTF-8.
pub(super) const VALUE_LIMIT: usize = 25_600;
pub(super) const TAGS_LIMIT: usize = 15;
/// In characters, of a tag's name and of its value.
pub(super) const TAG_LIMIT: usize = 256;
/// In characters.
pub(super) const CONTENT_TYPE_LIMIT: usize = 255;

/// `SecretSetParameters`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) value: String,
    pub(super) properties: Properties,
}

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// 400, with this message.
    Parameter(String),
    /// A field that no reference knows: the double does not guess what the service would do.
    Unknown(String),
}

impl Set {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Wrong> {
        let mut object = object(body)?;
        let value = match object.remove("value") {
            Some(Value::String(value)) => value,
            None | Some(Value::Null) => return Err(Wrong::Parameter("Property value is required.".to_owned())),
            Some(_) => return Err(invalid("value")),
        };
        if value.len() > VALUE_LIMIT {
            return Err(Wrong::Parameter(format!(
                "Secret is beyond the maximum permitted length of {VALUE_LIMIT} bytes."
            )));
        }
        Ok(Self {
            value,
            properties: properties(object)?,
        })
    }
}

/// `SecretUpdateParameters`.
pub(super) fn parse_update(body: &[u8]) -> Result<Properties, Wrong> {
    properties(object(body)?)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Wrong> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Wrong::Parameter("The request body is not a JSON object.".to_owned())),
    }
}

fn properties(mut object: Map<String, Value>) -> Result<Properties, Wrong> {
    let mut properties = Properties {
        content_type: content_type(object.remove("contentType"))?,
        tags: tags(object.remove("tags"))?,
        ..Properties::default()
    };
    match object.remove("attributes") {
        None | Some(Value::Null) => {}
        Some(Value::Object(mut attributes)) => {
            properties.enabled = match attributes.remove("enabled") {
                None | Some(Value::Null) => None,
                Some(Value::Bool(enabled)) => Some(enabled),
                Some(_) => return Err(invalid("enabled")),
            };
            properties.not_before = time("nbf", attributes.remove("nbf"))?;
            properties.expires = time("exp", attributes.remove("exp"))?;
            nothing_left(&attributes)?;
        }
        Some(_) => return Err(invalid("attributes")),
    }
    nothing_left(&object)?;
    Ok(properties)
}

fn content_type(value: Option<Value>) -> Result<Option<String>, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= CONTENT_TYPE_LIMIT => Ok(Some(text)),
        Some(_) => Err(invalid("contentType")),
    }
}

fn tags(value: Option<Value>) -> Result<Option<BTreeMap<String, String>>, Wrong> {
    let map = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(invalid("tags")),
    };
    if map.len() > TAGS_LIMIT {
        return Err(Wrong::Parameter(format!("A secret can have {TAGS_LIMIT} tags at most.")));
    }
    let mut tags = BTreeMap::new();
    for (name, value) in map {
        let Value::String(value) = value else {
            return Err(invalid("tags"));
        };
        if [&name, &value].into_iter().any(|text| text.chars().count() > TAG_LIMIT) {
            return Err(Wrong::Parameter(format!(
                "The name and the value of a tag can have {TAG_LIMIT} characters at most."
            )));
        }
        tags.insert(name, value);
    }
    Ok(Some(tags))
}

fn time(name: &str, value: Option<Value>) -> Result<Option<i64>, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .filter(|time| *time >= 0)
            .map(Some)
            .ok_or_else(|| invalid(name)),
    }
}

fn nothing_left(object: &Map<String, Value>) -> Result<(), Wrong> {
    match object.keys().next() {
        None => Ok(()),
        Some(name) => Err(Wrong::Unknown(name.clone())),
    }
}

/// Never with the value: it may be a secret.
fn invalid(property: &str) -> Wrong {
    Wrong::Parameter(format!("Property {property} has invalid value\r\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<Set, Wrong> {
        Set::parse(body.to_string().as_bytes())
    }

    fn message(result: Result<Set, Wrong>) -> String {
        match result {
            Err(Wrong::Parameter(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_that_the_reference_knows_is_read() {
        let set = parse(&json!({
            "value": "", "contentType": "text/plain", "tags": { "a": "b" },
            "attributes": { "enabled": false, "nbf": 1, "exp": 2 },
        }))
        .unwrap();
        let properties = Properties {
            content_type: Some("text/plain".to_owned()),
            tags: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            enabled: Some(false),
            not_before: Some(1),
            expires: Some(2),
        };
        assert_eq!(
            set,
            Set {
                value: String::new(),
                properties
            }
        );
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let value = |length| parse(&json!({ "value": "a".repeat(length) }));
        assert!(value(25_600).is_ok());
        assert!(message(value(25_601)).contains("25600"));
        let wide = parse(&json!({ "value": "é".repeat(12_801) }));
        assert!(message(wide).contains("25600"));
        let tags = |count: usize, length: usize| {
            let tags: Map<_, _> = (0..count).map(|n| (format!("{n}"), json!("v".repeat(length)))).collect();
            parse(&json!({ "value": "", "tags": tags }))
        };
        assert!(tags(15, 256).is_ok());
        assert!(message(tags(16, 1)).contains("15 tags"));
        assert!(message(tags(1, 257)).contains("256"));
        let named = parse(&json!({ "value": "", "tags": { "n".repeat(257): "" } }));
        assert!(message(named).contains("256"));
        let typed = |length| parse(&json!({ "value": "", "contentType": "t".repeat(length) }));
        assert!(typed(255).is_ok());
        assert!(message(typed(256)).contains("contentType"));
    }

    #[test]
    fn a_field_of_another_type_is_refused() {
        for (field, value) in [
            ("value", json!(1)),
            ("contentType", json!(1)),
            ("tags", json!([])),
            ("tags", json!({ "a": 1 })),
            ("attributes", json!(1)),
            ("attributes", json!({ "enabled": "yes" })),
            ("attributes", json!({ "exp": "2026-01-01" })),
            ("attributes", json!({ "nbf": -1 })),
        ] {
            let mut body = json!({ "value": "" });
            body[field] = value;
            assert!(message(parse(&body)).contains("has invalid value"), "{body}");
        }
        assert!(message(parse(&json!({}))).contains("required"));
        assert!(message(parse(&json!([]))).contains("JSON object"));
        assert!(message(Set::parse(b"{")).contains("JSON object"));
    }

    #[test]
    fn what_no_reference_knows_is_not_guessed() {
        assert_eq!(
            parse(&json!({ "value": "", "color": 1 })),
            Err(Wrong::Unknown("color".to_owned()))
        );
        let inside = parse(&json!({ "value": "", "attributes": { "created": 1 } }));
        assert_eq!(inside, Err(Wrong::Unknown("created".to_owned())));
        assert_eq!(parse_update(br#"{"value":""}"#), Err(Wrong::Unknown("value".to_owned())));
        assert_eq!(parse_update(b"{}"), Ok(Properties::default()));
    }
}
