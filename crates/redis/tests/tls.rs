//! Over TLS, with an authority of one's own.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod bed;

use std::process::{Command, Stdio};

use bed::{Logs, Machine, Server, config, fleet_store, set, until};
use keyfob_core::Freshness;

const VALUE: &str = "kfcanary-tlsvalue1";

#[tokio::test]
async fn the_certificate_is_checked_against_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let make = |name: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=keyfob-test", "-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            &path(&format!("{name}.key")),
        ]);
        openssl.args(["-out", &path(&format!("{name}.pem"))]);
        openssl
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    if !make("server").is_ok_and(|status| status.success()) || !make("other").is_ok_and(|status| status.success()) {
        return keyfob_testkit::skip(
            "the_certificate_is_checked",
            "there is no `openssl` (on Debian: `apt-get install openssl`)",
        );
    }
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let arguments = [
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let Some(server) = Server::start_tls("the_certificate_is_checked", &arguments) else {
        return;
    };
    let url = format!("rediss://127.0.0.1:{}/0", server.tls_port());
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let trusting = |name: &str| config(&url).authority(&std::fs::read(path(name)).unwrap()).unwrap();
    Machine::new(trusting("server.pem"), store.clone()).read("db").await.unwrap();
    let machine = Machine::new(trusting("server.pem"), store.clone());
    assert_eq!(machine.read("db").await.unwrap().1, Freshness::Cache);

    for config in [trusting("other.pem"), config(&url)] {
        let (logs, _guard) = Logs::capture();
        let machine = Machine::new(config, store.clone());
        assert_eq!(machine.read("db").await.unwrap().1, Freshness::Store);
        until("it is told of", async || !logs.lines("certificate is not trusted").is_empty()).await;
    }
}
