//! Flaws of `list`, `versions` and `health`.

use keyfob_core::{
    Deleted, Error, ErrorKind, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest, PageToken, Result, SecretName,
    SecretStore, VersionInfo, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        ListsWhatIsDeleted => ["list::deleted_are_left_out"],
        ListsOneLevel => [
            "list::every_name_comes_once",
            "list::prefix_is_text_not_a_path",
            "list::whole_store_is_listed_without_a_prefix",
            "names::escapes_do_not_reach_what_they_escape",
            "names::letter_case_tells_names_apart",
            "names::look_alikes_do_not_reach_each_other",
            "names::unusual_names_work_or_are_refused",
        ],
        ListsNothingDeleted => ["list::deleted_are_listed_when_asked", "list::deleted_come_in_pages"],
        DeletedAtIsForgotten => ["list::deleted_are_listed_when_asked"],
        PrefixIsAPath => ["list::prefix_has_no_wildcards", "list::prefix_is_text_not_a_path"],
        PrefixHasWildcards => ["list::prefix_has_no_wildcards"],
        PrefixIgnoresLetterCase => ["list::prefix_minds_letter_case"],
        PrefixIsRequired => ["list::whole_store_is_listed_without_a_prefix"],
        LosesANameBetweenPages => ["list::comes_in_pages_each_once", "list::deleted_come_in_pages"],
        RepeatsANameBetweenPages => ["list::comes_in_pages_each_once", "list::deleted_come_in_pages"],
        ListIgnoresTheLimit => ["list::comes_in_pages_each_once", "list::deleted_come_in_pages"],
        ListLimitOfZeroIsAll => ["list::limit_of_zero_is_invalid"],
        ListForeignTokenIsTheFirstPage => ["list::foreign_page_token_is_invalid"],
        ListsBackwards => ["list::names_come_in_byte_order"],
        HidesExpired => ["list::expired_are_listed"],
        ListsEachVersion => ["list::secret_with_many_versions_comes_once"],
        ListsTheFirstVersion => ["list::says_where_it_comes_from"],
        NothingFoundIsAnError => ["capabilities::list_works_or_is_refused", "list::nothing_matches_is_an_empty_page"],
        OldestVersionFirst => ["versions::come_in_pages_each_once", "versions::come_newest_first"],
        EveryVersionIsCurrent => ["versions::come_in_pages_each_once", "versions::exactly_one_is_current"],
        EachPageHasACurrentVersion => ["versions::come_in_pages_each_once"],
        VersionsIgnoreTheLimit => ["versions::come_in_pages_each_once"],
        VersionsLimitOfZeroIsAll => ["versions::limit_of_zero_is_invalid"],
        VersionsForeignTokenIsTheFirstPage => ["versions::foreign_page_token_is_invalid"],
        MissingHasNoVersions => [
            "delete::for_good_takes_the_secret_away",
            "delete::recoverable_takes_the_secret_away",
            "delete::store_default_takes_the_secret_away",
            "names::every_verb_takes_the_same_names",
            "versions::of_a_deleted_secret_are_not_found",
            "versions::of_a_missing_secret_are_not_found",
        ],
        LosesAVersionBetweenPages => ["versions::come_in_pages_each_once"],
        IsCalledLikeNoScheme => [
            "get::says_which_secret_it_is",
            "health::info_names_the_store",
            "list::says_where_it_comes_from",
        ],
        MovesWhenAsked => ["health::info_is_constant"],
        NeverHealthy => ["health::is_ok"],
    ]
}

macro_rules! list {
    ($flaw:ident, |$right:ident, $options:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn list(&self, $right: &MemoryStore, $options: &ListOptions) -> Result<Page<Metadata>> {
                $body
            }
        }
    };
}

macro_rules! versions {
    ($flaw:ident, |$right:ident, $name:ident, $page:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn versions(&self, $right: &MemoryStore, $name: &SecretName, $page: &PageRequest) -> Result<Page<VersionInfo>> {
                $body
            }
        }
    };
}

list!(ListsWhatIsDeleted, |right, options| {
    let mut page = right.list(options).await?;
    if options.deleted == Deleted::Exclude && options.page.limit.is_none() {
        let deleted = ListOptions {
            deleted: Deleted::Only,
            ..options.clone()
        };
        page.items
            .extend(right.list(&deleted).await?.items.into_iter().map(|mut metadata| {
                metadata.deleted_at = None;
                metadata
            }));
        page.items.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(page)
});

// Like a service with directories, and the adapter does not go down.
list!(ListsOneLevel, |right, options| {
    let mut page = right.list(options).await?;
    page.items
        .retain(|item| options.page.limit.is_some() || !item.name.as_str()[options.prefix.len()..].contains('/'));
    Ok(page)
});

list!(ListsNothingDeleted, |right, options| {
    let mut page = right.list(options).await?;
    if options.deleted == Deleted::Only {
        page.items.clear();
    }
    Ok(page)
});

list!(DeletedAtIsForgotten, |right, options| {
    let mut page = right.list(options).await?;
    for item in &mut page.items {
        item.deleted_at = None;
    }
    Ok(page)
});

list!(PrefixIsAPath, |right, options| {
    let mut page = right.list(options).await?;
    page.items.retain(|item| {
        let rest = &item.name.as_str()[options.prefix.len()..];
        rest.is_empty() || rest.starts_with('/') || options.prefix.is_empty() || options.prefix.ends_with('/')
    });
    Ok(page)
});

list!(PrefixHasWildcards, |right, options| {
    let Some((fixed, rest)) = options.prefix.split_once('_') else {
        return right.list(options).await;
    };
    let wide = ListOptions {
        prefix: fixed.to_owned(),
        ..options.clone()
    };
    let mut page = right.list(&wide).await?;
    page.items.retain(|item| {
        item.name
            .as_str()
            .get(fixed.len() + 1..)
            .is_some_and(|tail| tail.starts_with(rest))
    });
    Ok(page)
});

list!(PrefixIgnoresLetterCase, |right, options| {
    let lower = ListOptions {
        prefix: options.prefix.to_lowercase(),
        ..options.clone()
    };
    right.list(&lower).await
});

list!(PrefixIsRequired, |right, options| {
    if options.prefix.is_empty() {
        return right
            .list(&ListOptions {
                prefix: "no such secret".to_owned(),
                ..options.clone()
            })
            .await;
    }
    right.list(options).await
});

list!(LosesANameBetweenPages, |right, options| {
    let page = right.list(options).await?;
    let next = match page.next {
        // A token that stands one name further.
        Some(token) => {
            let mut further = options.clone();
            further.page = PageRequest {
                limit: Some(1),
                token: Some(token),
            };
            right.list(&further).await?.next
        }
        None => None,
    };
    Ok(Page { items: page.items, next })
});

list!(RepeatsANameBetweenPages, |right, options| {
    let mut page = right.list(options).await?;
    if let (Some(limit), Some(token)) = (options.page.limit, &options.page.token)
        && page.items.len() < limit
    {
        let mut again = page.items[0].clone();
        again.name = SecretName::new(token.as_str())?;
        page.items.insert(0, again);
    }
    Ok(page)
});

list!(ListIgnoresTheLimit, |right, options| {
    let mut options = options.clone();
    if options.page.limit != Some(0) {
        options.page.limit = None;
    }
    right.list(&options).await
});

list!(ListLimitOfZeroIsAll, |right, options| {
    let mut options = options.clone();
    options.page.limit = options.page.limit.filter(|limit| *limit > 0);
    right.list(&options).await
});

list!(ListForeignTokenIsTheFirstPage, |right, options| {
    match right.list(options).await {
        Err(error) if options.page.token.is_some() && error.kind() == ErrorKind::InvalidInput => {
            let mut options = options.clone();
            options.page.token = None;
            right.list(&options).await
        }
        answer => answer,
    }
});

list!(ListsBackwards, |right, options| {
    let mut page = right.list(options).await?;
    page.items.reverse();
    Ok(page)
});

list!(HidesExpired, |right, options| {
    let mut page = right.list(options).await?;
    page.items.retain(|item| !item.is_expired(std::time::SystemTime::now()));
    Ok(page)
});

list!(ListsEachVersion, |right, options| {
    let page = right.list(options).await?;
    let mut items = Vec::new();
    for item in page.items {
        let versions = match options.deleted {
            Deleted::Exclude => right.versions(&item.name, &PageRequest::default()).await?.items.len(),
            Deleted::Only => 1,
        };
        items.extend(vec![item; versions]);
    }
    Ok(Page { items, next: page.next })
});

list!(ListsTheFirstVersion, |right, options| {
    let mut page = right.list(options).await?;
    for item in &mut page.items {
        item.version = Some(keyfob_core::Version::from(1));
    }
    Ok(page)
});

list!(NothingFoundIsAnError, |right, options| {
    let page = right.list(options).await?;
    if page.items.is_empty() && options.deleted == Deleted::Exclude && options.prefix.ends_with('/') {
        return Err(Error::new(ErrorKind::NotFound, "no such directory"));
    }
    Ok(page)
});

versions!(OldestVersionFirst, |right, name, page| {
    let mut answer = right.versions(name, page).await?;
    answer.items.reverse();
    Ok(answer)
});

versions!(EveryVersionIsCurrent, |right, name, page| {
    let mut answer = right.versions(name, page).await?;
    for item in &mut answer.items {
        item.current = true;
    }
    Ok(answer)
});

versions!(EachPageHasACurrentVersion, |right, name, page| {
    let mut answer = right.versions(name, page).await?;
    if let Some(first) = answer.items.first_mut() {
        first.current = true;
    }
    Ok(answer)
});

versions!(VersionsIgnoreTheLimit, |right, name, page| {
    let limit = page.limit.filter(|limit| *limit == 0);
    right
        .versions(
            name,
            &PageRequest {
                limit,
                token: page.token.clone(),
            },
        )
        .await
});

versions!(VersionsLimitOfZeroIsAll, |right, name, page| {
    let limit = page.limit.filter(|limit| *limit > 0);
    right
        .versions(
            name,
            &PageRequest {
                limit,
                token: page.token.clone(),
            },
        )
        .await
});

versions!(VersionsForeignTokenIsTheFirstPage, |right, name, page| {
    match right.versions(name, page).await {
        Err(error) if page.token.is_some() && error.kind() == ErrorKind::InvalidInput => {
            right
                .versions(
                    name,
                    &PageRequest {
                        limit: page.limit,
                        token: None,
                    },
                )
                .await
        }
        answer => answer,
    }
});

versions!(MissingHasNoVersions, |right, name, page| {
    match right.versions(name, page).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Page {
            items: Vec::new(),
            next: None,
        }),
        answer => answer,
    }
});

versions!(LosesAVersionBetweenPages, |right, name, page| {
    let mut answer = right.versions(name, page).await?;
    if let Some(next) = &answer.next {
        let number: u64 = next.as_str().parse().unwrap();
        answer.next = (number > 2).then(|| PageToken::new((number - 1).to_string()));
    }
    Ok(answer)
});

struct NeverHealthy;
#[async_trait]
impl Flaw for NeverHealthy {
    async fn health(&self, _: &MemoryStore) -> Result<Health> {
        Err(Error::new(ErrorKind::Unavailable, "no answer"))
    }
}

struct IsCalledLikeNoScheme;
impl Flaw for IsCalledLikeNoScheme {
    fn scheme(&self) -> &'static str {
        "My Memory"
    }
}

struct MovesWhenAsked;
impl Flaw for MovesWhenAsked {
    fn moves_to(&self) -> &'static str {
        "another process"
    }
}
