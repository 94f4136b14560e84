//! `keyfob migrate --rewrite`

mod file;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use keyfob::format::Format;
use keyfob::rewrite::{self, Left, LeftReason, Replaced, RewriteOptions, RewriteText, Rewriting};
use keyfob::{DEFAULT_SCHEME, Error, ErrorKind, Intent, SecretManager, StoreInfo, Verb};
use serde::Serialize;

use self::file::TextFile;
use super::journal::Journal;
use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure};
use crate::printer::{BAD, GOOD, HINT, Printer};
use crate::private_file::is_same_file;
use crate::text::escape_untrusted;

// Which files, and how. No documentation: the parser would take it for that of the command.
#[derive(Debug, Args)]
pub(super) struct RewriteArgs {
    /// Replace the values of secrets in these files by references to them, after the migration or without one
    #[arg(long, value_name = "FILE", num_args = 1..)]
    rewrite: Vec<PathBuf>,

    /// With `--rewrite`: also where a secret is only a part of a value, and not the password of a URL
    #[arg(long, requires = "rewrite")]
    parts: bool,

    /// With `--rewrite`: leave values of fewer bytes, unless the key says the secret's name
    #[arg(long, value_name = "BYTES", requires = "rewrite", default_value = "8")]
    min_length: NonZeroUsize,

    /// With `--rewrite`: do not ask before files are written
    #[arg(long, short, requires = "rewrite")]
    yes: bool,
}

/// What was asked for beside the files.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// The store that has the secrets; `None` is the default one.
    pub(super) store: Option<&'a str>,
    pub(super) prefix: &'a str,
    pub(super) dry_run: bool,
    /// Whether standard output is for a document.
    pub(super) json: bool,
    /// The report of the migration before it.
    pub(super) report: Option<&'a Path>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(super) struct Rewritten {
    dry_run: bool,
    files: Vec<FileJson>,
    unread: Vec<UnreadJson>,
}

#[derive(Debug, Serialize)]
struct FileJson {
    file: PathBuf,
    backup: Option<PathBuf>,
    replaced: Vec<ReplacedJson>,
    left: Vec<LeftJson>,
}

#[derive(Debug, Serialize)]
struct ReplacedJson {
    line: usize,
    column: usize,
    key: Option<String>,
    name: String,
    part: bool,
}

#[derive(Debug, Serialize)]
struct LeftJson {
    line: usize,
    column: usize,
    key: Option<String>,
    names: Vec<String>,
    why: &'static str,
}

#[derive(Debug, Serialize)]
struct UnreadJson {
    name: String,
    kind: &'static str,
    why: String,
}

impl RewriteArgs {
    pub(super) fn is_wanted(&self) -> bool {
        !self.rewrite.is_empty()
    }

    /// Reads the files, shows what would change, asks, and writes.
    ///
    /// # Errors
    /// Those of reading, searching and writing; a wrong use of the command line when nobody can be asked.
    pub(super) fn carry_out(&self, context: &Context, how: How<'_>) -> Result<Rewritten, Failure> {
        let printer = context.printer();
        let files = self.files(how.dry_run)?;
        let rewriting = context.block_on(self.search(context, how, &files))?;
        let changed = || rewriting.texts.iter().zip(&files).filter(|(text, _)| text.is_changed());
        for (text, file) in changed() {
            let diff = diff(file, text);
            // What is asked about must be seen.
            match how.json {
                false => printer.text(&diff)?,
                true if !self.yes && !how.dry_run => printer.say(&diff),
                true => {}
            }
        }
        tell_what_is_left(printer, &files, &rewriting);
        let count = changed().count();
        if count == 0 {
            printer.note("there is nothing to replace");
        } else if how.dry_run {
            printer.note(format_args!("would rewrite {}", files_of(count)));
        } else {
            self.confirm(printer, count)?;
            // Before the first is written: who takes the migration back must know of them.
            if let Some(report) = how.report {
                let files =
                    changed().map(|(_, file)| std::path::absolute(file.path()).unwrap_or_else(|_| file.path().to_owned()));
                Journal::open(report)?.rewrites(files.collect())?;
            }
            for (text, file) in changed() {
                file.rewrite(text.text())?;
                let (shown, backup) = (file.shown.display(), file.backup());
                printer.note(format_args!(
                    "replaced {} in `{shown}`; what it held is in `{}`",
                    values_of(text.replaced().len()),
                    backup.display()
                ));
            }
            printer.hint("the copies hold the values: keep them out of version control, and delete them when everything works");
            if let Some(store) = how.store {
                hint_at_default(context, printer, store)?;
            }
        }
        Ok(Rewritten::new(&rewriting, &files, how.dry_run))
    }

    fn files(&self, dry_run: bool) -> Result<Vec<TextFile>, Failure> {
        let mut files: Vec<TextFile> = Vec::new();
        for path in &self.rewrite {
            let file = TextFile::read(path)?;
            if files.iter().any(|other| other.is(&file)) {
                return Err(Failure::usage(
                    format!("`{}` is named twice", path.display()),
                    "name each file once",
                ));
            }
            if !dry_run {
                file.check_backup()?;
            }
            files.push(file);
        }
        Ok(files)
    }

    async fn search(&self, context: &Context, how: How<'_>, files: &[TextFile]) -> Result<Rewriting, Error> {
        let manager = match how.store {
            Some(store) => context.manager_of(store)?,
            None => context.manager()?,
        };
        let intent = Intent::new(Verb::List).prefix(how.prefix);
        let store = manager.store_for(DEFAULT_SCHEME, &intent).await;
        let store = store.map_err(embedded::hint_at_init)?;
        if !how.dry_run {
            check_store(store.info(), files)?;
        }
        let mut options = RewriteOptions::default();
        how.prefix.clone_into(&mut options.prefix);
        options.parts = self.parts;
        options.min_length = self.min_length.get();
        let texts = files.iter().map(|file| RewriteText {
            source: file.shown.display().to_string(),
            format: Format::of_path(&file.shown),
            text: file.text().clone(),
        });
        let mut progress = context.printer().progress();
        let show = |count| progress.show(&format!("looked for {count}"));
        rewrite::rewrite(&manager, &options, texts.collect(), show).await
    }

    fn confirm(&self, printer: &Printer, count: usize) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        match printer.confirm(&format!("rewrite {}?", files_of(count))) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::new(ErrorKind::Other, "no file was written").into()),
            None => Err(Failure::usage(
                "there is nobody to ask whether the files may be written",
                "add `--yes`",
            )),
        }
    }
}

/// What holds the values must go on holding them.
fn check_store(info: &StoreInfo, files: &[TextFile]) -> Result<(), Error> {
    let stores = std::iter::once(info).chain(&info.members);
    if info.scheme.as_ref() == "env" {
        let message = "variables of the environment keep no secrets, and may come from the very files that are to be rewritten";
        return Err(
            Error::new(ErrorKind::InvalidInput, message).with_hint("name another store: `--to`, `--store` or `SECRET_PROVIDER`")
        );
    }
    for store in stores {
        if let Some(file) = files
            .iter()
            .find(|file| is_same_file(Path::new(&store.location), file.path()))
        {
            return Err(
                Error::new(ErrorKind::InvalidInput, "the file is the store: its values would be lost")
                    .with("file", file.shown.display().to_string())
                    .with_hint("migrate to another store first: `keyfob migrate --from FILE --to STORE --rewrite FILE`"),
            );
        }
    }
    Ok(())
}

fn diff(file: &TextFile, text: &rewrite::Rewritten) -> String {
    let shown = file.shown.display().to_string();
    let shown = escape_untrusted(&shown);
    let mut lines = format!("{BAD}--- {shown}{BAD:#}\n{GOOD}+++ {shown}{GOOD:#}\n");
    for line in text.diff().lines() {
        let line = escape_untrusted(line);
        let style = match line.chars().next() {
            Some('-') => BAD,
            Some('+') => GOOD,
            _ => HINT,
        };
        lines += &format!("{style}{line}{style:#}\n");
    }
    lines
}

fn tell_what_is_left(printer: &Printer, files: &[TextFile], rewriting: &Rewriting) {
    for (text, file) in rewriting.texts.iter().zip(files) {
        for left in text.left() {
            let at = format!("{}:{}:{}", file.shown.display(), left.position.line, left.position.column);
            let names: Vec<String> = left.names.iter().map(|name| format!("`{name}`")).collect();
            printer.warning(&format!(
                "{at}: the value of {} is left: {}",
                names.join(" and "),
                left.reason
            ));
        }
        let has_parts = text.left().iter().any(|left| left.reason == LeftReason::Part);
        if has_parts {
            printer.hint("`--parts` replaces parts of values too");
        }
    }
    for (name, error) in &rewriting.unread {
        printer.warning(&format!("the value of `{name}` is not looked for: {error}"));
    }
}

/// References to the default store mean the one that has the values only if it is that.
fn hint_at_default(context: &Context, printer: &Printer, store: &str) -> Result<(), Error> {
    let place = |manager: SecretManager| manager.location_of(DEFAULT_SCHEME);
    let used = place(context.manager_of(store)?)?;
    if context.manager().and_then(place).ok().as_ref() != Some(&used) {
        printer.hint(&format!(
            "references mean the default store, which is another one here: set `SECRET_PROVIDER={used}`, or make it the `default` of `keyfob.toml`"
        ));
    }
    Ok(())
}

fn files_of(count: usize) -> String {
    counted(count, "file")
}

fn values_of(count: usize) -> String {
    counted(count, "value")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Rewritten {
    fn new(rewriting: &Rewriting, files: &[TextFile], dry_run: bool) -> Self {
        let files = rewriting.texts.iter().zip(files).map(|(text, file)| FileJson {
            file: file.shown.clone(),
            backup: (!dry_run && text.is_changed()).then(|| file.backup()),
            replaced: text.replaced().iter().map(ReplacedJson::new).collect(),
            left: text.left().iter().map(LeftJson::new).collect(),
        });
        let unread = rewriting.unread.iter().map(|(name, error)| UnreadJson {
            name: name.to_string(),
            kind: error.kind().as_str(),
            why: error.to_string(),
        });
        Self {
            dry_run,
            files: files.collect(),
            unread: unread.collect(),
        }
    }

    /// A failure when a secret could not be looked for. What has expired is of no use to anybody who refers to it.
    pub(super) fn exit(&self) -> Exit {
        let is_failure = |unread: &UnreadJson| unread.kind != ErrorKind::Expired.as_str();
        match self.unread.iter().any(is_failure) {
            true => Exit::Failure,
            false => Exit::Success,
        }
    }
}

impl ReplacedJson {
    fn new(replaced: &Replaced) -> Self {
        Self {
            line: replaced.position.line,
            column: replaced.position.column,
            key: replaced.key.clone(),
            name: replaced.name.to_string(),
            part: replaced.is_part,
        }
    }
}

impl LeftJson {
    fn new(left: &Left) -> Self {
        Self {
            line: left.position.line,
            column: left.position.column,
            key: left.key.clone(),
            names: left.names.iter().map(ToString::to_string).collect(),
            why: left.reason.as_str(),
        }
    }
}
