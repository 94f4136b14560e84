use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob_core::Environment;

use super::certificate::Certificate;
use super::*;

/// Gives out tokens that are good for so many seconds, and fails when it has none.
struct Source {
    asked: Arc<AtomicUsize>,
    lifetimes: Vec<i64>,
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &str) -> Result<AccessToken, Problem> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        match self.lifetimes.get(number) {
            Some(lifetime) => {
                let ends = OffsetDateTime::now_utc() + Duration::seconds(*lifetime);
                Ok(AccessToken::new(format!("token-{number}"), ends))
            }
            None => Err(Problem::new(ErrorKind::Unavailable, "no more tokens")),
        }
    }
}

fn tokens(lifetimes: &[i64]) -> (Tokens, Arc<AtomicUsize>, Arc<Refused>) {
    let (asked, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(Refused::default()));
    let source = Source {
        asked: Arc::clone(&asked),
        lifetimes: lifetimes.to_vec(),
    };
    (Tokens::of(Box::new(source), Arc::clone(&refused)), asked, refused)
}

#[tokio::test]
async fn a_token_is_used_while_it_is_good_and_asked_for_once_by_many() {
    let (tokens, asked, _) = tokens(&[3600, 3600]);
    let many = (0..20).map(|_| tokens.token("scope"));
    for token in futures_util::future::join_all(many).await {
        assert!(token.unwrap().token.secret() == "token-0");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(tokens.token("another").await.unwrap().token.secret() == "token-1");
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_waited_and_not_to_those_who_come_later() {
    let (tokens, asked, _) = tokens(&[]);
    let many = (0..20).map(|_| tokens.token("scope"));
    assert!(futures_util::future::join_all(many).await.iter().all(Result::is_err));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(tokens.token("scope").await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_and_kept_while_that_fails() {
    let (tokens, asked, _) = tokens(&[-1, 3600]);
    let _ = tokens.token("scope").await;
    assert!(tokens.token("scope").await.unwrap().token.secret() == "token-1");
    let now = OffsetDateTime::now_utc();
    assert_eq!(renew_at(now, now + Duration::hours(1)), now + Duration::minutes(55));
    assert_eq!(renew_at(now, now + Duration::seconds(10)), now + Duration::seconds(8));
    let mut state = tokens.state.lock().await;
    state.held.as_mut().unwrap().renew_at = now;
    drop(state);
    assert!(tokens.token("scope").await.unwrap().token.secret() == "token-1");
    assert_eq!(asked.load(Ordering::SeqCst), 3, "nobody tried to renew it");
}

#[tokio::test]
async fn a_token_that_was_refused_is_not_used_again() {
    let (tokens, _, refused) = tokens(&[3600, 3600]);
    tokens.token("scope").await.unwrap();
    refused.note("Bearer token-0");
    assert!(tokens.token("scope").await.unwrap().token.secret() == "token-1");
    // Somebody's request with the old one comes back late.
    refused.note("Bearer token-0");
    assert!(tokens.token("scope").await.unwrap().token.secret() == "token-1");
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn an_assertion_says_what_microsoft_documents_and_is_signed_with_the_key() {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = aws_lc_rs::signature::KeyPair::public_key(&key).as_der().unwrap();
    let certificate = b"any bytes stand for a certificate here";
    let file = format!("{}{}", pem("PRIVATE KEY", private.as_ref()), pem("CERTIFICATE", certificate));
    let environment = Environment::fake().file("/app.pem", file).build();
    let certificate = Certificate::read(&environment, Path::new("/app.pem")).unwrap();
    let assertion = certificate::Assertion {
        certificate: Arc::new(certificate),
        audience: "https://login.example/tenant/oauth2/v2.0/token".to_owned(),
        client_id: "app".to_owned(),
    };
    let signed = futures_util::FutureExt::now_or_never(azure_identity::ClientAssertion::secret(&assertion, None));
    let signed = signed.unwrap().unwrap();
    let [header, claims, signature] = signed.split('.').collect::<Vec<_>>().try_into().unwrap();
    let json = |part: &str| -> serde_json::Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (header, said) = (json(header), json(claims));
    let thumbprint = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        b"any bytes stand for a certificate here",
    ));
    assert_eq!(
        header,
        serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint })
    );
    assert_eq!((&said["iss"], &said["sub"]), (&"app".into(), &"app".into()));
    assert_eq!(said["aud"], "https://login.example/tenant/oauth2/v2.0/token");
    let lifetime = said["exp"].as_u64().unwrap() - said["nbf"].as_u64().unwrap();
    assert!(lifetime <= 600 && said["jti"].as_str().unwrap().len() == 36);
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::RSA_PSS_2048_8192_SHA256, public.as_ref());
    let text = signed.rsplit_once('.').unwrap().0;
    key.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}

#[test]
fn a_file_that_is_no_certificate_says_why_and_shows_nothing_of_it() {
    let certificate = || pem("CERTIFICATE", b"any");
    let secret = "kfcanary-inaprivatekey";
    for (contents, expected) in [
        (String::new(), "no certificate"),
        (format!("\u{30}\u{82}{secret}"), "no certificate"),
        (certificate(), "no private key"),
        (
            format!("{}{}", certificate(), pem("PRIVATE KEY", secret.as_bytes())),
            "not an RSA key of 2,048 bits",
        ),
        (
            format!("{}{}", certificate(), pem("EC PRIVATE KEY", secret.as_bytes())),
            "not an RSA key, and",
        ),
        (
            format!("{}{}", certificate(), pem("ENCRYPTED PRIVATE KEY", secret.as_bytes())),
            "encrypted",
        ),
    ] {
        let environment = Environment::fake().file("/app.pem", contents).build();
        let Err(error) = Certificate::read(&environment, Path::new("/app.pem")) else {
            panic!("{expected}")
        };
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(expected), "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
    let Err(missing) = Certificate::read(&Environment::fake().build(), Path::new("/none.pem")) else {
        panic!("read")
    };
    assert!(missing.message().contains("can't be read"), "{missing:?}");
}
