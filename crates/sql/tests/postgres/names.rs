//! Names and values at the edges of what there is.

use keyfob_core::{GetOptions, ListOptions, PutRequest, SecretName, SecretStore, SecretValue};

use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// The order is that of bytes and no prefix is a pattern, whatever the database's locale says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_is_in_the_order_of_bytes_and_a_prefix_is_no_pattern() {
    let Some(place) = Place::new("listing_is_in_the_order_of_bytes_and_a_prefix_is_no_pattern") else {
        return;
    };
    let store = place.create().await;
    let mut names: Vec<String> = [
        "a",
        "A",
        "Z",
        "z",
        "_",
        "a_b",
        "aXb",
        "a%b",
        "50%/x",
        "50x",
        "ä",
        "a\u{308}",
        "é/1",
        "日本/語",
        "ß",
        "SS",
        "\u{10FFFF}",
        "a-b",
        "a b",
        "a.b",
        "a/b",
        "a\\b",
        "a'b",
        "a\"b",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(512));
    names.push("語".repeat(170));
    names.extend((0..100).map(|number| format!("page/{number}")));
    for text in &names {
        store.put(&name(text), PutRequest::new("kfcanary-names001")).await.unwrap();
    }
    names.sort_unstable();
    let all = async |prefix: &str, limit: usize| {
        let (mut found, mut options) = (Vec::new(), ListOptions::default());
        prefix.clone_into(&mut options.prefix);
        options.page.limit = Some(limit);
        loop {
            let page = store.list(&options).await.unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|item| item.name.as_str().to_owned()));
            match page.next {
                Some(next) => options.page.token = Some(next),
                None => return found,
            }
        }
    };
    for limit in [1, 7, 1000] {
        assert_eq!(all("", limit).await, names, "pages of {limit}");
    }
    for prefix in ["a_", "a%", "50%", "%", "_", "a\\", "page/1", "日", "a'", "nothing"] {
        let expected: Vec<String> = names.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(all(prefix, 7).await, expected, "{prefix}");
    }
    assert!(store.verify().await.unwrap().problems.is_empty());
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_value_comes_back() {
    let Some(place) = Place::new("every_byte_of_a_value_comes_back") else {
        return;
    };
    let store = place.create().await;
    let largest = store.info().capabilities.max_value_bytes;
    assert_eq!(largest, 1 << 20);
    let every_byte: Vec<u8> = (0..=255).collect();
    for (index, value) in [Vec::new(), vec![0], every_byte.repeat(9), every_byte.repeat(largest / 256)]
        .into_iter()
        .enumerate()
    {
        let name = name(&format!("value{index}"));
        store
            .put(&name, PutRequest::new(SecretValue::new(value.clone())))
            .await
            .unwrap();
        let found = store.get(&name, &GetOptions::default()).await.unwrap();
        assert!(found.value.expose_secret() == value, "value {index}");
    }
    let too_large = PutRequest::new(SecretValue::new(vec![0; largest + 1]));
    assert!(store.put(&name("large"), too_large).await.is_err());
    assert!(SecretName::new("a\0b").is_err(), "what PostgreSQL can't keep is no name");
    place.remove().await;
}
