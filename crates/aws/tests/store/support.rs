//! A service that answers as a test wants: one thread per connection, one closure for all requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob_aws::{AwsConfig, AwsStore};
use keyfob_core::{Environment, Error, GetRequest, SecretName, StoreUrl};

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
}

/// A request as it came in.
#[derive(Clone)]
pub(crate) struct Request {
    /// The action, for example `GetSecretValue`.
    pub(crate) action: String,
    /// All headers, lower-case names.
    pub(crate) headers: String,
    pub(crate) body: String,
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
                let text = format!(
                    "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                    body.len()
                );
                if writer.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Hang => std::thread::sleep(Duration::from_secs(60)),
            Reply::Endless => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
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
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"Name\":\"a\"");
                return;
            }
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        headers.push_str(&line);
    }
    let value = |name: &str| {
        let mut lines = headers.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let target = value("x-amz-target").unwrap_or_default();
    Some(Request {
        action: target.rsplit('.').next().unwrap_or_default().to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// An error as the service writes it.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let headers = "content-type: application/x-amz-json-1.1\r\nx-amzn-requestid: 0f3e6c1a-1111\r\n".to_owned();
    Reply::Answer(status, headers, format!(r#"{{"__type":"{code}","Message":"{message}"}}"#))
}

pub(crate) fn json(body: impl Into<String>) -> Reply {
    Reply::Answer(200, "content-type: application/x-amz-json-1.1\r\n".to_owned(), body.into())
}

/// The part of an answer that is one secret.
pub(crate) fn entry(name: &str, value: &str) -> String {
    format!(
        r#"{{"ARN":"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf","Name":"{name}","VersionId":"0f3e6c1a-2222-4444-8888-000000000000","SecretString":"{value}","VersionStages":["AWSCURRENT"],"CreatedDate":1.7e9}}"#
    )
}

/// What the service says after a write of `name`: the version is the one that the request gave it.
pub(crate) fn written(request: &Request, name: &str) -> Reply {
    let token = request.body.split("\"ClientRequestToken\":\"").nth(1);
    let version = token.and_then(|rest| rest.split('"').next()).unwrap_or_default();
    json(format!(r#"{{"Name":"{name}","VersionId":"{version}"}}"#))
}

/// The names in the request for a batch.
pub(crate) fn batch_ids(request: &Request) -> Vec<String> {
    let begin = request.body.find('[').unwrap() + 1;
    let end = request.body.find(']').unwrap();
    let ids = request.body[begin..end]
        .split(',')
        .map(|id| id.trim().trim_matches('"').to_owned());
    ids.filter(|id| !id.is_empty()).collect()
}

pub(crate) fn count(asked: &Asked, action: &str) -> usize {
    asked
        .lock()
        .unwrap()
        .iter()
        .filter(|request| request.action == action)
        .count()
}

pub(crate) fn environment() -> Environment {
    Environment::fake()
        .var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .var("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .var("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .build()
}

pub(crate) const SECRET_KEY: &str = "kfcanary-secretkey0001";
pub(crate) const SESSION_TOKEN: &str = "kfcanary-sessiontoken0001";

/// The store on the service at `endpoint`, with a time limit of a second for each request.
pub(crate) async fn store(endpoint: &str) -> AwsStore {
    connect(&format!("aws://us-east-1?endpoint={endpoint}&timeout=1")).await
}

pub(crate) async fn connect(url: &str) -> AwsStore {
    let config = AwsConfig::from_url(&StoreUrl::parse(url).unwrap(), &environment()).unwrap();
    AwsStore::connect(&config).await.unwrap()
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

pub(crate) fn requests(names: &[String]) -> Vec<GetRequest> {
    names.iter().map(|text| GetRequest::new(name(text))).collect()
}

/// Nothing that is secret in a test shows in an error.
pub(crate) fn assert_harmless(error: &Error) {
    let texts = [
        error.to_string(),
        format!("{error:?}"),
        error.hint().unwrap_or_default().to_owned(),
    ];
    assert!(
        !texts.iter().any(|text| text.contains("kfcanary")),
        "an error shows a value or a credential"
    );
}

/// Everything that this thread logs, down to `TRACE`, while it lives.
pub(crate) struct TraceLog {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl TraceLog {
    pub(crate) fn begin() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
