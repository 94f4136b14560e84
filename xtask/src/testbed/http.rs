//! The smallest HTTP client that can ask a server on this machine how it is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::process::{Failure, Result};

const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: u64 = 1024 * 1024;

/// The body of the answer to `GET path`, when its status is 200. `base` is `http://HOST:PORT`.
pub(super) fn get(base: &str, path: &str) -> Result<String> {
    let asking = format_args!("ask `{base}{path}`").to_string();
    let mut stream = connect(base)?;
    let mut answer = Vec::new();
    stream
        .write_all(request(base, path, "").as_bytes())
        .and_then(|()| stream.take(LARGEST_ANSWER).read_to_end(&mut answer))
        .map_err(Failure::io(&asking))?;
    body(&answer, &asking)
}

/// As [`get`] of `https://127.0.0.1:PORT`, whose certificate the authority in the file `ca` must vouch for, and with a
/// token. The TLS is that of the program `openssl`.
pub(super) fn get_tls(base: &str, path: &str, ca: &Path, token: &str) -> Result<String> {
    let asking = format_args!("ask `{base}{path}`").to_string();
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1"])
        .args(["-connect", authority(base), "-CAfile"])
        .arg(ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(Failure::io("start `openssl`"))?;
    // Not an argument: those are for everybody on this machine to see.
    let request = request(base, path, &format!("Authorization: Bearer {token}\r\n"));
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(request.as_bytes()));
    let (sender, answered) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(LARGEST_ANSWER).read_to_end(&mut answer);
            let _ = sender.send(read.map(|_| answer));
        });
    }
    let answer = answered.recv_timeout(PATIENCE);
    let _ = child.kill();
    let _ = child.wait();
    written.transpose().map_err(Failure::io(&asking))?;
    match answer {
        Ok(answer) => body(&answer.map_err(Failure::io(&asking))?, &asking),
        Err(_) => Err(Failure::failed(format!(
            "can't {asking}: no answer after {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// HTTP/1.0: the answer ends with the connection, and is not chunked.
fn request(base: &str, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{headers}\r\n", authority(base))
}

fn body(answer: &[u8], asking: &str) -> Result<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Failure::failed(format!("can't {asking}: the answer is not HTTP")))?;
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(Failure::failed(format!(
            "can't {asking}: the status is {}",
            status.unwrap_or("missing")
        ))),
    }
}

/// A connection to the server at `url`, of any scheme but with a port.
pub(super) fn connect(url: &str) -> Result<TcpStream> {
    let authority = authority(url);
    let addresses = authority
        .to_socket_addrs()
        .map_err(Failure::io(format_args!("find `{authority}`")))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let mut failure = Failure::failed(format!("`{authority}` has no address"));
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Failure::io(format_args!("connect to `{authority}`"))(error),
        }
    }
    Err(failure)
}

/// `HOST:PORT` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;
    use crate::process::output;
    use crate::testbed::certificates;

    fn answered_with(answer: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /health HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let body = get(&base, "/health");
        server.join().unwrap();
        body
    }

    #[test]
    fn only_an_answer_with_status_200_counts() {
        assert_eq!(answered_with("HTTP/1.0 200 OK\r\nA: b\r\n\r\nready").unwrap(), "ready");
        for answer in ["HTTP/1.1 503 No\r\n\r\nready", "ready\r\n\r\n", "HTTP/1.0 200 OK\r\n", ""] {
            assert!(answered_with(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn over_tls_the_authority_that_is_given_must_vouch_for_the_server() {
        let version = output(Command::new("openssl").arg("version")).unwrap_or_default();
        if !version.starts_with("OpenSSL ") {
            keyfob_testkit::skip(
                "over_tls_the_authority_that_is_given_must_vouch_for_the_server",
                "there is no OpenSSL (on Debian: `apt-get install openssl`)",
            );
            return;
        }
        let dir = std::env::temp_dir().join(format!("keyfob-xtask-http-{}", std::process::id()));
        let openssl = |dir: &Path| {
            std::fs::create_dir_all(dir).unwrap();
            let mut command = Command::new("openssl");
            command.current_dir(dir);
            command
        };
        let others = dir.join("others");
        certificates::make(|| openssl(&dir)).unwrap();
        certificates::make(|| openssl(&others)).unwrap();
        let mut command = openssl(&dir);
        command.args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "server.pem",
            "-key",
            "server.key",
            "-www",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("ACCEPT ")?.to_owned()));
        let base = format!("https://{}", address.unwrap());

        let answer = get_tls(&base, "/", &dir.join("ca.pem"), "t");
        let by_another = get_tls(&base, "/", &others.join("ca.pem"), "t");
        server.kill().unwrap();
        server.wait().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(answer.unwrap().contains("s_server"));
        assert!(by_another.is_err());
    }

    #[test]
    fn nobody_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert!(get(&url, "/").is_err());
    }

    #[test]
    fn the_authority_of_a_url_is_host_and_port() {
        for url in ["http://h:1", "postgres://u:p@h:1/db?x=y", "https://h:1/a@b"] {
            assert_eq!(authority(url), "h:1", "{url}");
        }
    }
}
