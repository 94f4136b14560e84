//! What each source says about the store.

use std::borrow::Cow;

use keyfob_core::{Environment, Error, ErrorKind, Result, StoreUrl, is_scheme, nearest};

use super::{Choice, Considered, Fallback, SelectOptions, Source};
use crate::backends;
use crate::detect::Detection;
use crate::project::Settings;
use crate::variables::{ENABLE_SECRET_MANAGER, SECRET_PROVIDER};

pub(super) struct Chooser<'a> {
    pub(super) env: &'a Environment,
    pub(super) options: &'a SelectOptions,
    pub(super) settings: &'a Settings,
    pub(super) detection: &'a Detection,
}

/// What one source says: nothing (and how that shows), or a store.
enum Vote {
    Abstain(String),
    Store(Named),
    /// The first store, those that follow it, and why.
    List(Named, Vec<Named>, String),
}

/// A store that somebody named.
struct Named {
    url: StoreUrl,
    name: Option<String>,
    reason: String,
}

impl Chooser<'_> {
    /// Asks every source, also those after the one that decides, so that the answer explains itself.
    pub(super) fn choose(&self, project: &Source) -> (Result<Choice>, Vec<Considered>) {
        let votes = [
            (Source::Caller, self.caller()),
            (Source::Variable(ENABLE_SECRET_MANAGER.name), self.switch()),
            (Source::Variable(SECRET_PROVIDER.name), self.provider()),
            (project.clone(), self.project()),
            (Source::Detection, self.detection()),
            (Source::Default, store_of("env", "nothing else was chosen or found")),
        ];
        let mut chosen = None;
        let mut considered = Vec::new();
        for (source, vote) in votes {
            let decides = chosen.is_none() && !matches!(vote, Ok(Vote::Abstain(_)));
            let outcome = match &vote {
                Ok(Vote::Abstain(why)) => why.clone(),
                Ok(Vote::Store(Named { url, reason, .. })) => format!("`{url}`: {reason}"),
                Ok(Vote::List(first, others, reason)) => {
                    let urls = std::iter::once(first).chain(others).map(|store| format!("`{}`", store.url));
                    format!("{}: {reason}", urls.collect::<Vec<_>>().join(", then "))
                }
                Err(error) => error.to_string(),
            };
            considered.push(Considered {
                source: source.clone(),
                decided: decides,
                outcome,
            });
            let (first, others, reason) = match vote {
                Ok(Vote::Store(Named { url, name, reason })) if decides => (Fallback { url, name }, Vec::new(), reason),
                Ok(Vote::List(first, others, reason)) if decides => (first.into(), others, reason),
                Err(error) if decides => {
                    chosen = Some(Err(error.with("chosen by", source.label())));
                    continue;
                }
                _ => continue,
            };
            chosen = Some(Ok(Choice {
                url: first.url,
                name: first.name,
                fallbacks: others.into_iter().map(Fallback::from).collect(),
                source,
                reason,
            }));
        }
        let none = || Err(Error::new(ErrorKind::InvalidConfig, "no store is chosen"));
        (chosen.unwrap_or_else(none), considered)
    }

    fn caller(&self) -> Result<Vote> {
        match &self.options.store {
            Some(stores) => self.list(stores.split(','), "the text names no store"),
            None => abstain("no store is given"),
        }
    }

    fn switch(&self) -> Result<Vote> {
        let Some(text) = self.env.var(ENABLE_SECRET_MANAGER.name)? else {
            return abstain("not set");
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => abstain("it is on, which is the default"),
            "false" | "0" | "no" | "off" => store_of("env", "it turns every other store off"),
            _ => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("the variable `{}` is neither true nor false", ENABLE_SECRET_MANAGER.name),
            )
            .with_hint("`false` means: use the process environment")),
        }
    }

    fn provider(&self) -> Result<Vote> {
        let Some(text) = self.env.var(SECRET_PROVIDER.name)? else {
            return abstain("not set");
        };
        let problem = format!("the variable `{}` names no store", SECRET_PROVIDER.name);
        self.list(text.split(','), problem)
    }

    fn project(&self) -> Result<Vote> {
        match self.settings.default.as_slice() {
            [] => abstain("no default store"),
            stores => self.list(stores.iter().map(String::as_str), "`default` names no store"),
        }
    }

    fn detection(&self) -> Result<Vote> {
        let Some(provider) = self.detection.provider()? else {
            return abstain("no evidence of any provider");
        };
        let reason = self.detection.reason();
        match backends::find(provider) {
            Ok(_) => store_of(provider, reason),
            Err(error) => Err(Error::new(
                error.kind(),
                format!("{}, which the evidence speaks for: {reason}", error.message()),
            )
            .with_hint(
                "choose another store with `SECRET_PROVIDER` (for example `SECRET_PROVIDER=env`), a store URL, or \
                 `default` in `keyfob.toml`",
            )),
        }
    }

    /// One store, or several for failover.
    fn list<'t>(&self, texts: impl Iterator<Item = &'t str>, problem: impl Into<Cow<'static, str>>) -> Result<Vote> {
        let texts: Vec<&str> = texts.map(str::trim).collect();
        if texts.iter().all(|text| text.is_empty()) {
            return Err(Error::new(ErrorKind::InvalidConfig, problem));
        }
        if let Some(index) = texts.iter().position(|text| text.is_empty()) {
            let message = format!("the list of stores has nothing in place {}", index + 1);
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_hint("take the comma away that is one too many"));
        }
        let mut stores = Vec::with_capacity(texts.len());
        for text in texts {
            let store = self.named(text).map_err(|error| match error.kind() {
                // Who wrote one URL with a comma in it meets the rest of it here.
                ErrorKind::InvalidConfig if !stores.is_empty() && error.hint().is_none() => {
                    error.with_hint("stores stand between commas; a `,` that belongs to a URL is written `%2C`")
                }
                _ => error,
            })?;
            if stores
                .iter()
                .any(|known: &Named| known.url.to_string() == store.url.to_string())
            {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("the store `{}` stands twice in the list", store.url),
                ));
            }
            stores.push(store);
        }
        let mut stores = stores.into_iter();
        let Some(first) = stores.next() else {
            return Err(Error::new(ErrorKind::InvalidConfig, problem));
        };
        let others: Vec<Named> = stores.collect();
        if others.is_empty() {
            return Ok(Vote::Store(first));
        }
        let reasons: Vec<&str> = std::iter::once(&first)
            .chain(&others)
            .map(|store| store.reason.as_str())
            .collect();
        let reason = format!("a failover list: {}", reasons.join(", then "));
        Ok(Vote::List(first, others, reason))
    }

    /// The store that `text` means: a URL, a store or alias of `keyfob.toml`, or a provider.
    fn named(&self, text: &str) -> Result<Named> {
        if text.contains(':') {
            let url = StoreUrl::parse(text)?;
            backends::find(url.scheme())?;
            return Ok(Named {
                url,
                name: None,
                reason: "a store URL".to_owned(),
            });
        }
        let target = self.settings.aliases.get(text).map_or(text, String::as_str);
        let by_alias = if target == text {
            String::new()
        } else {
            format!(" by its alias `{text}`")
        };
        if let Some(url) = self.settings.stores.get(target) {
            backends::find(url.scheme())?;
            return Ok(Named {
                url: url.clone(),
                name: Some(target.to_owned()),
                reason: format!("the store `{target}` of `keyfob.toml`{by_alias}"),
            });
        }
        if !is_scheme(target) {
            // What differs in letter case only is surely no password.
            if let Some(name) = self.known().into_iter().find(|name| name.eq_ignore_ascii_case(target)) {
                let message = format!("there is no store or provider `{target}`");
                return Err(Error::new(ErrorKind::InvalidConfig, message).with_hint(format!("did you mean `{name}`?")));
            }
            // Not repeated: what is neither a name nor a URL may be anything, also a password.
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "this is neither a store URL nor the name of a store or provider",
            )
            .with_hint("for example `sqlite:secrets.db` or `env`"));
        }
        match backends::find(target) {
            Ok(backend) => provider(backend.scheme, format!("the provider `{target}`{by_alias}")),
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            Err(_) => Err(self.unknown(target)),
        }
    }

    /// Every name that means a store.
    fn known(&self) -> Vec<&str> {
        let own = self
            .settings
            .stores
            .keys()
            .chain(self.settings.aliases.keys())
            .map(String::as_str);
        own.chain(backends::names().map(|name| -> &str { name })).collect()
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::new(ErrorKind::InvalidConfig, format!("there is no store or provider `{name}`"));
        let known = self.known();
        match nearest(name, known.iter().copied()).first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("known are: `{}`", known.join("`, `"))),
        }
    }
}

fn abstain(why: &str) -> Result<Vote> {
    Ok(Vote::Abstain(why.to_owned()))
}

fn store_of(scheme: &str, reason: impl Into<String>) -> Result<Vote> {
    provider(scheme, reason).map(Vote::Store)
}

fn provider(scheme: &str, reason: impl Into<String>) -> Result<Named> {
    Ok(Named {
        url: StoreUrl::of_scheme(scheme)?,
        name: None,
        reason: reason.into(),
    })
}

impl From<Named> for Fallback {
    fn from(Named { url, name, .. }: Named) -> Self {
        Self { url, name }
    }
}
