//! A provider of keys, in the manner of Stripe: forms, bearer tokens, idempotency keys, ids that are no secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyfob_core::SecretValue;
use keyfob_rotation::{ApiKeyRotator, ApiRequest};

use crate::server::{Reply, Request, Server, answer};

pub(crate) const CREDENTIAL: &str = "kfcanary-admin00001";
pub(crate) const FIRST: &str = r#"{"id":"key_1","key":"kfcanary-key000001"}"#;

pub(crate) struct Provider {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Ids and the keys that are accepted.
    keys: BTreeMap<String, String>,
    /// What was made for which idempotency key.
    made: BTreeMap<String, String>,
    count: usize,
    /// How many requests there were, and the answer to which of them is lost.
    requests: usize,
    loses: usize,
    /// How often a key is not known yet.
    unsettled: usize,
}

impl Provider {
    /// The answer to one of the requests is lost, counted from 1.
    pub(crate) async fn new(loses: usize, unsettled: usize) -> Self {
        let state = Arc::new(Mutex::new(State {
            keys: BTreeMap::from([("key_1".to_owned(), "kfcanary-key000001".to_owned())]),
            count: 1,
            loses,
            unsettled,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = Server::new(move |request| shared.lock().unwrap().handle(request)).await;
        Self { server, state }
    }

    pub(crate) fn rotator(&self) -> ApiKeyRotator {
        let url = |path: &str| format!("{}{path}", self.server.url);
        let create = ApiRequest::new("POST", &url("/v1/api_keys"))
            .header("Authorization", "Bearer {credential}")
            .header("Idempotency-Key", "{rotation}")
            .form([("name", "{name}"), ("metadata[replaces]", "{key_id}")]);
        let test = ApiRequest::new("GET", &url("/v1/account")).header("Authorization", "Bearer {key}");
        let revoke = ApiRequest::new("DELETE", &url("/v1/api_keys/{key_id}")).header("Authorization", "Bearer {credential}");
        let rotator = ApiKeyRotator::new(create, test, revoke, "/secret").unwrap();
        rotator.ids_at("/id").unwrap().credential(SecretValue::from(CREDENTIAL))
    }

    /// The keys that are accepted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state
            .keys
            .iter()
            .map(|(id, key)| format!(r#"{{"id":"{id}","key":"{key}"}}"#))
            .collect()
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

impl State {
    fn handle(&mut self, request: &Request) -> Reply {
        self.requests += 1;
        let reply = self.answer(request);
        if self.requests == self.loses { Reply::Lost } else { reply }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let bearer = request
            .headers
            .get("authorization")
            .and_then(|header| header.strip_prefix("Bearer "));
        let bearer = bearer.unwrap_or_default();
        let is_administrator = bearer == CREDENTIAL;
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/v1/account") if self.keys.values().any(|key| key == bearer) => {
                if self.unsettled > 0 {
                    self.unsettled -= 1;
                    return answer(401, r#"{"error":{"type":"invalid_request_error"}}"#);
                }
                answer(200, r#"{"id":"acct_1","object":"account"}"#)
            }
            ("POST", "/v1/api_keys") if is_administrator => {
                let once = request.headers["idempotency-key"].clone();
                if let Some(made) = self.made.get(&once) {
                    return answer(200, made.clone());
                }
                self.count += 1;
                let (id, key) = (format!("key_{}", self.count), format!("kfcanary-key{:06}", self.count));
                let made = format!(r#"{{"id":"{id}","object":"api_key","secret":"{key}"}}"#);
                self.keys.insert(id, key);
                self.made.insert(once, made.clone());
                answer(200, made)
            }
            ("DELETE", path) if is_administrator => {
                match path.strip_prefix("/v1/api_keys/").and_then(|id| self.keys.remove(id)) {
                    Some(_) => answer(
                        200,
                        format!(r#"{{"id":"{}","deleted":true}}"#, &path["/v1/api_keys/".len()..]),
                    ),
                    None => answer(404, r#"{"error":{"code":"resource_missing"}}"#),
                }
            }
            _ => answer(401, r#"{"error":{"type":"invalid_request_error"}}"#),
        }
    }
}
