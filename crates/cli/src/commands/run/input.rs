//! What `keyfob run` resolves: the process's variables, `.env` files and configuration files.

use std::ffi::OsString;
use std::hash::{Hash as _, Hasher};
use std::path::PathBuf;

use keyfob::{Assignments, Error, ErrorKind, Occurrence, Resolved, SecretManager, SecretValue, Template};
use zeroize::Zeroizing;

use crate::private_file;
use crate::references::{parse, text};

/// Where it stands.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) env_files: Vec<PathBuf>,
    /// Each configuration file, and where its finished copy goes.
    pub(super) configs: Vec<(PathBuf, PathBuf)>,
}

/// What is to be resolved.
pub(super) struct Input {
    assignments: Vec<Assignments>,
    templates: Vec<Template>,
}

/// The same without references.
pub(super) struct Finished {
    pub(super) variables: Vec<(String, SecretValue)>,
    pub(super) texts: Vec<Zeroizing<String>>,
}

impl Input {
    /// Reads all of it. `texts` is told the texts of the files, for whoever wants to know whether they are the same again.
    pub(super) fn read(manager: &SecretManager, sources: &Sources, texts: &mut impl Hasher) -> Result<Self, Error> {
        let is_known = |scheme: &str| manager.is_reference_scheme(scheme);
        let mut variables: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, Zeroizing::new(value))),
                (name, value) => check_inherited(&lossy(name), &lossy(value), is_known)?,
            }
        }
        let own = Assignments::from_variables(
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            is_known,
        );
        let mut assignments = vec![own];
        for file in &sources.env_files {
            let text = text(file)?;
            text.hash(texts);
            let source = file.display().to_string();
            assignments.push(Assignments::from_dotenv(&source, file.parent(), &text, is_known)?);
        }
        let mut own_names_replaced = Self {
            assignments,
            templates: Vec::new(),
        };
        own_names_replaced.forget_what_files_replace();
        for (file, _) in &sources.configs {
            let text = text(file)?;
            text.hash(texts);
            own_names_replaced.templates.push(parse(manager, file, None, text)?);
        }
        Ok(own_names_replaced)
    }

    /// A variable that a later file sets anew needs no resolving, and must not fail.
    fn forget_what_files_replace(&mut self) {
        for index in 1..self.assignments.len() {
            let (earlier, later) = self.assignments.split_at_mut(index);
            for assignments in earlier {
                assignments.remove_all_of(&later[0]);
            }
        }
    }

    pub(super) fn occurrences(&self) -> Vec<Occurrence> {
        let variables = self.assignments.iter().flat_map(Assignments::occurrences);
        variables
            .chain(self.templates.iter().flat_map(Template::occurrences))
            .collect()
    }

    pub(super) fn finish(&self, resolved: &Resolved) -> Result<Finished, Error> {
        let mut finished = Finished {
            variables: Vec::new(),
            texts: Vec::new(),
        };
        for assignments in &self.assignments {
            finished.variables.extend(assignments.finish(resolved)?);
        }
        for template in &self.templates {
            finished.texts.push(template.render(resolved)?);
        }
        Ok(finished)
    }
}

impl Finished {
    /// Writes the finished copies of the configuration files, all of them or none.
    pub(super) fn write(&self, sources: &Sources) -> Result<(), Error> {
        let targets = sources.configs.iter().map(|(_, target)| target.as_path());
        private_file::write_all(targets.zip(self.texts.iter().map(|text| text.as_bytes())))
    }
}

fn lossy(text: Result<String, OsString>) -> Zeroizing<String> {
    Zeroizing::new(text.unwrap_or_else(|raw| raw.to_string_lossy().into_owned()))
}

/// A variable that is not UTF-8 is inherited as it is, unless it holds a reference: a command must not see one.
fn check_inherited(name: &str, value: &str, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
    if keyfob::scan(value, is_known).is_empty() {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::NotText, "the variable holds a reference, but it is not UTF-8 text")
            .with("variable", name.escape_debug().to_string()),
    )
}
