//! The resource `SecretVersion`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::names::SecretName;
use super::secret::Replication;
use super::status::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Enabled,
    Disabled,
    Destroyed,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Enabled => 1,
            Self::Disabled => 2,
            Self::Destroyed => 3,
        }
    }
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) secret: SecretName,
    pub(super) number: u64,
    pub(super) created: Timestamp,
    pub(super) state: State,
    pub(super) etag: String,
    pub(super) data: Vec<u8>,
    pub(super) crc32c: u32,
    /// The client sent the checksum.
    pub(super) checked: bool,
    pub(super) destroyed: Option<Timestamp>,
    /// When it will be destroyed, with a delay that the secret asks for.
    pub(super) scheduled: Option<Timestamp>,
}

impl Version {
    pub(super) fn path(&self) -> String {
        format!("{}/versions/{}", self.secret.path(), self.number)
    }

    /// Refuses a version that is in `state`.
    pub(super) fn not_in(&self, state: State) -> Result<(), Status> {
        if self.state == state {
            let message = format!("Secret Version [{}] is in {} state.", self.path(), state.name());
            return Err(Status::precondition(message));
        }
        Ok(())
    }

    pub(super) fn destroy(&mut self, now: Timestamp) {
        self.state = State::Destroyed;
        self.destroyed = Some(now);
        self.scheduled = None;
        self.data = Vec::new();
    }

    /// As JSON, with the state by its number when the client asks for that (`enum-encoding=int`).
    pub(super) fn json(&self, replication: Option<&Replication>, numbers: bool) -> Value {
        let state = if numbers {
            json!(self.state.number())
        } else {
            json!(self.state.name())
        };
        let mut json = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                json.insert(name.to_owned(), value);
            }
        };
        put("name", Some(json!(self.path())));
        put("createTime", Some(json!(self.created.to_string())));
        put("destroyTime", self.destroyed.map(|time| json!(time.to_string())));
        put("state", Some(state));
        // The status has the form of the policy.
        put("replicationStatus", replication.map(Replication::json));
        put("etag", Some(json!(self.etag)));
        put("clientSpecifiedPayloadChecksum", self.checked.then(|| json!(true)));
        put("scheduledDestroyTime", self.scheduled.map(|time| json!(time.to_string())));
        Value::Object(json)
    }
}
