//! The commands: one file each, with its arguments.

mod audit;
mod aws;
mod backup;
mod check;
mod completions;
mod copy;
mod delete;
mod diff;
mod doctor;
mod explain;
mod export;
mod generate_docs;
mod get;
mod import;
mod init;
mod key;
mod list;
mod man;
mod manifests;
mod migrate;
mod resolve;
mod restore;
mod rotate;
mod rotation;
mod run;
mod set;
mod snapshot;
mod start;
mod sync;
mod versions;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Outcome;

/// What keyfob can do. What a command says of itself stands here and not with its arguments, which are built only for
/// the command that is called: all of them would take longer than the rest of starting.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make an encrypted store and its key, and use it in this directory
    ///
    /// The store is one encrypted file, or a schema in PostgreSQL: the one that `--store`, `SECRET_PROVIDER` or `keyfob.toml` names, else the user's
    /// own (`~/.local/share/keyfob/secrets.db`). The key is a file that only its owner may read (`~/.config/keyfob/key`),
    /// unless `KEYFOB_KEY` and its like name another key, or a service keeps it. Keep a copy of the key: without it the store can't be opened.
    ///
    /// Where nothing says yet that commands in this directory use that store, a `keyfob.toml` is written that says so. It
    /// holds no secrets.
    ///
    /// What is there already is left as it is: a second `keyfob init` changes nothing, but that it brings the tables that an older
    /// keyfob made in PostgreSQL up to date.
    Init(init::Args),
    /// Print the value of a secret
    ///
    /// The value goes to standard output exactly as it is stored, byte for byte and without a line end of its own. To a
    /// terminal it goes only with `--show`, so that it does not stay there by accident.
    Get(get::Args),
    /// Write a secret: a new value, metadata, or both
    ///
    /// A value is never an argument, since arguments are seen by others and kept in the shell's history. It comes from
    /// standard input when something is piped in, from `--from-file`, `--generate` or `--prompt`, and otherwise from a
    /// question on the terminal.
    ///
    /// With `--description`, `--tag`, `--clear-tags` or `--expires`, and nothing piped in, only that is changed and the
    /// value stays. Where standard input is somebody else's (in a loop that reads a file, say), `--metadata-only` leaves it
    /// alone.
    ///
    /// One line end at the end of a text is left out (`--keep-newline` keeps it); bytes that are no text are kept exactly.
    /// An empty value is refused, because it is nearly always an accident, unless `--allow-empty` says otherwise.
    Set(set::Args),
    /// List secrets: names and what is known about them, never values
    List(list::Args),
    /// List the versions of a secret, newest first
    Versions(versions::Args),
    /// Delete a secret with all its versions
    ///
    /// `keyfob restore` brings it back for as long as the store keeps it. A store that deletes for good does so only with
    /// `--permanent`.
    Delete(delete::Args),
    /// Bring back a deleted secret, with its versions
    Restore(restore::Args),
    /// Print configuration files with everything that they refer to in place
    ///
    /// Everything is fetched in one round. If anything fails, one report says everything that failed and nothing is written.
    /// Comments, layout and all that is no reference stay byte for byte; a value is put in so that any parser of the format
    /// reads it back exactly.
    Resolve(resolve::Args),
    /// Find out whether everything that configuration files refer to can be resolved
    ///
    /// Fetches everything as `keyfob resolve` does, and shows no value: for pipelines, before a deployment.
    Check(check::Args),
    /// Start a command with everything that its configuration refers to in place
    ///
    /// Resolves the references of its variables, of `.env` files and of configuration files in one round, and then becomes the
    /// command: signals and exit status are the command's own. If anything fails, one report says everything that failed and the
    /// command does not start.
    ///
    /// Variables of `--env-file` come before those of the same name that are set already; of two files the later one counts.
    ///
    /// With `--watch` keyfob stays: when a secret changes, it resolves everything again, and then starts the command again or sends
    /// it a signal. What can't be resolved then is told, and the command runs on.
    Run(run::Args),
    /// Put the values of a file into the store
    ///
    /// Every value becomes a secret, named by the keys on the way to it: `DB_PASSWORD` of a `.env` file, `db/password` of a
    /// nested document. What exists with another value is kept unless `--overwrite`; what is the same is left alone, so that a
    /// second import changes nothing. Each value is written completely or not at all: an import that was interrupted is
    /// finished by running it again.
    Import(import::Args),
    /// Print many secrets with their values, for another program
    ///
    /// Where names must be variables, `db/password` becomes `DB_PASSWORD`; two secrets that would become the same variable are an
    /// error. An expired secret is an error too.
    Export(export::Args),
    /// Copy secrets from one store into another
    ///
    /// Copies the current value of every secret, with its description, tags and expiry; older versions are not copied. What the
    /// target has with another value or other metadata is left alone unless `--overwrite`; what is the same is left alone, so
    /// that a second copy changes nothing. Every value that is written is read back and compared.
    ///
    /// Everything is looked at before anything is written: what the target can't hold is told first, and the rest is copied.
    /// An interrupted copy has left each secret old or new, and is finished by running it again.
    Copy(copy::Args),
    /// Move secrets into another store, with a report that takes it back
    ///
    /// As `keyfob copy`, and besides it makes a snapshot of what it replaces and keeps a report. The report says of every secret what became
    /// of it, holds no values, and is written as it goes: a migration that was interrupted, even killed, goes on when it is run again
    /// with the same report, and `keyfob migrate rollback` takes back what all its runs did.
    ///
    /// With `--rewrite`, values of secrets that stand in a project's files are replaced by references, after a diff that shows no
    /// value: comments and layout stay, what a file held is kept in a copy, and nothing is written that does not resolve to what
    /// was there.
    Migrate(migrate::Args),
    /// Compare two stores: names, values and metadata
    ///
    /// Never shows a value: values are compared by hashes under a key that is made for one comparison and thrown away.
    Diff(diff::Args),
    /// Make one store have what another one has
    ///
    /// Copies from the first to the second what the second does not have or has otherwise, and brings back what was deleted there. What only
    /// the second has stays, unless it is asked twice: with `--prune`, and by answering a question that names how many secrets
    /// would be deleted, or in a script with `--confirm-prune` and that number. Nothing is deleted when the first has no secrets at
    /// all, can't be listed, or something could not be copied.
    Sync(sync::Args),
    /// Give secrets new values, with a time in which the old ones stay valid
    ///
    /// The new value is made, tried and then becomes current; the old one stays valid for a while (`@previous`) and is then revoked, by a later
    /// call. A rotation that was interrupted at any point is gone on with, or taken back, by the next call. Two at once of one
    /// secret are refused.
    ///
    /// How a value is made stands in `--make`, or in the policies of `rotation.yaml`, which also say when secrets are due.
    Rotate(rotate::Args),
    /// Rotations: what is under way, how to take one back
    Rotation(rotation::Args),
    /// Show which store is asked, and why
    ///
    /// For a reference, or for every reference of a file: which store it means, and which variables and files decided it.
    /// Fetches no value and connects to nothing.
    Explain(explain::Args),
    /// Look for what is wrong: choice of the store, configuration, permissions, every store's health
    ///
    /// Asks the default store and those of `keyfob.toml` whether they can serve. Of an encrypted store every row is checked
    /// and every value decrypted. Changes nothing. Exit status 1 when something is wrong; warnings alone are 0.
    Doctor(doctor::Args),
    /// The audit log: who accessed which secret, when, and what came of it
    Audit(audit::Args),
    /// The key of an encrypted store
    Key(key::Args),
    /// Copy an encrypted store, and go back to a copy on purpose
    Backup(backup::Args),
    /// Snapshots of any store: make, compare, restore, prove and thin them
    ///
    /// A snapshot is one encrypted file with all secrets under a prefix. What it holds can be listed without its key, and one of what hardly
    /// changed is small. It is kept in `~/.local/share/keyfob/snapshots`, unless `[snapshots]` of `keyfob.toml` or `--directory` says
    /// otherwise, and opens with the key of the encrypted store, unless another is named.
    Snapshot(snapshot::Args),
    /// What AWS Secrets Manager can do beyond what every store can
    Aws(aws::Args),
    /// Print objects for Kubernetes: of External Secrets, and a job that rotates
    Manifests(manifests::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or write the pages of all commands into a directory
    Man(man::Args),
    /// Print a page of the documentation that is made from the code, as Markdown
    #[command(hide = true)]
    GenerateDocs(generate_docs::Args),
    /// What stands between `keyfob run --watch` and the command that it starts
    #[command(name = "start-command", hide = true)]
    Start(start::Args),
}

/// Runs a command.
pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Init(args) => args.run(context),
        Command::Get(args) => args.run(context),
        Command::Set(args) => args.run(context),
        Command::List(args) => args.run(context),
        Command::Versions(args) => args.run(context),
        Command::Delete(args) => args.run(context),
        Command::Restore(args) => args.run(context),
        Command::Resolve(args) => args.run(context),
        Command::Check(args) => args.run(context),
        Command::Run(args) => args.run(context),
        Command::Import(args) => args.run(context),
        Command::Export(args) => args.run(context),
        Command::Copy(args) => args.run(context),
        Command::Migrate(args) => args.run(context),
        Command::Diff(args) => args.run(context),
        Command::Sync(args) => args.run(context),
        Command::Rotate(args) => args.run(context),
        Command::Rotation(args) => args.run(context),
        Command::Explain(args) => args.run(context),
        Command::Doctor(args) => args.run(context),
        Command::Audit(args) => args.run(context),
        Command::Key(args) => args.run(context),
        Command::Backup(args) => args.run(context),
        Command::Snapshot(args) => args.run(context),
        Command::Aws(args) => args.run(context),
        Command::Manifests(args) => args.run(context),
        Command::Completions(args) => args.run(context),
        Command::Man(args) => args.run(context),
        Command::GenerateDocs(args) => args.run(context),
        Command::Start(args) => args.run(context),
    }
}
