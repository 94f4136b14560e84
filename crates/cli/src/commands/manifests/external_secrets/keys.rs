//! What the Secret in the cluster holds: its keys, and how their values come about.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use keyfob::format::Format;
use keyfob::{Error, ErrorKind, Fallback, Result, VersionSelector};
use serde_json::Map;

use super::super::object::is_data_key;
use super::super::provider::{Provider, Remote};
use super::configuration::{Configuration, File, Part, Problems, Value};
use super::template;

/// What the keys of the Secret are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Keys {
    /// A variable for each value with references: `DB_PASSWORD` of a `.env` file, and of `db.password` elsewhere
    Variables,
    /// A key for each file: the whole file, with every reference in place
    File,
    /// Every secret under the name that keyfob reads with `SECRET_PROVIDER=k8s` and `K8S_SECRET_NAME`
    Names,
}

/// The entries of the `ExternalSecret`, and the template over them.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) entries: Vec<(String, Remote)>,
    pub(super) template: Option<Map<String, serde_json::Value>>,
    /// Whether a secret may be missing in the store.
    pub(super) may_be_absent: bool,
}

impl Data {
    /// # Errors
    /// `Conflict` for two values with one key. What can't be expressed goes to `problems`.
    pub(super) fn of(
        configuration: &Configuration,
        provider: &dyn Provider,
        keys: Option<Keys>,
        write_defaults: bool,
        problems: &mut Problems,
    ) -> Result<Self> {
        if keys == Some(Keys::Names) {
            return Ok(Self::names(configuration, provider, problems));
        }
        check_fallbacks(configuration, write_defaults, problems);
        let mut remotes = Vec::new();
        for used in &configuration.secrets {
            match provider.remote(&used.secret) {
                Ok(remote) => remotes.push(remote),
                Err(problem) => problems.add(&used.place, problem),
            }
        }
        let names = variables_of_templates(configuration);
        let mut values: BTreeMap<String, Content<'_>> = BTreeMap::new();
        for file in &configuration.files {
            let keys = keys.unwrap_or(match file.format {
                Format::Dotenv => Keys::Variables,
                _ => Keys::File,
            });
            let of_file = match keys {
                Keys::File => whole_file(file, &names, problems).into_iter().collect(),
                _ => variables(file, problems)?,
            };
            for (key, content) in of_file {
                if values.insert(key.clone(), content).is_some() {
                    return Err(Error::new(ErrorKind::Conflict, "two files give the Secret the same key").with("key", key));
                }
            }
        }
        // Problems are an error for the caller; until then not everything has its place.
        if remotes.len() < configuration.secrets.len() {
            return Ok(Self::empty());
        }
        let may_be_absent = configuration.has_fallback();
        // Without a template, where every value is a secret of its own as a whole.
        let lone: Option<Vec<usize>> = values.values().map(Content::lone).collect();
        if let Some(lone) = lone
            && lone.iter().collect::<BTreeSet<_>>().len() == lone.len()
        {
            let mut remotes: Vec<Option<Remote>> = remotes.into_iter().map(Some).collect();
            let keys = values.into_keys().zip(lone);
            return Ok(Self {
                entries: keys
                    .filter_map(|(key, number)| Some((key, remotes.get_mut(number)?.take()?)))
                    .collect(),
                template: None,
                may_be_absent,
            });
        }
        let template = values
            .into_iter()
            .map(|(key, content)| (key, content.template(&names).into()));
        Ok(Self {
            template: Some(template.collect()),
            entries: names.iter().cloned().zip(remotes).collect(),
            may_be_absent,
        })
    }

    /// The secrets as keyfob's own store in the cluster has them: fields and defaults are the application's business.
    fn names(configuration: &Configuration, provider: &dyn Provider, problems: &mut Problems) -> Self {
        let mut entries = BTreeMap::new();
        for used in &configuration.secrets {
            let name = &used.secret.name;
            if used.secret.version != VersionSelector::Current {
                problems.add(
                    &used.place,
                    format!(
                        "a Secret of the cluster has no versions, and `{name}@{}` is one",
                        used.secret.version
                    ),
                );
                continue;
            }
            let has_fields = configuration
                .secrets
                .iter()
                .any(|other| other.secret.name == *name && other.secret.field.is_some());
            match (keyfob_kubernetes::data_key(name), provider.whole(name, has_fields)) {
                (Some(key), Ok(remote)) => {
                    entries.insert(key, remote);
                }
                (None, _) => problems.add(&used.place, format!("`{name}` is too long for a key of a Secret")),
                (_, Err(problem)) => problems.add(&used.place, problem),
            }
        }
        Self {
            entries: entries.into_iter().collect(),
            template: None,
            may_be_absent: configuration.has_fallback(),
        }
    }

    fn empty() -> Self {
        Self {
            entries: Vec::new(),
            template: None,
            may_be_absent: false,
        }
    }
}

/// The value of a key.
enum Content<'c> {
    Value(&'c Value),
    File(String),
}

impl Content<'_> {
    /// The secret that is all of the value, and must be there.
    fn lone(&self) -> Option<usize> {
        match self {
            Self::Value(Value { parts, .. }) => match parts.as_slice() {
                [Part::Secret(number, Fallback::None)] => Some(*number),
                _ => None,
            },
            Self::File(_) => None,
        }
    }

    fn template(self, names: &[String]) -> String {
        match self {
            Self::Value(value) => template::of_value(value, names),
            Self::File(template) => template,
        }
    }
}

/// A default is somebody's value; and of a document External Secrets can't say that a field is missing.
fn check_fallbacks(configuration: &Configuration, write_defaults: bool, problems: &mut Problems) {
    let values = configuration.files.iter().flat_map(|file| &file.values);
    for (value, part) in values.flat_map(|value| value.parts.iter().map(move |part| (value, part))) {
        let Part::Secret(number, fallback) = part else { continue };
        if let Fallback::Text(_) = fallback
            && !write_defaults
        {
            problems.add(
                &value.place,
                "a default would stand in the object for everybody to read: take it away, or say `--write-defaults`",
            );
        }
        if part.may_be_absent() && configuration.secrets[*number].secret.field.is_some() {
            problems.add(
                &value.place,
                "a field that may be missing is an error for External Secrets, whatever stands in for it",
            );
        }
    }
}

/// The values with references by the variables that they become.
fn variables<'c>(file: &'c File, problems: &mut Problems) -> Result<Vec<(String, Content<'c>)>> {
    let mut found: BTreeMap<String, &Value> = BTreeMap::new();
    for value in file.values.iter().filter(|value| value.has_secret()) {
        let Some(key) = &value.key else {
            problems.add(
                &value.place,
                "plain text has no keys that could be variables: say `--keys file`",
            );
            continue;
        };
        let variable = match file.format {
            Format::Dotenv => key.clone(),
            _ => variable(key),
        };
        if !is_data_key(&variable) {
            problems.add(
                &value.place,
                format!("`{}` can't be a key of a Secret", variable.escape_debug()),
            );
        }
        // Of a `.env` file the last one counts.
        if let Some(other) = found.insert(variable.clone(), value)
            && file.format != Format::Dotenv
        {
            let message = format!("two values would become the variable `{variable}`");
            return Err(Error::new(ErrorKind::Conflict, message).with("at", format!("{} and {}", other.place, value.place)));
        }
    }
    Ok(found.into_iter().map(|(key, value)| (key, Content::Value(value))).collect())
}

/// `services[0].db.password` as `SERVICES_0_DB_PASSWORD`.
fn variable(key: &str) -> String {
    let words = key
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_uppercase()
}

fn whole_file<'c>(file: &File, names: &[String], problems: &mut Problems) -> Option<(String, Content<'c>)> {
    let key = file
        .path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !is_data_key(&key) || key == crate::references::STANDARD_INPUT {
        problems.add(&file.place, "its name can't be the key of a Secret");
        return None;
    }
    let Some(template) = template::of_file(file, names) else {
        problems.add(
            &file.place,
            "a file of this format has no way to write any value so that every reader takes it: say `--keys variables`",
        );
        return None;
    };
    Some((key, Content::File(template)))
}

/// What the secrets are called in templates: words that stand behind a dot as they are, each another.
fn variables_of_templates(configuration: &Configuration) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let names = configuration.secrets.iter().map(|used| {
        let secret = &used.secret;
        let mut text = secret.name.to_string();
        if secret.version != VersionSelector::Current {
            text.push_str(&format!("_{}", secret.version));
        }
        if let Some(field) = &secret.field {
            text.push_str(&format!("_{field}"));
        }
        let words = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty());
        let mut word = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
        word.truncate(200);
        if !word.starts_with(|first: char| first.is_ascii_alphabetic()) {
            word.insert_str(0, "secret_");
        }
        let numbered = (2..).map(|number| format!("{word}_{number}"));
        let free = std::iter::once(word.clone())
            .chain(numbered)
            .find(|candidate| !taken.contains(candidate));
        let free = free.unwrap_or(word);
        taken.insert(free.clone());
        free
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_document_become_variables() {
        assert_eq!(variable("services[0].db.\"pass word\""), "SERVICES_0_DB_PASS_WORD");
        assert_eq!(variable("url"), "URL");
    }
}
