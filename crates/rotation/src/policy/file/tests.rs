use super::*;

fn one(body: &str) -> Result<Policy> {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    parse(&format!("policies:\n  - name: a\n{body}"), None).map(|mut policies| policies.remove(0))
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let policy = one(r#"secrets: [db/a, "web/*"]
tags: { rotate: monthly }
every: 30d
jitter: 2h
window: { days: [sat, sun], from: "22:00", to: "05:00" }
grace: 12h
expires_after: 90d
step_limit: 10m
retry_after: 30m
attempts: 5
validate: { run: [./can-log-in], limit: 5s }
stages:
  - { copies: [web/canary], wait: 10m, check: { run: [./is-well] } }
  - { copies: [web/eu, web/us], wait: 1h, every: 5m }
notify: { run: [./tell-chat] }
make: { text: { length: 24, alphabet: symbols, require: [upper, digit, symbol] } }"#)
    .unwrap();
    let hours = |count: u64| Duration::from_secs(count * 3600);
    assert_eq!(policy.options.grace, hours(12));
    assert_eq!(policy.options.expires_after, Some(hours(90 * 24)));
    assert_eq!(
        (policy.options.step_limit, policy.options.attempts),
        (Duration::from_secs(600 + 600 + 3600), 5)
    );
    let schedule = policy.schedule.unwrap();
    assert_eq!(schedule.frequency, Frequency::Every(hours(30 * 24)));
    assert_eq!((schedule.jitter, schedule.retry_after), (hours(2), Duration::from_secs(1800)));
    assert_eq!(schedule.window.unwrap().days, [Weekday::Saturday, Weekday::Sunday]);
    assert!(policy.selector.has_tags());
    assert_eq!(policy.programs, ["./can-log-in", "./is-well", "./tell-chat"]);
    assert!(matches!(policy.made, Made::Ready(rotator) if rotator.kind() == "random"));
}

#[test]
fn ways_to_make_values_are_written_in_one_word_or_with_what_they_need() {
    for (make, kind) in [
        ("uuid", "random"),
        ("{ hex: { bytes: 16 } }", "random"),
        ("{ base64: { bytes: 16 } }", "random"),
        ("{ base64_url: { bytes: 16 } }", "random"),
        ("{ key_pair: { kind: rsa2048 } }", "key-pair"),
        ("{ jwks: { algorithm: eddsa } }", "jwks"),
        ("{ tls: { kind: p256, names: [www.example] } }", "tls-key"),
        ("{ command: { run: [./program] } }", "exec"),
    ] {
        let policy = one(&format!("secrets: [a]\nmake: {make}")).unwrap();
        assert!(
            matches!(&policy.made, Made::Ready(rotator) if rotator.kind() == kind),
            "{policy:?}"
        );
        assert!(policy.schedule.is_none());
    }
    let endpoint =
        r#"{ endpoint: { url: "https://a.example", headers: { authorization: "Bearer ${vault:token}" }, limit: 5s } }"#;
    assert!(matches!(Made::parse(endpoint), Ok(Made::Endpoint(plan)) if plan.limit == Some(Duration::from_secs(5))));
    for (drain, make) in [
        ("{ command: { run: [./in-use] } }", "uuid"),
        ("{ endpoint: { url: \"https://a.example\" } }", "uuid"),
        (
            "sessions",
            "{ postgres: { server: \"postgres://admin@a.example/app\", roles: [a, b] } }",
        ),
    ] {
        assert!(
            one(&format!("secrets: [a]\nmake: {make}\ndrain: {drain}"))
                .unwrap()
                .drain
                .is_some()
        );
    }
    for (make, days) in [
        ("{ keyring: { algorithm: a256gcm } }", 0),
        (
            "{ keyring: { algorithm: c20p, keep: 2, reencrypt: { command: { run: [./reencrypt], limit: 5m } } } }",
            1,
        ),
        (
            "{ keyring: { algorithm: a128gcm, reencrypt: { endpoint: { url: \"https://a.example\" } } } }",
            1,
        ),
    ] {
        let policy = one(&format!("secrets: [a]\nmake: {make}")).unwrap();
        assert!(matches!(&policy.made, Made::Keyring(_)), "{policy:?}");
        assert_eq!(policy.options.step_limit.as_secs() / 86_400, days, "{policy:?}");
    }
    let request = |json: &str| format!(r#"{{ method: POST, url: "https://a.example/{{rotation}}", {json} }}"#);
    let key = |create: &str| {
        let other = request("headers: { a: \"{key}\" }");
        format!("{{ api_key: {{ create: {create}, test: {other}, revoke: {other}, key_at: /secret }} }}")
    };
    assert!(matches!(Made::parse(&key(&request("json: { a: [1] }"))), Ok(Made::ApiKey(_))));
    let error = Made::parse(&key(&request("json: { a: 1 }, form: { a: b }"))).unwrap_err();
    assert!(error.to_string().contains("not both"), "{error}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (body, word) in [
        ("secrets: [a]\nmake: uuid\nevry: 3d", "evry"),
        ("secrets: [a]\nmake: uuid\nevery: 3", "length of time"),
        ("secrets: [a]\nmake: uuid\nevery: 0s", "can't be nothing"),
        ("secrets: [a]\nmake: uuid\nevery: 3d\ncron: \"0 0 * * *\"", "exclude"),
        ("secrets: [a]\nmake: uuid\ncron: \"0 0 * *\"", "no cron line"),
        ("secrets: [a]\nmake: uuid\njitter: 3h", "without a schedule"),
        ("secrets: [a]\nmake: { hex: { bytes: 0 } }", "bytes"),
        ("secrets: [a]\nmake: { hex: { bits: 3 } }", "bits"),
        ("secrets: [a]\nmake: { magic: {} }", "magic"),
        ("secrets: [a]", "make"),
        (
            "secrets: [a]\nmake: uuid\nstages: [{ copies: [], wait: 1m }]",
            "reaches nobody",
        ),
        ("secrets: [a]\nmake: uuid\nstages: [{ copies: [x] }]", "wait"),
        ("secrets: [a]\nmake: uuid\nvalidate: { run: x }", "expected"),
        ("secrets: [a]\nmake: { command: { run: [] } }", "no program"),
        ("secrets: [a]\nmake: { command: { run: [x], limit: 0s } }", "can't be nothing"),
        ("secrets: [a]\nmake: { command: { run: [x], shell: true } }", "shell"),
        (
            "secrets: [a]\nmake: { keyring: { algorithm: a256gcm, keep: 1 } }",
            "says nothing without",
        ),
        (
            "secrets: [a]\nmake: { keyring: { algorithm: a256gcm, keep: 0, reencrypt: { command: { run: [x] } } } }",
            "line",
        ),
        (
            "secrets: [a]\nmake: { keyring: { algorithm: a256gcm } }\nstages: [{ copies: [x], wait: 1m }]",
            "no `stages`",
        ),
        ("secrets: [a]\nmake: { postgres: { server: x, roles: [] } }", "one, or two"),
        ("secrets: [a]\nmake: uuid\ndrain: sessions", "take turns"),
        (
            "secrets: [a]\nmake: { postgres: { server: \"postgres://a@b.example/c\", roles: [a] } }\ndrain: sessions",
            "take turns",
        ),
        (
            "secrets: [a]\nmake: { postgres: { server: \"postgres://a@b.example/c\", roles: [a, a] } }",
            "must be two",
        ),
        (
            "secrets: [a]\nmake: { postgres: { server: \"postgres://a:kfcanary-admin123@b.example/c\", roles: [b] } }",
            "password",
        ),
        (
            "secrets: [a]\nmake: { postgres: { server: \"mysql://a@b.example/c\", roles: [b] } }",
            "no URL of a PostgreSQL",
        ),
        (
            "secrets: [a]\nmake: uuid\nstages: [{ copies: [a], wait: 1m }]",
            "rotates by itself",
        ),
        (
            "secrets: [a]\ntags: { x: y }\nmake: uuid\nstages: [{ copies: [a], wait: 1m }]",
            "rotates by itself",
        ),
        (
            "secrets: [\"web/*\"]\nmake: uuid\nstages: [{ copies: [web/canary], wait: 1m }]",
            "rotates by itself",
        ),
        ("secrets: [a]\nmake: uuid\ndrain: { run: [x] }", "run"),
        ("make: uuid", "neither"),
        ("secrets: [a]\nmake: uuid\nattempts: 0", "at least 1"),
        ("secrets: [a]\nmake: uuid\nexpires_after: 1h", "longer than"),
        (
            "secrets: [a]\nmake: uuid\nevery: 1d\nwindow: { from: \"2:00\", to: \"05:00\" }",
            "time of day",
        ),
        (
            "secrets: [a]\nmake: uuid\nevery: 1d\nwindow: { from: \"25:00\", to: \"05:00\" }",
            "time of day",
        ),
        (
            "secrets: [a]\nmake: { text: { length: 8, alphabet: url, characters: ab } }",
            "the same thing",
        ),
    ] {
        let error = one(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{body}: {error}");
        assert!(error.to_string().contains(word), "{body}: {error}");
        assert!(
            error.context().any(|(key, _)| key == "policy" || key == "line"),
            "{body}: nothing says where: {error:?}"
        );
    }
}

#[cfg(feature = "http")]
#[test]
fn requests_are_checked_when_they_are_read() {
    let request = |url: &str, rest: &str| format!(r#"{{ method: POST, url: "{url}", {rest} }}"#);
    let key = |create: &str, test: &str| {
        let revoke = request("https://a.example/{key}", "");
        format!("{{ api_key: {{ create: {create}, test: {test}, revoke: {revoke}, key_at: /secret }} }}")
    };
    let create = request("https://a.example/{rotation}", "");
    let test = request("https://a.example/{key}", "");
    for (make, word) in [
        (r#"{ endpoint: { url: "http://a.example" } }"#.to_owned(), "`https` URLs only"),
        (
            r#"{ endpoint: { url: "https://a.example", headers: { "a b": x } } }"#.to_owned(),
            "name of a header",
        ),
        (
            r#"{ endpoint: { url: "https://a.example", limit: 0s } }"#.to_owned(),
            "can't be nothing",
        ),
        (
            r#"{ keyring: { algorithm: a256gcm, reencrypt: { endpoint: { url: "http://a.example" } } } }"#.to_owned(),
            "`https` URLs only",
        ),
        (key(&request("http://a.example/{rotation}", ""), &test), "`https` URLs only"),
        (key(&request("https://a.example", ""), &test), "no `{rotation}`"),
        (key(&create, &create), "no `{key}`"),
        (key(&request("https://{key}.example/{rotation}", ""), &test), "host"),
        (key(&request("https://a.example/{rotation}/{key_id}", ""), &test), "`ids_at`"),
        (
            key(
                &request("https://a.example/{rotation}", r#"headers: { a: "{credential}" }"#),
                &test,
            ),
            "stands for",
        ),
        (key(&create, &test).replace("/secret", "secret"), "JSON Pointer"),
    ] {
        let error = one(&format!("secrets: [a]\nmake: {make}")).unwrap_err();
        assert!(error.to_string().contains(word), "{make}: {error}");
        assert!(error.context().any(|(key, _)| key == "policy"), "{make}: {error:?}");
    }
    let drain = one("secrets: [a]\nmake: uuid\ndrain: { endpoint: { url: \"http://a.example\" } }");
    assert!(drain.unwrap_err().to_string().contains("`https` URLs only"));
    assert!(one("secrets: [a]\nmake: { endpoint: { url: \"http://127.0.0.1:1/\" } }").is_ok());
}

#[test]
fn a_copy_is_rotated_by_no_other_policy() {
    let staged = "  - { name: a, secrets: [x], make: uuid, stages: [{ copies: [web/y], wait: 1m }] }\n";
    let other = |selector: &str| {
        parse(
            &format!("policies:\n{staged}  - {{ name: b, {selector}, make: uuid }}\n"),
            None,
        )
    };
    let error = other("secrets: [\"web/*\"]").unwrap_err();
    assert!(error.to_string().contains("`web/y`"), "{error}");
    assert!(other("secrets: [\"web/*\"], tags: { a: b }").is_ok());
    assert!(other("secrets: [z]").is_ok());
}

#[test]
fn files_have_known_zones_and_names_that_differ() {
    let error = parse("zone: Europe/Atlantis\npolicies: []", None).unwrap_err();
    assert!(error.to_string().contains("Atlantis"), "{error}");
    let twice = "  - { name: a, secrets: [x], make: uuid }\n";
    let error = parse(&format!("policies:\n{twice}{twice}"), None).unwrap_err();
    assert!(error.to_string().contains("same name"), "{error}");
    assert!(["", "[]", "policies: 3"].iter().all(|text| parse(text, None).is_err()));
    assert!(parse("policies: []", None).unwrap().is_empty());
}
