//! From the text of `keyfob.toml` to its meaning, with positions in every error.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use keyfob_core::{
    CacheNames, CacheTimes, DEFAULT_SCHEME, Error, ErrorKind, FILE_SCHEME, Result, SecretName, StoreUrl, is_scheme, nearest,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Project, Settings};
use crate::backends;
use crate::layers::{self, Given, ROWS, Row, Unit, Value};

pub(super) fn parse(text: &str, path: &Path, directory: &Path) -> Result<Project> {
    let source = Source { text, path, directory };
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().unwrap_or(0..0);
        source.error(&place, error.message().lines().next().unwrap_or("this is not TOML"))
    })?;
    let mut environments = BTreeMap::new();
    let base = source.draft(table.get_ref(), true)?;
    if let Some(value) = table.get_ref().get("env") {
        for (name, value) in source.table(value, "env")? {
            source.check_word(name, "environment")?;
            let overlay = source.draft(source.table(value, name.get_ref())?, false)?;
            base.clone().overlaid(&overlay).check()?;
            environments.insert(name.get_ref().to_string(), overlay);
        }
    }
    Ok(Project {
        path: path.to_owned(),
        base,
        environments,
    })
}

/// What one level of the file says, before it is known whether the names in it exist: an environment may add them.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    default: Option<Vec<Name>>,
    stores: BTreeMap<String, StoreUrl>,
    aliases: BTreeMap<String, Name>,
    layers: Vec<Given>,
    rules: Vec<(CacheNames, CacheTimes)>,
    allow: Option<Vec<Name>>,
}

/// A name that must exist, and where it stands (`path:line:column`).
#[derive(Debug, Clone)]
struct Name {
    name: String,
    place: String,
}

impl Draft {
    /// What holds when `overlay` is laid over it.
    pub(super) fn overlaid(mut self, overlay: &Self) -> Self {
        let overlay = overlay.clone();
        self.default = overlay.default.or(self.default);
        self.stores.extend(overlay.stores);
        self.aliases.extend(overlay.aliases);
        // Later ones win.
        self.layers.extend(overlay.layers);
        self.rules.extend(overlay.rules);
        self.allow = overlay.allow.or(self.allow);
        self
    }

    /// Makes sure that every name exists.
    pub(super) fn check(self) -> Result<Settings> {
        let stores: BTreeSet<&str> = self.stores.keys().map(String::as_str).chain(providers()).collect();
        for alias in self.aliases.values() {
            alias.check("store or provider", &stores)?;
        }
        let mut names = stores;
        names.extend(self.aliases.keys().map(String::as_str));
        for default in self.default.iter().flatten() {
            default.check("store, alias or provider", &names)?;
        }
        names.extend([DEFAULT_SCHEME, FILE_SCHEME]);
        for scheme in self.allow.iter().flatten() {
            scheme.check("scheme", &names)?;
        }
        Ok(Settings {
            default: self.default.into_iter().flatten().map(|default| default.name).collect(),
            aliases: self.aliases.into_iter().map(|(alias, target)| (alias, target.name)).collect(),
            stores: self.stores,
            layers: self.layers,
            cache_rules: self.rules,
            allow: self.allow.map(|allow| allow.into_iter().map(|scheme| scheme.name).collect()),
        })
    }
}

impl Name {
    fn check(&self, what: &str, known: &BTreeSet<&str>) -> Result<()> {
        if known.contains(self.name.as_str()) {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::InvalidConfig,
            format!("{}: there is no {what} `{}`", self.place, self.name.escape_debug()),
        );
        Err(suggest(error, &self.name, known.iter().copied()))
    }
}

/// The names of providers, with a lifetime that goes with other names.
fn providers<'a>() -> impl Iterator<Item = &'a str> + Clone {
    backends::names().map(|name| -> &'a str { name })
}

/// The table of rules below `[cache]`.
const RULES: &str = "names";

struct Source<'a> {
    text: &'a str,
    path: &'a Path,
    directory: &'a Path,
}

impl Source<'_> {
    fn draft(&self, table: &DeTable<'_>, is_base: bool) -> Result<Draft> {
        let mut known = vec!["default", "stores", "aliases", "references"];
        known.extend(layers::tables());
        if is_base {
            known.push("env");
        }
        self.check_keys(table, &known)?;
        let mut draft = Draft::default();
        if let Some(value) = table.get("default") {
            draft.default = Some(self.default(value)?);
        }
        if let Some(value) = table.get("stores") {
            for (name, store) in self.table(value, "stores")? {
                self.check_new_scheme(name)?;
                draft.stores.insert(name.get_ref().to_string(), self.store(name, store)?);
            }
        }
        if let Some(value) = table.get("aliases") {
            for (alias, target) in self.table(value, "aliases")? {
                self.check_new_scheme(alias)?;
                let target = self.name(target, alias.get_ref())?;
                draft.aliases.insert(alias.get_ref().to_string(), target);
            }
        }
        for name in layers::tables() {
            if let Some(value) = table.get(name) {
                self.layer(name, self.table(value, name)?, &mut draft)?;
            }
        }
        if let Some(value) = table.get("references") {
            let references = self.table(value, "references")?;
            self.check_keys(references, &["allow"])?;
            draft.allow = references.get("allow").map(|allow| self.allow(allow)).transpose()?;
        }
        Ok(draft)
    }

    fn default(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Name>> {
        match value.get_ref().as_array() {
            Some(stores) if stores.is_empty() => Err(self.error(&value.span(), "`default` names no store")),
            Some(stores) => stores.iter().map(|store| self.name(store, "default")).collect(),
            None => Ok(vec![self.name(value, "default")?]),
        }
    }

    fn store(&self, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Result<StoreUrl> {
        let table = self.table(value, name.get_ref())?;
        self.check_keys(table, &["url"])?;
        let Some(value) = table.get("url") else {
            let problem = format!("the store `{}` has no `url`", name.get_ref());
            return Err(self.error(&name.span(), problem));
        };
        let url = StoreUrl::parse(self.text_of(value, "url")?).map_err(|error| {
            let placed = self.error(&value.span(), error.message());
            match error.hint() {
                Some(hint) => placed.with_hint(hint.to_owned()),
                None => placed,
            }
        })?;
        if url.holds_secret() {
            return Err(self
                .error(
                    &value.span(),
                    format!("`{url}` holds a secret, and `keyfob.toml` must hold none"),
                )
                .with_hint("name a file instead (`…-file=`), or give the whole URL in `SECRET_PROVIDER`"));
        }
        if backends::names().all(|known| known != url.scheme()) {
            let error = self.error(&value.span(), format!("there is no provider `{}`", url.scheme()));
            return Err(suggest(error, url.scheme(), backends::names()));
        }
        Ok(url.with_base(self.directory))
    }

    fn allow(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Name>> {
        let Some(schemes) = value.get_ref().as_array() else {
            return Err(self.wrong_type(value, "allow", "an array of schemes"));
        };
        schemes.iter().map(|scheme| self.name(scheme, "allow")).collect()
    }

    /// The settings of one layer.
    fn layer(&self, name: &str, table: &DeTable<'_>, draft: &mut Draft) -> Result<()> {
        let rows: Vec<&'static Row> = ROWS.iter().filter(|row| row.table == name).collect();
        let mut known: Vec<&str> = rows.iter().map(|row| row.key).collect();
        if name == "cache" {
            known.push(RULES);
        }
        self.check_keys(table, &known)?;
        for row in rows {
            if let Some(value) = table.get(row.key) {
                let value = self.value(row.key, row.unit, value)?;
                draft.layers.push(Given { row, value });
            }
        }
        if let Some(rules) = table.get(RULES).filter(|_| name == "cache") {
            for (names, times) in self.table(rules, RULES)? {
                draft.rules.push(self.rule(names, self.table(times, names.get_ref())?)?);
            }
        }
        Ok(())
    }

    /// Other times in the cache for a name, or for every name that begins with what stands before a `*`.
    fn rule(&self, names: &Spanned<Cow<'_, str>>, table: &DeTable<'_>) -> Result<(CacheNames, CacheTimes)> {
        let problem = |error: &Error| self.error(&names.span(), error.message());
        let which = match names.get_ref().strip_suffix('*') {
            prefix if prefix.unwrap_or(names.get_ref()).contains('*') => {
                return Err(self.error(&names.span(), "a `*` stands only at the end, for all names that begin so"));
            }
            Some(prefix) => CacheNames::Prefix(prefix.to_owned()),
            None => CacheNames::Exact(SecretName::new(&**names.get_ref()).map_err(|error| problem(&error))?),
        };
        self.check_keys(table, &["ttl", "max_age", "stale_while_revalidate", "negative_ttl"])?;
        let time = |key: &str| -> Result<Option<Duration>> {
            let value = table.get(key).map(|value| self.value(key, Unit::Time, value)).transpose()?;
            Ok(match value {
                Some(Value::Time(time)) => Some(time),
                _ => None,
            })
        };
        let Some(ttl) = time("ttl")? else {
            let problem = format!("the rule for `{}` has no `ttl`", names.get_ref().escape_debug());
            return Err(self.error(&names.span(), problem));
        };
        let mut times = if ttl.is_zero() {
            CacheTimes::NEVER
        } else {
            CacheTimes::new(ttl)
        };
        if let Some(age) = time("max_age")? {
            if age < ttl {
                let problem = format!("`max_age` ({age:?}) is shorter than `ttl` ({ttl:?})");
                return Err(self.error(&names.span(), problem));
            }
            times = times.hard_max_age(age);
        }
        if let Some(window) = time("stale_while_revalidate")? {
            times = times.stale_while_revalidate(window);
        }
        if let Some(ttl) = time("negative_ttl")? {
            times = times.negative_ttl(ttl);
        }
        Ok((which, times))
    }

    fn value(&self, key: &str, unit: Unit, value: &Spanned<DeValue<'_>>) -> Result<Value> {
        let expected = unit.expected();
        let parsed = match (unit, value.get_ref()) {
            (Unit::Time, DeValue::String(text)) => layers::duration(text).map(Value::Time),
            (Unit::Switch, DeValue::Boolean(switch)) => Some(Value::Switch(*switch)),
            // Below the file's own directory, unless it begins at the root or at home.
            (Unit::Path, DeValue::String(text)) if text.starts_with("~/") => unit.parse(text),
            (Unit::Path, DeValue::String(text)) if !text.is_empty() => Some(Value::Path(self.directory.join(&**text))),
            (Unit::Path, DeValue::String(_)) => None,
            (Unit::Store, DeValue::String(text)) => match unit.parse(text) {
                Some(Value::Store(store)) => Some(Value::Store(store.below(self.directory))),
                _ => None,
            },
            (Unit::Url | Unit::Word | Unit::Line, DeValue::String(text)) => unit.parse(text),
            (Unit::References, DeValue::Array(references)) => {
                let texts = references.iter().map(|text| self.text_of(text, key).map(str::to_owned));
                Some(Value::References(texts.collect::<Result<_>>()?))
            }
            (Unit::Count | Unit::Share | Unit::Number, DeValue::Integer(number)) if number.radix() == 10 => {
                unit.parse(number.as_str())
            }
            (Unit::Share | Unit::Number, DeValue::Float(number)) => unit.parse(number.as_str()),
            _ => return Err(self.wrong_type(value, key, expected)),
        };
        parsed.ok_or_else(|| self.error(&value.span(), format!("`{key}` is not {expected}")))
    }

    fn name(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<Name> {
        Ok(Name {
            name: self.text_of(value, key)?.to_owned(),
            place: self.place(&value.span()),
        })
    }

    fn text_of<'v>(&self, value: &'v Spanned<DeValue<'_>>, key: &str) -> Result<&'v str> {
        value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(value, key, "a string"))
    }

    fn table<'v, 'i>(&self, value: &'v Spanned<DeValue<'i>>, key: &str) -> Result<&'v DeTable<'i>> {
        value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong_type(value, key, "a table"))
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) -> Error {
        let found = value.get_ref().type_str();
        self.error(&value.span(), format!("`{key}` is {expected}, and this is of type {found}"))
    }

    fn check_keys(&self, table: &DeTable<'_>, known: &[&str]) -> Result<()> {
        let unknown = table.keys().filter(|key| !known.contains(&&**key.get_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let error = self.error(&key.span(), format!("unknown key `{}`", key.get_ref().escape_debug()));
        Err(suggest(error, key.get_ref(), known.iter().copied()))
    }

    /// A name for a store or an alias becomes a scheme of references, and must not change what another one means.
    fn check_new_scheme(&self, name: &Spanned<Cow<'_, str>>) -> Result<()> {
        self.check_word(name, "store")?;
        let text: &str = name.get_ref();
        if [DEFAULT_SCHEME, FILE_SCHEME].contains(&text) || backends::names().any(|known| known == text) {
            return Err(self
                .error(&name.span(), format!("`{text}` has a meaning of its own in references"))
                .with_hint("choose another name"));
        }
        Ok(())
    }

    fn check_word(&self, name: &Spanned<Cow<'_, str>>, what: &str) -> Result<()> {
        if is_scheme(name.get_ref()) {
            return Ok(());
        }
        let problem = format!("`{}` can't be the name of a {what}", name.get_ref().escape_debug());
        let error = self.error(&name.span(), problem);
        Err(error.with_hint("a name is lower-case letters, digits, `-` and `_`, beginning with a letter"))
    }

    fn error(&self, span: &Range<usize>, problem: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::InvalidConfig, format!("{}: {problem}", self.place(span)))
    }

    fn place(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

fn suggest<'a>(error: Error, wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    match nearest(wrong, known.clone()).first() {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("known are: `{}`", known.collect::<Vec<_>>().join("`, `"))),
    }
}
