use keyfob_core::{Environment, FakeEnvironment};

use super::*;

fn select(fake: FakeEnvironment) -> Selection {
    Selection::of(&fake.build(), &SelectOptions::default()).unwrap()
}

fn chosen(fake: FakeEnvironment, store: Option<&str>) -> (String, Source) {
    let options = SelectOptions {
        store: store.map(str::to_owned),
        ..SelectOptions::default()
    };
    let choice = Selection::of(&fake.build(), &options).unwrap().store.unwrap();
    (choice.url.to_string(), choice.source)
}

fn refused(fake: FakeEnvironment) -> Error {
    select(fake).store.unwrap_err()
}

fn project(fake: FakeEnvironment, text: &str) -> FakeEnvironment {
    fake.file("keyfob.toml", text)
}

const FILE: &str = "default = \"team\"\n[stores.team]\nurl = \"dotenv:team.env\"\n[aliases]\nt = \"team\"\n";

fn file() -> Source {
    Source::Project(Some("/home/user/project/keyfob.toml".into()))
}

#[test]
fn each_source_decides_where_those_before_it_are_silent() {
    let nothing = Environment::fake;
    let with_file = || project(nothing(), FILE);
    let with_variable = || with_file().var("SECRET_PROVIDER", "dotenv:a.env");
    let with_switch = || with_variable().var("ENABLE_SECRET_MANAGER", "False");

    assert_eq!(chosen(nothing(), None), ("env:".to_owned(), Source::Default));
    assert_eq!(chosen(with_file(), None), ("dotenv:team.env".to_owned(), file()));
    assert_eq!(
        chosen(with_variable(), None),
        ("dotenv:a.env".to_owned(), Source::Variable("SECRET_PROVIDER"))
    );
    assert_eq!(
        chosen(with_switch(), None),
        ("env:".to_owned(), Source::Variable("ENABLE_SECRET_MANAGER"))
    );
    assert_eq!(
        chosen(with_switch(), Some("dotenv:b.env")),
        ("dotenv:b.env".to_owned(), Source::Caller)
    );
    // A chosen store beats evidence, also evidence that would be an error.
    let clouds = with_file().var("AWS_PROFILE", "x").var("VAULT_ADDR", "x");
    assert_eq!(chosen(clouds, None), ("dotenv:team.env".to_owned(), file()));
    assert_eq!(
        chosen(
            nothing()
                .var("ENABLE_SECRET_MANAGER", "true")
                .var("SECRET_PROVIDER", "dotenv"),
            None
        )
        .0,
        "dotenv:"
    );
}

#[test]
fn a_store_is_named_by_url_store_alias_or_provider() {
    let named = |text: &str| chosen(project(Environment::fake(), FILE), Some(text)).0;
    assert_eq!(named("team"), "dotenv:team.env");
    assert_eq!(named("t"), "dotenv:team.env");
    assert_eq!(named("env"), "env:");
    assert_eq!(named("dotenv:x"), "dotenv:x");
    let choice = Selection::of(
        &project(Environment::fake(), FILE).build(),
        &SelectOptions {
            store: Some("t".to_owned()),
            ..SelectOptions::default()
        },
    );
    let choice = choice.unwrap().store.unwrap();
    assert_eq!(choice.name.as_deref(), Some("team"));
    assert_eq!(choice.reason, "the store `team` of `keyfob.toml` by its alias `t`");
}

#[test]
fn an_environment_changes_the_default() {
    let text = format!("{FILE}[env.production]\ndefault = \"env\"\n[env.production.cache]\nttl = \"1s\"");
    let fake = project(Environment::fake(), &text).var("KEYFOB_ENV", "production");
    let selection = select(fake.clone());
    assert_eq!(selection.environment.source, Source::Variable("KEYFOB_ENV"));
    assert_eq!(selection.store.unwrap().url.to_string(), "env:");
    assert_eq!(
        (selection.layers.cache.ttl, selection.layer_sources),
        (Duration::from_secs(1), vec![("cache.ttl".to_owned(), file())])
    );

    let options = SelectOptions {
        environment: Some("prod".to_owned()),
        ..SelectOptions::default()
    };
    let error = Selection::of(&fake.build(), &options).unwrap_err();
    assert!(error.to_string().contains("chosen by `the command line`"), "{error}");
    let error = Selection::of(&Environment::fake().var("KEYFOB_ENV", "x").build(), &SelectOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no `keyfob.toml` that could have an environment `x` (chosen by `KEYFOB_ENV`)"
    );
}

#[cfg(not(feature = "gcp"))]
#[test]
fn a_provider_that_is_not_built_in_is_refused_with_what_there_is() {
    let absent = refused(Environment::fake().var("SECRET_PROVIDER", "gcp"));
    assert_eq!(absent.kind(), ErrorKind::Unsupported);
    assert!(
        absent
            .to_string()
            .starts_with("this build has no `gcp` backend (built in: `env`, `dotenv`"),
        "{absent}"
    );
    assert!(absent.to_string().contains("SECRET_PROVIDER"), "{absent}");
}

#[test]
fn what_cannot_be_chosen_says_why_and_how_to_choose() {
    let provider = |text: &str| refused(Environment::fake().var("SECRET_PROVIDER", text));
    assert!(provider(",").to_string().contains("names no store"));
    assert_eq!(provider("dotenw").hint(), Some("did you mean `dotenv`?"));
    assert_eq!(provider("dotenw:x").hint(), Some("did you mean `dotenv`?"));
    for (text, hint) in [
        ("AWS", "did you mean `aws`?"),
        ("Vault", "did you mean `vault`?"),
        ("DotEnv", "did you mean `dotenv`?"),
    ] {
        let error = provider(text);
        assert_eq!(error.hint(), Some(hint));
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }

    for canary in [
        "Canary7F3A!",
        "postgres://u:canary-7f3a@h:x/db",
        "postgers://u:canary-7f3a@h/db",
    ] {
        let error = provider(canary);
        assert!(!format!("{error:?}").to_lowercase().contains("canary"), "{error:?}");
    }

    let switch = refused(Environment::fake().var("ENABLE_SECRET_MANAGER", "maybe"));
    assert!(
        switch
            .to_string()
            .contains("`ENABLE_SECRET_MANAGER` is neither true nor false"),
        "{switch}"
    );
}

#[cfg(not(feature = "gcp"))]
#[test]
fn evidence_for_a_store_that_is_not_built_in_is_reported_and_not_skipped() {
    let error = refused(Environment::fake().var("GCP_PROJECT_ID", "dev"));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("this build has no `gcp` backend"), "{error}");
    assert!(
        error
            .to_string()
            .contains("the variable `GCP_PROJECT_ID` (a Google Cloud project is chosen)"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("SECRET_PROVIDER=env"), "{error:?}");
}

#[test]
fn a_selection_explains_itself() {
    let selection = select(project(
        Environment::fake().var("AWS_PROFILE", "x").var("VAULT_ADDR", "y"),
        FILE,
    ));
    let told: Vec<_> = selection
        .considered
        .iter()
        .map(|considered| (considered.source.to_string(), considered.decided, considered.outcome.as_str()))
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(source, decided, outcome)| (source.as_str(), *decided, *outcome))
        .collect();
    assert_eq!(
        told,
        [
            ("the command line", false, "no store is given"),
            ("the variable `ENABLE_SECRET_MANAGER`", false, "not set"),
            ("the variable `SECRET_PROVIDER`", false, "not set"),
            (
                "the file `/home/user/project/keyfob.toml`",
                true,
                "`dotenv:team.env`: the store `team` of `keyfob.toml`"
            ),
            (
                "detection",
                false,
                "there is evidence for 2 providers: `aws`: the variable `AWS_PROFILE` (an AWS profile is chosen); \
                 `vault`: the variable `VAULT_ADDR` (a Vault server is chosen)"
            ),
            ("the default", false, "`env:`: nothing else was chosen or found"),
        ]
    );
}

#[test]
fn the_time_to_live_is_in_milliseconds() {
    let ttl = |fake: FakeEnvironment| {
        let selection = select(fake);
        (selection.layers.cache.ttl, selection.layer_sources)
    };
    assert_eq!(ttl(Environment::fake()), (Duration::from_secs(300), Vec::new()));
    let variable = || Source::Variable("SECRET_CACHE_TTL");
    assert_eq!(
        ttl(Environment::fake().var("SECRET_CACHE_TTL", "1500")),
        (Duration::from_millis(1500), vec![("cache.ttl".to_owned(), variable())])
    );
    assert!(ttl(Environment::fake().var("SECRET_CACHE_TTL", "0")).0.is_zero());
    for wrong in ["5m", "-1", "1.5", "99999999999999999999"] {
        let env = Environment::fake().var("SECRET_CACHE_TTL", wrong).build();
        let error = Selection::of(&env, &SelectOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the variable `SECRET_CACHE_TTL` is not a whole number of milliseconds"
        );
        assert!(error.hint().unwrap().contains("300000"));
    }
}

#[test]
fn the_caller_decides_which_schemes_are_allowed_before_the_project() {
    let allow = |schemes: &[&str]| AllowedSchemes::Only(schemes.iter().map(|scheme| (*scheme).to_owned()).collect());
    let fake = project(Environment::fake(), "[references]\nallow = [\"secret\"]");
    assert_eq!(select(fake.clone()).allowed.value, allow(&["secret"]));
    assert_eq!(select(Environment::fake()).allowed.value, AllowedSchemes::All);
    let options = SelectOptions {
        allow: Some(["env".to_owned()].into()),
        ..SelectOptions::default()
    };
    let selection = Selection::of(&fake.build(), &options).unwrap();
    assert_eq!(
        (selection.allowed.value, selection.allowed.source),
        (allow(&["env"]), Source::Caller)
    );
}

#[test]
fn a_list_of_stores_is_a_failover_list() {
    let select = |text: &str| {
        Selection::of(
            &Environment::fake().var("SECRET_PROVIDER", text).build(),
            &SelectOptions::default(),
        )
    };
    let selection = select("dotenv:a, env").unwrap();
    let choice = selection.store.unwrap();
    assert_eq!(choice.url.scheme(), "dotenv");
    let fallbacks: Vec<&str> = choice.fallbacks.iter().map(|store| store.url.scheme()).collect();
    assert_eq!(fallbacks, ["env"]);
    assert_eq!(choice.reason, "a failover list: a store URL, then the provider `env`");
    for (text, place) in [("env,", 2), ("env, ,dotenv:a", 2), (",env", 1)] {
        let error = select(text).unwrap().store.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let problem = format!("the list of stores has nothing in place {place}");
        assert!(error.to_string().starts_with(&problem), "{text}: {error}");
    }
    for text in [" ", " , "] {
        let error = select(text).unwrap().store.unwrap_err();
        assert!(
            error.to_string().starts_with("the variable `SECRET_PROVIDER` names no store"),
            "{error}"
        );
    }

    let twice = select("env, dotenv:a, env").unwrap().store.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::InvalidConfig);
    assert!(
        twice.to_string().starts_with("the store `env:` stands twice in the list"),
        "{twice}"
    );
    let wrong = select("env, dotenw").unwrap().store.unwrap_err();
    assert_eq!(wrong.hint(), Some("did you mean `dotenv`?"));
}

#[test]
fn the_project_can_have_a_failover_list() {
    let project = "default = [\"team\", \"env\"]\n[stores.team]\nurl = \"dotenv:a\"\n[env.alone]\ndefault = \"env\"\n";
    let choice = |environment: Option<&str>| {
        let options = SelectOptions {
            environment: environment.map(str::to_owned),
            ..SelectOptions::default()
        };
        let fake = Environment::fake().file("/work/keyfob.toml", project).current_dir("/work");
        Selection::of(&fake.build(), &options).unwrap().store.unwrap()
    };
    let list = choice(None);
    assert_eq!(list.name.as_deref(), Some("team"));
    assert_eq!(list.fallbacks.len(), 1);
    let alone = choice(Some("alone"));
    assert_eq!((alone.url.scheme(), alone.fallbacks.len()), ("env", 0));
}
