//! Faults that a test asks for.

use serde_json::{Value, json};

use super::json::Message;
use super::names::Place;
use super::status::{Code, Status};

/// What happens instead of the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aborted,
    Internal,
    ResourceExhausted,
    ServiceDisabled,
    Unavailable,
    WrongChecksum,
}

const KINDS: [(&str, Kind); 6] = [
    ("ABORTED", Kind::Aborted),
    ("INTERNAL", Kind::Internal),
    ("RESOURCE_EXHAUSTED", Kind::ResourceExhausted),
    ("SERVICE_DISABLED", Kind::ServiceDisabled),
    ("UNAVAILABLE", Kind::Unavailable),
    ("WRONG_CHECKSUM", Kind::WrongChecksum),
];

/// A fault that waits for its requests.
#[derive(Debug)]
struct Planned {
    kind: Kind,
    /// The method that it happens to, `AccessSecretVersion`; every one when empty.
    method: String,
    /// A part of the path that it happens to, so that tests that run at once don't disturb each other.
    resource: String,
    left: i64,
    retry_delay: String,
    /// The request is carried out first.
    afterwards: bool,
}

/// What happens to a request.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// The answer, in place of the right one.
    pub(super) status: Option<Status>,
    /// The request is carried out before it is answered with `status`.
    pub(super) afterwards: bool,
    /// The checksum of the payload is wrong.
    pub(super) wrong_checksum: bool,
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Planned>);

impl Faults {
    /// Plans the fault that a request to the control endpoint asks for.
    pub(super) fn plan(&mut self, body: Value) -> Result<(), Status> {
        let known = ["afterwards", "count", "fault", "method", "resource", "retryDelay"];
        let mut message = Message::read(body, "", &known)?;
        let fault = message.text("fault")?;
        let kind = KINDS.iter().find(|(name, _)| *name == fault);
        let (_, kind) = kind.ok_or_else(|| Status::invalid(format!("There is no fault [{fault}].")))?;
        self.0.push(Planned {
            kind: *kind,
            method: message.text("method")?,
            resource: message.text("resource")?,
            left: message.integer("count")?.unwrap_or(1),
            retry_delay: message.text("retryDelay")?,
            afterwards: message.take("afterwards") == Some(Value::Bool(true)),
        });
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to a call of `method` on `path`. Of several faults that fit, the one that was planned first.
    pub(super) fn fate(&mut self, method: &str, path: &str, place: &Place) -> Fate {
        let fits = |fault: &&mut Planned| {
            fault.left > 0
                && (fault.method.is_empty() || fault.method == method)
                && path.contains(&fault.resource)
                && (fault.kind != Kind::WrongChecksum || method == "AccessSecretVersion")
        };
        let Some(fault) = self.0.iter_mut().find(fits) else {
            return Fate::default();
        };
        fault.left -= 1;
        let status = match fault.kind {
            Kind::Aborted => Status::new(
                Code::Aborted,
                "The operation was aborted due to a concurrent change. Please retry.",
            ),
            Kind::Internal => Status::new(Code::Internal, "Internal error encountered."),
            Kind::ResourceExhausted => Status::quota_exceeded(place),
            Kind::ServiceDisabled => Status::service_disabled(place),
            Kind::Unavailable => Status::new(Code::Unavailable, "The service is currently unavailable."),
            Kind::WrongChecksum => {
                return Fate {
                    wrong_checksum: true,
                    ..Fate::default()
                };
            }
        };
        let status = if fault.retry_delay.is_empty() {
            status
        } else {
            status.retry_after(&fault.retry_delay)
        };
        Fate {
            status: Some(status),
            afterwards: fault.afterwards,
            wrong_checksum: false,
        }
    }
}

/// Makes the checksum in the answer to an access wrong by one bit.
pub(super) fn spoil(body: &mut Value) {
    let right: u32 = body["payload"]["dataCrc32c"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    body["payload"]["dataCrc32c"] = json!((right ^ 1).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_planned_and_where() {
        let place = Place {
            project: 1,
            location: None,
        };
        let mut faults = Faults::default();
        let plan =
            json!({ "fault": "RESOURCE_EXHAUSTED", "method": "GetSecret", "resource": "s-1", "count": 2, "retryDelay": "3s" });
        faults.plan(plan).unwrap();
        faults.plan(json!({ "fault": "WRONG_CHECKSUM" })).unwrap();
        let mut code = |method: &str, path: &str| faults.fate(method, path, &place).status.map(|status| status.code);
        assert_eq!(code("GetSecret", "projects/1/secrets/s-2"), None);
        assert_eq!(code("ListSecrets", "projects/1/secrets/s-1"), None);
        for _ in 0..2 {
            assert_eq!(code("GetSecret", "projects/1/secrets/s-1"), Some(Code::ResourceExhausted));
        }
        assert_eq!(code("GetSecret", "projects/1/secrets/s-1"), None);
        assert!(faults.fate("AccessSecretVersion", "x", &place).wrong_checksum);
        assert!(!faults.fate("AccessSecretVersion", "x", &place).wrong_checksum);
        faults.plan(json!({ "fault": "ABORTED", "afterwards": true })).unwrap();
        assert!(faults.fate("GetSecret", "x", &place).afterwards);
        for bad in [
            json!({ "fault": "OTHER" }),
            json!({}),
            json!({ "fault": "ABORTED", "times": 1 }),
        ] {
            faults.plan(bad).unwrap_err();
        }
    }

    #[test]
    fn a_wrong_checksum_is_a_number_still() {
        let mut body = json!({ "payload": { "dataCrc32c": "6" } });
        spoil(&mut body);
        assert_eq!(body["payload"]["dataCrc32c"], "7");
    }
}
