//! The fault proxy does what it says: a test that relies on it proves nothing otherwise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Line, Rule};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Long beside what the machine needs, short beside a test's patience.
const SILENCE: Duration = Duration::from_millis(400);

#[test]
fn without_rules_bytes_pass_both_ways_and_are_counted() {
    let server = Server::start();
    for opaque in [false, true] {
        let mut builder = FaultProxy::to(&server.url()).unwrap();
        if opaque {
            builder = builder.opaque();
        }
        let proxy = builder.start().unwrap();
        let mut client = Client::connect(&proxy);
        for index in 0..3 {
            let said = client.ask(&format!("POST /{index}"), "some body").unwrap();
            assert!(said.ends_with(&format!("POST /{index} some body")), "{said}");
        }
        let mut other = Client::connect(&proxy);
        other.ask("GET /other", "").unwrap();
        assert_eq!(proxy.connections(), 2);
        let paths: Vec<String> = proxy.requests().iter().map(|request| request.path().to_owned()).collect();
        let expected: &[&str] = if opaque { &[] } else { &["/0", "/1", "/2", "/other"] };
        assert_eq!(paths, expected);
    }
}

#[test]
fn requests_are_kept_for_assertions_and_never_printed() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url()).unwrap().start().unwrap();
    Client::connect(&proxy).ask("POST /x", "kfcanary-inthebody1").unwrap();
    let requests = proxy.requests();
    assert_eq!(requests[0].header("X-TEST"), Some("kfcanary-inaheader1"));
    assert!(requests[0].contains("inthebody1") && requests[0].contains("inaheader1") && !requests[0].contains("nowhere"));
    let printed = format!("{requests:?}{proxy:?}");
    assert!(!printed.contains("kfcanary"), "a value is printed");
    assert!(printed.contains("x-test"));
    proxy.forget();
    assert_eq!((proxy.requests().len(), proxy.connections()), (0, 0));
}

#[test]
fn a_round_trip_is_added_to_each_request_and_to_each_connection() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url())
        .unwrap()
        .line(Line::round_trip(Duration::from_millis(60)))
        .start()
        .unwrap();
    for answered_by_a_rule in [false, true] {
        if answered_by_a_rule {
            proxy.add(Rule::new(Answer::new(200)));
        }
        let start = Instant::now();
        let mut client = Client::connect(&proxy);
        client.ask("GET /", "").unwrap();
        let first = start.elapsed();
        let start = Instant::now();
        client.ask("GET /", "").unwrap();
        let second = start.elapsed();
        assert!(first >= Duration::from_millis(120), "{first:?}");
        assert!(
            second >= Duration::from_millis(60) && second < first,
            "{second:?} after {first:?}"
        );
    }
}

#[test]
fn a_narrow_line_takes_its_time_and_loses_nothing() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url())
        .unwrap()
        .line(Line::default().bytes_per_second(100_000))
        .start()
        .unwrap();
    let body = "b".repeat(10_000);
    let start = Instant::now();
    let said = Client::connect(&proxy).ask("POST /", &body).unwrap();
    // A tenth of a second up and another down.
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    assert!(said.ends_with(&body));
}

#[test]
fn refusing_cuts_what_is_open_and_ends_on_the_same_port() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url()).unwrap().start().unwrap();
    let mut client = Client::connect(&proxy);
    client.ask("GET /", "").unwrap();
    proxy.refuse();
    assert_eq!(client.ask("GET /", "").unwrap_err(), ErrorKind::ConnectionReset);
    for _ in 0..3 {
        let refused = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    proxy.refuse();
    proxy.accept();
    Client::connect(&proxy).ask("GET /", "").unwrap();
}

#[test]
fn each_fault_looks_to_the_client_as_it_should() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url()).unwrap().start().unwrap();
    each_fault_looks_as_it_should(&server, &proxy);
}

#[test]
fn each_fault_looks_to_a_client_of_tls_as_it_should() {
    let server = Server::start();
    let secure = secured(&server);
    for line in [Line::default(), Line::round_trip(Duration::from_millis(2))] {
        let builder = FaultProxy::to(&secure.url()).unwrap().line(line);
        let proxy = builder.trust(secure.ca()).unwrap().tls().start().unwrap();
        each_fault_looks_as_it_should(&server, &proxy);
    }
}

fn each_fault_looks_as_it_should(server: &Server, proxy: &FaultProxy) {
    let faulted = |fault: Fault| {
        proxy.clear();
        proxy.add(Rule::new(fault));
        let before = server.requests();
        let mut client = Client::connect(proxy);
        let answer = client.ask("POST /", "0123456789");
        // The server counts before it answers, so what was asked of it is known when its answer is.
        (answer, client.read.clone(), server.requests() - before)
    };
    let silent = Err(ErrorKind::WouldBlock);

    assert_eq!(faulted(Fault::Hang), (silent.clone(), String::new(), 0));
    assert_eq!(faulted(Fault::LoseAnswer), (silent.clone(), String::new(), 1));
    assert_eq!(faulted(Fault::Reset), (Err(ErrorKind::ConnectionReset), String::new(), 0));
    for (fault, end) in [
        (Fault::ResetAfter(5), Err(ErrorKind::ConnectionReset)),
        (Fault::CloseAfter(5), Err(ErrorKind::UnexpectedEof)),
        (Fault::HalfOpenAfter(5), silent),
    ] {
        let (answer, read, asked) = faulted(fault);
        assert_eq!((answer, asked), (end, 1));
        assert!(read.ends_with("\r\n\r\nPOST "), "{read}");
    }
    // What is longer than the body ends inside it all the same.
    let (answer, read, _) = faulted(Fault::ResetAfter(1000));
    assert_eq!(answer, Err(ErrorKind::ConnectionReset));
    assert!(read.ends_with("POST / 012345678"), "{read}");

    let answer = Answer::new(429).header("Retry-After", "7").body("wait");
    let (answer, _, asked) = faulted(answer.into());
    let answer = answer.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429 ") && answer.contains("Retry-After: 7\r\n"),
        "{answer}"
    );
    assert_eq!((answer.ends_with("\r\n\r\nwait"), asked), (true, 0));
    let (answer, _, _) = faulted(Answer::redirect("http://127.0.0.1:9/").into());
    assert!(answer.unwrap().contains("location: http://127.0.0.1:9/\r\n"));
}

#[test]
fn requests_inside_tls_are_kept_and_go_on_inside_tls() {
    let server = Server::start();
    let secure = secured(&server);
    let to_secure = || FaultProxy::to(&secure.url()).unwrap().trust(secure.ca()).unwrap();
    // TLS on both sides, and only towards the server.
    for proxy in [to_secure().tls().start().unwrap(), to_secure().start().unwrap()] {
        secure.forget();
        let mut client = Client::connect(&proxy);
        let body = "b".repeat(1 << 20);
        for index in 0..2 {
            let said = client.ask(&format!("POST /{index}"), &body).unwrap();
            assert!(said.ends_with(&format!("POST /{index} {body}")));
        }
        let paths = |proxy: &FaultProxy| -> Vec<String> {
            let requests = proxy.requests();
            requests.iter().map(|request| request.path().to_owned()).collect()
        };
        assert_eq!(
            (paths(&proxy), paths(&secure)),
            (vec!["/0".to_owned(), "/1".to_owned()], paths(&proxy))
        );
        assert_eq!((proxy.connections(), secure.connections()), (1, 1));

        proxy.cut();
        // TLS of the client may have seen the reset already, and then it tells of what comes after.
        let cut = client.ask("GET /", "").unwrap_err();
        assert!(matches!(cut, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut}");
        Client::connect(&proxy).ask("GET /", "").unwrap();
    }
}

#[test]
fn tls_needs_the_right_authority_and_http_1() {
    let server = Server::start();
    let secure = secured(&server);
    let stranger = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-subj", "/CN=stranger", "-keyout", "/dev/null", "-out"])
        .arg(stranger.path())
        .output()
        .unwrap();
    assert!(made.status.success());

    // The proxy doesn't trust the server, whose client learns nothing but that.
    let distrustful = FaultProxy::to(&secure.url()).unwrap().trust(stranger.path()).unwrap();
    let distrustful = distrustful.tls().start().unwrap();
    let refused = Client::connect(&distrustful).ask("GET /", "");
    assert_eq!((refused, server.requests()), (Err(ErrorKind::ConnectionReset), 0));
    let no_certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(FaultProxy::to(&secure.url()).unwrap().trust(no_certificate).is_err());
    // Bytes of HTTP would go to a server that speaks TLS.
    assert!(FaultProxy::to(&secure.url()).unwrap().tls().start().is_err());

    let shake = |ca: &Path, protocols: &[&[u8]]| {
        let mut connection = tls(ca, protocols);
        let mut stream = TcpStream::connect(secure.address()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        std::io::Result::Ok(connection.alpn_protocol().map(<[u8]>::to_vec))
    };
    let http = Some(b"http/1.1".to_vec());
    assert_eq!(shake(secure.ca(), &[b"h2", b"http/1.1"]).unwrap(), http);
    assert_eq!(shake(secure.ca(), &[]).unwrap(), None);
    assert!(shake(secure.ca(), &[b"h2"]).is_err(), "it can't see into HTTP/2");
    assert!(shake(stranger.path(), &[b"http/1.1"]).is_err(), "nobody else vouches for it");
}

#[test]
fn a_handshake_takes_two_round_trips_and_costs_them_once() {
    let server = Server::start();
    let builder = FaultProxy::to(&server.url()).unwrap();
    let proxy = builder
        .line(Line::round_trip(Duration::from_millis(60)))
        .tls()
        .start()
        .unwrap();
    let start = Instant::now();
    let mut client = Client::connect(&proxy);
    client.ask("GET /", "").unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    client.ask("GET /", "").unwrap();
    let second = start.elapsed();
    assert!(first >= Duration::from_millis(180), "{first:?}");
    assert!(
        second >= Duration::from_millis(60) && second < first,
        "{second:?} after {first:?}"
    );
}

#[test]
fn an_endless_body_has_no_end() {
    let proxy = FaultProxy::alone().start().unwrap();
    proxy.add(Rule::new(Fault::Endless(Answer::new(200).body("ab"))));
    let mut client = Client::connect(&proxy);
    client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < 50 << 20 {
        read += client.stream.read(&mut buffer).unwrap();
    }
    // Others are served meanwhile, and after the client has gone.
    proxy.clear();
    proxy.add(Rule::new(Answer::new(204)));
    Client::connect(&proxy).ask("GET /", "").unwrap();
    drop(client);
    Client::connect(&proxy).ask("GET /", "").unwrap();
}

#[test]
fn rules_choose_by_method_path_header_and_number() {
    let proxy = FaultProxy::alone().start().unwrap();
    proxy.add(
        Rule::new(Answer::new(503))
            .header("x-test", "kfcanary-inaheader1")
            .method("POST")
            .path("/batch")
            .nth(3),
    );
    proxy.add(
        Rule::new(Answer::new(418))
            .when(|request| request.body() == b"tea")
            .which(1..=2),
    );
    proxy.add(Rule::new(Answer::new(200)));
    let mut client = Client::connect(&proxy);
    let mut status = |head: &str, body: &str| client.ask(head, body).unwrap()[9..12].parse::<u16>().unwrap();
    let batches: Vec<u16> = (0..4).map(|_| status("POST /batch", "")).collect();
    assert_eq!(batches, [200, 200, 503, 200]);
    assert_eq!(status("GET /batch", ""), 200);
    let tea: Vec<u16> = (0..3).map(|_| status("POST /x", "tea")).collect();
    assert_eq!(tea, [418, 418, 200]);
}

#[test]
fn what_is_no_http_passes_as_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::to(&listener.local_addr().unwrap().to_string())
        .unwrap()
        .start()
        .unwrap();
    proxy.add(Rule::new(Fault::Hang));
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"\x16\x03\x01hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut came = Vec::new();
    server.read_to_end(&mut came).unwrap();
    assert_eq!(came, b"\x16\x03\x01hello");
    // The other half is open still.
    server.write_all(b"answer").unwrap();
    drop(server);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "answer");
}

#[test]
fn everything_stops_when_it_is_dropped() {
    let server = Server::start();
    let proxy = FaultProxy::to(&server.url()).unwrap().start().unwrap();
    proxy.add(Rule::new(Fault::Hang));
    let address = proxy.address();
    let mut client = Client::connect(&proxy);
    client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let start = Instant::now();
    drop(proxy);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(client.stream.read(&mut [0]).unwrap_or(0), 0, "the connection is gone");
    assert!(TcpStream::connect(address).is_err());
}

/// A server that answers each request with its head line and its body, on connections that stay open.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&requests);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || serve(stream.unwrap(), &counter));
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many came, a moment later: one whose answer nobody waits for may still be on its way.
    fn requests(&self) -> usize {
        thread::sleep(Duration::from_millis(20));
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, counter: &AtomicUsize) {
    while let Ok((head, body)) = message(&mut stream, &mut String::new()) {
        counter.fetch_add(1, Ordering::SeqCst);
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
        let answer = format!("{line} {body}");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// A server that speaks TLS: a proxy that does, in front of `server`.
fn secured(server: &Server) -> FaultProxy {
    FaultProxy::to(&server.url()).unwrap().tls().start().unwrap()
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

struct Client {
    stream: Box<dyn Stream>,
    /// What came, whole or not.
    read: String,
}

impl Client {
    /// Speaks what the proxy does.
    fn connect(proxy: &FaultProxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let stream: Box<dyn Stream> = if proxy.url().starts_with("https") {
            Box::new(StreamOwned::new(tls(proxy.ca(), &[b"h2", b"http/1.1"]), stream))
        } else {
            Box::new(stream)
        };
        Self {
            stream,
            read: String::new(),
        }
    }

    /// The whole answer, or how the connection ended before.
    fn ask(&mut self, line: &str, body: &str) -> Result<String, ErrorKind> {
        let length = body.len();
        let request = format!("{line} HTTP/1.1\r\nX-Test: kfcanary-inaheader1\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).map_err(|error| error.kind())?;
        self.read.clear();
        let (head, body) = message(&mut *self.stream, &mut self.read)?;
        Ok(head + &body)
    }
}

/// TLS of a client that trusts `ca` and speaks these protocols.
fn tls(ca: &Path, protocols: &[&[u8]]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap()
}

/// One request or answer; what came of it is in `read` whatever happens.
fn message(stream: &mut dyn Stream, read: &mut String) -> Result<(String, String), ErrorKind> {
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = read.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Ok((format!("{head}\r\n\r\n"), body.to_owned()));
            }
        }
        let length = stream.read(&mut buffer).map_err(|error| error.kind())?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof);
        }
        read.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}
