//! `keyfob completions`

use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob completions bash > ~/.local/share/bash-completion/completions/keyfob
  keyfob completions zsh > ~/.zfunc/_keyfob
  keyfob completions fish > ~/.config/fish/completions/keyfob.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "keyfob", &mut script);
        context.printer().bytes(&script)?;
        Ok(Exit::Success)
    }
}
