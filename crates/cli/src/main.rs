//! The keyfob command.

mod args;
mod commands;
mod context;
mod embedded;
mod exit;
mod hardening;
mod input;
mod metadata;
mod printer;
mod private_file;
mod prompt;
mod reference_page;
mod references;
mod signals;
mod text;
mod time;
mod transfer;
mod warnings;

use std::process::ExitCode;

fn main() -> ExitCode {
    hardening::protect_this_process();
    hardening::silence_panics();
    let code = match args::parse() {
        Ok(cli) => {
            let context = context::Context::new(cli.global);
            let exit = match commands::run(cli.command, &context) {
                Ok(exit) => exit,
                Err(failure) => failure.report(context.printer()),
            };
            context.close_audit();
            exit
        }
        Err(answer) => answer.print(),
    };
    ExitCode::from(code.code())
}
