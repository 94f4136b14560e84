//! The certificates of a double, made by the command line of OpenSSL in its directory.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Failure;

/// A certificate that applications can sign in with: what the other side keeps of it.
#[derive(Debug, Clone)]
pub(super) struct ClientCertificate {
    /// In DER.
    pub(super) public_key: Vec<u8>,
    /// `x5t`, without padding.
    pub(super) sha1: String,
    /// `x5t#S256`, without padding.
    pub(super) sha256: String,
}

/// Makes `directory`, if it is not there, for its owner only.
pub(super) fn make_directory(directory: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| format!("can't make `{}`: {error}", directory.display()))?;
    Ok(())
}

/// Makes `ca.pem`, an authority whose key is thrown away, and `server.pem` and `server.key`, which it vouches for.
pub(super) fn make_server(directory: &Path) -> Result<(), Failure> {
    let authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=keyfob double authority"];
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    request(directory, &[&curve[..], &authority].concat())?;
    let server = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "extendedKeyUsage=serverAuth",
    ];
    request(directory, &[&curve[..], &server].concat())?;
    private(&directory.join("server.key"))?;
    fs::remove_file(directory.join("ca.key")).map_err(|error| format!("can't remove a key: {error}"))?;
    Ok(())
}

/// Makes `client.pem`, a certificate and its key in one file, as Microsoft's SDKs read it.
pub(super) fn make_client(directory: &Path) -> Result<ClientCertificate, Failure> {
    let client = [
        "-keyout",
        "client.key",
        "-out",
        "client.crt",
        "-subj",
        "/CN=keyfob double client",
    ];
    request(directory, &[&["-newkey", "rsa:2048"], &client[..]].concat())?;
    let read = |name: &str| fs::read(directory.join(name)).map_err(|error| format!("can't read `{name}`: {error}"));
    let both = [read("client.key")?, read("client.crt")?].concat();
    write_private(&directory.join("client.pem"), &both)?;
    let certificate = openssl(directory, &["x509", "-in", "client.crt", "-outform", "DER"])?;
    let public_key = openssl(
        directory,
        &["rsa", "-in", "client.key", "-RSAPublicKey_out", "-outform", "DER"],
    )?;
    for name in ["client.key", "client.crt"] {
        fs::remove_file(directory.join(name)).map_err(|error| format!("can't remove `{name}`: {error}"))?;
    }
    let print = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &certificate));
    Ok(ClientCertificate {
        public_key,
        sha1: print(&SHA1_FOR_LEGACY_USE_ONLY),
        sha256: print(&SHA256),
    })
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    // What was there may be open to others.
    let _ = fs::remove_file(path);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|error| format!("can't write `{}`: {error}", path.display()))?;
    Ok(())
}

fn private(path: &PathBuf) -> Result<(), Failure> {
    let set = fs::set_permissions(path, Permissions::from_mode(0o600));
    set.map_err(|error| format!("can't close `{}` to others: {error}", path.display()))?;
    Ok(())
}

fn request(directory: &Path, arguments: &[&str]) -> Result<(), Failure> {
    openssl(directory, &[&["req", "-x509", "-nodes", "-days", "30"], arguments].concat())?;
    Ok(())
}

fn openssl(directory: &Path, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't start openssl (on Debian: `apt-get install openssl`): {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or("it said nothing");
        Err(format!("openssl {} ended with {}: {last}", arguments[0], output.status).into())
    }
}
