//! What a stack of store and layers can do, and the checks before any I/O.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Change, DeleteMode, DeleteOptions, Deleted, GetOptions, ListOptions, PutMode, PutRequest, VersionSelector};

/// What a stack can do. What it can't is refused as [`ErrorKind::Unsupported`] before any I/O, never ignored.
///
/// Begin from [`NONE`](Self::NONE) or [`FULL`](Self::FULL) and change fields. Every store and layer calls the
/// `check_*` function of a verb before it does anything else.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Capabilities {
    /// Can write at all ([`PutMode::Upsert`]).
    pub put: bool,
    /// [`PutMode::Create`] is atomic.
    pub put_create: bool,
    /// [`PutMode::Match`] is atomic.
    pub put_match: bool,
    /// Metadata can change without a new value.
    pub put_metadata: bool,
    /// Values may be bytes that are not UTF-8.
    pub binary: bool,
    /// A value may be empty.
    pub empty_value: bool,
    /// Can delete for good.
    pub delete_permanent: bool,
    /// Can delete so that `restore` brings it back.
    pub delete_recoverable: bool,
    /// The recovery windows that can be asked for, shortest and longest; `None`: the store decides.
    pub recovery_window: Option<(Duration, Duration)>,
    /// A deleted but recoverable secret keeps its name from being used: a put is [`ErrorKind::Conflict`].
    pub deleted_reserves_name: bool,
    /// Can list names.
    pub list: bool,
    /// Keeps versions: `@previous` and exact versions can be read, `versions` lists them.
    pub versions: bool,
    /// Keeps a description.
    pub description: bool,
    /// Keeps tags.
    pub tags: bool,
    /// Keeps an expiry and enforces it on reads.
    pub expiry: bool,
    /// Which names it takes.
    pub names: NameRule,
    /// Where what a name is kept under is not the name itself: two names for which this gives the same can't both be there.
    /// The second one is refused as [`ErrorKind::Conflict`].
    pub name_key: Option<NameKey>,
    /// The longest name in bytes.
    pub max_name_bytes: usize,
    /// The largest value in bytes.
    pub max_value_bytes: usize,
    /// What else a value may not be: returns what is wrong with it. `None`: nothing.
    pub value_rule: Option<ValueRule>,
    /// The most tags per secret.
    pub max_tags: usize,
}

/// What a name is kept under.
pub type NameKey = fn(&SecretName) -> String;

/// Says what is wrong with a value, without repeating any of it.
pub type ValueRule = fn(&[u8]) -> Result<(), &'static str>;

/// Which names a store takes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum NameRule {
    /// Every [`SecretName`].
    Any,
    /// [Portable](SecretName::is_portable) names.
    Portable,
    /// Names for which this returns `Ok`, else what is wrong with them.
    Custom(fn(&SecretName) -> Result<(), &'static str>),
}

impl Capabilities {
    /// Reads current text values by name, nothing else.
    pub const NONE: Self = Self {
        put: false,
        put_create: false,
        put_match: false,
        put_metadata: false,
        binary: false,
        empty_value: false,
        delete_permanent: false,
        delete_recoverable: false,
        recovery_window: None,
        deleted_reserves_name: false,
        list: false,
        versions: false,
        description: false,
        tags: false,
        expiry: false,
        names: NameRule::Any,
        name_key: None,
        max_name_bytes: SecretName::MAX_BYTES,
        max_value_bytes: usize::MAX,
        value_rule: None,
        max_tags: 0,
    };

    /// Everything, with values up to 1 MiB and 50 tags.
    pub const FULL: Self = Self {
        put: true,
        put_create: true,
        put_match: true,
        put_metadata: true,
        binary: true,
        empty_value: true,
        delete_permanent: true,
        delete_recoverable: true,
        recovery_window: None,
        deleted_reserves_name: true,
        list: true,
        versions: true,
        description: true,
        tags: true,
        expiry: true,
        names: NameRule::Any,
        name_key: None,
        max_name_bytes: SecretName::MAX_BYTES,
        max_value_bytes: 1 << 20,
        value_rule: None,
        max_tags: 50,
    };

    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store can't have a secret of that name.
    pub fn check_name(&self, name: &SecretName) -> Result<()> {
        if name.as_str().len() > self.max_name_bytes {
            let message = format!(
                "the name has {} bytes, this store takes {}",
                name.as_str().len(),
                self.max_name_bytes
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with("name", name.as_str()));
        }
        let problem = match self.names {
            NameRule::Any => Ok(()),
            NameRule::Portable if name.is_portable() => Ok(()),
            NameRule::Portable => Err("only letters, digits, `.`, `_`, `-` and `/` are possible in names here"),
            NameRule::Custom(rule) => rule(name),
        };
        problem.map_err(|problem| {
            Error::new(
                ErrorKind::Unsupported,
                format!("this store can't have a secret of that name: {problem}"),
            )
            .with("name", name.as_str())
        })
    }

    /// Checks a read.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the name or the version can't be asked for here.
    pub fn check_get(&self, name: &SecretName, options: &GetOptions) -> Result<()> {
        self.check_name(name)?;
        if options.version != VersionSelector::Current {
            self.require(
                self.versions,
                "this store keeps no versions, only `@current` can be read",
                name,
            )?;
        }
        Ok(())
    }

    /// Checks a write.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what the store can't do or keep, [`ErrorKind::NotText`] for bytes where it
    /// takes only text, [`ErrorKind::InvalidInput`] for a value or tags beyond its limits or for a request that
    /// changes nothing.
    pub fn check_put(&self, name: &SecretName, request: &PutRequest) -> Result<()> {
        self.check_name(name)?;
        self.require(self.put, "this store is read-only", name)?;
        match &request.mode {
            PutMode::Upsert => {}
            PutMode::Create => self.require(self.put_create, "this store can't create only if the name is free", name)?,
            PutMode::Match(_) => self.require(self.put_match, "this store can't compare versions on a write", name)?,
        }
        if let Some(value) = &request.value {
            if !self.empty_value && value.is_empty() {
                return Err(
                    Error::new(ErrorKind::Unsupported, "this store can't keep an empty value").with("name", name.as_str())
                );
            }
            if !self.binary && value.expose_str().is_err() {
                return Err(
                    Error::new(ErrorKind::NotText, "this store keeps text, the value is not UTF-8").with("name", name.as_str()),
                );
            }
            if let Some(Err(problem)) = self.value_rule.map(|rule| rule(value.expose_secret())) {
                return Err(Error::new(ErrorKind::InvalidInput, problem).with("name", name.as_str()));
            }
            if value.len() > self.max_value_bytes {
                let message = format!(
                    "the value has {} bytes, this store takes {}",
                    value.len(),
                    self.max_value_bytes
                );
                return Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
            }
        } else {
            if request.mode == PutMode::Create {
                let message = "a secret can't be created without a value";
                return Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
            }
            if request.description.is_keep() && request.tags.is_keep() && request.expires_at.is_keep() {
                return Err(
                    Error::new(ErrorKind::InvalidInput, "neither a value nor metadata to write").with("name", name.as_str())
                );
            }
            self.require(
                self.put_metadata,
                "this store can't change metadata without a new value",
                name,
            )?;
        }
        // Clearing what can't be there is no loss; setting it would be.
        if let Change::Set(_) = request.description {
            self.require(self.description, "this store keeps no description", name)?;
        }
        if let Change::Set(_) = request.expires_at {
            self.require(self.expiry, "this store keeps no expiry", name)?;
        }
        if let Change::Set(tags) = &request.tags {
            self.require(self.tags || tags.is_empty(), "this store keeps no tags", name)?;
            if tags.len() > self.max_tags {
                let message = format!("{} tags, this store takes {}", tags.len(), self.max_tags);
                return Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
            }
        }
        Ok(())
    }

    /// Checks a delete.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store can't delete that way, [`ErrorKind::InvalidInput`] for a recovery
    /// window outside its limits.
    pub fn check_delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.check_name(name)?;
        match options.mode {
            DeleteMode::StoreDefault => self.require(
                self.delete_permanent || self.delete_recoverable,
                "this store can't delete",
                name,
            ),
            DeleteMode::Permanent => self.require(self.delete_permanent, "this store can't delete for good", name),
            DeleteMode::Recoverable { window } => {
                self.require(
                    self.delete_recoverable,
                    "this store deletes for good, nothing could be restored",
                    name,
                )?;
                match (window, self.recovery_window) {
                    (None, _) => Ok(()),
                    (Some(_), None) => self.require(false, "this store decides itself how long it keeps what is deleted", name),
                    (Some(window), Some((shortest, longest))) if window < shortest || window > longest => {
                        let days = |time: Duration| time.as_secs() / 86_400;
                        let message = format!("the recovery window must be {} to {} days", days(shortest), days(longest));
                        Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()))
                    }
                    (Some(_), Some(_)) => Ok(()),
                }
            }
        }
    }

    /// Checks a restore.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store deletes for good.
    pub fn check_restore(&self, name: &SecretName) -> Result<()> {
        self.check_name(name)?;
        self.require(
            self.delete_recoverable,
            "this store deletes for good, nothing can be restored",
            name,
        )
    }

    /// Checks a listing of versions.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store keeps none.
    pub fn check_versions(&self, name: &SecretName) -> Result<()> {
        self.check_name(name)?;
        self.require(self.versions, "this store keeps no versions", name)
    }

    /// Checks a listing of names.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store can't list, or keeps nothing that is deleted and that is asked for.
    pub fn check_list(&self, options: &ListOptions) -> Result<()> {
        if !self.list {
            return Err(Error::new(ErrorKind::Unsupported, "this store can't list its secrets"));
        }
        if options.deleted == Deleted::Only && !self.delete_recoverable {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this store deletes for good, it has no deleted secrets to list",
            ));
        }
        options.page.limit_up_to(usize::MAX).map(|_| ())
    }

    #[expect(clippy::unused_self, reason = "reads as a question to the capabilities")]
    fn require(&self, can: bool, otherwise: &'static str, name: &SecretName) -> Result<()> {
        if can {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Unsupported, otherwise).with("name", name.as_str()))
        }
    }
}
