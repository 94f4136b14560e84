//! The process environment as a store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Bound;

use keyfob_core::{
    Capabilities, DeleteOptions, Environment, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, SecretValue, StoreInfo, VersionInfo, async_trait,
};

use crate::names::spellings;
use crate::store::paging;

/// Environment variables as secrets, read-only.
///
/// The secret `db/password` is the variable `db/password` if there is one, else `DB_PASSWORD`; see
/// [`variable_for`](crate::variable_for). A variable has no version and no expiry. Values are bytes and need not be
/// UTF-8. A variable whose own name is no [`SecretName`] can't be asked for and isn't listed.
pub struct ProcessEnv {
    info: StoreInfo,
    variables: BTreeMap<SecretName, SecretValue>,
}

impl ProcessEnv {
    /// The scheme of this store in URLs and references.
    pub const SCHEME: &'static str = "env";

    /// Reads these variables.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables = variables.into_iter().filter_map(|(name, value)| {
            let name = SecretName::new(name.to_str()?).ok()?;
            Some((name, SecretValue::new(value.into_encoded_bytes())))
        });
        Self::of(variables.collect())
    }

    /// Reads the variables of `environment`.
    #[must_use]
    pub fn from_environment(environment: &Environment) -> Self {
        let variables = environment.var_names().filter_map(|name| {
            let value = environment.secret_var(name)?;
            Some((SecretName::new(name).ok()?, value))
        });
        Self::of(variables.collect())
    }

    /// Reads the variables that this process has now. A variable that is set later is not seen: the environment
    /// can't be read safely while another thread changes it.
    #[must_use]
    pub fn from_process() -> Self {
        Self::new(std::env::vars_os())
    }

    fn of(variables: BTreeMap<SecretName, SecretValue>) -> Self {
        let mut capabilities = Capabilities::NONE;
        capabilities.binary = true;
        capabilities.empty_value = true;
        capabilities.list = true;
        Self {
            info: StoreInfo::new(Self::SCHEME, "the process environment", capabilities),
            variables,
        }
    }

    fn read(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let value = spellings(name).find_map(|variable| self.variables.get(&SecretName::new(variable).ok()?));
        let value = value.ok_or_else(|| {
            let variables: Vec<String> = spellings(name).map(|variable| format!("`{variable}`")).collect();
            Error::new(ErrorKind::NotFound, "no such secret")
                .with("name", name.as_str())
                .with("store", Self::SCHEME)
                .with_hint(format!("set the environment variable {}", variables.join(" or ")))
        })?;
        Ok(Secret::new(value.clone(), Metadata::new(name.clone(), Self::SCHEME)))
    }

    /// The capability checks refuse every write before this is reached.
    fn read_only(name: &SecretName) -> Error {
        Error::new(ErrorKind::Unsupported, "this store is read-only").with("name", name.as_str())
    }
}

impl fmt::Debug for ProcessEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessEnv")
            .field("variables", &self.variables.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for ProcessEnv {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.read(name, options)
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        requests
            .iter()
            .map(|request| self.read(&request.name, &request.options))
            .collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        Err(Self::read_only(name))
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        Err(Self::read_only(name))
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        Err(Self::read_only(name))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let start = match paging::after(&options.page)? {
            Some(name) => Bound::Excluded(name),
            None => Bound::Unbounded,
        };
        let names = self
            .variables
            .range((start, Bound::Unbounded))
            .map(|(name, _)| name)
            .filter(|name| name.as_str().starts_with(&options.prefix));
        paging::page(names.map(|name| Metadata::new(name.clone(), Self::SCHEME)), &options.page)
    }

    async fn versions(&self, name: &SecretName, _page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        Err(Self::read_only(name))
    }

    async fn health(&self) -> Result<Health> {
        let mut health = Health::default();
        health.details.push(("variables", self.variables.len().to_string()));
        Ok(health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn store(variables: &[(&str, &str)]) -> ProcessEnv {
        ProcessEnv::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn value(store: &ProcessEnv, name: &str) -> Result<String> {
        let name = SecretName::new(name).unwrap();
        block_on(store.get(&name, &GetOptions::default())).map(|secret| secret.value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn the_exact_name_comes_before_the_mapped_one() {
        let store = store(&[
            ("DB_PASSWORD", "mapped"),
            ("db/password", "exact"),
            ("TOKEN", "t"),
            ("token", "u"),
        ]);
        assert_eq!(value(&store, "db/password").unwrap(), "exact");
        assert_eq!(value(&store, "db-password").unwrap(), "mapped");
        assert_eq!(value(&store, "token").unwrap(), "u");
        assert_eq!(value(&store, "Token").unwrap(), "t");
    }

    #[test]
    fn a_missing_variable_is_named_with_both_spellings() {
        let error = value(&store(&[]), "db/password").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.hint(),
            Some("set the environment variable `db/password` or `DB_PASSWORD`")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_text_comes_back_byte_for_byte() {
        use std::os::unix::ffi::OsStringExt;
        let store = ProcessEnv::new([("A".into(), OsString::from_vec(vec![b'a', 0xff, b'b']))]);
        let name = SecretName::new("A").unwrap();
        let secret = block_on(store.get(&name, &GetOptions::default())).unwrap();
        assert_eq!(secret.value.expose_secret(), [b'a', 0xff, b'b']);
    }

    #[test]
    fn writing_is_unsupported_and_a_listing_has_pages_in_order() {
        let store = store(&[("C", ""), ("A", ""), ("B", ""), ("bad\u{7}name", "")]);
        let name = SecretName::new("A").unwrap();
        let error = block_on(store.put(&name, PutRequest::new("x"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let mut options = ListOptions::default();
        options.page.limit = Some(2);
        let first = block_on(store.list(&options)).unwrap();
        options.page.token = first.next;
        let second = block_on(store.list(&options)).unwrap();
        let names: Vec<_> = first
            .items
            .iter()
            .chain(&second.items)
            .map(|item| item.name.as_str())
            .collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert!(second.next.is_none());
    }
}
