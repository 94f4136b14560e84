//! An API server that answers as a test wants: one thread per connection, one closure for all requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob_core::{Connected, Environment, Error, StoreUrl};
use keyfob_kubernetes::BACKEND;

/// What the service does with one request.
pub(crate) enum Reply {
    /// Status, further headers (each with its line end), body.
    Answer(u16, String, String),
    /// Nothing, for longer than any test waits.
    Hang,
    /// Begins a body and never ends it.
    Endless,
    /// Announces a body, sends a part, and closes.
    Cut,
    /// Lines of a watch, then the end of it.
    Lines(Vec<String>),
    /// Lines of a watch, then a connection that breaks.
    BrokenLines(Vec<String>),
}

/// A request as it came in.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }
}

/// Everything that was asked.
pub(crate) type Asked = Arc<Mutex<Vec<Request>>>;

/// Starts a service on a free port; returns its address and what it was asked.
pub(crate) fn service(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, answer) = (Asked::default(), Arc::new(answer));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            std::thread::spawn(move || serve(&stream, &*answer, &seen));
        }
    });
    (address, asked)
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply, seen: &Asked) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                if writer.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Hang => std::thread::sleep(Duration::from_secs(60)),
            Reply::Endless => {
                let _ =
                    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                // So much more than is ever read, so that a test without the limit ends too.
                for _ in 0..2000 {
                    if writer.write_all(chunk.as_bytes()).is_err() {
                        return;
                    }
                }
                return;
            }
            Reply::Cut => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"kind\":\"Sec";
                let _ = writer.write_all(head.as_bytes());
                return;
            }
            Reply::Lines(lines) => send_lines(writer, &lines, "0\r\n\r\n"),
            Reply::BrokenLines(lines) => {
                send_lines(writer, &lines, "");
                return;
            }
        }
    }
}

fn send_lines(mut writer: &TcpStream, lines: &[String], end: &str) {
    let mut text = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for line in lines {
        text.push_str(&format!("{:x}\r\n{line}\n\r\n", line.len() + 1));
    }
    let _ = writer.write_all(format!("{text}{end}").as_bytes());
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut begin = String::new();
    reader.read_line(&mut begin).ok().filter(|bytes| *bytes > 0)?;
    let mut words = begin.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next()?,
        path: words.next()?,
        headers: String::new(),
        body: String::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        if line == "\r\n" {
            break;
        }
        request.headers.push_str(&line);
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}

pub(crate) fn json(body: impl Into<String>) -> Reply {
    Reply::Answer(200, "content-type: application/json\r\n".to_owned(), body.into())
}

/// A refusal as the API server writes it.
pub(crate) fn refusal(status: u16, reason: &str, message: &str) -> Reply {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","reason":"{reason}","details":{{"name":"{message}","kind":"secrets","causes":[{{"message":"{message}"}}]}},"code":{status}}}"#
    );
    Reply::Answer(status, "content-type: application/json\r\n".to_owned(), body)
}

pub(crate) fn metadata(name: &str, version: &str) -> String {
    format!(r#"{{"name":"{name}","namespace":"n","uid":"0f3e6c1a","resourceVersion":"{version}"}}"#)
}

/// A Secret with one value, in base64.
pub(crate) fn secret(name: &str, key: &str, base64: &str) -> Reply {
    let metadata = metadata(name, "7");
    json(format!(
        r#"{{"kind":"Secret","metadata":{metadata},"data":{{"{key}":"{base64}"}}}}"#
    ))
}

pub(crate) fn partial(name: &str) -> Reply {
    let metadata = metadata(name, "8");
    json(format!(r#"{{"kind":"PartialObjectMetadata","metadata":{metadata}}}"#))
}

pub(crate) const TOKEN: &str = "kfcanary-bearertoken01";

pub(crate) fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: c, user: u, namespace: n}}\n\
         clusters:\n- name: c\n  cluster: {{server: '{server}'}}\nusers:\n- name: u\n  user: {user}\n"
    )
}

/// The store at `server`, with a second for each request: `url` is `k8s:` or `k8s:///NAME`.
pub(crate) async fn connect(url: &str, server: &str) -> Connected {
    let environment = Environment::fake()
        .file("~/.kube/config", kubeconfig(server, &format!("{{token: {TOKEN}}}")))
        .build();
    try_connect(url, &environment).await.unwrap()
}

pub(crate) async fn try_connect(url: &str, environment: &Environment) -> Result<Connected, Error> {
    let url = StoreUrl::parse(&format!("{url}?timeout=1")).unwrap();
    (BACKEND.connect)(url, environment).await
}
