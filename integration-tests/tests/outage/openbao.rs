//! A server of the test's own, which may be stopped, killed and started again over what it has stored.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyfob_integration_tests::servers::try_send;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// OpenBao with a mount `secret` of version 2. It is killed when it is dropped.
pub(crate) struct OpenBao {
    program: PathBuf,
    directory: TempDir,
    url: String,
    child: Child,
    unseal_key: String,
    token: String,
}

impl OpenBao {
    /// Starts a new one; `None`, told, when the test bed has no such program.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let program = PathBuf::from(keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_PROGRAM")?);
        let directory = tempfile::tempdir().unwrap();
        let [api, cluster] = free_addresses();
        let url = format!("http://{api}");
        let storage = directory.path().join("storage");
        std::fs::create_dir(&storage).unwrap();
        let config = json!({
            "storage": [{"raft": {"path": storage, "node_id": "one", "performance_multiplier": 1}}],
            "listener": [{"tcp": {"address": api, "tls_disable": true}}],
            "api_addr": url,
            "cluster_addr": format!("http://{cluster}"),
        });
        std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let child = spawn(&program, &directory);
        let mut server = Self {
            program,
            directory,
            url,
            child,
            unseal_key: String::new(),
            token: String::new(),
        };
        let made = server.until_done("PUT", "sys/init", &json!({"secret_shares": 1, "secret_threshold": 1}));
        server.unseal_key = made["keys"][0].as_str().unwrap().to_owned();
        server.token = made["root_token"].as_str().unwrap().to_owned();
        server.unseal();
        let mount = json!({"type": "kv", "options": {"version": "2"}});
        let _ = server.until_done("POST", "sys/mounts/secret", &mount);
        let _ = server.until_done("GET", "secret/config", &Value::Null);
        Some(server)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// It answers nothing, and closes nothing.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`kill`](Self::kill), at the same address and with the same storage.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.program, &self.directory);
        self.unseal();
        let _ = self.until_done("GET", "secret/config", &Value::Null);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn unseal(&self) {
        let key = json!({"key": self.unseal_key});
        let _ = self.until_done("PUT", "sys/unseal", &key);
    }

    /// Sends a request again and again until it is granted: a server that has just begun refuses much.
    fn until_done(&self, method: &str, path: &str, body: &Value) -> Value {
        let end = Instant::now() + PATIENCE;
        let url = format!("{}/v1/{path}", self.url);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        loop {
            let answer = try_send(method, &url, &[("X-Vault-Token", self.token.as_str())], &body);
            match answer {
                Ok((200 | 204, answer)) => return serde_json::from_str(&answer).unwrap_or_default(),
                other => assert!(Instant::now() < end, "`{path}`: {:?}", other.map(|(status, _)| status)),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &PathBuf, directory: &TempDir) -> Child {
    let mut command = Command::new(program);
    command
        .arg("server")
        .arg(format!("-config={}", directory.path().join("config.json").display()))
        .env_clear()
        .env("HOME", directory.path())
        .current_dir(directory.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Free now, and different.
fn free_addresses() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}
