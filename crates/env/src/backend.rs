//! The rows of the facade's table.

use keyfob_core::{Backend, Connected, Error, ErrorKind};

use crate::{DotenvConfig, DotenvStore, ProcessEnv};

/// The process environment: `env:`.
pub const BACKEND_ENV: Backend = Backend {
    scheme: ProcessEnv::SCHEME,
    aliases: &[],
    summary: "environment variables, read-only",
    url_help: "env:",
    parameters: &[],
    identity: None,
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            url.parameters().finish()?;
            if url.host().is_some() || !url.path()?.is_empty() {
                return Err(Error::new(ErrorKind::InvalidConfig, "nothing can follow `env:`")
                    .with("url", url.to_string())
                    .with_hint("write `env:`; a `.env` file is `dotenv:FILE`"));
            }
            Ok(Connected::new(ProcessEnv::from_environment(environment)))
        })
    },
};

/// A `.env` file: `dotenv:FILE`, or `dotenv:` for `.env` in the current directory.
pub const BACKEND_DOTENV: Backend = Backend {
    scheme: DotenvStore::SCHEME,
    aliases: &[],
    summary: "variables in a `.env` file, not encrypted",
    url_help: "dotenv:FILE",
    parameters: &[],
    identity: None,
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            url.parameters().finish()?;
            let path = match url.file_path(environment)? {
                Some(path) => path,
                None => environment.absolute(url.base().unwrap_or("".as_ref()).join(".env")),
            };
            Ok(Connected::new(DotenvStore::new(&DotenvConfig::new(path))?))
        })
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::{Environment, GetOptions, Result, SecretName, SecretStore, StoreUrl};
    use std::sync::Arc;

    fn connect(backend: Backend, url: &str) -> Result<Arc<dyn SecretStore>> {
        let environment = Environment::fake().var("DB_PASSWORD", "s3cr3t").build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let connected = runtime.block_on((backend.connect)(StoreUrl::parse(url)?, &environment))?;
        Ok(connected.store)
    }

    #[test]
    fn the_environment_is_the_one_that_was_given() {
        let store = connect(BACKEND_ENV, "env:").unwrap();
        let name = SecretName::new("db/password").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let secret = runtime.block_on(store.get(&name, &GetOptions::default())).unwrap();
        assert_eq!(secret.value.expose_str().unwrap(), "s3cr3t");
    }

    #[test]
    fn a_dotenv_url_names_a_file_or_means_the_usual_one() {
        for (url, path) in [
            ("dotenv:", "/home/user/project/.env"),
            ("dotenv:a/b.env", "/home/user/project/a/b.env"),
            ("dotenv:/a/.env", "/a/.env"),
            ("dotenv:~/.env", "/home/user/.env"),
        ] {
            assert_eq!(connect(BACKEND_DOTENV, url).unwrap().info().location, path);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (backend, url) in [
            (BACKEND_ENV, "env:x"),
            (BACKEND_ENV, "env://x"),
            (BACKEND_ENV, "env:?x=1"),
            (BACKEND_DOTENV, "dotenv:.env?x=1"),
            (BACKEND_DOTENV, "dotenv://.env"),
        ] {
            assert_eq!(connect(backend, url).unwrap_err().kind(), ErrorKind::InvalidConfig, "{url}");
        }
    }
}
