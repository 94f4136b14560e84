//! `keyfob resolve`

use std::path::{Path, PathBuf};

use clap::Parser;
use keyfob::format::Format;
use keyfob::{Result, Template};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::private_file;
use crate::references::{ReferenceArgs, STANDARD_INPUT, parse_format, resolve, template};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob resolve app.yaml --output /run/app/app.yaml
  keyfob resolve app.yaml db.toml --output /run/app    several files, into a directory
  keyfob resolve --format json < app.json | app --config /dev/stdin
  keyfob resolve --allow secret,env theirs.yaml        refuse `${file:...}` and the like")]
pub(crate) struct Args {
    /// The files; `-`, or none, is standard input
    files: Vec<PathBuf>,

    /// Write to this file, or for several files to this directory; only the owner may read what is written
    #[arg(long, short, value_name = "FILE|DIR")]
    output: Option<PathBuf>,

    /// `text`, `dotenv`, `json`, `yaml` or `toml`, whatever the names of the files say
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// Show the values on a terminal
    #[arg(long, conflicts_with = "output")]
    show: bool,

    #[command(flatten)]
    references: ReferenceArgs,
}

impl Args {
    pub(crate) fn run(mut self, context: &Context) -> Outcome {
        let printer = context.printer();
        if self.files.is_empty() {
            self.files.push(STANDARD_INPUT.into());
        }
        let targets = self.targets()?;
        if self.output.is_none() && !self.show && printer.output_is_terminal() {
            return Err(Failure::usage(
                "values are printed to a terminal only with `--show`",
                "add `--show`, or send them elsewhere: `--output FILE`, or a pipe",
            ));
        }
        let manager = self.references.manager(context)?;
        let templates: Vec<Template> = self
            .files
            .iter()
            .map(|file| template(&manager, file, self.format))
            .collect::<Result<_>>()?;
        let occurrences: Vec<_> = templates.iter().flat_map(Template::occurrences).collect();
        let resolved = context.block_on(resolve(&manager, &occurrences))?;
        // All of them, before the first is written.
        let finished: Vec<Zeroizing<String>> = templates
            .iter()
            .map(|template| template.render(&resolved))
            .collect::<Result<_>>()?;
        let Some(targets) = targets else {
            finished.iter().try_for_each(|text| printer.bytes(text.as_bytes()))?;
            return Ok(Exit::Success);
        };
        let texts = finished.iter().map(|text| text.as_bytes());
        private_file::write_all(targets.iter().map(PathBuf::as_path).zip(texts))?;
        for target in &targets {
            printer.note(format_args!("wrote `{}`", target.display()));
        }
        Ok(Exit::Success)
    }

    /// Where each file goes; `None` is standard output.
    fn targets(&self) -> Result<Option<Vec<PathBuf>>, Failure> {
        let targets = self.named_targets()?;
        for target in targets.iter().flatten() {
            if let Some(file) = self.files.iter().find(|file| private_file::is_same_file(file, target)) {
                let message = format!("`{}` would be overwritten with its own values", file.display());
                return Err(Failure::usage(message, "write to another file or directory"));
            }
        }
        Ok(targets)
    }

    fn named_targets(&self) -> Result<Option<Vec<PathBuf>>, Failure> {
        let Some(output) = &self.output else {
            if self.files.len() > 1 {
                let message = "several files can't go to standard output together";
                return Err(Failure::usage(message, "write them into a directory: `--output DIR`"));
            }
            return Ok(None);
        };
        if !output.is_dir() {
            if self.files.len() > 1 {
                return Err(Failure::usage(
                    "several files need a directory",
                    format!("`{}` is none", output.display()),
                ));
            }
            return Ok(Some(vec![output.clone()]));
        }
        let mut targets: Vec<PathBuf> = Vec::new();
        for file in &self.files {
            let name = file.file_name().filter(|_| file != Path::new(STANDARD_INPUT));
            let name = name.ok_or_else(|| Failure::usage("standard input has no name", "write it to a file: `--output FILE`"))?;
            let target = output.join(name);
            if targets.contains(&target) {
                let message = format!("two files have the name `{}`", name.display());
                return Err(Failure::usage(message, "resolve them one after the other"));
            }
            targets.push(target);
        }
        Ok(Some(targets))
    }
}
