//! Every code block and every command of the documentation is run.
//!
//! In `README.md` and `docs/**/*.md` a fenced block is one of
//!
//! - `console`: lines that begin with `$ ` are run by `sh` in the page's own scratch directory, one after the other;
//!   the lines below are what standard output and standard error say, `[..]` standing for anything within a line and
//!   `...` alone on a line for any lines. A command that fails is followed by `[exit 1]`. With `on=aws`, `on=vault`, ... (a
//!   provider) the commands find that server of the test bed in their variables, under a prefix of the page's own. With
//!   `on=database` they find PostgreSQL itself in libpq's variables, as its administrator; roles that the page makes are removed
//!   before and afterwards.
//! - `yaml`, `toml`, `json`, `dotenv`, ... with `file=NAME`: the file is written before the commands below it run.
//!   Without `file=`, `json` and `toml` must at least parse.
//! - `hcl`: a policy, which the tests of the store that it is for load into a server.
//! - `rust`: compiled and run as a documentation test of this package.
//! - `text`: shows something that is no code.
//!
//! Anything else is a mistake in the page.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use keyfob_core::StoreUrl;
use keyfob_integration_tests::sandbox::Sandbox;
use keyfob_integration_tests::servers::{self, Provider};

#[test]
fn every_block_of_every_page_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages = vec![root.join("README.md")];
    collect(&root.join("docs"), &mut pages);
    assert!(pages.len() > 5, "the pages were not found");
    let mut failures = Vec::new();
    let mut commands = 0;
    for page in &pages {
        let name = page.strip_prefix(root).unwrap().display().to_string();
        match run_page(&fs::read_to_string(page).unwrap()) {
            Ok(run) => commands += run,
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(commands > 20, "only {commands} commands were found in the documentation");
    println!("{commands} commands of {} pages", pages.len());
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    let summary = fs::read_to_string(docs.join("src/SUMMARY.md")).unwrap();
    let mut pages = Vec::new();
    collect(&docs.join("src"), &mut pages);
    for page in &pages {
        let relative = page.strip_prefix(docs.join("src")).unwrap().display().to_string();
        assert!(
            relative == "SUMMARY.md" || summary.contains(&format!("({relative})")),
            "{relative} is not in SUMMARY.md"
        );
        for target in links(&fs::read_to_string(page).unwrap()) {
            let path = page.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(
                target.starts_with('#') || path.exists(),
                "{relative} links to {target}, which does not exist"
            );
        }
    }
}

#[test]
fn a_command_whose_output_differs_is_found() {
    let page = |output: &str| format!("```console\n$ echo one; echo two\n{output}```\n");
    assert_eq!(run_page(&page("one\ntwo\n")), Ok(1));
    assert_eq!(run_page(&page("o[..]\ntwo\n")), Ok(1));
    assert_eq!(run_page(&page("...\ntwo\n")), Ok(1));
    assert!(run_page(&page("one\n")).is_err());
    assert!(run_page(&page("one\nthree\n")).is_err());
    assert!(run_page("```console\n$ false\n```\n").is_err());
    assert_eq!(run_page("```console\n$ false\n[exit 1]\n```\n"), Ok(1));
    assert!(run_page("```console\n$ false\n...\n```\n").is_err());
    assert_eq!(run_page("```console\n$ echo one; false\n...\n[exit 1]\n```\n"), Ok(1));
    assert!(run_page("```console\n$ true\n[exit 1]\n```\n").is_err());
    assert!(run_page("```surprise\nx\n```\n").is_err());
    assert!(run_page("```json\n{\n```\n").is_err());
    assert!(run_page("```console\n$ true\n").is_err());
}

fn collect(directory: &Path, pages: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// Where a page's blocks run.
struct Place {
    sandbox: Sandbox,
    /// What is known of the servers that blocks have named.
    servers: RefCell<BTreeMap<&'static str, Option<Variables>>>,
    /// What the page's blocks of SQL make.
    roles: Vec<String>,
    /// The database itself, once a block has named it.
    database: RefCell<Option<Option<Database>>>,
}

type Variables = Vec<(&'static str, String)>;

impl Place {
    fn new(page: &str) -> Self {
        let made = page.split("\nCREATE ROLE ").skip(1);
        let roles = made.filter_map(|rest| rest.split([' ', ';', '\n']).next());
        Self {
            sandbox: Sandbox::new(),
            servers: RefCell::default(),
            roles: roles.map(str::to_owned).collect(),
            database: RefCell::default(),
        }
    }

    /// The variables of the server that a block names; `None` when it can't run here.
    fn variables(&self, on: Option<&str>) -> Result<Option<Variables>, String> {
        let Some(on) = on else { return Ok(Some(Vec::new())) };
        if on == "database" {
            let mut database = self.database.borrow_mut();
            let database = database.get_or_insert_with(|| Database::new(&self.roles));
            return Ok(database.as_ref().map(Database::variables));
        }
        let provider = Provider::ALL.into_iter().find(|provider| provider.name() == on);
        let provider = provider.ok_or_else(|| format!("there is no server `{on}`"))?;
        let mut servers = self.servers.borrow_mut();
        let variables = servers
            .entry(provider.name())
            .or_insert_with(|| servers::variables("every_block_of_every_page_works", provider));
        Ok(variables.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for variables in self.servers.borrow().values().flatten() {
            servers::remove(variables);
        }
    }
}

/// The database itself, and the roles that a page makes there.
struct Database {
    url: String,
    roles: Vec<String>,
}

impl Database {
    fn new(roles: &[String]) -> Option<Self> {
        let url = keyfob_testkit::server("every_block_of_every_page_works", "KEYFOB_TEST_POSTGRES_URL")?;
        let database = Self {
            url,
            roles: roles.to_vec(),
        };
        database.clear();
        Some(database)
    }

    fn variables(&self) -> Variables {
        let url = StoreUrl::parse(&self.url).unwrap();
        let password = url.password().unwrap().expose_str().unwrap();
        vec![
            ("PGHOST", url.host().unwrap().to_owned()),
            ("PGPORT", url.port().unwrap().to_string()),
            ("PGUSER", url.user().unwrap().to_owned()),
            ("PGPASSWORD", password.to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
        ]
    }

    fn clear(&self) {
        let roles = &self.roles;
        servers::on_postgres(&self.url, async |client| {
            for role in roles {
                client.batch_execute(&format!("DROP ROLE IF EXISTS {role}")).await.unwrap();
            }
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Runs a page's blocks in a scratch directory of its own and counts the commands.
fn run_page(text: &str) -> Result<usize, String> {
    let place = Place::new(text);
    let mut commands = 0;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let mut block = Vec::new();
        loop {
            let (_, line) = lines.next().ok_or(format!("line {}: the block is not closed", number + 1))?;
            if line.trim_start().starts_with("```") {
                break;
            }
            block.push(line.get(indent..).unwrap_or_default());
        }
        commands += run_block(&place, info, &block).map_err(|problem| format!("line {}: {problem}", number + 1))?;
    }
    Ok(commands)
}

fn run_block(place: &Place, info: &str, block: &[&str]) -> Result<usize, String> {
    let mut words = info.split([',', ' ']).filter(|word| !word.is_empty());
    let language = words.next().ok_or("a block needs a language (`text` if it is none)")?;
    let content = || block.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut on = None;
    for word in words {
        match word.split_once('=') {
            Some(("file", file)) => {
                place.sandbox.write(file, content());
                return Ok(0);
            }
            Some(("on", server)) => on = Some(server),
            _ if (language, word) == ("rust", "no_run") => {}
            _ => return Err(format!("what is `{word}`?")),
        }
    }
    match language {
        "console" => match place.variables(on)? {
            Some(variables) => run_commands(&place.sandbox, &variables, block),
            None => Ok(0),
        },
        "json" => serde_json::from_str::<serde_json::Value>(&content())
            .map(|_| 0)
            .map_err(|error| error.to_string()),
        "toml" => toml::from_str::<toml::Table>(&content())
            .map(|_| 0)
            .map_err(|error| error.to_string()),
        // A policy: the tests of the store that it is for load it into a server.
        "hcl" | "rust" | "sql" | "text" => Ok(0),
        other => Err(format!("nobody runs a `{other}` block without `file=`")),
    }
}

fn run_commands(sandbox: &Sandbox, variables: &[(&str, String)], block: &[&str]) -> Result<usize, String> {
    let mut commands = 0;
    let mut lines = block.iter().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").ok_or(format!("`{line}` stands before any command"))?;
        let mut command = command.to_owned();
        while command.ends_with('\\') {
            command.truncate(command.len() - 1);
            command.push_str(lines.next().ok_or("a command ends in `\\`")?.trim_start());
        }
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            expected.push((*line).to_owned());
        }
        let ends_with = expected.pop_if(|line| line.starts_with("[exit ")).unwrap_or_default();
        let mut shell = sandbox.shell(&format!("{{ {command}\n}} 2>&1"));
        let output = shell
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let actual: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        // Apart from the lines: `...` stands for any of those, and must not stand for a failure.
        let ended = match output.status.success() {
            true => String::new(),
            false => format!("[exit {}]", output.status.code().unwrap_or(-1)),
        };
        if ended != ends_with || !matches(&expected, &actual) {
            return Err(format!(
                "`{command}`\n--- expected\n{}\n{ends_with}\n--- actual\n{}\n{ended}",
                expected.join("\n"),
                actual.join("\n")
            ));
        }
        commands += 1;
    }
    Ok(commands)
}

fn matches(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((any, rest)) if any == "..." => (0..=actual.len()).any(|skip| matches(rest, &actual[skip..])),
        Some((line, rest)) => actual
            .split_first()
            .is_some_and(|(first, more)| line_matches(line, first) && matches(rest, more)),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = actual.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        last = Some(part);
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    match last {
        None => rest.is_empty(),
        Some(last) => rest.is_empty() || actual.ends_with(last),
    }
}
