//! The stores that keyfob knows, and those that this build has.

use keyfob_core::{Backend, Error, ErrorKind, Result, nearest};

/// The stores of this build.
pub const BUILT_IN: &[Backend] = &[
    keyfob_env::BACKEND_ENV,
    keyfob_env::BACKEND_DOTENV,
    #[cfg(feature = "sqlite")]
    crate::key_sources::SQLITE,
    #[cfg(feature = "postgres")]
    crate::key_sources::POSTGRES,
    #[cfg(feature = "aws")]
    keyfob_aws::BACKEND,
    #[cfg(feature = "gcp")]
    keyfob_gcp::BACKEND,
    #[cfg(feature = "azure")]
    keyfob_azure::BACKEND,
    #[cfg(feature = "vault")]
    keyfob_vault::BACKEND,
    #[cfg(feature = "kubernetes")]
    keyfob_kubernetes::BACKEND,
];

/// A store that keyfob knows and this build does not have.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Absent {
    /// Its scheme.
    pub scheme: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// What it is, in one line.
    pub summary: &'static str,
}

/// The stores that keyfob knows and this build does not have.
pub const ABSENT: &[Absent] = &[
    #[cfg(not(feature = "sqlite"))]
    absent("sqlite", &[], "keyfob's own encrypted store in a SQLite file"),
    #[cfg(not(feature = "postgres"))]
    absent("postgres", &["postgresql"], "keyfob's own encrypted store in PostgreSQL"),
    #[cfg(not(feature = "aws"))]
    absent("aws", &[], "AWS Secrets Manager"),
    #[cfg(not(feature = "gcp"))]
    absent("gcp", &[], "Google Cloud Secret Manager"),
    #[cfg(not(feature = "azure"))]
    absent("azure", &[], "Azure Key Vault"),
    #[cfg(not(feature = "vault"))]
    absent("vault", &["openbao"], "HashiCorp Vault and OpenBao"),
    #[cfg(not(feature = "kubernetes"))]
    absent("k8s", &["kubernetes"], "Kubernetes Secrets"),
];

#[cfg(not(all(
    feature = "sqlite",
    feature = "postgres",
    feature = "aws",
    feature = "gcp",
    feature = "azure",
    feature = "vault",
    feature = "kubernetes"
)))]
const fn absent(scheme: &'static str, aliases: &'static [&'static str], summary: &'static str) -> Absent {
    Absent {
        scheme,
        aliases,
        summary,
    }
}

/// The backend that `name`, a scheme or an alias, means.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when keyfob knows it and this build does not have it; [`ErrorKind::InvalidConfig`] when
/// there is no such provider, with the nearest one that there is.
pub fn find(name: &str) -> Result<&'static Backend> {
    if let Some(backend) = BUILT_IN.iter().find(|backend| backend.answers_to(name)) {
        return Ok(backend);
    }
    let built_in: Vec<String> = BUILT_IN.iter().map(|backend| format!("`{}`", backend.scheme)).collect();
    let built_in = built_in.join(", ");
    if ABSENT
        .iter()
        .any(|absent| absent.scheme == name || absent.aliases.contains(&name))
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("this build has no `{name}` backend (built in: {built_in})"),
        ));
    }
    let error = Error::new(
        ErrorKind::InvalidConfig,
        format!("there is no provider `{}`", name.escape_debug()),
    );
    Err(match nearest(name, names()).first() {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("built in are: {built_in}")),
    })
}

/// The names of all providers, built in or not, with their aliases.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    let built_in = BUILT_IN.iter().map(|backend| (backend.scheme, backend.aliases));
    let absent = ABSENT.iter().map(|absent| (absent.scheme, absent.aliases));
    built_in
        .chain(absent)
        .flat_map(|(scheme, aliases)| std::iter::once(scheme).chain(aliases.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_backend_and_can_be_a_scheme_of_references() {
        let names: Vec<&str> = names().collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
            assert!(keyfob_core::is_scheme(name), "{name}");
        }
    }

    #[cfg(not(feature = "gcp"))]
    #[test]
    fn an_absent_backend_says_what_there_is() {
        let error = find("gcp").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let said = error.to_string();
        assert!(
            said.starts_with("this build has no `gcp` backend (built in: `env`, `dotenv`"),
            "{said}"
        );
        assert!(
            BUILT_IN.iter().all(|backend| said.contains(&format!("`{}`", backend.scheme))),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_provider_is_met_with_the_nearest_one() {
        let error = find("doetnv").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.hint(), Some("did you mean `dotenv`?"));
        assert!(find("zzzzzz").unwrap_err().hint().unwrap().starts_with("built in are: `env`"));
    }
}
