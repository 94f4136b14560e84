//! Names: those of other tools, and those that would meet.

use keyfob_core::{Deleted, ErrorKind, GetOptions, ListOptions, PageRequest, PutRequest, SecretStore, VersionSelector};
use reqwest::Method;
use serde_json::json;

use crate::support::{Double, name, permanent, unique};

const VALUE: &str = "kfcanary-byanothertool";

async fn listed(store: &dyn SecretStore, prefix: &str, deleted: Deleted) -> Vec<String> {
    let mut options = ListOptions {
        prefix: prefix.to_owned(),
        deleted,
        ..ListOptions::default()
    };
    let mut names = Vec::new();
    loop {
        let page = store.list(&options).await.unwrap();
        names.extend(page.items.iter().map(|item| item.name.as_str().to_owned()));
        match page.next {
            Some(next) => options.page.token = Some(next),
            None => return names,
        }
    }
}

#[tokio::test]
async fn what_another_tool_made_is_reached_by_its_own_name_and_no_other() {
    let Some(double) = Double::of("what_another_tool_made_is_reached_by_its_own_name_and_no_other").await else {
        return;
    };
    let (store, word) = (double.store(), unique());
    for (made, reached, others) in [
        (
            format!("Db{word}"),
            vec![format!("Db{word}")],
            vec![format!("db{word}"), format!("DB{word}")],
        ),
        (
            format!("{word}-plain"),
            vec![format!("{word}-plain")],
            vec![format!("{}-plain", word.to_uppercase())],
        ),
        (
            format!("{word}--level"),
            vec![format!("{word}--level"), format!("{word}/level")],
            vec![format!("{word}--Level")],
        ),
    ] {
        let (status, _) = double
            .raw(Method::PUT, &format!("/secrets/{made}"), Some(json!({ "value": VALUE })))
            .await;
        assert_eq!(status, 200);
        for text in &reached {
            let secret = store.get(&name(text), &GetOptions::default()).await.unwrap();
            assert!(secret.value.expose_secret() == VALUE.as_bytes());
            assert_eq!(secret.metadata.name, name(text));
            assert_eq!(
                store
                    .versions(&name(text), &PageRequest::default())
                    .await
                    .unwrap()
                    .items
                    .len(),
                1
            );
        }
        for text in &others {
            let error = store.get(&name(text), &GetOptions::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{text}: {error:?}");
        }
        let names = listed(&store, "", Deleted::Exclude).await;
        assert_eq!(names.iter().filter(|text| reached.contains(text)).count(), 1, "{made}");

        // The first write by keyfob is a new version of it, and says which name it has from now on.
        let first = name(&reached[0]);
        store.put(&first, PutRequest::new("kfcanary-bykeyfob0001")).await.unwrap();
        let before = GetOptions::version(VersionSelector::Previous);
        assert!(
            store
                .get(&first, &before)
                .await
                .is_err_and(|error| error.kind() == ErrorKind::NotFound)
                || {
                    let secret = store.get(&first, &before).await.unwrap();
                    secret.value.expose_secret() == VALUE.as_bytes()
                }
        );
        for text in reached.iter().skip(1) {
            let error = store.get(&name(text), &GetOptions::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{text}: {error:?}");
            let error = store
                .put(&name(text), PutRequest::new("kfcanary-intheway001"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{text}: {error:?}");
        }
        store.delete(&first, &permanent()).await.unwrap();
        let (status, _) = double.raw(Method::GET, &format!("/deletedsecrets/{made}"), None).await;
        assert_eq!(status, 404, "{made} was another secret");
    }
}

#[tokio::test]
async fn what_another_tool_deleted_is_restored_and_not_made_anew() {
    let Some(double) = Double::of("what_another_tool_deleted_is_restored_and_not_made_anew").await else {
        return;
    };
    let (store, made) = (double.store(), format!("Db{}", unique()));
    let path = format!("/secrets/{made}");
    double.raw(Method::PUT, &path, Some(json!({ "value": VALUE }))).await;
    store.delete(&name(&made), &Default::default()).await.unwrap();
    let error = store
        .put(&name(&made), PutRequest::new("kfcanary-anewsecret1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(listed(&store, "", Deleted::Only).await.contains(&made));
    store.restore(&name(&made)).await.unwrap();
    let secret = store.get(&name(&made), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == VALUE.as_bytes());
    store.delete(&name(&made), &permanent()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_would_leave_its_place_in_a_url_never_gets_there() {
    let Some(double) = Double::of("a_name_that_would_leave_its_place_in_a_url_never_gets_there").await else {
        return;
    };
    let (store, word) = (double.store(), unique());
    let victim = name(&word);
    store.put(&victim, PutRequest::new(VALUE)).await.unwrap();
    store.delete(&victim, &Default::default()).await.unwrap();
    // A delete of this one would be a purge of the other.
    for text in [
        format!("x?y=/deletedsecrets/{word}"),
        format!("x#{word}"),
        format!("a\\..\\deletedsecrets\\{word}"),
        format!("%2e%2e%2fdeletedsecrets%2f{word}"),
    ] {
        let name = name(&text);
        let can = store.info().capabilities.check_name(&name).is_ok();
        let error = store.delete(&name, &permanent()).await.unwrap_err();
        let expected = if can { ErrorKind::NotFound } else { ErrorKind::Unsupported };
        assert_eq!(error.kind(), expected, "{text}: {error:?}");
    }
    let version = keyfob_core::Version::new("../../deletedsecrets").unwrap();
    let error = store
        .get(&victim, &GetOptions::version(VersionSelector::Exact(version)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    store.restore(&victim).await.unwrap();
    store.delete(&victim, &permanent()).await.unwrap();
}

#[tokio::test]
async fn a_record_that_was_moved_reaches_nothing() {
    let Some(double) = Double::of("a_record_that_was_moved_reaches_nothing").await else {
        return;
    };
    let (store, word) = (double.store(), unique());
    let body = json!({ "value": VALUE, "tags": { "keyfob-name": "elsewhere" } });
    double.raw(Method::PUT, &format!("/secrets/{word}"), Some(body)).await;
    for text in [word.as_str(), "elsewhere"] {
        let error = store.get(&name(text), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{text}: {error:?}");
    }
    assert!(!listed(&store, &word, Deleted::Exclude).await.contains(&word));
    double.raw(Method::DELETE, &format!("/secrets/{word}"), None).await;
}

#[tokio::test]
async fn the_secret_of_a_certificate_is_read_and_neither_listed_nor_written() {
    let Some(double) = Double::of("the_secret_of_a_certificate_is_read_and_neither_listed_nor_written").await else {
        return;
    };
    let store = double.store();
    let managed = name(double.text("/managed_secret"));
    assert!(!store.get(&managed, &GetOptions::default()).await.unwrap().value.is_empty());
    assert!(
        !listed(&store, managed.as_str(), Deleted::Exclude)
            .await
            .contains(&managed.to_string())
    );
    let error = store.put(&managed, PutRequest::new(VALUE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let error = store.delete(&managed, &permanent()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}

#[tokio::test]
async fn content_type_and_tags_of_another_tool_stay() {
    let Some(double) = Double::of("content_type_and_tags_of_another_tool_stay").await else {
        return;
    };
    let (store, word) = (double.store(), unique());
    let tags: serde_json::Map<String, serde_json::Value> = (0..13).map(|n| (format!("t{n}"), json!("x"))).collect();
    let path = format!("/secrets/{word}");
    double
        .raw(
            Method::PUT,
            &path,
            Some(json!({ "value": VALUE, "contentType": "text/x-own", "tags": tags })),
        )
        .await;
    let written = store
        .put(&name(&word), PutRequest::new("kfcanary-withtags0001"))
        .await
        .unwrap();
    assert_eq!(written.tags.len(), 13);
    let (_, said) = double.raw(Method::GET, &path, None).await;
    assert_eq!(
        (said["contentType"].as_str(), said["tags"]["keyfob-name"].as_str()),
        (Some("text/x-own"), Some(word.as_str()))
    );

    // One more than there is room for.
    let described = PutRequest {
        description: keyfob_core::Change::Set("mine".to_owned()),
        ..PutRequest::default()
    };
    let error = store.put(&name(&word), described).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(error.hint().unwrap().contains("take tags away"), "{error:?}");
    store.delete(&name(&word), &permanent()).await.unwrap();
}
