//! Reads of what others made and changed, against the strict double.

use keyfob_core::{ErrorKind, GetOptions, ListOptions, PageRequest, SecretStore as _};
use reqwest::Method;
use serde_json::json;

use crate::support::{Double, OTHERS, name, put, read, version};

#[tokio::test]
async fn current_is_the_newest_version_that_is_enabled() {
    let Some(double) = Double::of_test("current_is_the_newest_version_that_is_enabled") else {
        return;
    };
    let store = double.store().await;
    for value in [
        "kfcanary-one00001",
        "kfcanary-two00001",
        "kfcanary-three001",
        "kfcanary-four0001",
    ] {
        store.put(&name("a"), put(value)).await.unwrap();
    }
    double.set_state("a", 4, "destroy").await;
    double.set_state("a", 3, "disable").await;
    assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), b"kfcanary-two00001");
    assert_eq!(read(&store, "a", &version("previous")).await.unwrap(), b"kfcanary-one00001");
    for gone in ["3", "4", "latest"] {
        let error = read(&store, "a", &version(gone)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.hint().unwrap().contains("disabled"), "{error:?}");
    }
    let listed = store.versions(&name("a"), &PageRequest::default()).await.unwrap().items;
    let shown: Vec<_> = listed
        .iter()
        .map(|info| (info.version.as_str(), info.current, info.labels.join(",")))
        .collect();
    let expected = [("3", false, "disabled"), ("2", true, ""), ("1", false, "")];
    assert_eq!(
        shown,
        expected.map(|(number, current, labels)| (number, current, labels.to_owned()))
    );

    // A new value becomes current, whatever was disabled.
    store.put(&name("a"), put("kfcanary-five0001")).await.unwrap();
    assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), b"kfcanary-five0001");
    assert_eq!(read(&store, "a", &version("previous")).await.unwrap(), b"kfcanary-two00001");

    for number in [1, 2, 5] {
        double.set_state("a", number, "disable").await;
    }
    let error = read(&store, "a", &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("no version that is enabled"), "{error:?}");
}

#[tokio::test]
async fn every_secret_that_another_tool_made_is_reached() {
    let Some(double) = Double::of_test("every_secret_that_another_tool_made_is_reached") else {
        return;
    };
    let longest = "x".repeat(255);
    let ids = [
        "Some_Secret-1",
        "_",
        "team_x2Fdb",
        "a_x5Fx2Fb",
        "a_x2F",
        "a_x2F_x2E_x2E_x2Fb",
        longest.as_str(),
    ];
    for id in ids {
        double.make(id).await;
        double.add(id).await;
    }
    let store = double.store().await;
    let listed = store.list(&ListOptions::default()).await.unwrap().items;
    let mut names: Vec<_> = listed.iter().map(|metadata| metadata.name.as_str().to_owned()).collect();
    for text in &names {
        assert_eq!(read(&store, text, &GetOptions::default()).await.unwrap(), OTHERS, "{text}");
    }
    let mut expected: Vec<_> = [
        "Some_Secret-1",
        "_",
        "team/db",
        "a_x2Fb",
        "a_x2F",
        "a_x2F_x2E_x2E_x2Fb",
        &longest,
    ]
    .map(str::to_owned)
    .into();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn an_alias_names_a_version() {
    let Some(double) = Double::of_test("an_alias_names_a_version") else {
        return;
    };
    let store = double.store().await;
    for value in ["kfcanary-one00001", "kfcanary-two00001"] {
        store.put(&name("a"), put(value)).await.unwrap();
    }
    let body = json!({"versionAliases": {"stable": "1"}});
    double.ask(Method::PATCH, "/a?updateMask=versionAliases", body).await;
    assert_eq!(read(&store, "a", &version("stable")).await.unwrap(), b"kfcanary-one00001");
    let secret = store.get(&name("a"), &version("stable")).await.unwrap();
    assert_eq!(secret.metadata.version.as_ref().unwrap().as_str(), "1");
    let listed = store.versions(&name("a"), &PageRequest::default()).await.unwrap().items;
    assert_eq!((&listed[0].labels, &listed[1].labels), (&vec![], &vec!["stable".to_owned()]));
    let error = read(&store, "a", &version("no-such-alias")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

#[tokio::test]
async fn a_value_that_was_damaged_on_its_way_is_not_handed_out() {
    let Some(double) = Double::of_test("a_value_that_was_damaged_on_its_way_is_not_handed_out") else {
        return;
    };
    let store = double.store().await;
    store.put(&name("a"), put("kfcanary-whole001")).await.unwrap();
    double.fault("WRONG_CHECKSUM", "AccessSecretVersion", 1).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(!format!("{error:?}").contains("kfcanary"));
    assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), b"kfcanary-whole001");
}

#[tokio::test]
async fn errors_have_googles_facts_and_say_what_to_do() {
    let Some(double) = Double::of_test("errors_have_googles_facts_and_say_what_to_do") else {
        return;
    };
    let store = double.store().await;
    store.put(&name("a"), put("kfcanary-facts001")).await.unwrap();
    for (fault, kind, status) in [
        ("RESOURCE_EXHAUSTED", ErrorKind::RateLimited, "429"),
        ("UNAVAILABLE", ErrorKind::Unavailable, "503"),
        ("INTERNAL", ErrorKind::Unavailable, "500"),
        ("SERVICE_DISABLED", ErrorKind::PermissionDenied, "403"),
    ] {
        double.fault(fault, "AccessSecretVersion", 1).await;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let facts: Vec<_> = error.context().collect();
        assert!(
            facts.contains(&("status", status)) && facts.contains(&("name", "a")),
            "{error:?}"
        );
        if fault == "SERVICE_DISABLED" {
            assert!(facts.contains(&("reason", "SERVICE_DISABLED")), "{error:?}");
            assert!(error.hint().unwrap().contains("gcloud services enable"), "{error:?}");
        }
        if fault == "RESOURCE_EXHAUSTED" {
            assert_eq!(error.retry_after().map(|wait| wait.as_secs()), Some(7), "{error:?}");
        }
    }
    // What says whether a value may be handed out is needed as the value is.
    double.fault("UNAVAILABLE", "GetSecret", 1).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    double.fault("SERVICE_DISABLED", "ListSecrets", 1).await;
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let Some(double) = Double::of_test("pages_are_followed_to_the_end") else {
        return;
    };
    let store = double.store_with("&prefix=app/").await;
    for index in 0..7 {
        store
            .put(&name(&format!("n{index}")), put("kfcanary-paged001"))
            .await
            .unwrap();
        double.make(&format!("other-{index}")).await;
    }
    let mut options = ListOptions::default();
    options.page.limit = Some(3);
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = store.list(&options).await.unwrap();
        assert!(page.items.len() <= 3);
        names.extend(page.items.into_iter().map(|metadata| metadata.name.as_str().to_owned()));
        pages += 1;
        options.page.token = page.next;
        if options.page.token.is_none() {
            break;
        }
    }
    // In what order the service gives pages is up to it.
    names.sort();
    assert_eq!(names, (0..7).map(|index| format!("n{index}")).collect::<Vec<_>>());
    assert!(pages >= 3, "{pages}");
}
