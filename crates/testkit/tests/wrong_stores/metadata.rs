//! Flaws of metadata.

use keyfob_core::{Change, Expired, GetOptions, MemoryStore, Metadata, PutRequest, Result, SecretName, SecretStore, async_trait};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        LosesATag => [
            "metadata::as_many_tags_as_promised",
            "metadata::tags_are_carried_over",
            "metadata::tags_are_kept_as_written",
            "metadata::tags_are_replaced_as_a_whole",
        ],
        LosesTagsOnANewVersion => ["metadata::tags_are_carried_over"],
        MergesTags => ["metadata::tags_are_replaced_as_a_whole"],
        NeverClearsTags => ["metadata::change_without_a_value_keeps_other_metadata", "metadata::tags_are_cleared"],
        DropsTagsOverTheLimit => ["metadata::too_many_tags_are_invalid"],
        LosesTheDescriptionOnANewVersion => ["metadata::description_is_carried_over"],
        KeepsTheFirstDescription => ["concurrency::reads_see_whole_writes", "metadata::description_is_replaced"],
        NeverClearsTheDescription => ["metadata::description_is_cleared"],
        OneLineDescriptions => ["metadata::description_is_kept_as_written"],
        LosesTheExpiryOnANewVersion => ["expiry::is_carried_over"],
        NeverClearsTheExpiry => ["expiry::is_cleared"],
        ExpiryInMinutes => [
            "expiry::future_expiry_is_kept",
            "expiry::is_carried_over",
            "metadata::change_without_a_value_keeps_the_value",
        ],
        MetadataAloneClearsTheRest => ["metadata::change_without_a_value_keeps_other_metadata"],
        MetadataAloneIsForgotten => [
            "metadata::change_without_a_value_keeps_other_metadata",
            "metadata::change_without_a_value_keeps_the_value",
        ],
        ClearingIsUnsupported => ["metadata::clearing_what_is_not_kept_is_no_loss"],
        SharesTagsBetweenSecrets => ["delete::for_good_takes_the_metadata"],
    ]
}

/// Changes a request, knowing the present metadata.
macro_rules! change {
    ($flaw:ident, |$request:ident, $present:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn put(&self, right: &MemoryStore, name: &SecretName, mut $request: PutRequest) -> Result<Metadata> {
                // Requests that must be refused are left as they are.
                right.info().capabilities.check_put(name, &$request)?;
                let $present = present(right, name).await;
                $body;
                right.put(name, $request).await
            }
        }
    };
}

async fn present(right: &MemoryStore, name: &SecretName) -> Option<Metadata> {
    let options = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    right
        .get(name, &options)
        .await
        .ok()
        .map(|secret| secret.metadata.as_ref().clone())
}

change!(LosesATag, |request, _present| {
    if let Change::Set(tags) = &mut request.tags
        && tags.len() > 1
    {
        tags.pop_last();
    }
});

change!(LosesTagsOnANewVersion, |request, _present| {
    if request.value.is_some() && request.tags.is_keep() {
        request.tags = Change::Clear;
    }
});

change!(MergesTags, |request, present| {
    if let (Change::Set(tags), Some(present)) = (&mut request.tags, present) {
        for (key, value) in present.tags {
            tags.entry(key).or_insert(value);
        }
    }
});

change!(NeverClearsTags, |request, _present| {
    if request.tags == Change::Clear {
        request.tags = Change::Keep;
        request.description = request.description.apply(None).map_or(Change::Clear, Change::Set);
    }
});

struct DropsTagsOverTheLimit;
#[async_trait]
impl Flaw for DropsTagsOverTheLimit {
    async fn put(&self, right: &MemoryStore, name: &SecretName, mut request: PutRequest) -> Result<Metadata> {
        if let Change::Set(tags) = &mut request.tags {
            while tags.len() > right.info().capabilities.max_tags {
                tags.pop_last();
            }
        }
        right.put(name, request).await
    }
}

change!(LosesTheDescriptionOnANewVersion, |request, _present| {
    if request.value.is_some() && request.description.is_keep() {
        request.description = Change::Clear;
    }
});

change!(KeepsTheFirstDescription, |request, present| {
    if request.value.is_some()
        && let (Change::Set(_), Some(first)) = (&request.description, present.and_then(|present| present.description))
    {
        request.description = Change::Set(first);
    }
});

change!(NeverClearsTheDescription, |request, _present| {
    if request.value.is_some() && request.description == Change::Clear {
        request.description = Change::Keep;
    }
});

change!(OneLineDescriptions, |request, _present| {
    if let Change::Set(text) = &mut request.description {
        *text = text.replace('\n', " ");
    }
});

change!(LosesTheExpiryOnANewVersion, |request, _present| {
    if request.value.is_some() && request.expires_at.is_keep() {
        request.expires_at = Change::Clear;
    }
});

// A renewal that clears an expiry that has passed works.
change!(NeverClearsTheExpiry, |request, present| {
    let passed = present.is_some_and(|present| present.is_expired(std::time::SystemTime::now()));
    if request.value.is_some() && request.expires_at == Change::Clear && !passed {
        request.expires_at = Change::Keep;
    }
});

change!(ExpiryInMinutes, |request, _present| {
    if let Change::Set(time) = &mut request.expires_at {
        *time += std::time::Duration::from_secs(30);
    }
});

change!(MetadataAloneClearsTheRest, |request, _present| {
    if request.value.is_none() && request.tags.is_keep() {
        request.tags = Change::Clear;
    }
});

struct MetadataAloneIsForgotten;
#[async_trait]
impl Flaw for MetadataAloneIsForgotten {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let keep = request.value.is_none() && request.mode == keyfob_core::PutMode::Upsert;
        match present(right, name).await {
            Some(present) if keep && right.info().capabilities.check_put(name, &request).is_ok() => Ok(present),
            _ => right.put(name, request).await,
        }
    }
}

struct ClearingIsUnsupported;
#[async_trait]
impl Flaw for ClearingIsUnsupported {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if present(right, name).await.is_none() && request.value.is_some() && request.tags == Change::Clear {
            return Err(keyfob_core::Error::new(
                keyfob_core::ErrorKind::Unsupported,
                "nothing to clear",
            ));
        }
        right.put(name, request).await
    }
}

/// A deleted secret's tags come back with the next one of its name.
#[derive(Default)]
struct SharesTagsBetweenSecrets;
#[async_trait]
impl Flaw for SharesTagsBetweenSecrets {
    async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &keyfob_core::DeleteOptions) -> Result<()> {
        let before = present(right, name).await;
        right.delete(name, options).await?;
        if let Some(before) = before
            && before.tags.contains_key("old")
            && options.mode == keyfob_core::DeleteMode::Permanent
        {
            let request = PutRequest {
                tags: Change::Set(before.tags),
                ..PutRequest::new("rest")
            };
            right.put(name, request).await?;
        }
        Ok(())
    }
}
