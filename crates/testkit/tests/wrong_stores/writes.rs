//! Flaws of `put`, `delete` and `restore`.

use std::time::SystemTime;

use keyfob_core::{
    DeleteMode, DeleteOptions, Error, ErrorKind, GetOptions, ListOptions, MemoryStore, Metadata, PutMode, PutRequest, Result,
    SecretName, SecretStore, SecretValue, Version, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        IgnoresCreate => ["concurrency::exactly_one_create_wins", "put::create_on_a_taken_name_already_exists"],
        CreateNeverWorks => [
            "capabilities::create_works_or_is_refused",
            "concurrency::exactly_one_create_wins",
            "put::create_takes_a_free_name",
            "put::create_takes_a_name_that_was_deleted_for_good",
        ],
        CreateMakesAnEmptyValue => ["put::create_without_a_value_is_invalid"],
        WritesTheNeighboursToo => ["put::does_not_touch_other_secrets"],
        WontRenewWhatIsExpired => ["expiry::belongs_to_the_version", "expiry::expired_secret_can_be_renewed"],
        IgnoresMatch => [
            "concurrency::exactly_one_match_wins",
            "put::match_after_anothers_write_is_conflict",
            "put::match_of_a_missing_secret_is_not_found",
            "put::match_of_an_unknown_version_is_conflict",
        ],
        MatchMakesWhatIsMissing => ["put::match_of_a_missing_secret_is_not_found"],
        MatchIgnoredForMetadata => ["put::match_guards_metadata_too"],
        TakenIsConflict => ["concurrency::exactly_one_create_wins", "put::create_on_a_taken_name_already_exists"],
        SameBytesMakeNoVersion => ["put::same_bytes_make_a_new_version"],
        ReturnsTheVersionBefore => [
            "concurrency::upserts_lose_no_version",
            "get::exact_version_has_its_own_value",
            "get::previous_is_the_one_before",
            "list::says_where_it_comes_from",
            "put::match_guards_metadata_too",
            "put::match_of_the_current_version_writes",
            "put::returns_the_metadata_afterwards",
            "put::same_bytes_make_a_new_version",
            "versions::belong_to_one_secret",
            "versions::come_in_pages_each_once",
            "versions::come_newest_first",
            "versions::exactly_one_is_current",
        ],
        SecondsAsMilliseconds => ["put::says_plausible_times"],
        OverwritesWhatIsDeleted => ["put::deleted_name_is_reserved_or_free"],
        MetadataAloneMakesASecret => ["metadata::change_without_a_value_needs_a_secret"],
        NothingToWriteIsFine => ["put::nothing_to_write_is_invalid"],
        CutsWhatIsTooLarge => ["put::too_large_a_value_is_invalid"],
        ReportsAFailedWriteAsSuccess => [
            "concurrency::exactly_one_match_wins",
            "put::deleted_name_is_reserved_or_free",
            "put::match_after_anothers_write_is_conflict",
            "put::match_guards_metadata_too",
            "put::match_of_an_unknown_version_is_conflict",
        ],
        DeletesForGoodInHalf => [
            "delete::for_good_takes_all_versions",
            "delete::for_good_takes_the_metadata",
            "delete::twice_is_not_found",
            "put::create_takes_a_name_that_was_deleted_for_good",
            "restore::gone_for_good_is_not_found",
        ],
        DeletingTheMissingIsFine => ["delete::missing_is_not_found", "delete::twice_is_not_found"],
        DeletesTheChildrenToo => ["delete::does_not_touch_other_secrets"],
        DeletesForGoodAlways => [
            "delete::for_good_takes_what_is_deleted",
            "list::deleted_are_listed_when_asked",
            "list::deleted_come_in_pages",
            "put::deleted_name_is_reserved_or_free",
            "restore::brings_the_metadata_back",
            "restore::brings_the_value_back",
            "restore::brings_the_versions_back",
            "restore::is_listed_again",
            "restore::restored_secret_can_be_written_and_deleted",
        ],
        WontDeleteForGoodWhatIsDeleted => ["delete::for_good_takes_what_is_deleted"],
        RestoreRefusesWhatIsThere => [
            "capabilities::restore_works_or_is_refused",
            "restore::of_what_is_there_changes_nothing",
        ],
        RestoreMakesAVersion => ["restore::brings_the_versions_back", "restore::of_what_is_there_changes_nothing"],
        RestoreOfTheMissingIsFine => [
            "delete::for_good_takes_what_is_deleted",
            "restore::gone_for_good_is_not_found",
            "restore::missing_is_not_found",
        ],
        RestoreLosesTheTags => ["restore::brings_the_metadata_back"],
    ]
}

macro_rules! put {
    ($flaw:ident, |$right:ident, $name:ident, $request:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn put(&self, $right: &MemoryStore, $name: &SecretName, $request: PutRequest) -> Result<Metadata> {
                $body
            }
        }
    };
}

macro_rules! delete {
    ($flaw:ident, |$right:ident, $name:ident, $options:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn delete(&self, $right: &MemoryStore, $name: &SecretName, $options: &DeleteOptions) -> Result<()> {
                $body
            }
        }
    };
}

macro_rules! restore {
    ($flaw:ident, |$right:ident, $name:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn restore(&self, $right: &MemoryStore, $name: &SecretName) -> Result<Metadata> {
                $body
            }
        }
    };
}

async fn current(right: &MemoryStore, name: &SecretName) -> Result<keyfob_core::Secret> {
    right.get(name, &GetOptions::default()).await
}

const PERMANENT: DeleteOptions = DeleteOptions {
    mode: DeleteMode::Permanent,
};

put!(IgnoresCreate, |right, name, request| {
    let create = request.mode == PutMode::Create && request.value.is_some();
    right
        .put(name, if create { request.mode(PutMode::Upsert) } else { request })
        .await
});

put!(CreateNeverWorks, |right, name, request| {
    if request.mode == PutMode::Create && request.value.is_some() {
        right.info().capabilities.check_put(name, &request)?;
        return Err(Error::new(ErrorKind::AlreadyExists, "taken").with("name", name.as_str()));
    }
    right.put(name, request).await
});

put!(CreateMakesAnEmptyValue, |right, name, request| {
    let value = match (&request.mode, request.value) {
        (PutMode::Create, None) => Some(SecretValue::from("")),
        (_, value) => value,
    };
    right.put(name, PutRequest { value, ..request }).await
});

// Only when it replaces a secret.
put!(WritesTheNeighboursToo, |right, name, request| {
    let prefix = name.as_str().to_owned();
    if let (Ok(_), Some(value), PutMode::Upsert) = (current(right, name).await, &request.value, &request.mode) {
        let neighbours = ListOptions {
            prefix,
            ..ListOptions::default()
        };
        for neighbour in right.list(&neighbours).await?.items {
            if neighbour.name != *name {
                right.put(&neighbour.name, PutRequest::new(value.clone())).await?;
            }
        }
    }
    right.put(name, request).await
});

put!(WontRenewWhatIsExpired, |right, name, request| {
    match current(right, name).await {
        Err(error) if error.kind() == ErrorKind::Expired => Err(error),
        _ => right.put(name, request).await,
    }
});

put!(IgnoresMatch, |right, name, request| {
    let ignored = matches!(request.mode, PutMode::Match(_)) && request.value.is_some();
    right
        .put(name, if ignored { request.mode(PutMode::Upsert) } else { request })
        .await
});

put!(MatchMakesWhatIsMissing, |right, name, request| {
    let ignored = matches!(request.mode, PutMode::Match(_)) && current(right, name).await.is_err();
    right
        .put(name, if ignored { request.mode(PutMode::Upsert) } else { request })
        .await
});

put!(MatchIgnoredForMetadata, |right, name, request| {
    let ignored = request.value.is_none() && matches!(request.mode, PutMode::Match(_));
    right
        .put(name, if ignored { request.mode(PutMode::Upsert) } else { request })
        .await
});

put!(TakenIsConflict, |right, name, request| {
    right.put(name, request).await.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new(ErrorKind::Conflict, "taken"),
        _ => error,
    })
});

put!(SameBytesMakeNoVersion, |right, name, request| {
    if let (Some(value), Ok(present)) = (&request.value, current(right, name).await)
        && request.mode == PutMode::Upsert
        && request.tags.is_keep()
        && request.description.is_keep()
        && request.expires_at.is_keep()
        && value.expose_secret() == present.value.expose_secret()
    {
        return Ok(present.metadata.as_ref().clone());
    }
    right.put(name, request).await
});

// Only for a plain put, so that the cases that go on with the token are not concerned.
put!(ReturnsTheVersionBefore, |right, name, request| {
    let before = current(right, name)
        .await
        .ok()
        .and_then(|secret| secret.metadata.version.clone());
    let mut metadata = right.put(name, request).await?;
    metadata.version = before.or(metadata.version);
    Ok(metadata)
});

put!(SecondsAsMilliseconds, |right, name, request| {
    let mut metadata = right.put(name, request).await?;
    for time in [&mut metadata.created, &mut metadata.updated] {
        *time = time.map(|time| SystemTime::UNIX_EPOCH + time.duration_since(SystemTime::UNIX_EPOCH).unwrap() / 1000);
    }
    Ok(metadata)
});

put!(OverwritesWhatIsDeleted, |right, name, request| {
    match right.put(name, request.clone()).await {
        Err(error) if error.kind() == ErrorKind::Conflict && request.mode == PutMode::Upsert => {
            right.delete(name, &PERMANENT).await?;
            right.put(name, request).await
        }
        answer => answer,
    }
});

put!(MetadataAloneMakesASecret, |right, name, request| {
    match right.put(name, request.clone()).await {
        Err(error) if error.kind() == ErrorKind::NotFound && request.value.is_none() => {
            let value = Some(SecretValue::from(""));
            right.put(name, PutRequest { value, ..request }).await
        }
        answer => answer,
    }
});

put!(NothingToWriteIsFine, |right, name, request| {
    match (request.value.is_none(), right.put(name, request).await) {
        (true, Err(error)) if error.kind() == ErrorKind::InvalidInput && error.message().starts_with("neither") => {
            current(right, name).await.map(|secret| secret.metadata.as_ref().clone())
        }
        (_, answer) => answer,
    }
});

put!(CutsWhatIsTooLarge, |right, name, request| {
    let mut request = request;
    if let Some(value) = &request.value
        && value.len() > 1 << 20
    {
        request.value = Some(SecretValue::from(&value.expose_secret()[..1 << 20]));
    }
    right.put(name, request).await
});

put!(ReportsAFailedWriteAsSuccess, |right, name, request| {
    match right.put(name, request).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(Metadata::new(name.clone(), "memory")),
        answer => answer,
    }
});

// The restorable rest stays.
delete!(DeletesForGoodInHalf, |right, name, options| {
    let first = right.get(name, &GetOptions::default()).await.is_ok();
    if first && options.mode == DeleteMode::Permanent {
        return right.delete(name, &DeleteOptions::default()).await;
    }
    right.delete(name, options).await
});

delete!(DeletingTheMissingIsFine, |right, name, options| {
    match right.delete(name, options).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
});

delete!(DeletesTheChildrenToo, |right, name, options| {
    right.delete(name, options).await?;
    let children = ListOptions {
        prefix: format!("{name}/"),
        ..ListOptions::default()
    };
    for child in right.list(&children).await?.items {
        right.delete(&child.name, options).await?;
    }
    Ok(())
});

delete!(DeletesForGoodAlways, |right, name, options| {
    right.delete(name, options).await?;
    if matches!(options.mode, DeleteMode::Recoverable { .. }) {
        right.delete(name, &PERMANENT).await?;
    }
    Ok(())
});

delete!(WontDeleteForGoodWhatIsDeleted, |right, name, options| {
    current(right, name).await.map(|_| ()).or_else(|error| match error.kind() {
        ErrorKind::Expired => Ok(()),
        _ => Err(error),
    })?;
    right.delete(name, options).await
});

restore!(RestoreRefusesWhatIsThere, |right, name| {
    if current(right, name).await.is_ok() {
        return Err(Error::new(ErrorKind::Conflict, "not deleted").with("name", name.as_str()));
    }
    right.restore(name).await
});

restore!(RestoreMakesAVersion, |right, name| {
    right.restore(name).await?;
    let secret = right
        .get(
            name,
            &GetOptions {
                expired: keyfob_core::Expired::Allow,
                ..GetOptions::default()
            },
        )
        .await?;
    right.put(name, PutRequest::new(secret.value)).await
});

restore!(RestoreOfTheMissingIsFine, |right, name| {
    right.restore(name).await.or_else(|error| match error.kind() {
        ErrorKind::NotFound => {
            let mut metadata = Metadata::new(name.clone(), "memory");
            metadata.version = Some(Version::from(1));
            Ok(metadata)
        }
        _ => Err(error),
    })
});

restore!(RestoreLosesTheTags, |right, name| {
    right.restore(name).await?;
    let request = PutRequest {
        tags: keyfob_core::Change::Clear,
        ..PutRequest::default()
    };
    right.put(name, request).await
});
