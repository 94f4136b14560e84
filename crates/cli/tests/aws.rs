//! `keyfob aws …`, on a service that gives one answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sandbox;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use sandbox::{Answer, Sandbox, keys};

/// Gives `body` with `status` to everybody; returns the URL of a store there.
fn service(status: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("aws://eu-west-1?endpoint=http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let head = format!(
                "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    url
}

fn run(url: &str, arguments: &[&str]) -> Answer {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(sandbox::BINARY);
    let command = command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let output = command.args(["--store", url, "aws"]).args(arguments).output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn another_kind_of_store_is_refused() {
    for arguments in [
        &["policy", "a"] as &[&str],
        &["rotate", "a"],
        &["replicate", "a", "eu-west-1"],
    ] {
        let answer = run("dotenv:.env", arguments);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(
            answer.err.contains("only AWS") && answer.err.contains("--store aws://REGION"),
            "{answer:?}"
        );
    }
}

#[test]
fn replicas_are_shown_and_a_failed_one_is_a_failure() {
    let body = r#"{"ReplicationStatus":[{"Region":"eu-central-1","Status":"InSync"},
        {"Region":"us-east-1","Status":"Failed","StatusMessage":"it is \u001b[31mthere"}]}"#;
    let url = service(200, body);
    let arguments = ["replicate", "a", "eu-central-1", "us-east-1"];
    let answer = run(&url, &arguments);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.out.contains("eu-central-1") && answer.out.contains("Failed"),
        "{answer:?}"
    );
    assert!(!answer.out.contains('\u{1b}'), "what AWS says reaches the terminal as it is");
    let json = run(&url, &["replicate", "a", "eu-central-1", "us-east-1", "--json"]).json();
    assert_eq!(keys(&json[0]), ["region", "status", "message"]);
    assert_eq!(json[1]["status"], "Failed");
    assert_eq!(run(&url, &["replicate", "a"]).code, 2);
}

#[test]
fn a_rotation_says_which_version_it_makes() {
    let url = service(200, r#"{"Name":"a","VersionId":"0f3e6c1a-2222-4444-8888-000000000000"}"#);
    let answer = run(&url, &["rotate", "a", "--every-days", "30"]).succeeds();
    assert!(answer.err.contains("0f3e6c1a-2222"), "{answer:?}");
    let json = run(&url, &["rotate", "a", "--json"]).succeeds().json();
    assert_eq!(keys(&json), ["name", "version"]);
    assert_eq!(run(&url, &["rotate", "a", "--every-days", "0"]).code, 2);
}

#[test]
fn a_policy_is_printed_and_none_is_a_failure() {
    let url = service(
        200,
        r#"{"Name":"a","ResourcePolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[]}"}"#,
    );
    assert_eq!(run(&url, &["policy", "a"]).succeeds().json()["Version"], "2012-10-17");
    let none = service(200, r#"{"Name":"a"}"#);
    let answer = run(&none, &["policy", "a"]);
    assert!(answer.code == 1 && answer.err.contains("no resource policy"), "{answer:?}");
    assert!(run(&none, &["policy", "a", "--json"]).succeeds().json().is_null());
    let denied = service(400, r#"{"__type":"AccessDeniedException","Message":"no"}"#);
    let answer = run(&denied, &["policy", "a"]);
    assert!(answer.code == 1 && answer.err.contains("not allowed"), "{answer:?}");
}
