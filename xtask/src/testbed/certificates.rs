//! Certificates for servers on this machine, made with the program `openssl`.

use std::process::Command;

use crate::process::{Failure, Result, output};

/// Makes `server.pem` and `server.key`, a certificate for this machine, and `ca.pem`, the authority that vouches for it and
/// for nothing else, where `openssl` says: in its current directory and as its user.
pub(super) fn make(openssl: impl Fn() -> Command) -> Result {
    let request = |arguments: &[&str]| {
        let mut command = openssl();
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ]);
        run(command.args(arguments)).map(drop)
    };
    request(&["-subj", "/CN=keyfob test authority", "-keyout", "ca.key", "-out", "ca.pem"])?;
    request(&[
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
    ])
}

/// Runs `openssl` and gives what it prints.
pub(super) fn run(openssl: &mut Command) -> Result<String> {
    output(openssl).map_err(|failure| {
        Failure::failed(format!(
            "can't make a certificate (on Debian: `apt-get install openssl`): {failure}"
        ))
    })
}
