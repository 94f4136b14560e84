//! `keyfob export`

mod formats;

use std::path::PathBuf;

use clap::Parser;
use keyfob::{Deleted, Error, GetRequest, Intent, Result, SecretValue, Verb};

use self::formats::ExportFormat;
use crate::commands::list;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::private_file;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob export app/ --strip-prefix --format dotenv --output .env
  eval \"$(keyfob export --format shell)\"
  docker run --env-file <(keyfob export --format docker) image
  keyfob export ci/ --format github-actions          appends to $GITHUB_ENV and masks the values in the log

Formats: `dotenv`; `json` and `yaml` (one map of names and values); `shell` (`export` lines for POSIX shells);
`docker` (for `--env-file`: a value can't have line ends); `github-actions`.")]
pub(crate) struct Args {
    /// Only names that begin with this text
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// How to write them
    #[arg(long, value_name = "FORMAT")]
    format: ExportFormat,

    /// Leave the prefix out of the names
    #[arg(long)]
    strip_prefix: bool,

    /// Write to a file that only its owner may read
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Show the values on a terminal
    #[arg(long, conflicts_with = "output")]
    show: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        // What GitHub's runner is told goes to standard output even where the variables go to a file.
        let goes_to_output = self.output.is_none() || self.format == ExportFormat::GithubActions;
        if goes_to_output && !self.show && printer.output_is_terminal() {
            return Err(Failure::usage(
                "values are printed to a terminal only with `--show`",
                "add `--show`, or send them elsewhere: `--output FILE`, or a pipe",
            ));
        }
        let secrets = context.block_on(self.fetch(context))?;
        let count = secrets.len();
        let export = self.format.write(&secrets)?;
        if let Some(log) = export.log {
            // The runner reads these lines from standard output and hides the values from then on.
            let target = match &self.output {
                Some(target) => target.clone(),
                None => std::env::var_os("GITHUB_ENV").map(PathBuf::from).ok_or_else(|| {
                    Failure::usage(
                        "`GITHUB_ENV` is not set: this is no step of GitHub Actions",
                        "name a file with `--output`",
                    )
                })?,
            };
            printer.bytes(log.as_bytes())?;
            formats::append(&target, export.text.as_bytes())?;
            printer.note(format_args!("exported {count} secrets to `{}`", target.display()));
        } else if let Some(target) = &self.output {
            private_file::write(target, export.text.as_bytes())?;
            printer.note(format_args!("exported {count} secrets to `{}`", target.display()));
        } else {
            printer.bytes(export.text.as_bytes())?;
        }
        Ok(Exit::Success)
    }

    async fn fetch(&self, context: &Context) -> Result<Vec<(String, SecretValue)>, Error> {
        let store = context.store(&Intent::new(Verb::List).prefix(&self.prefix)).await?;
        let listed = list::all(&*store, &self.prefix, Deleted::Exclude).await?;
        let names = listed.into_iter().map(|metadata| metadata.name);
        let requests: Vec<GetRequest> = names.filter(|name| !name.is_reserved()).map(GetRequest::new).collect();
        let mut secrets = Vec::with_capacity(requests.len());
        for (request, answer) in requests.iter().zip(store.get_many(&requests).await) {
            let name = request.name.as_str();
            let secret = answer.map_err(|error| error.with("name", name))?;
            let name = if self.strip_prefix {
                name.strip_prefix(&self.prefix).unwrap_or(name)
            } else {
                name
            };
            secrets.push((name.to_owned(), secret.value));
        }
        Ok(secrets)
    }
}
