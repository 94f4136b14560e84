//! KV mounts of a test's own, which go with it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use keyfob_core::{PutMode, PutRequest, SecretName};
use keyfob_vault::{AuthConfig, KvVersion, VaultConfig, VaultStore};
use serde_json::{Value, json};

use crate::support::{Admin, config, random};

pub(crate) struct Mount {
    pub(crate) admin: Admin,
    pub(crate) name: String,
}

impl Mount {
    pub(crate) async fn kv(test: &str, version: KvVersion) -> Option<Self> {
        let settings = json!({"type": "kv", "options": {"version": version.to_string()}});
        let mount = Self::of(test, &settings).await?;
        // A mount of KV 2 needs a moment before it takes requests.
        for _ in 0..100 {
            let path = mount.path(if version == KvVersion::V2 { "metadata/none" } else { "none" });
            if mount.admin.try_call("GET", &path, false, Value::Null).await.0 == 404 {
                return Some(mount);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the mount is not ready after two seconds");
    }

    pub(crate) async fn of(test: &str, settings: &Value) -> Option<Self> {
        let admin = Admin::of(test)?;
        let name = random("mount");
        admin.call("POST", &format!("sys/mounts/{name}"), settings.clone()).await;
        Some(Self { admin, name })
    }

    pub(crate) fn path(&self, inside: &str) -> String {
        format!("{}/{inside}", self.name)
    }

    pub(crate) fn config(&self, version: Option<KvVersion>) -> VaultConfig {
        self.config_for(&self.admin.token, version)
    }

    pub(crate) fn config_for(&self, token: &str, version: Option<KvVersion>) -> VaultConfig {
        let mut config = config(&self.admin.url, AuthConfig::token(token));
        config.mount = self.name.clone();
        config.kv_version = version;
        config
    }

    pub(crate) async fn store(&self, version: Option<KvVersion>) -> VaultStore {
        VaultStore::connect(&self.config(version)).await.unwrap()
    }

    pub(crate) async fn patch(&self, inside: &str, body: Value) {
        let request = client()
            .patch(format!("{}/v1/{}", self.admin.url, self.path(inside)))
            .header("X-Vault-Token", &self.admin.token)
            .header("Content-Type", "application/merge-patch+json")
            .body(body.to_string());
        assert_eq!(request.send().await.unwrap().status(), 204);
    }

    /// A token with this policy and no other, for an hour.
    pub(crate) async fn token(&self, policy: &str) -> String {
        let name = random("policy");
        self.admin
            .call("POST", &format!("sys/policies/acl/{name}"), json!({ "policy": policy }))
            .await;
        let request = json!({"policies": [name], "no_default_policy": true, "ttl": "1h"});
        let answer = self.admin.call("POST", "auth/token/create", request).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let (url, token) = (
            format!("{}/v1/sys/mounts/{}", self.admin.url, self.name),
            self.admin.token.clone(),
        );
        // With a client of its own: the other's connections are driven by the runtime that waits here.
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let delete = client().delete(url).header("X-Vault-Token", token);
            runtime.block_on(async { drop(delete.send().await) });
        });
        drop(removed.join());
    }
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_certs_only([]).timeout(Duration::from_secs(30));
    builder.build().unwrap()
}

pub(crate) fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

pub(crate) fn create(value: &str) -> PutRequest {
    PutRequest::new(value).mode(PutMode::Create)
}
