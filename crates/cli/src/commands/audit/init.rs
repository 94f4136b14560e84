//! `keyfob audit init`

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use keyfob::{AuditSettings, Error, ErrorKind, Project, Result, read_configuration};
use keyfob_audit::{Durability, FileAudit, FileAuditOptions, NameKey, SigningKey, TableAudit, TableAuditOptions};
use keyfob_sql::audit_table;

use super::log::{Log, public_key_file, settings};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Printer;

/// Make an audit log and its keys, and record accesses in it from now on
///
/// Beside the directory of the log stand two files with its name: `.key`, with which the log is signed and which only its owner may
/// read, and `.pub`, with which everybody can prove the signatures. Give the second to whoever verifies the log, and keep no other
/// copy of the first.
///
/// An `[audit]` table is added to `keyfob.toml` if there is such a file and it has none. What is there already is left as it is: a
/// second `keyfob audit init` changes nothing.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit init audit                  a log in this directory
  keyfob audit init ~/audit --mask-names   without the names of secrets
  keyfob audit init postgres://audit@db.example/logs --key-file audit.key    a log in a database")]
pub(crate) struct Args {
    /// The directory of the log, or the database that is to keep it. Without it, the one that is set
    #[arg(value_name = "DIRECTORY|URL")]
    log: Option<String>,

    /// The file of the signing key. Without it, the one that is set, else the name of the directory with `.key` behind it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Make a key whose HMAC stands in the place of names in the log
    #[arg(long)]
    mask_names: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let set = settings(context)?;
        let wanted = self.wanted(&set, context)?;
        if wanted.directory.is_none() && wanted.store.is_none() {
            return Err(Failure::usage(
                "it is not said where the log is to be kept",
                "name a directory: `keyfob audit init DIRECTORY`",
            ));
        }
        let Some(key_file) = wanted.signing_key_file() else {
            return Err(Failure::usage(
                "it is not said where the key of a log in a database is to be kept",
                "add `--key-file FILE`",
            ));
        };
        let public_key_file = public_key_file(&key_file);
        if public_key_file.exists() && !key_file.exists() {
            // What a new key signs that one would not prove, and an intact log would pass for a changed one.
            let problem = "the signing key is gone, and its public key is still there";
            return Err(Failure::Error(
                Error::new(ErrorKind::AlreadyExists, problem)
                    .with("file", public_key_file.display().to_string())
                    .with_hint("bring the signing key back, or make another log with another key"),
            ));
        }
        let has_begun = !has_none(&wanted, context)?;
        let mut made = Made::default();
        let key = signing_key(&key_file, &mut made, printer)?;
        publish(&key, &public_key_file, &mut made, printer)?;
        if let Some(file) = &wanted.name_key_file {
            name_key(file, &mut made, printer)?;
        }
        let begun = begin(&wanted, &key_file, key, context);
        if begun.is_err() && (has_begun || has_none(&wanted, context)?) {
            // Nothing is signed with them.
            made.take_back(printer);
        }
        begun?;
        if wanted != set {
            use_here(&wanted, &set, context)?;
        }
        Ok(Exit::Success)
    }

    /// What is to be set.
    fn wanted(&self, set: &AuditSettings, context: &Context) -> Result<AuditSettings, Failure> {
        let environment = context.environment();
        let mut wanted = set.clone();
        let named = self.log.as_ref().map(|text| Log::named(text, context)).transpose()?;
        // The key that is set is that of the log that is set.
        let is_set = match &named {
            Some(Log::Directory(directory)) => set.directory.as_ref() == Some(directory),
            Some(Log::Database(store)) => set.store.as_ref() == Some(store),
            None => true,
        };
        if !is_set {
            (wanted.directory, wanted.store, wanted.key_file) = (None, None, None);
            match named {
                Some(Log::Directory(directory)) => wanted.directory = Some(directory),
                Some(Log::Database(store)) => wanted.store = Some(store),
                None => {}
            }
        }
        if let Some(file) = &self.key_file {
            wanted.key_file = Some(environment.absolute(file));
        }
        if self.mask_names && wanted.name_key_file.is_none() {
            wanted.name_key_file = wanted.signing_key_file().map(|file| file.with_extension("names.key"));
        }
        Ok(wanted)
    }
}

/// Begins what is wanted: what is wrong with the place is told now.
fn begin(wanted: &AuditSettings, key_file: &Path, key: SigningKey, context: &Context) -> Result<()> {
    let printer = context.printer();
    let state = context.environment().state_directory()?;
    if let Some(store) = &wanted.store {
        let table = audit_table(store.url(), context.environment())?;
        let mut options = TableAuditOptions::new(table, SigningKey::from_file(key_file)?).durability(Durability::Durable);
        if let Some(state) = &state {
            options = options.remember_in(state);
        }
        TableAudit::open(options)?.close()?;
        printer.note(format_args!("the audit log is in `{}`", store.url()));
    }
    if let Some(directory) = &wanted.directory {
        let mut options = FileAuditOptions::new(directory, key).durability(Durability::Durable);
        if let Some(state) = &state {
            options = options.remember_in(state);
        }
        FileAudit::open(options)?.close()?;
        printer.note(format_args!("the audit log is in `{}`", directory.display()));
    }
    Ok(())
}

/// Whether no log that is wanted has begun, as far as can be seen.
fn has_none(wanted: &AuditSettings, context: &Context) -> Result<bool, Failure> {
    let directory = wanted.directory.clone().map(Log::Directory);
    let mut logs = directory.into_iter().chain(wanted.store.clone().map(Log::Database));
    Ok(logs.all(|log| log.still_exists(None, context).is_err()))
}

/// The key files that were made.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn take_back(self, printer: &Printer) {
        for file in self.0 {
            if fs::remove_file(&file).is_ok() {
                printer.note(format_args!("removed `{}` again", file.display()));
            }
        }
    }
}

fn signing_key(file: &Path, made: &mut Made, printer: &Printer) -> Result<SigningKey> {
    match SigningKey::create_file(file) {
        Ok(key) => {
            made.0.push(file.to_owned());
            printer.note(format_args!("made the signing key `{}`", file.display()));
            Ok(key)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => SigningKey::from_file(file),
        Err(error) => Err(error),
    }
}

fn name_key(file: &Path, made: &mut Made, printer: &Printer) -> Result<()> {
    match NameKey::create_file(file) {
        Ok(_) => {
            made.0.push(file.to_owned());
            printer.note(format_args!("made the key that masks names `{}`", file.display()));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => NameKey::from_file(file).map(drop),
        Err(error) => Err(error),
    }
}

/// Writes the public key down where the signing key stands.
fn publish(key: &SigningKey, file: &Path, made: &mut Made, printer: &Printer) -> Result<()> {
    let text = format!("{}\n", key.public_key());
    let failed = |error| {
        Error::new(ErrorKind::Other, "can't write the public key")
            .with("file", file.display().to_string())
            .with_source(error)
    };
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(file) {
        Ok(mut opened) => {
            made.0.push(file.to_owned());
            opened
                .write_all(text.as_bytes())
                .and_then(|()| opened.sync_all())
                .map_err(failed)?;
            printer.note(format_args!("wrote the public key `{}`: auditors need it", file.display()));
            Ok(())
        }
        Err(_) if read_configuration(file).is_ok_and(|there| there.trim() == text.trim()) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Sees to it that accesses here are recorded, or says how.
fn use_here(wanted: &AuditSettings, set: &AuditSettings, context: &Context) -> Result<(), Failure> {
    let printer = context.printer();
    let project = context.selection()?.project;
    let has_none = *set == AuditSettings::default();
    // There a relative path would mean another file.
    let base = wanted.store.as_ref().and_then(|store| store.url().base());
    let means_the_same = |project: &Project| base.is_none_or(|base| project.path().parent() == Some(base));
    if let Some(project) = project.filter(|project| has_none && means_the_same(project)) {
        add(&project, wanted)?;
        printer.note(format_args!(
            "wrote `[audit]` into `{}`: accesses are recorded from now on",
            project.path().display()
        ));
        return Ok(());
    }
    let lines = table(wanted, None);
    printer.hint(&format!(
        "to record accesses, let `keyfob.toml` have a table `[audit]` with {}, or set the variables `SECRET_AUDIT_...`",
        lines.iter().map(|line| format!("`{line}`")).collect::<Vec<_>>().join(", ")
    ));
    Ok(())
}

/// Adds the table at the end of the file.
fn add(project: &Project, wanted: &AuditSettings) -> Result<()> {
    let path = project.path();
    let lines = table(wanted, path.parent());
    let addition = format!("\n# Every access is recorded there.\n[audit]\n{}\n", lines.join("\n"));
    let text = format!("{}{addition}", read_configuration(path)?.as_str());
    Project::parse(&text, path)?;
    let written = OpenOptions::new().append(true).open(path).and_then(|mut file| {
        file.write_all(addition.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Error::new(ErrorKind::Other, "can't write `[audit]` into the file")
            .with("file", path.display().to_string())
            .with_source(error)
    })
}

/// The lines of the table; paths below `base` are relative to it.
fn table(wanted: &AuditSettings, base: Option<&Path>) -> Vec<String> {
    let settings = [
        ("directory", &wanted.directory),
        ("key_file", &wanted.key_file),
        ("name_key_file", &wanted.name_key_file),
    ];
    let line = |(key, path): (&str, &Option<PathBuf>)| {
        let path = path.as_deref()?;
        let path = base.and_then(|base| path.strip_prefix(base).ok()).unwrap_or(path);
        // A JSON string is one of TOML.
        Some(format!("{key} = {}", serde_json::Value::from(path.to_string_lossy())))
    };
    let store = wanted
        .store
        .as_ref()
        .map(|store| format!("store = {}", serde_json::Value::from(store.as_str())));
    store.into_iter().chain(settings.into_iter().filter_map(line)).collect()
}
