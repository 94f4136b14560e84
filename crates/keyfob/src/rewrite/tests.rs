//! What is replaced and what is left, over a store in memory.

mod random;

use std::sync::Arc;

use keyfob_core::{Change, Environment, ErrorKind, MemoryStore, PutRequest, SecretName, SecretStore as _};
use zeroize::Zeroizing;

use super::{LeftReason, RewriteOptions, RewriteText, Rewriting, Rewritten, rewrite};
use crate::format::Format;
use crate::manager::SecretManager;

const PASSWORD: &str = "kfcanary-rewrite1";
const TOKEN: &str = "kfcanary-rewrite2";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(future)
}

async fn manager(secrets: &[(&str, &str)]) -> SecretManager {
    let store = MemoryStore::new();
    for (name, value) in secrets {
        store
            .put(&SecretName::new(*name).unwrap(), PutRequest::new(*value))
            .await
            .unwrap();
    }
    let builder = SecretManager::builder().environment(Environment::fake().build());
    builder.with_store("secret", Arc::new(store)).build().await.unwrap()
}

fn text(format: Format, text: &str) -> RewriteText {
    RewriteText {
        source: "app".to_owned(),
        format,
        text: Zeroizing::new(text.to_owned()),
    }
}

fn rewriting(secrets: &[(&str, &str)], options: &RewriteOptions, format: Format, old: &str) -> keyfob_core::Result<Rewriting> {
    block_on(async { rewrite(&manager(secrets).await, options, vec![text(format, old)], |_| {}).await })
}

fn rewritten(secrets: &[(&str, &str)], options: &RewriteOptions, format: Format, old: &str) -> Rewritten {
    let mut rewriting = rewriting(secrets, options, format, old).unwrap();
    let rewritten = rewriting.texts.remove(0);
    assert!(
        !format!("{rewritten:?}{}", rewritten.diff()).contains("kfcanary"),
        "a value is shown"
    );
    rewritten
}

fn with_parts() -> RewriteOptions {
    RewriteOptions {
        parts: true,
        ..RewriteOptions::default()
    }
}

/// What `old` becomes where the secret `db/password` is [`PASSWORD`] and `smtp/token` [`TOKEN`].
fn becomes(options: &RewriteOptions, format: Format, old: &str) -> String {
    let secrets = [("db/password", PASSWORD), ("smtp/token", TOKEN)];
    rewritten(&secrets, options, format, old).text().to_owned()
}

fn reasons(rewritten: &Rewritten) -> Vec<LeftReason> {
    rewritten.left().iter().map(|left| left.reason).collect()
}

#[test]
fn every_format_keeps_its_literals_comments_and_layout() {
    for (format, old, new) in [
        (
            Format::Dotenv,
            "# the database\nexport DB='kfcanary-rewrite1' # here\nA=b\nT=kfcanary-rewrite2\nQ=\"kfcanary-rewrite2\"\n",
            "# the database\nexport DB='${secret:db/password}' # here\nA=b\nT='${secret:smtp/token}'\nQ='${secret:smtp/token}'\n",
        ),
        (
            Format::Json,
            "{ // c\n  \"a\" : \"kfcanary\\u002drewrite1\",\r\n  \"n\": [1, \"kfcanary-rewrite2\",]\n}",
            "{ // c\n  \"a\" : \"${secret:db/password}\",\r\n  \"n\": [1, \"${secret:smtp/token}\",]\n}",
        ),
        (
            Format::Yaml,
            "a: kfcanary-rewrite1   # c\nb: &x 'kfcanary-rewrite1'\nc: *x\nd: [!!str kfcanary-rewrite2, \"kfcanary\\x2Drewrite2\"]\n",
            "a: \"${secret:db/password}\"   # c\nb: &x '${secret:db/password}'\nc: *x\nd: [!!str \"${secret:smtp/token}\", \"${secret:smtp/token}\"]\n",
        ),
        (
            Format::Yaml,
            "a: |  # c\n  kfcanary-rewrite1\nb: >-\n  kfcanary-rewrite2\nc: |+\n  kfcanary-rewrite1\n\n\nd: 1\n",
            "a: |  # c\n  ${secret:db/password}\nb: >-\n  ${secret:smtp/token}\nc: |+\n  ${secret:db/password}\n\n\nd: 1\n",
        ),
        (
            Format::Toml,
            "a = 'kfcanary-rewrite1' # c\nb = \"\"\"\nkfcanary-\\\n   rewrite2\"\"\"\n[t]\nc = { d = \"kfcanary-rewrite1\" }\n",
            "a = '${secret:db/password}' # c\nb = \"\"\"\n${secret:smtp/token}\"\"\"\n[t]\nc = { d = \"${secret:db/password}\" }\n",
        ),
        (
            Format::Text,
            "url postgres://app:kfcanary-rewrite1@db/x;\n",
            "url postgres://app:${secret:db/password}@db/x;\n",
        ),
    ] {
        assert_eq!(becomes(&RewriteOptions::default(), format, old), new, "{format}");
    }
}

#[test]
fn the_password_of_a_url_is_replaced_and_other_parts_where_they_are_asked_for() {
    let old = "u: postgres://app:kfcanary-rewrite1@db/x\np: password=kfcanary-rewrite1;token=kfcanary-rewrite2\n";
    let safe = "u: \"postgres://app:${secret:db/password}@db/x\"\np: password=kfcanary-rewrite1;token=kfcanary-rewrite2\n";
    let all =
        "u: \"postgres://app:${secret:db/password}@db/x\"\np: \"password=${secret:db/password};token=${secret:smtp/token}\"\n";
    assert_eq!(becomes(&RewriteOptions::default(), Format::Yaml, old), safe);
    assert_eq!(becomes(&with_parts(), Format::Yaml, old), all);
    let secrets = [("db/password", PASSWORD), ("smtp/token", TOKEN)];
    let left = rewritten(&secrets, &RewriteOptions::default(), Format::Yaml, old);
    assert_eq!(reasons(&left), [LeftReason::Part, LeftReason::Part]);
    assert_eq!(left.left()[1].position.to_string(), "line 2, column 37");
    assert_eq!(left.left()[1].key.as_deref(), Some("p"));
}

#[test]
fn a_short_value_is_replaced_only_where_the_key_says_the_name() {
    let secrets = [("db/port", "5432"), ("DEBUG", "true")];
    let old = "DB_PORT=5432\nPORT=5432\nDEBUG=true\nVERBOSE=true\nOTHER_DB_PORT=5432\n";
    let new = "DB_PORT='${secret:db/port}'\nPORT=5432\nDEBUG='${secret:DEBUG}'\nVERBOSE=true\nOTHER_DB_PORT=5432\n";
    let default = RewriteOptions::default();
    assert_eq!(rewritten(&secrets, &default, Format::Dotenv, old).text(), new);
    let prefixed = RewriteOptions {
        prefix: "app/".to_owned(),
        ..default
    };
    let secrets = [("app/DB_PORT", "5432"), ("DEBUG", "true")];
    let new = "DB_PORT='${secret:app/DB_PORT}'\nPORT=5432\nDEBUG=true\nVERBOSE=true\nOTHER_DB_PORT=5432\n";
    assert_eq!(rewritten(&secrets, &prefixed, Format::Dotenv, old).text(), new);
}

#[test]
fn numbers_booleans_comments_and_keys_are_told_and_left() {
    let secrets = [("pin", "86753090"), ("key", "kfcanarykey1")];
    let old = "# once kfcanarykey1\npin: 86753090\nkfcanarykey1: x\n";
    let found = rewritten(&secrets, &with_parts(), Format::Yaml, old);
    assert!(!found.is_changed());
    assert_eq!(found.text(), old);
    assert_eq!(reasons(&found), [LeftReason::OutsideValues; 3]);
    let lines: Vec<usize> = found.left().iter().map(|left| left.position.line).collect();
    assert_eq!(lines, [1, 2, 3]);
    let dates = [("since", "2024-01-01")];
    let found = rewritten(&dates, &with_parts(), Format::Yaml, "since: 2024-01-01\nq: '2024-01-01'\n");
    assert_eq!(found.text(), "since: 2024-01-01\nq: '${secret:since}'\n");
    assert_eq!(reasons(&found), [LeftReason::MaybeNotText]);
}

#[test]
fn of_two_secrets_with_one_value_the_key_decides_or_it_is_left() {
    let secrets = [("db/password", PASSWORD), ("smtp/password", PASSWORD)];
    let default = RewriteOptions::default();
    let old =
        "DB_PASSWORD=kfcanary-rewrite1\nSMTP_PASS_PASSWORD=kfcanary-rewrite1\nPASSWORD=kfcanary-rewrite1\nX=kfcanary-rewrite1\n";
    let found = rewritten(&secrets, &default, Format::Dotenv, old);
    let new = "DB_PASSWORD='${secret:db/password}'\nSMTP_PASS_PASSWORD='${secret:smtp/password}'\nPASSWORD=kfcanary-rewrite1\nX=kfcanary-rewrite1\n";
    assert_eq!(found.text(), new);
    assert_eq!(reasons(&found), [LeftReason::Ambiguous; 2]);
    assert_eq!(found.left()[0].names.len(), 2);
}

#[test]
fn the_longest_of_parts_that_overlap_counts() {
    let secrets = [
        ("inner", "kfcanary-rewrite1"),
        ("outer", "kfcanary-rewrite1/kfcanary-rewrite2"),
    ];
    let found = rewritten(
        &secrets,
        &with_parts(),
        Format::Json,
        r#"["x kfcanary-rewrite1/kfcanary-rewrite2 kfcanary-rewrite1"]"#,
    );
    assert_eq!(found.text(), r#"["x ${secret:outer} ${secret:inner}"]"#);
    // One that is left keeps no other one from being replaced.
    let secrets = [("password", PASSWORD), ("odd", "app:kfcanary-rewrite1@db")];
    let default = RewriteOptions::default();
    let found = rewritten(&secrets, &default, Format::Json, r#"["x://app:kfcanary-rewrite1@db"]"#);
    assert_eq!(found.text(), r#"["x://app:${secret:password}@db"]"#);
    let secrets = [("inner", PASSWORD)];
    let found = rewritten(
        &secrets,
        &with_parts(),
        Format::Json,
        r#"["xkfcanary-rewrite1", "kfcanary-rewrite19"]"#,
    );
    assert_eq!(reasons(&found), [LeftReason::InsideWord; 2]);
}

#[test]
fn line_ends_behind_a_value_stay() {
    let pem = "-----BEGIN kfcanary-rewrite3-----\nkfcanary\n-----END-----";
    let old = "key: |\n  -----BEGIN kfcanary-rewrite3-----\n  kfcanary\n  -----END-----\nb: 1\n";
    let default = RewriteOptions::default();
    for (value, new) in [
        (pem.to_owned(), "key: |\n  ${secret:tls/key}\nb: 1\n"),
        (format!("{pem}\n"), "key: \"${secret:tls/key}\"\nb: 1\n"),
        // The text does not have the second line end.
        (format!("{pem}\n\n"), old),
    ] {
        assert_eq!(rewritten(&[("tls/key", &value)], &default, Format::Yaml, old).text(), new);
    }
    // The one that leaves nothing over is meant.
    let with_end = format!("{pem}\n");
    let both = [("tls/key", pem), ("tls/key-end", &*with_end)];
    let new = "key: \"${secret:tls/key-end}\"\nb: 1\n";
    assert_eq!(rewritten(&both, &default, Format::Yaml, old).text(), new);
}

#[test]
fn references_that_stand_there_stay() {
    let old = "u: ${env:USER}:kfcanary-rewrite1@${secret:smtp/token}\ne: $${secret:x} kfcanary-rewrite1\n";
    let new = "u: \"${env:USER}:${secret:db/password}@${secret:smtp/token}\"\ne: \"$${secret:x} ${secret:db/password}\"\n";
    assert_eq!(becomes(&with_parts(), Format::Yaml, old), new);
    // The name in a reference is no value, whatever else is called so.
    let secrets = [("odd", "database-url"), ("database-url", PASSWORD)];
    let old = "a: ${secret:database-url}\n";
    assert_eq!(rewritten(&secrets, &with_parts(), Format::Yaml, old).text(), old);
    // A value that looks like a reference is one, to whoever reads the text with keyfob.
    let secrets = [("odd", "${secret:database-url}"), ("database-url", PASSWORD)];
    let found = rewritten(&secrets, &with_parts(), Format::Yaml, old);
    assert_eq!(found.text(), old);
    assert_eq!(reasons(&found), [LeftReason::Unsafe]);
}

#[test]
fn a_reference_is_not_put_where_it_would_be_none() {
    for old in [
        "$kfcanary-rewrite1",
        "${env:kfcanary-rewrite1}",
        "${env:X:-kfcanary-rewrite1}",
        "$<file:/kfcanary-rewrite1>",
    ] {
        assert_eq!(becomes(&with_parts(), Format::Text, old), old);
    }
    let secrets = [("db/password", PASSWORD)];
    let found = rewritten(
        &secrets,
        &with_parts(),
        Format::Json,
        r#"["${env:", "$kfcanary-rewrite1", "${env: kfcanary-rewrite1"]"#,
    );
    assert_eq!(reasons(&found), [LeftReason::Unsafe, LeftReason::Unsafe]);
}

#[test]
fn names_are_written_so_that_they_are_read_again() {
    let secrets = [("users/jo@x.org", PASSWORD), ("é b", TOKEN)];
    let found = rewritten(
        &secrets,
        &RewriteOptions::default(),
        Format::Json,
        r#"["kfcanary-rewrite1", "kfcanary-rewrite2"]"#,
    );
    assert_eq!(found.text(), r#"["${secret:users/jo%40x.org}", "${secret:é%20b}"]"#);
}

#[test]
fn a_second_rewriting_changes_nothing() {
    let old = "a: kfcanary-rewrite1\nu: x://u:kfcanary-rewrite2@h\n";
    let once = becomes(&with_parts(), Format::Yaml, old);
    assert_ne!(once, old);
    assert_eq!(becomes(&with_parts(), Format::Yaml, &once), once);
}

#[test]
fn the_diff_shows_keys_and_references_and_nothing_that_could_be_a_value() {
    let secrets = [("db/password", PASSWORD), ("smtp/token", TOKEN)];
    let diff = |format, old| rewritten(&secrets, &with_parts(), format, old).diff();
    assert_eq!(
        diff(
            Format::Yaml,
            "db:\n  password: kfcanary-rewrite1 # kfcanary-other\nk: |\n  kfcanary-rewrite2\n"
        ),
        "@@ line 2, column 13: db.password\n-  password: ****\u{20}…\n+  password: \"${secret:db/password}\" …\n\
         @@ line 4, column 3: k\n-k: ****\n+k: |\n+  ${secret:smtp/token}\n"
    );
    assert_eq!(
        diff(
            Format::Json,
            "{\"a\": 86753090, \"b\": \"kfcanary-rewrite1\",\n\"u\": \"kfcanary-user:kfcanary-rewrite2@h\"}"
        ),
        "@@ line 1, column 23: b\n-…****,\n+…\"${secret:db/password}\",\n\
         @@ line 2, column 21: u\n-\"u\": …****…\n+\"u\": …${secret:smtp/token}…\n"
    );
    assert_eq!(diff(Format::Dotenv, "A=b\n"), "");
}

#[test]
fn what_cant_be_read_is_told_and_what_is_no_text_is_nowhere() {
    block_on(async {
        let manager = manager(&[("a", PASSWORD)]).await;
        manager.put("bytes", PutRequest::new(vec![0xFF, 0xFE])).await.unwrap();
        manager.put("empty", PutRequest::new("")).await.unwrap();
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        let mut expired = PutRequest::new(TOKEN);
        expired.expires_at = Change::Set(past);
        manager.put("old", expired).await.unwrap();
        let texts = vec![text(Format::Json, r#"["kfcanary-rewrite1", "kfcanary-rewrite2", ""]"#)];
        let mut seen = 0;
        let rewriting = rewrite(&manager, &RewriteOptions::default(), texts, |count| seen = count)
            .await
            .unwrap();
        assert_eq!(rewriting.texts[0].text(), r#"["${secret:a}", "kfcanary-rewrite2", ""]"#);
        assert_eq!((rewriting.searched, seen), (3, 3));
        let [(name, error)] = rewriting.unread.as_slice() else {
            panic!("{:?}", rewriting.unread)
        };
        assert_eq!((name.as_str(), error.kind()), ("old", ErrorKind::Expired));
    });
}

#[test]
fn what_refers_to_something_missing_is_not_rewritten() {
    let secrets = [("db/password", PASSWORD)];
    let old = "a: kfcanary-rewrite1\nb: ${secret:absent}\n";
    let error = rewriting(&secrets, &RewriteOptions::default(), Format::Yaml, old).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!format!("{error:?}").contains("kfcanary"), "{error:?}");
    let error = rewriting(&secrets, &RewriteOptions::default(), Format::Json, "{\"kfcanary-x\": ").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("app:1:") && !error.to_string().contains("kfcanary"),
        "{error}"
    );
}
