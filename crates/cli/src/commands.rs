//! The commands: one file each, with its arguments.

mod aws;
mod backup;
mod check;
mod completions;
mod copy;
mod delete;
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
mod resolve;
mod restore;
mod run;
mod set;
mod versions;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Outcome;

/// What keyfob can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Get(get::Args),
    Set(set::Args),
    List(list::Args),
    Versions(versions::Args),
    Delete(delete::Args),
    Restore(restore::Args),
    Resolve(resolve::Args),
    Check(check::Args),
    Run(run::Args),
    Import(import::Args),
    Export(export::Args),
    Copy(copy::Args),
    Explain(explain::Args),
    Doctor(doctor::Args),
    Key(key::Args),
    Backup(backup::Args),
    Aws(aws::Args),
    Completions(completions::Args),
    Man(man::Args),
    GenerateDocs(generate_docs::Args),
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
        Command::Explain(args) => args.run(context),
        Command::Doctor(args) => args.run(context),
        Command::Key(args) => args.run(context),
        Command::Backup(args) => args.run(context),
        Command::Aws(args) => args.run(context),
        Command::Completions(args) => args.run(context),
        Command::Man(args) => args.run(context),
        Command::GenerateDocs(args) => args.run(context),
    }
}
