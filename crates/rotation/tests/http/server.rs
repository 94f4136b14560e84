//! A small HTTP server that does what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status, further headers, body.
    Answer(u16, &'static str, String),
    /// The connection is closed without one.
    Lost,
    /// It never comes.
    Hung,
}

pub(crate) fn answer(status: u16, body: impl Into<String>) -> Reply {
    Reply::Answer(status, "", body.into())
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<(Request, Reply)>>>,
}

impl Server {
    pub(crate) async fn new(handle: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, handle) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(handle));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, handle) = (Arc::clone(&all), Arc::clone(&handle));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(request) = hear(&mut stream).await else {
                        return;
                    };
                    let reply = handle(&request);
                    all.lock().unwrap().push((request, reply.clone()));
                    match reply {
                        Reply::Answer(status, headers, body) => {
                            let head = format!(
                                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
                                body.len()
                            );
                            let _ = stream.write_all(head.as_bytes()).await;
                            let _ = stream.write_all(body.as_bytes()).await;
                        }
                        Reply::Lost => {}
                        Reply::Hung => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// All that was said so far.
    pub(crate) fn seen(&self) -> Vec<(Request, Reply)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn hear(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            let body = body.to_owned();
            return Some(Request {
                method,
                path,
                headers,
                body,
            });
        }
    }
}
