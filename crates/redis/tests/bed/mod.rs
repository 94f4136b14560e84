//! A Redis of a test's own, machines that share it, and what they say.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob_core::{
    CacheLayer, CacheTimes, CachedStore, Freshness, GetOptions, MemoryStore, PutRequest, Result, SecretName, SecretStore,
};
use keyfob_envelope::{KeyEncryptionKey, RawKey};
use keyfob_redis::{RedisCache, RedisConfig};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// A server that the test started, and that ends with it.
pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    /// `None` when this machine has no `redis-server`; then the test is skipped.
    #[track_caller]
    pub(crate) fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            keyfob_testkit::skip(test, "there is no `redis-server` (on Debian: `apt-get install redis-server`)");
            return None;
        }
        let mut server = Self {
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            directory: tempfile::tempdir().unwrap(),
            process: None,
        };
        server.launch();
        Some(server)
    }

    /// One that listens with TLS as well.
    #[track_caller]
    pub(crate) fn start_tls(test: &str, arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
            .to_string();
        let mut all = vec!["--tls-port", &port];
        all.extend(arguments);
        Self::start(test, &all)
    }

    pub(crate) fn tls_port(&self) -> &str {
        &self.arguments[1]
    }

    pub(crate) fn launch(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command
            .args(["--dir", self.directory.path().to_str().unwrap()])
            .args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        for _ in 0..500 {
            if self.answers() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer");
    }

    /// Whether it says anything at all: that it wants a password, too.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = [0; 8];
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut answer));
        asked.is_ok() && (answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Leaves it as it is, without answering anybody.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection to look at what is kept.
    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn key() -> KeyEncryptionKey {
    RawKey::new(&[7; 32]).shared_key()
}

pub(crate) fn config(url: &str) -> RedisConfig {
    // Two busy cores stop a thread for longer than Redis takes.
    RedisConfig::new(url, &key()).unwrap().timeout(Duration::from_millis(500))
}

pub(crate) fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A process with a memory of its own, over the store that all share.
pub(crate) struct Machine {
    pub(crate) redis: RedisCache,
    pub(crate) store: Arc<CachedStore>,
}

pub(crate) fn fleet_store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

impl Machine {
    pub(crate) fn new(config: RedisConfig, inner: Arc<dyn SecretStore>) -> Self {
        Self::with_times(config, inner, CacheTimes::new(Duration::from_secs(300)))
    }

    pub(crate) fn with_times(config: RedisConfig, inner: Arc<dyn SecretStore>, times: CacheTimes) -> Self {
        let redis = RedisCache::new(config).unwrap();
        let layer = CacheLayer::new(times)
            .jitter(0.0)
            .refresh_ahead(1.0)
            .shared(redis.of_store("memory:test"));
        Self {
            store: layer.build(inner),
            redis,
        }
    }

    pub(crate) async fn read(&self, key: &str) -> Result<(String, Freshness)> {
        let secret = self.store.get(&name(key), &GetOptions::default()).await?;
        let value = secret.value.expose_str()?.to_owned();
        Ok((value, secret.metadata.origin.freshness))
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.store.put(&name(key), PutRequest::new(value)).await.unwrap();
    }
}

pub(crate) async fn set(store: &dyn SecretStore, key: &str, value: &str) {
    store.put(&name(key), PutRequest::new(value)).await.unwrap();
}

/// Waits until it is so, for ten seconds at most.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is logged on this thread, from `INFO` up.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let writer = logs.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store that can't be reached.
#[derive(Debug)]
pub(crate) struct Gone(keyfob_core::StoreInfo);

impl Default for Gone {
    fn default() -> Self {
        Self(MemoryStore::new().info().clone())
    }
}

fn gone<T>() -> Result<T> {
    Err(keyfob_core::Error::new(
        keyfob_core::ErrorKind::Unavailable,
        "as the test wants it",
    ))
}

#[async_trait::async_trait]
impl SecretStore for Gone {
    fn info(&self) -> &keyfob_core::StoreInfo {
        &self.0
    }

    async fn get(&self, _: &SecretName, _: &GetOptions) -> Result<keyfob_core::Secret> {
        gone()
    }

    async fn get_many(&self, requests: &[keyfob_core::GetRequest]) -> Vec<Result<keyfob_core::Secret>> {
        requests.iter().map(|_| gone()).collect()
    }

    async fn put(&self, _: &SecretName, _: PutRequest) -> Result<keyfob_core::Metadata> {
        gone()
    }

    async fn delete(&self, _: &SecretName, _: &keyfob_core::DeleteOptions) -> Result<()> {
        gone()
    }

    async fn restore(&self, _: &SecretName) -> Result<keyfob_core::Metadata> {
        gone()
    }

    async fn list(&self, _: &keyfob_core::ListOptions) -> Result<keyfob_core::Page<keyfob_core::Metadata>> {
        gone()
    }

    async fn versions(
        &self,
        _: &SecretName,
        _: &keyfob_core::PageRequest,
    ) -> Result<keyfob_core::Page<keyfob_core::VersionInfo>> {
        gone()
    }

    async fn health(&self) -> Result<keyfob_core::Health> {
        gone()
    }
}
