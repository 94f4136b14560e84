//! Which store, and why.

mod choose;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfob_core::{AllowedSchemes, Environment, Error, ErrorKind, Reason, Result, StoreUrl};

use self::choose::Chooser;
use crate::detect::{Detection, detect};
use crate::layers::{self, LayerSettings};
use crate::project::{FILE_NAME, Project, Settings};
use crate::variables::KEYFOB_ENV;

/// What the caller, or the command line, says. It comes before everything else.
#[derive(Debug, Clone, Default)]
pub struct SelectOptions {
    /// The project's file, or `none`, in the place of the one that `KEYFOB_CONFIG` names or that is found.
    pub project: Option<PathBuf>,
    /// The store: a URL, a store or alias of `keyfob.toml`, or a provider; or several with commas between them, for
    /// failover.
    pub store: Option<String>,
    /// The environment of `keyfob.toml`.
    pub environment: Option<String>,
    /// What the layers over every store are set to, whatever variables and `keyfob.toml` say.
    pub layers: Option<LayerSettings>,
    /// How long values may be served from the cache, whatever else is said; zero for no cache, whatever rules there are.
    pub cache_ttl: Option<Duration>,
    /// The schemes that references may use.
    pub allow: Option<BTreeSet<String>>,
    /// What all accesses are for, where [`with_reason`](keyfob_core::with_reason) says nothing else.
    pub reason: Option<Reason>,
}

/// Which store and which settings apply, and everything that was considered on the way.
///
/// Nothing is connected. A text in it is safe to show.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Selection {
    /// The store of `${secret:…}`, or why there is none.
    pub store: Result<Choice>,
    /// What could have chosen the store, in the order in which it was asked.
    pub considered: Vec<Considered>,
    /// What was found out about where keyfob runs.
    pub detection: Detection,
    /// The project's file.
    pub project: Option<Project>,
    /// What the project's file says in the chosen environment.
    pub settings: Settings,
    /// The environment of `keyfob.toml`.
    pub environment: Setting<Option<String>>,
    /// What the layers over every store are set to.
    pub layers: LayerSettings,
    /// The settings of layers, as `cache.ttl`, that a variable or `keyfob.toml` decided, and which.
    pub layer_sources: Vec<(String, Source)>,
    /// The schemes that references may use.
    pub allowed: Setting<AllowedSchemes>,
}

/// A setting and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// What holds.
    pub value: T,
    /// What decided it.
    pub source: Source,
}

/// A chosen store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Choice {
    /// Where it is.
    pub url: StoreUrl,
    /// Its name in `keyfob.toml`, if it has one.
    pub name: Option<String>,
    /// The stores that are asked when it can't answer, in this order.
    pub fallbacks: Vec<Fallback>,
    /// What decided it.
    pub source: Source,
    /// Why, as one line.
    pub reason: String,
}

/// A store of a failover list after the first.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fallback {
    /// Where it is.
    pub url: StoreUrl,
    /// Its name in `keyfob.toml`, if it has one.
    pub name: Option<String>,
}

/// Something that could have chosen the store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Considered {
    /// What was asked.
    pub source: Source,
    /// Whether it decided.
    pub decided: bool,
    /// What it said, as one line.
    pub outcome: String,
}

/// What decides a setting, in the order in which it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The command line, or the code that calls keyfob.
    Caller,
    /// This environment variable.
    Variable(&'static str),
    /// The project's file; `None` when there is none.
    Project(Option<PathBuf>),
    /// What was found out about where keyfob runs.
    Detection,
    /// Nothing did, so the default holds.
    Default,
}

impl Source {
    /// As it stands in the context of an error, which has backticks of its own.
    fn label(&self) -> String {
        match self {
            Self::Variable(name) => (*name).to_owned(),
            Self::Project(Some(path)) => path.display().to_string(),
            Self::Project(None) => FILE_NAME.to_owned(),
            Self::Caller | Self::Detection | Self::Default => self.to_string(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("the command line"),
            Self::Variable(name) => write!(f, "the variable `{name}`"),
            Self::Project(Some(path)) => write!(f, "the file `{}`", path.display()),
            Self::Project(None) => f.write_str("`keyfob.toml`"),
            Self::Detection => f.write_str("detection"),
            Self::Default => f.write_str("the default"),
        }
    }
}

impl Selection {
    /// Finds out which store and which settings apply: from the command line, else the environment, else
    /// `keyfob.toml`, else detection, else the default.
    ///
    /// That no store could be chosen is not an error of this function: it stands in [`store`](Self::store), because
    /// references to stores by name work all the same.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable or `keyfob.toml` is wrong or not believed; see [`Project::find`].
    pub fn of(env: &Environment, options: &SelectOptions) -> Result<Self> {
        let project = match options.project.as_deref() {
            Some(path) if path == Path::new("none") => None,
            Some(path) => Some(Project::load(env, path)?),
            None => Project::find(env)?,
        };
        let environment = environment(env, options)?;
        let settings = match (&project, &environment.value) {
            (Some(project), name) => project
                .settings(name.as_deref())
                .map_err(|error| error.with("chosen by", environment.source.label()))?,
            (None, None) => Settings::default(),
            (None, Some(name)) => {
                let problem = format!(
                    "there is no `keyfob.toml` that could have an environment `{}`",
                    name.escape_debug()
                );
                return Err(Error::new(ErrorKind::InvalidConfig, problem).with("chosen by", environment.source.label()));
            }
        };
        let from_project = Source::Project(project.as_ref().map(|project| project.path().to_owned()));
        let detection = detect(env);
        let chooser = Chooser {
            env,
            options,
            settings: &settings,
            detection: &detection,
        };
        let (store, considered) = chooser.choose(&from_project);
        // Read even when the caller decides: a wrong variable is told, not hidden until it matters.
        let (mut layers, mut layer_sources) = layers::settings(env, &settings.layers, &settings.cache_rules, &from_project)?;
        if let Some(given) = &options.layers {
            layers = given.clone();
            layer_sources.clear();
        }
        if let Some(ttl) = options.cache_ttl {
            layers.cache.ttl = ttl;
            if ttl.is_zero() {
                layers.cache.rules.clear();
                layers.cache.warm.clear();
            }
            layer_sources.retain(|(setting, _)| setting != "cache.ttl");
        }
        layers.check()?;
        Ok(Self {
            store,
            considered,
            layers,
            layer_sources,
            allowed: allowed(options, &settings, &from_project),
            detection,
            environment,
            project,
            settings,
        })
    }
}

fn environment(env: &Environment, options: &SelectOptions) -> Result<Setting<Option<String>>> {
    let (value, source) = match (&options.environment, env.var(KEYFOB_ENV.name)?) {
        (Some(name), _) => (Some(name.clone()), Source::Caller),
        (None, Some(name)) => (Some(name.to_owned()), Source::Variable(KEYFOB_ENV.name)),
        (None, None) => (None, Source::Default),
    };
    Ok(Setting { value, source })
}

fn allowed(options: &SelectOptions, settings: &Settings, project: &Source) -> Setting<AllowedSchemes> {
    let (value, source) = match (&options.allow, &settings.allow) {
        (Some(allow), _) => (AllowedSchemes::Only(allow.clone()), Source::Caller),
        (None, Some(allow)) => (AllowedSchemes::Only(allow.clone()), project.clone()),
        (None, None) => (AllowedSchemes::All, Source::Default),
    };
    Setting { value, source }
}
