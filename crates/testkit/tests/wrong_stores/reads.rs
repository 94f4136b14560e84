//! Flaws of `get` and of what values survive.

use keyfob_core::{
    Error, ErrorKind, Expired, GetOptions, MemoryStore, Metadata, PageRequest, PutRequest, Result, Secret, SecretName,
    SecretStore, SecretValue, Version, VersionSelector, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        ReturnsAnOldVersion => [
            "get::latest_put_is_current",
            "put::match_of_the_current_version_writes",
            "versions::exactly_one_is_current",
        ],
        CachesPastZero => ["get::max_age_zero_is_fresh"],
        PreviousIsCurrent => ["get::previous_is_the_one_before", "put::same_bytes_make_a_new_version"],
        PreviousFallsBackToCurrent => [
            "delete::for_good_takes_all_versions",
            "get::previous_of_a_single_version_is_not_found",
        ],
        UnknownVersionIsCurrent => ["get::unknown_version_is_not_found"],
        AnswersWithTheSelector => ["get::previous_is_the_one_before", "put::same_bytes_make_a_new_version"],
        HandsOutExpired => ["expiry::belongs_to_the_version", "expiry::passed_expiry_is_refused"],
        NeverHandsOutExpired => ["expiry::passed_expiry_is_handed_out_when_asked"],
        ForgetsTheDirectory => [
            "get::previous_is_the_one_before",
            "get::says_which_secret_it_is",
            "names::longest_name_works",
            "names::unusual_names_work_or_are_refused",
        ],
        WrongOrigin => ["get::says_which_secret_it_is"],
        MissingIsPermissionDenied => [
            "get::missing_is_not_found",
            "metadata::change_without_a_value_needs_a_secret",
            "put::match_of_a_missing_secret_is_not_found",
        ],
        EmptyIsMissing => ["get::empty_value_is_a_value"],
        ParentAnswersForChild => ["get::path_is_not_its_children"],
        AnonymousErrors => ["secrecy::errors_name_the_secret"],
        TrimsTheLineEnd => ["get::documents_are_kept_byte_for_byte", "get::text_is_kept_byte_for_byte"],
        UnwrapsDocuments => ["get::documents_are_kept_byte_for_byte"],
        ReplacesBytes => ["get::bytes_are_kept"],
        CutsLargeValues => ["get::largest_value_is_kept"],
        PanicsOnUnknownVersions => ["get::unknown_version_is_not_found", "secrecy::failed_reads_do_not_show_the_value"],
    ]
}

/// Gives `changed(current options)` to the right store.
macro_rules! get {
    ($flaw:ident, |$right:ident, $name:ident, $options:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn get(&self, $right: &MemoryStore, $name: &SecretName, $options: &GetOptions) -> Result<Secret> {
                $body
            }
        }
    };
}

/// Changes a value before it is written.
macro_rules! value {
    ($flaw:ident, |$bytes:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn put(&self, right: &MemoryStore, name: &SecretName, mut request: PutRequest) -> Result<Metadata> {
                if let Some(value) = request.value.take() {
                    let $bytes = value.expose_secret();
                    request.value = Some(SecretValue::new($body));
                }
                right.put(name, request).await
            }
        }
    };
}

// Only from the third version on, so that fewer cases are concerned.
get!(ReturnsAnOldVersion, |right, name, options| {
    let many = right
        .versions(name, &PageRequest::default())
        .await
        .is_ok_and(|page| page.items.len() > 2);
    if many && options.version == VersionSelector::Current {
        return right.get(name, &GetOptions::version(VersionSelector::Previous)).await;
    }
    right.get(name, options).await
});

get!(CachesPastZero, |right, name, options| {
    if options.max_age.is_some() {
        let before = right.get(name, &GetOptions::version(VersionSelector::Previous)).await;
        if before.is_ok() {
            return before;
        }
    }
    right.get(name, options).await
});

get!(PreviousIsCurrent, |right, name, options| {
    let secret = right.get(name, options).await?;
    if options.version == VersionSelector::Previous {
        return right.get(name, &GetOptions::default()).await;
    }
    Ok(secret)
});

get!(PreviousFallsBackToCurrent, |right, name, options| {
    match right.get(name, options).await {
        Err(error) if error.kind() == ErrorKind::NotFound && options.version == VersionSelector::Previous => {
            right.get(name, &GetOptions::default()).await
        }
        answer => answer,
    }
});

get!(UnknownVersionIsCurrent, |right, name, options| {
    match right.get(name, options).await {
        Err(error) if error.kind() == ErrorKind::NotFound && matches!(options.version, VersionSelector::Exact(_)) => {
            right.get(name, &GetOptions::default()).await
        }
        answer => answer,
    }
});

get!(AnswersWithTheSelector, |right, name, options| {
    let mut secret = right.get(name, options).await?;
    if options.version == VersionSelector::Previous {
        secret.metadata_mut().version = Some(Version::new("previous")?);
    }
    Ok(secret)
});

get!(HandsOutExpired, |right, name, options| {
    let allowing = GetOptions {
        expired: Expired::Allow,
        ..options.clone()
    };
    right.get(name, &allowing).await
});

get!(NeverHandsOutExpired, |right, name, options| {
    let refusing = GetOptions {
        expired: Expired::Refuse,
        ..options.clone()
    };
    right.get(name, &refusing).await
});

get!(ForgetsTheDirectory, |right, name, options| {
    let mut secret = right.get(name, options).await?;
    if let Some(last) = name.segments().next_back() {
        secret.metadata_mut().name = SecretName::new(last)?;
    }
    Ok(secret)
});

get!(WrongOrigin, |right, name, options| {
    let mut secret = right.get(name, options).await?;
    secret.metadata_mut().origin.store = "elsewhere".into();
    Ok(secret)
});

get!(MissingIsPermissionDenied, |right, name, options| {
    right.get(name, options).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound && name.as_str().ends_with("/missing") {
            return Error::new(ErrorKind::PermissionDenied, "no").with("name", name.as_str());
        }
        error
    })
});

get!(EmptyIsMissing, |right, name, options| {
    let secret = right.get(name, options).await?;
    if secret.value.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no such secret").with("name", name.as_str()));
    }
    Ok(secret)
});

get!(ParentAnswersForChild, |right, name, options| {
    let answer = right.get(name, options).await;
    match (answer, name.as_str().rsplit_once('/')) {
        (Err(error), Some((parent, _))) if error.kind() == ErrorKind::NotFound => {
            right.get(&SecretName::new(parent)?, options).await.map_err(|_| error)
        }
        (answer, _) => answer,
    }
});

get!(AnonymousErrors, |right, name, options| {
    right
        .get(name, options)
        .await
        .map_err(|error| Error::new(error.kind(), "it did not work"))
});

get!(PanicsOnUnknownVersions, |right, name, options| {
    match (&options.version, right.get(name, options).await) {
        (VersionSelector::Exact(_), Err(error)) if error.kind() == ErrorKind::NotFound => panic!("no such version"),
        (_, answer) => answer,
    }
});

value!(TrimsTheLineEnd, |bytes| bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec());

value!(UnwrapsDocuments, |bytes| {
    let inner = bytes
        .strip_prefix(br#"{"value":""#)
        .and_then(|rest| rest.strip_suffix(br#""}"#));
    inner.unwrap_or(bytes).to_vec()
});

value!(ReplacesBytes, |bytes| String::from_utf8_lossy(bytes)
    .into_owned()
    .into_bytes());

value!(CutsLargeValues, |bytes| {
    // What is over the limit is still refused.
    if bytes.len() > 1 << 20 {
        bytes
    } else {
        &bytes[..bytes.len().min(65_536)]
    }
    .to_vec()
});
