//! Keys that are made here, looked at by OpenSSL and Node.js.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::Arc;

use keyfob_core::{
    Error, ErrorKind, GetOptions, MemoryStore, PutRequest, Result, SecretName, SecretStore, SecretValue, async_trait,
};
use keyfob_rotation::{
    Issuer, JwksRotator, KeyKind, KeyPairRotator, Outcome, Rotation, RotationOptions, Rotator, StepContext, TlsKeyRotator,
    TokenAlgorithm,
};
use serde_json::{Value, json};

const KINDS: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048];
const ALGORITHMS: [TokenAlgorithm; 4] = [
    TokenAlgorithm::EdDsa,
    TokenAlgorithm::Es256,
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Hs256,
];

fn name() -> SecretName {
    SecretName::new("web/key").unwrap()
}

struct Bed {
    store: Arc<MemoryStore>,
    rotation: Rotation,
}

impl Bed {
    async fn new(first: &str) -> Self {
        let store = Arc::new(MemoryStore::new());
        store.put(&name(), PutRequest::new(first)).await.unwrap();
        let rotation = Rotation::new(Arc::clone(&store) as Arc<dyn SecretStore>);
        Self { store, rotation }
    }

    async fn rotate(&self, rotator: &dyn Rotator) {
        let outcome = self.rotation.rotate(&name(), rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }));
    }

    /// The end of the grace period.
    async fn end(&self, rotator: &dyn Rotator) {
        let options = RotationOptions {
            end_grace: true,
            ..RotationOptions::default()
        };
        let outcome = self.rotation.clone().options(options).resume(&name(), rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }));
    }

    async fn value(&self) -> String {
        let secret = self.store.get(&name(), &GetOptions::default()).await.unwrap();
        secret.value.expose_str().unwrap().to_owned()
    }
}

/// What a program says; the values are in files.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

fn has(test: &str, program: &str, argument: &str) -> bool {
    let is_there = Command::new(program).arg(argument).output().is_ok();
    if !is_there {
        keyfob_testkit::skip(test, &format!("there is no `{program}`"));
    }
    is_there
}

#[tokio::test]
async fn openssl_reads_every_kind_of_key() {
    if !has("openssl_reads_every_kind_of_key", "openssl", "version") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem").display().to_string();
    for (kind, words) in [
        (KeyKind::Ed25519, "ED25519"),
        (KeyKind::P256, "P-256"),
        (KeyKind::P384, "P-384"),
        (KeyKind::Rsa2048, "2048 bit"),
        (KeyKind::Rsa3072, "3072 bit"),
    ] {
        let bed = Bed::new("kfcanary-nokey000001").await;
        let rotator = KeyPairRotator::new(kind);
        bed.rotate(&rotator).await;
        let first = bed.value().await;
        bed.end(&rotator).await;
        assert!(bed.value().await == first);
        std::fs::write(&file, &first).unwrap();
        let said = run("openssl", &["pkey", "-in", &file, "-noout", "-text_pub"]).unwrap();
        assert!(said.to_uppercase().contains(&words.to_uppercase()), "{kind:?}");
        assert!(kind == KeyKind::Ed25519 || run("openssl", &["pkey", "-in", &file, "-check", "-noout"]).is_some());
        bed.rotate(&rotator).await;
        assert!(bed.value().await != first);
    }
}

#[tokio::test]
async fn a_key_of_another_kind_or_a_damaged_one_never_becomes_current() {
    let step = |new: &str| StepContext::detached(name(), "id", None, Some(SecretValue::from(new)));
    let made = KeyPairRotator::new(KeyKind::P256).create(&step("")).await.unwrap();
    let good = made.expose_str().unwrap();
    let of = |kind| KeyPairRotator::new(kind);
    of(KeyKind::P256).test(&step(good)).await.unwrap();
    for kind in [KeyKind::Ed25519, KeyKind::P384, KeyKind::Rsa2048] {
        assert_eq!(of(kind).test(&step(good)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let rsa = of(KeyKind::Rsa2048).create(&step("")).await.unwrap();
    let error = of(KeyKind::Rsa3072).test(&step(rsa.expose_str().unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let cut = good.replacen('A', "", 1);
    for bad in [
        "",
        "kfcanary-nokey000001",
        &good[..100],
        &cut,
        &good.replace("PRIVATE", "PUBLIC"),
    ] {
        let error = of(KeyKind::P256).test(&step(bad)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
}

fn keys(value: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(value).unwrap()["keys"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test]
async fn both_verify_and_only_the_new_one_signs() {
    for algorithm in ALGORITHMS {
        let bed = Bed::new("{\"keys\": []}").await;
        let rotator = JwksRotator::new(algorithm);
        bed.rotate(&rotator).await;
        let first = keys(&bed.value().await);
        assert_eq!(first.len(), 1);
        bed.end(&rotator).await;
        bed.rotate(&rotator).await;
        let both = keys(&bed.value().await);
        assert!(both.len() == 2 && both[0] != first[0] && both[1] == first[0], "{algorithm:?}");
        bed.end(&rotator).await;
        assert!(keys(&bed.value().await) == [both[0].clone()], "{algorithm:?}");
        // Back: the older one signs again, and what the newer one has signed is verified until the grace period is over.
        let outcome = bed.rotation.rollback(&name(), &rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }));
        assert!(
            keys(&bed.value().await) == [first[0].clone(), both[0].clone()],
            "{algorithm:?}"
        );
        bed.end(&rotator).await;
        assert!(keys(&bed.value().await) == first, "{algorithm:?}");
    }
}

#[tokio::test]
async fn keys_of_others_stay_as_they_are_until_their_grace_is_over() {
    let theirs =
        r#"{"keys":[{"kid":"theirs","kty":"oct","k":"a2ZjYW5hcnktdGhlaXJzMDAwMQ","alg":"HS256","x5c":["b","a"]}],"more":1}"#;
    let bed = Bed::new(theirs).await;
    let rotator = JwksRotator::new(TokenAlgorithm::EdDsa);
    bed.rotate(&rotator).await;
    let both = bed.value().await;
    assert!(both.contains(&theirs[9..theirs.len() - 11]));
    // What is shown to others has nothing that is secret.
    let public = JwksRotator::public_keys(&SecretValue::from(both)).unwrap();
    let public = keys(&public);
    assert_eq!(public.len(), 1);
    let mut names: Vec<&String> = public[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
    bed.end(&rotator).await;
    assert_eq!(keys(&bed.value().await).len(), 1);
}

#[tokio::test]
async fn a_set_that_can_not_sign_never_becomes_current() {
    let text = |value: &Value| Some(SecretValue::from(value.to_string()));
    let none = json!({"keys": []});
    for algorithm in ALGORITHMS {
        let rotator = JwksRotator::new(algorithm);
        let made = rotator
            .create(&StepContext::detached(name(), "id", text(&none), None))
            .await
            .unwrap();
        let good: Value = serde_json::from_slice(made.expose_secret()).unwrap();
        let tested = async |new: &Value| {
            rotator
                .test(&StepContext::detached(name(), "id", text(&none), text(new)))
                .await
        };
        tested(&good).await.unwrap();
        let other = rotator
            .create(&StepContext::detached(name(), "id", text(&none), None))
            .await
            .unwrap();
        let other: Value = serde_json::from_slice(other.expose_secret()).unwrap();
        for field in ["kty", "alg", "x", "y", "d", "n", "p", "qi", "k"] {
            if good["keys"][0].get(field).is_none() {
                continue;
            }
            let mut bad = good.clone();
            bad["keys"][0].as_object_mut().unwrap().remove(field);
            assert_eq!(
                tested(&bad).await.unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{algorithm:?} without {field}"
            );
            // A public part of another key.
            if ["x", "n"].contains(&field) {
                bad["keys"][0][field] = other["keys"][0][field].clone();
                assert!(tested(&bad).await.is_err(), "{algorithm:?} with another {field}");
            }
        }
        let dropped = StepContext::detached(name(), "id", text(&other), text(&good));
        assert_eq!(rotator.test(&dropped).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for bad in [
        "",
        "kfcanary-noset00001",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":["kfcanary-noset00001"]}"#,
    ] {
        let step = StepContext::detached(name(), "id", Some(SecretValue::from(bad)), None);
        let error = JwksRotator::new(TokenAlgorithm::EdDsa).create(&step).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
}

const NODE: &str = r#"
const { readFileSync } = require('fs');
const { createPrivateKey, createPublicKey, createHash, sign, verify } = require('crypto');
const secret = JSON.parse(readFileSync(process.argv[1])).keys, shown = JSON.parse(readFileSync(process.argv[2])).keys;
for (const [index, key] of secret.entries()) {
  const dsaEncoding = 'ieee-p1363', hash = key.alg === 'EdDSA' ? null : 'sha256', data = Buffer.from('message');
  const signature = sign(hash, data, { key: createPrivateKey({ key, format: 'jwk' }), dsaEncoding });
  const public_ = createPublicKey({ key: shown[index], format: 'jwk' });
  if (!verify(hash, data, { key: public_, dsaEncoding }, signature)) throw new Error('not verified');
  const members = { OKP: ['crv', 'kty', 'x'], EC: ['crv', 'kty', 'x', 'y'], RSA: ['e', 'kty', 'n'] }[key.kty];
  const text = JSON.stringify(Object.fromEntries(members.map((name) => [name, key[name]])));
  if (createHash('sha256').update(text).digest('base64url') !== key.kid) throw new Error('another thumbprint');
}
console.log(secret.length);
"#;

#[tokio::test]
async fn node_signs_with_the_set_and_verifies_with_its_public_part() {
    if !has(
        "node_signs_with_the_set_and_verifies_with_its_public_part",
        "node",
        "--version",
    ) {
        return;
    }
    let bed = Bed::new("{\"keys\": []}").await;
    for algorithm in [TokenAlgorithm::EdDsa, TokenAlgorithm::Es256, TokenAlgorithm::Rs256] {
        let options = RotationOptions {
            end_grace: true,
            ..RotationOptions::default()
        };
        let rotation = bed.rotation.clone().options(options);
        rotation.rotate(&name(), &JwksRotator::new(algorithm)).await.unwrap();
        let value = bed.value().await;
        let public = JwksRotator::public_keys(&SecretValue::from(value.clone())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(file("secret"), &value).unwrap();
        std::fs::write(file("public"), public).unwrap();
        let said = run("node", &["-e", NODE, &file("secret"), &file("public")]);
        assert_eq!(
            said.as_deref().map(str::trim),
            Some(keys(&value).len().to_string().as_str()),
            "{algorithm:?}"
        );
    }
}

/// An authority of OpenSSL's.
#[derive(Debug)]
struct Authority {
    directory: tempfile::TempDir,
    /// Signs a request of its own instead of the one it is given.
    is_wrong: bool,
}

impl Authority {
    fn new(is_wrong: bool) -> Self {
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
            is_wrong,
        };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        let made = [
            "req",
            "-x509",
            "-newkey",
            "ed25519",
            "-nodes",
            "-subj",
            "/CN=authority",
            "-days",
            "2",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        run("openssl", &made).unwrap();
        authority
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

#[async_trait]
impl Issuer for Authority {
    async fn issue(&self, request: &str, _: &StepContext<'_>) -> Result<String> {
        std::fs::write(self.file("csr.pem"), request).unwrap();
        if self.is_wrong {
            let (key, csr) = (self.file("other.key"), self.file("csr.pem"));
            run(
                "openssl",
                &[
                    "req", "-new", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-keyout", &key, "-out", &csr,
                ],
            )
            .unwrap();
        }
        let (csr, key, certificate) = (self.file("csr.pem"), self.file("ca.key"), self.file("ca.pem"));
        let signing = [
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &certificate,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-days",
            "1",
            "-copy_extensions",
            "copy",
        ];
        run("openssl", &signing).ok_or_else(|| Error::new(ErrorKind::Unavailable, "no certificate"))
    }
}

#[tokio::test]
async fn openssl_takes_the_request_and_signs_a_certificate_that_fits_the_key() {
    let test = "openssl_takes_the_request_and_signs_a_certificate_that_fits_the_key";
    if !has(test, "openssl", "version") {
        return;
    }
    for kind in KINDS {
        let authority = Arc::new(Authority::new(false));
        let rotator = TlsKeyRotator::new(kind, &["web.example", "*.web.example", "10.1.2.3", "::1"]).unwrap();
        let rotator = rotator.issuer(Arc::clone(&authority) as Arc<dyn Issuer>);
        let bed = Bed::new("kfcanary-nokey000001").await;
        bed.rotate(&rotator).await;
        let document: Value = serde_json::from_str(&bed.value().await).unwrap();
        let write = |name: &str, field: &str| std::fs::write(authority.file(name), document[field].as_str().unwrap()).unwrap();
        write("csr", "csr");
        write("certificate", "certificate");
        write("key", "private_key");
        let said = run(
            "openssl",
            &["req", "-in", &authority.file("csr"), "-verify", "-noout", "-text"],
        )
        .unwrap();
        assert!(said.contains("verify OK"), "{kind:?}: {said}");
        let names = "DNS:web.example, DNS:*.web.example, IP Address:10.1.2.3, IP Address:0:0:0:0:0:0:0:1";
        assert!(said.contains(names) && said.contains("CN = web.example"), "{kind:?}: {said}");
        let (ca, certificate, key) = (authority.file("ca.pem"), authority.file("certificate"), authority.file("key"));
        let verified = ["verify", "-CAfile", &ca, "-verify_hostname", "a.web.example", &certificate];
        assert!(run("openssl", &verified).is_some(), "{kind:?}");
        let of_certificate = run("openssl", &["x509", "-in", &certificate, "-noout", "-pubkey"]);
        assert!(
            of_certificate.is_some() && of_certificate == run("openssl", &["pkey", "-in", &key, "-pubout"]),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_for_another_key_takes_the_rotation_back() {
    if !has("a_certificate_for_another_key_takes_the_rotation_back", "openssl", "version") {
        return;
    }
    let bed = Bed::new("kfcanary-nokey000001").await;
    let rotator = TlsKeyRotator::new(KeyKind::P256, &["web.example"]).unwrap();
    let error = bed
        .rotation
        .rotate(&name(), &rotator.clone().issuer(Arc::new(Authority::new(true))))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(bed.value().await == "kfcanary-nokey000001");
    // Without anybody who signs there is a key and a request.
    bed.rotate(&rotator).await;
    let document: Value = serde_json::from_str(&bed.value().await).unwrap();
    assert!(document.get("certificate").is_none());
    let step = |new: Value| StepContext::detached(name(), "id", None, Some(SecretValue::from(new.to_string())));
    let mut other = document.clone();
    other["private_key"] = serde_json::from_slice::<Value>(rotator.create(&step(json!({}))).await.unwrap().expose_secret())
        .unwrap()["private_key"]
        .clone();
    assert_eq!(rotator.test(&step(other)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(rotator.test(&step(document)).await.is_ok());
}

#[test]
fn names_that_can_not_stand_in_a_certificate_are_refused() {
    let long = format!("{}.example", "x".repeat(64));
    for bad in [
        "",
        "a b",
        "a..b",
        "-a.example",
        "*.*.example",
        "bücher.example",
        "http://a",
        &long,
        &"a.".repeat(200),
    ] {
        assert_eq!(
            TlsKeyRotator::new(KeyKind::P256, &[bad]).unwrap_err().kind(),
            ErrorKind::InvalidConfig,
            "{bad}"
        );
    }
    assert!(TlsKeyRotator::new(KeyKind::P256, &[]).is_err());
}
