//! `keyfob generate-docs`

use clap::{CommandFactory as _, Parser, ValueEnum};

use crate::args::Cli;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::reference_page;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Which page
    page: Page,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// Commands, options and examples
    Cli,
    /// Environment variables
    Variables,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let page = match self.page {
            Page::Cli => reference_page::of(Cli::command()),
            Page::Variables => keyfob::variables::reference_page(),
        };
        context.printer().text(&page)?;
        Ok(Exit::Success)
    }
}
