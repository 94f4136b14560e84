//! Where the stores are, and as whom they are asked. Connects nothing.

use keyfob_core::{Environment, Result, SecretStore as _, StoreUrl};
use keyfob_env::ProcessEnv;

use super::{Opening, SecretManager};
use crate::backends;
use crate::manager::failover::Member;

impl SecretManager {
    /// Where the store of `scheme` is, safe to show, without connecting it: its URL, and in parentheses what the
    /// environment says of the place where the URL leaves it open.
    ///
    /// # Errors
    /// `InvalidConfig` when the scheme means nothing, or why the store can't be chosen.
    pub fn location_of(&self, scheme: &str) -> Result<String> {
        self.location(&self.slot(scheme)?.opening)
    }

    pub(super) fn location(&self, opening: &Opening) -> Result<String> {
        match opening {
            Opening::Given(store) => Ok(format!("{} ({})", store.info().scheme, store.info().location)),
            Opening::One(_) | Opening::List(_) => {
                let places: Result<Vec<String>> = opening.members().iter().map(|member| self.place(&member.url)).collect();
                Ok(places?.join(", then "))
            }
            Opening::Never(error) => Err(error.clone()),
        }
    }

    pub(super) fn place(&self, url: &StoreUrl) -> Result<String> {
        let place = backends::find(url.scheme())?.place;
        // What is wrong with the configuration is told when somebody asks the store.
        match place.and_then(|place| place(url, &self.0.environment).ok()) {
            Some(place) if !place.is_empty() => Ok(format!("{url} ({place})")),
            _ => Ok(url.to_string()),
        }
    }

    /// As whom the store of `scheme` would be asked, and why so; `None` where there is nobody to be. Connects nothing.
    ///
    /// # Errors
    /// `InvalidConfig` when the scheme means nothing, why the store can't be chosen, or what is wrong with its
    /// configuration.
    pub fn identity_of(&self, scheme: &str) -> Result<Option<String>> {
        self.identity_at(&self.slot(scheme)?.opening)
    }

    pub(super) fn identity_at(&self, opening: &Opening) -> Result<Option<String>> {
        match opening {
            Opening::Given(_) => Ok(None),
            Opening::One(opener) => self.identity(&opener.member.url),
            Opening::List(_) => {
                let mut identities = Vec::new();
                for member in opening.members() {
                    if let Some(identity) = self.identity(&member.url)? {
                        identities.push(format!("{} at `{}`", identity, member.label));
                    }
                }
                Ok((!identities.is_empty()).then(|| identities.join("; ")))
            }
            Opening::Never(error) => Err(error.clone()),
        }
    }

    pub(super) fn identity(&self, url: &StoreUrl) -> Result<Option<String>> {
        match backends::find(url.scheme())?.identity {
            Some(identity) => identity(url, &self.0.environment).map(Some),
            None => Ok(None),
        }
    }
}

impl Opening {
    /// The stores that it is made of and that have layers.
    pub(super) fn members(&self) -> Vec<&Member> {
        match self {
            Self::Given(_) | Self::Never(_) => Vec::new(),
            Self::One(opener) => vec![&opener.member],
            Self::List(openers) => openers.iter().map(|opener| &opener.member).collect(),
        }
    }
}

/// Where a store will say that it is once it is open. Of a service whose environment decides that, it is what its URL says.
pub(super) fn location_before(url: &StoreUrl, environment: &Environment) -> String {
    let known = match backends::find(url.scheme()).map(|backend| backend.scheme) {
        Ok("env") => Some(ProcessEnv::from_environment(environment).info().location.clone()),
        Ok("dotenv") => url
            .file_path(environment)
            .ok()
            .flatten()
            .map(|path| path.display().to_string()),
        #[cfg(feature = "sqlite")]
        Ok("sqlite") => keyfob_sql::SqlConfig::from_url(url, environment)
            .ok()
            .map(|config| config.path.display().to_string()),
        #[cfg(feature = "postgres")]
        Ok("postgres") => keyfob_sql::PostgresConfig::from_url(url, environment)
            .ok()
            .map(|config| config.location()),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let text = url.to_string();
        let (_, rest) = text.split_once(':').unwrap_or(("", &text));
        rest.split('?').next().unwrap_or_default().trim_start_matches("//").to_owned()
    })
}
