//! Stores that ignore what they say they can't do, and names that reach each other.

use std::fmt::Write;

use keyfob_core::{
    Capabilities, Change, DeleteMode, DeleteOptions, Deleted, Error, ErrorKind, GetOptions, GetRequest, ListOptions, MemoryStore,
    Metadata, NameRule, Page, PutMode, PutRequest, Result, Secret, SecretName, SecretStore, SecretValue, VersionSelector,
    async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        TagsIgnored => ["capabilities::tags_work_or_are_refused"],
        DescriptionIgnored => ["capabilities::description_works_or_is_refused"],
        ExpiryIgnored => ["capabilities::expiry_works_or_is_refused"],
        CreateIgnored => ["capabilities::create_works_or_is_refused"],
        MatchIgnored => ["capabilities::match_works_or_is_refused"],
        VersionIgnored => ["capabilities::versions_work_or_are_refused", "get_many::one_failure_does_not_touch_the_others"],
        RecoverableIgnored => ["capabilities::delete_works_or_is_refused"],
        PermanentIgnored => ["capabilities::delete_works_or_is_refused"],
        WindowIgnored => ["capabilities::recovery_window_is_checked"],
        BytesReplaced => ["capabilities::bytes_work_or_are_not_text"],
        EmptyIgnored => ["capabilities::empty_value_works_or_is_refused"],
        ReadOnlyIgnored => [
            "capabilities::create_works_or_is_refused",
            "capabilities::description_works_or_is_refused",
            "capabilities::empty_value_works_or_is_refused",
            "capabilities::expiry_works_or_is_refused",
            "capabilities::match_works_or_is_refused",
            "capabilities::metadata_alone_works_or_is_refused",
            "capabilities::put_works_or_is_refused",
            "capabilities::tags_work_or_are_refused",
        ],
        ListEmptyInsteadOfUnsupported => ["capabilities::list_works_or_is_refused"],
        DeletedEmptyInsteadOfUnsupported => ["capabilities::list_of_deleted_works_or_is_refused"],
        SaysMoreThanItCan => ["capabilities::empty_value_works_or_is_refused", "get::empty_value_is_a_value"],
        NamesCleaned => [
            "get_many::one_failure_does_not_touch_the_others",
            "names::a_slash_in_front_makes_another_name",
            "names::escapes_do_not_reach_what_they_escape",
            "names::every_verb_takes_the_same_names",
            "names::unusual_names_work_or_are_refused",
        ],
        LongNamesCut => ["names::too_long_a_name_is_refused"],
        RefusesHiddenFiles => ["names::portable_names_work"],
        RefusesNamesItShouldTake => ["names::unusual_names_work_or_are_refused"],
        FrontSlashDropped => ["names::a_slash_in_front_makes_another_name"],
        IgnoresLetterCase => ["names::escapes_do_not_reach_what_they_escape", "names::letter_case_tells_names_apart"],
        SlashBecomesDash => ["names::look_alikes_do_not_reach_each_other"],
        EscapesWithoutEscapingTheEscape => ["names::escapes_do_not_reach_what_they_escape", "names::longest_name_works"],
    ]
}

/// A store that says `$can` and changes a write so that the right store below takes it.
macro_rules! ignores_on_put {
    ($flaw:ident, |$can:ident| $says:expr, |$request:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            fn capabilities(&self) -> Capabilities {
                let mut $can = Capabilities::FULL;
                $says;
                $can
            }

            async fn put(&self, right: &MemoryStore, name: &SecretName, mut $request: PutRequest) -> Result<Metadata> {
                $body;
                right.put(name, $request).await
            }
        }
    };
}

ignores_on_put!(TagsIgnored, |can| can.tags = false, |request| request.tags = Change::Keep);

ignores_on_put!(DescriptionIgnored, |can| can.description = false, |request| {
    if let Change::Set(_) = request.description {
        // A request for nothing else is still one for something.
        request.description = if request.value.is_some() {
            Change::Keep
        } else {
            Change::Clear
        };
    }
});

ignores_on_put!(ExpiryIgnored, |can| can.expiry = false, |request| {
    if let Change::Set(_) = request.expires_at {
        request.expires_at = Change::Clear;
    }
});

ignores_on_put!(CreateIgnored, |can| can.put_create = false, |request| {
    if request.mode == PutMode::Create && request.value.is_some() {
        request.mode = PutMode::Upsert;
    }
});

ignores_on_put!(MatchIgnored, |can| can.put_match = false, |request| {
    if let PutMode::Match(_) = request.mode {
        request.mode = PutMode::Upsert;
    }
});

ignores_on_put!(BytesReplaced, |can| can.binary = false, |request| {
    if let Some(value) = &request.value {
        request.value = Some(String::from_utf8_lossy(value.expose_secret()).into_owned().into());
    }
});

ignores_on_put!(EmptyIgnored, |can| can.empty_value = false, |request| {
    if request.value.as_ref().is_some_and(SecretValue::is_empty) {
        request.value = Some(" ".into());
    }
});

ignores_on_put!(ReadOnlyIgnored, |can| can.put = false, |_request| {});

struct VersionIgnored;
#[async_trait]
impl Flaw for VersionIgnored {
    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::FULL;
        can.versions = false;
        can
    }

    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let version = VersionSelector::Current;
        let options = GetOptions {
            version,
            ..options.clone()
        };
        right.get(name, &options).await
    }

    async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers = Vec::new();
        for request in requests {
            answers.push(self.get(right, &request.name, &request.options).await);
        }
        answers
    }
}

/// A store that says it can't delete in this way, and deletes in another.
macro_rules! deletes_otherwise {
    ($flaw:ident, |$can:ident| $says:expr, |$mode:ident| $otherwise:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            fn capabilities(&self) -> Capabilities {
                let mut $can = Capabilities::FULL;
                $says;
                $can
            }

            async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &DeleteOptions) -> Result<()> {
                let $mode = options.mode;
                right.delete(name, &DeleteOptions { mode: $otherwise }).await
            }

            async fn restore(&self, right: &MemoryStore, name: &SecretName) -> Result<Metadata> {
                self.capabilities().check_restore(name)?;
                right.restore(name).await
            }

            async fn list(&self, right: &MemoryStore, options: &ListOptions) -> Result<Page<Metadata>> {
                self.capabilities().check_list(options)?;
                right.list(options).await
            }
        }
    };
}

deletes_otherwise!(RecoverableIgnored, |can| can.delete_recoverable = false, |mode| match mode {
    DeleteMode::Recoverable { window: None } => DeleteMode::Permanent,
    mode => mode,
});

deletes_otherwise!(PermanentIgnored, |can| can.delete_permanent = false, |mode| match mode {
    DeleteMode::Permanent => DeleteMode::StoreDefault,
    mode => mode,
});

deletes_otherwise!(WindowIgnored, |_can| {}, |mode| match mode {
    DeleteMode::Recoverable { .. } => DeleteMode::Recoverable { window: None },
    mode => mode,
});

struct ListEmptyInsteadOfUnsupported;
#[async_trait]
impl Flaw for ListEmptyInsteadOfUnsupported {
    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::FULL;
        can.list = false;
        can
    }

    async fn list(&self, _: &MemoryStore, options: &ListOptions) -> Result<Page<Metadata>> {
        match options.deleted {
            Deleted::Exclude => Ok(Page {
                items: Vec::new(),
                next: None,
            }),
            Deleted::Only => Err(Error::new(ErrorKind::Unsupported, "no listing")),
        }
    }
}

struct DeletedEmptyInsteadOfUnsupported;
#[async_trait]
impl Flaw for DeletedEmptyInsteadOfUnsupported {
    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::FULL;
        can.delete_recoverable = false;
        can
    }

    async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.capabilities().check_delete(name, options)?;
        let mode = DeleteMode::Permanent;
        right.delete(name, &DeleteOptions { mode }).await
    }

    async fn restore(&self, _: &MemoryStore, name: &SecretName) -> Result<Metadata> {
        self.capabilities().check_restore(name)?;
        Err(Error::new(ErrorKind::NotFound, "never").with("name", name.as_str()))
    }
}

struct SaysMoreThanItCan;
#[async_trait]
impl Flaw for SaysMoreThanItCan {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if request.value.as_ref().is_some_and(SecretValue::is_empty) {
            return Err(Error::new(ErrorKind::Unsupported, "no empty values").with("name", name.as_str()));
        }
        right.put(name, request).await
    }
}

/// Maps names on the way in; answers with the name asked for.
macro_rules! maps_names {
    ($flaw:ident, |$can:ident| $says:expr, |$name:ident| $map:expr) => {
        struct $flaw;
        impl $flaw {
            fn map($name: &SecretName) -> Result<SecretName> {
                SecretName::new($map)
            }
        }
        #[async_trait]
        impl Flaw for $flaw {
            fn capabilities(&self) -> Capabilities {
                let mut $can = Capabilities::FULL;
                // So that only the reach of names is concerned, not how they are listed.
                $can.list = false;
                $says;
                $can
            }

            async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
                match right.get(&Self::map(name)?, options).await {
                    Ok(mut secret) => {
                        secret.metadata_mut().name = name.clone();
                        Ok(secret)
                    }
                    Err(error) => Err(Error::new(error.kind(), "no").with("name", name.as_str())),
                }
            }

            async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
                let mut answers = Vec::new();
                for request in requests {
                    answers.push(self.get(right, &request.name, &request.options).await);
                }
                answers
            }

            async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
                let mut metadata = right.put(&Self::map(name)?, request).await?;
                metadata.name = name.clone();
                Ok(metadata)
            }

            async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &DeleteOptions) -> Result<()> {
                right.delete(&Self::map(name)?, options).await
            }

            async fn restore(&self, right: &MemoryStore, name: &SecretName) -> Result<Metadata> {
                let mut metadata = right.restore(&Self::map(name)?).await?;
                metadata.name = name.clone();
                Ok(metadata)
            }

            async fn versions(
                &self,
                right: &MemoryStore,
                name: &SecretName,
                page: &keyfob_core::PageRequest,
            ) -> Result<Page<keyfob_core::VersionInfo>> {
                right.versions(&Self::map(name)?, page).await
            }

            async fn list(&self, _: &MemoryStore, _: &ListOptions) -> Result<Page<Metadata>> {
                Err(Error::new(ErrorKind::Unsupported, "no listing"))
            }
        }
    };
}

maps_names!(NamesCleaned, |can| can.names = NameRule::Portable, |name| {
    let portable = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    name.as_str()
        .chars()
        .map(|c| if portable(c) { c } else { '-' })
        .collect::<String>()
});

maps_names!(LongNamesCut, |can| can.max_name_bytes = 100, |name| {
    name.as_str().chars().take(100).collect::<String>()
});

maps_names!(FrontSlashDropped, |_can| {}, |name| name.as_str().trim_start_matches('/'));

maps_names!(IgnoresLetterCase, |_can| {}, |name| name.as_str().to_lowercase());

maps_names!(SlashBecomesDash, |_can| {}, |name| {
    let (namespace, rest) = name.as_str().split_once('/').unwrap();
    format!("{namespace}/{}", rest.replace('/', "-"))
});

maps_names!(
    EscapesWithoutEscapingTheEscape,
    |can| can.names = NameRule::Portable,
    |name| {
        SaysPortable.check_name(name)?;
        let (namespace, rest) = name.as_str().split_once('/').unwrap();
        rest.chars().fold(format!("{namespace}/"), |mut mapped, c| {
            match c {
                '/' => mapped.push_str("_2F"),
                c => write!(mapped, "{c}").unwrap(),
            }
            mapped
        })
    }
);

/// The rule of portable names.
struct SaysPortable;
impl SaysPortable {
    fn check_name(&self, name: &SecretName) -> Result<()> {
        let mut can = Capabilities::FULL;
        can.names = NameRule::Portable;
        can.check_name(name)
    }
}

struct RefusesNamesItShouldTake;
#[async_trait]
impl Flaw for RefusesNamesItShouldTake {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if !name.is_portable() {
            return Err(Error::new(ErrorKind::Unsupported, "no such names").with("name", name.as_str()));
        }
        right.put(name, request).await
    }
}

struct RefusesHiddenFiles;
#[async_trait]
impl Flaw for RefusesHiddenFiles {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if name.segments().any(|segment| segment.starts_with('.')) {
            return Err(Error::new(ErrorKind::Unsupported, "no hidden files").with("name", name.as_str()));
        }
        right.put(name, request).await
    }
}
