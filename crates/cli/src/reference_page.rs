//! The reference page of the command line, made from the same tree as `--help`.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// All commands with their arguments and examples, in Markdown.
pub(crate) fn of(mut root: Command) -> String {
    root.build();
    let mut page = String::from("# Command line\n\nMade from `keyfob --help` of every command.\n");
    let _ = write!(
        page,
        "\n```text\n{}\n```\n",
        root.clone().render_usage().to_string().trim_end()
    );
    let globals = options(&root, |argument| argument.is_global_set());
    let _ = write!(page, "\n## Options of every command\n\n{globals}");
    let _ = write!(
        page,
        "\n## Exit status\n\n0: done. 1: something could not be done, or a check found something. 2: the command line is wrong.\n"
    );
    for command in children(&root) {
        describe(&mut page, command, 2);
    }
    page
}

fn children(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|child| !child.is_hide_set() && child.get_name() != "help")
}

fn describe(page: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let _ = write!(page, "\n{} `{name}`\n", "#".repeat(level));
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        let _ = write!(page, "\n{}\n", escape(&about.to_string()));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = write!(page, "\n```text\n{}\n```\n", usage.trim_end());
    let own = options(command, |argument| !argument.is_global_set());
    if !own.is_empty() {
        let _ = write!(page, "\n{own}");
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(page, "\n{}\n", after_help(&after.to_string()));
    }
    for child in children(command) {
        describe(page, child, level + 1);
    }
}

fn options(command: &Command, chosen: impl Fn(&Arg) -> bool) -> String {
    let mut list = String::new();
    for argument in command.get_arguments() {
        let is_help = matches!(argument.get_id().as_str(), "help" | "version")
            && argument.get_long() == Some(argument.get_id().as_str())
            && argument.get_value_names().is_none();
        if argument.is_hide_set() || is_help || !chosen(argument) {
            continue;
        }
        let help = argument.get_long_help().or_else(|| argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let help = help.replace("\n\n", ". ");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(list, "- `{}`: {}", spelling(argument), escape(&help));
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set() && argument.get_action().takes_values())
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({help})", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        if !values.is_empty() {
            let _ = write!(list, ": {}", values.join(", "));
        }
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.display()))
            .collect();
        if argument.get_action().takes_values() && !defaults.is_empty() && !argument.is_hide_default_value_set() {
            let _ = write!(list, " (default {})", defaults.join(", "));
        }
        list.push('\n');
    }
    list
}

fn spelling(argument: &Arg) -> String {
    let value = argument.get_value_names().map(|names| {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        names.join(" ")
    });
    let takes_value = argument.get_action().takes_values();
    let value = value.filter(|_| takes_value);
    match (argument.get_short(), argument.get_long(), value) {
        (Some(short), Some(long), Some(value)) => format!("-{short}, --{long} {value}"),
        (Some(short), Some(long), None) => format!("-{short}, --{long}"),
        (_, Some(long), Some(value)) => format!("--{long} {value}"),
        (_, Some(long), None) => format!("--{long}"),
        (_, None, Some(value)) => value,
        (_, None, None) => argument.get_id().to_string().to_uppercase(),
    }
}

/// Examples become a block, what follows them text.
fn after_help(text: &str) -> String {
    let mut page = String::new();
    let mut examples = String::new();
    for line in text.lines() {
        if let Some(example) = line.strip_prefix("  ") {
            let _ = writeln!(examples, "{example}");
            continue;
        }
        close(&mut page, &mut examples);
        let _ = writeln!(page, "{}", escape(line));
    }
    close(&mut page, &mut examples);
    page.trim_end().to_owned()
}

fn close(page: &mut String, examples: &mut String) {
    if !examples.is_empty() {
        let _ = write!(page, "\n```text\n{examples}```\n");
        examples.clear();
    }
}

/// Outside of code, what Markdown would take for HTML.
fn escape(text: &str) -> String {
    text.split('`')
        .enumerate()
        .map(|(index, part)| {
            if index % 2 == 0 {
                part.replace('<', "\\<").replace('*', "\\*")
            } else {
                part.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_that_people_see_is_on_the_page_with_an_example() {
        let page = of(Cli::command());
        let mut root = Cli::command();
        root.build();
        for command in children(&root) {
            assert!(page.contains(&format!("\n## `keyfob {}`\n", command.get_name())));
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.starts_with("Examples:\n"), "{} has no examples", command.get_name());
        }
        assert!(!page.contains("generate-docs"));
        assert!(page.contains("- `-s, --store URL|NAME`: The store"));
    }
}
