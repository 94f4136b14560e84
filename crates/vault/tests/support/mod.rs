//! What the tests of this crate share: a server's administration, stand-ins for servers, ways between.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use keyfob_vault::{Address, AuthConfig, Vault, VaultConfig};
use serde_json::Value;

/// A name that no other run uses.
pub(crate) fn random(what: &str) -> String {
    format!("kf-{what}-{:016x}", RandomState::new().hash_one(what))
}

pub(crate) fn config(address: &str, auth: AuthConfig) -> VaultConfig {
    VaultConfig::new(Address::parse(address).unwrap(), auth)
}

pub(crate) async fn vault(address: &str, auth: AuthConfig) -> Vault {
    Vault::connect(&config(address, auth)).await.unwrap()
}

/// The administrator of a test server.
#[derive(Clone)]
pub(crate) struct Admin {
    client: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Admin {
    pub(crate) fn of(test: &str) -> Option<Self> {
        Some(Self {
            client: reqwest::Client::builder().tls_certs_only([]).build().unwrap(),
            url: keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_URL")?,
            token: keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TOKEN")?,
        })
    }

    pub(crate) async fn try_call(&self, method: &str, path: &str, wrap: bool, body: Value) -> (u16, Value) {
        let mut request = self
            .client
            .request(method.parse().unwrap(), format!("{}/v1/{path}", self.url))
            .header("X-Vault-Token", &self.token)
            .body(body.to_string());
        if wrap {
            request = request.header("X-Vault-Wrap-TTL", "60s");
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_call(method, path, false, body).await;
        assert!(status < 300, "{method} {path}: {status} {}", answer["errors"]);
        answer
    }
}

/// A server that answers each request with what `answer` makes of it, and keeps the requests.
pub(crate) struct StandIn {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    pub(crate) fn answering(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    while let Some(request) = read_request(&mut stream) {
                        kept.lock().unwrap().push(request.clone());
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { url, requests }
    }

    pub(crate) fn fixed(status: &str, headers: &str, body: &str) -> Self {
        let text = response(status, headers, body);
        Self::answering(move |_, stream| drop(stream.write_all(text.as_bytes())))
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

/// Passes connections on to a server and keeps what the client sends.
pub(crate) struct Proxy {
    pub(crate) url: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(crate) fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&target).unwrap();
                let kept = Arc::clone(&kept);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from, &to, |bytes| kept.lock().unwrap().extend_from_slice(bytes)));
                thread::spawn(move || copy(server, &client, |_| {}));
            }
        });
        Self { url, sent }
    }

    /// How many requests for this path there were.
    pub(crate) fn count(&self, path: &str) -> usize {
        let sent = self.sent.lock().unwrap();
        String::from_utf8_lossy(&sent)
            .matches(&format!(" /v1/{path} HTTP/1.1"))
            .count()
    }
}

fn copy(mut from: TcpStream, mut to: &TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Makes a server reachable through a socket.
pub(crate) fn socket_to(url: &str, path: &Path) {
    let target = url.strip_prefix("http://").unwrap().to_owned();
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(&target).unwrap();
            let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut answers, &mut back));
            thread::spawn(move || std::io::copy(&mut client, &mut server));
        }
    });
}
