use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap()
}

#[test]
fn the_text_for_a_file_gives_the_same_url_or_there_is_none() {
    for text in [
        "postgres://app@host/db?sslmode=require",
        "sqlite:my%20secrets.db?key-file=/etc/k",
        "aws://eu-west-1",
        "env:",
    ] {
        let url = parse(text);
        let again = parse(&url.text().unwrap());
        assert_eq!(
            (again.user(), again.host(), again.path().unwrap()),
            (url.user(), url.host(), url.path().unwrap())
        );
        let with = parse(&url.with_parameter("key-source", "a b:c").text().unwrap());
        assert_eq!(with.parameters().take("key-source").as_deref(), Some("a b:c"), "{text}");
    }
    for text in [
        "postgres://app:kfcanary-password1@host/db",
        "postgres://host/db?password=kfcanary-password1",
    ] {
        assert_eq!(parse(text).text(), None);
    }
}

#[test]
fn the_shapes_of_the_documentation_are_understood() {
    let env = Environment::fake().build();
    let file = |text: &str| parse(text).file_path(&env).unwrap();
    assert_eq!(file("sqlite:secrets.db").unwrap(), Path::new("/home/user/project/secrets.db"));
    assert_eq!(
        file("sqlite:../my secrets.db").unwrap(),
        Path::new("/home/user/project/../my secrets.db")
    );
    assert_eq!(file("sqlite:~/secrets%23.db").unwrap(), Path::new("/home/user/secrets#.db"));
    assert_eq!(
        file("sqlite:///var/lib/x.db?key-file=/etc/k").unwrap(),
        Path::new("/var/lib/x.db")
    );
    assert_eq!(file("sqlite:/var/lib/x.db").unwrap(), Path::new("/var/lib/x.db"));
    assert_eq!(file("dotenv:.env").unwrap(), Path::new("/home/user/project/.env"));
    assert_eq!(file("env:"), None);

    let aws = parse("aws://eu-west-1?prefix=app/");
    assert_eq!(
        (aws.scheme(), aws.host(), aws.path().unwrap().as_str()),
        ("aws", Some("eu-west-1"), "")
    );
    assert_eq!(aws.parameters().take("prefix").unwrap(), "app/");
    let vault = parse("vault://host:8200/secret");
    assert_eq!(
        (vault.host(), vault.port(), vault.path().unwrap().as_str()),
        (Some("host"), Some(8200), "/secret")
    );
    let postgres = parse("postgres://us%40er:p%2Fw@host/db");
    assert_eq!(postgres.user(), Some("us@er"));
    assert_eq!(postgres.password().unwrap().expose_secret(), b"p/w");
}

#[test]
fn a_base_moves_relative_paths_only() {
    let env = Environment::fake().build();
    let file = |text: &str| parse(text).with_base("/srv/app").file_path(&env).unwrap().unwrap();
    assert_eq!(file("sqlite:a.db"), Path::new("/srv/app/a.db"));
    assert_eq!(file("sqlite:/a.db"), Path::new("/a.db"));
    assert_eq!(file("sqlite:~/a.db"), Path::new("/home/user/a.db"));
}

#[test]
fn a_file_after_two_slashes_is_explained() {
    let error = parse("sqlite://secrets.db")
        .file_path(&Environment::fake().build())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid store URL: what follows `//` is a host, and a file has none (url `sqlite://secrets.db`)"
    );
    assert_eq!(
        error.hint(),
        Some("write `sqlite:FILE`, or `sqlite:///FILE` with an absolute path")
    );
}

#[test]
fn what_is_shown_holds_no_secret() {
    for (text, shown) in [
        ("postgres://u:canary@h/db", "postgres://u:***@h/db"),
        ("postgres://u:ca%6eary@h:1/db?x=1", "postgres://u:***@h:1/db?x=1"),
        ("postgres://:canary@h/db", "postgres://:***@h/db"),
        ("vault://canary@h/x", "vault://***@h/x"),
        ("sqlite:x?key=canary&key-file=/k", "sqlite:x?key=***&key-file=/k"),
        (
            "sqlite:x?key-source=aws-kms:alias/app",
            "sqlite:x?key-source=aws-kms:alias/app",
        ),
        ("gcp://p?credentials=none&timeout=5", "gcp://p?credentials=none&timeout=5"),
        (
            "gcp://p?credentials=/etc/keys/app.json",
            "gcp://p?credentials=/etc/keys/app.json",
        ),
        ("gcp://p?credentials=~/app.json", "gcp://p?credentials=~/app.json"),
        ("gcp://p?credentials=canary", "gcp://p?credentials=***"),
        ("gcp://p?credentials=/canary+base64==", "gcp://p?credentials=***"),
        ("gcp://p?credentials=ey.canary.json", "gcp://p?credentials=***"),
        ("gcp://p?credentials=https://u:canary@h/a.json", "gcp://p?credentials=***"),
        ("gcp://p?credential=/etc/canary.json", "gcp://p?credential=***"),
        ("sqlite:x?PassPhrase=canary", "sqlite:x?PassPhrase=***"),
        ("aws:?endpoint=http://u:canary@h", "aws:?endpoint=***"),
        (
            "aws:?access_token=canary&prefix=a%20%26b",
            "aws:?access_token=***&prefix=a%20%26b",
        ),
    ] {
        let url = parse(text);
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("StoreUrl({shown})"));
        assert!(!format!("{:?}", url.parameters()).contains("canary"), "{text}");
    }
}

#[test]
fn what_is_wrong_says_why_and_repeats_no_password() {
    for (text, reason) in [
        ("", "it is empty"),
        (" env:", "it begins or ends with white space"),
        ("canary", "it has no scheme"),
        ("/canary/x", "it has no scheme"),
        (
            "postgres://u:canary@h:99999/db",
            "its port is not a number up to 65535 (scheme `postgres`)",
        ),
        (
            "postgres://u:canary@[::z]/db",
            "its host is not a valid address (scheme `postgres`)",
        ),
        (
            "postgres://u:can#ary@h/db",
            "its port is not a number up to 65535 (scheme `postgres`)",
        ),
        ("sqlite:x#canary", "it has a `#` (scheme `sqlite`)"),
        (
            "sqlite:x%zzcanary",
            "its path has a `%` that is not followed by two hexadecimal digits (write `%25` for a `%`) (scheme `sqlite`)",
        ),
        ("sqlite:x%00canary", "its path contains a control character (scheme `sqlite`)"),
        (
            "sqlite:x?a=%FFcanary",
            "its parameter `a` is not UTF-8 text (scheme `sqlite`)",
        ),
        (
            "sqlite:x?a=canary&a=b",
            "its parameter `a` stands there twice (scheme `sqlite`)",
        ),
        (
            "postgres://u:canary%@h/db",
            "its password has a `%` that is not followed by two hexadecimal digits (write `%25` for a `%`) (scheme `postgres`)",
        ),
        ("sqlite:a\nb", "it contains a control character"),
    ] {
        let error = StoreUrl::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.to_string(), format!("invalid store URL: {reason}"), "{text}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    assert!(StoreUrl::of_scheme("a:b").is_err());
    assert_eq!(StoreUrl::of_scheme("sqlite").unwrap().to_string(), "sqlite:");
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest_known_one() {
    let error = |text: &str, known: &[&str]| {
        let mut parameters = parse(text).parameters();
        for name in known {
            parameters.take(name);
        }
        parameters.finish().unwrap_err()
    };
    let near = error("sqlite:x?key-flie=canary", &["key-file", "mode"]);
    assert_eq!(near.to_string(), "unknown parameter `key-flie` (url `sqlite:x?key-flie=***`)");
    assert_eq!(near.hint(), Some("did you mean `key-file`?"));
    assert_eq!(
        error("sqlite:x?zzz=1", &["key-file", "mode"]).hint(),
        Some("known are: `key-file`, `mode`")
    );
    assert_eq!(error("env:?zzz=1", &[]).hint(), Some("this store's URL takes no parameters"));
}

#[test]
fn a_parameter_of_the_wrong_type_says_what_would_be_right() {
    let mut parameters = parse("sqlite:x?wait=soon").parameters();
    let error = parameters.take_parsed::<u32>("wait", "a number of milliseconds").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the parameter `wait` is not a number of milliseconds (url `sqlite:x?wait=soon`)"
    );
}

proptest! {
    #[test]
    fn any_text_is_a_url_or_an_error_and_never_a_panic(text in any::<String>()) {
        if let Ok(url) = StoreUrl::parse(&text) {
            let _ = (url.to_string(), url.path(), url.file_path(&Environment::fake().build()));
        }
    }

    #[test]
    fn what_is_shown_reads_back(scheme in "[a-z]{1,5}", path in "[a-z /%.]{0,8}", name in "[a-z]{1,4}", value in "[ -~]{0,9}") {
        let query = encode(value.as_bytes());
        if let Ok(url) = StoreUrl::parse(&format!("{scheme}:{path}?{name}={query}")) {
            let shown = url.to_string();
            let again = StoreUrl::parse(&shown).unwrap();
            prop_assert_eq!(again.to_string(), shown);
            if !url.holds_secret() {
                prop_assert_eq!(again.parameters().take(&name), Some(value));
            }
        }
    }

    #[test]
    fn no_password_is_ever_shown(password in "[A-Za-z0-9%/@:#?]{6,20}", rest in "[a-z0-9/?&=:]{0,10}") {
        let text = format!("postgres://user:{password}@host/{rest}");
        let shown = match StoreUrl::parse(&text) {
            Ok(url) if url.password().is_some() => format!("{url} {url:?}"),
            // A raw `/`, `?` or `#` ends the host: then this is not a password any more.
            Ok(_) => String::new(),
            Err(error) => format!("{error:?}"),
        };
        prop_assert!(!shown.contains(&password), "{}", shown);
    }
}
