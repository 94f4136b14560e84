//! How exported secrets are written.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use clap::ValueEnum;
use keyfob::{Error, ErrorKind, Result, SecretName, SecretValue};
use zeroize::Zeroizing;

/// How to write secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A `.env` file
    Dotenv,
    /// One object
    Json,
    /// One map
    Yaml,
    /// `export` lines
    Shell,
    /// Variables of the following steps, values masked in the log
    GithubActions,
    /// A file for `docker run --env-file`
    Docker,
}

/// What is written.
pub(crate) struct Export {
    pub(crate) text: Zeroizing<String>,
    /// What a runner must read on standard output.
    pub(crate) log: Option<Zeroizing<String>>,
}

impl ExportFormat {
    /// Writes names and values.
    ///
    /// # Errors
    /// `NotText` for bytes that are not UTF-8; `Conflict` for two names that become one variable; `InvalidInput` for a name
    /// that can't become a variable, or a value that the format can't hold. Never the value.
    pub(crate) fn write(self, secrets: &[(String, SecretValue)]) -> Result<Export> {
        let mut text = Zeroizing::new(String::with_capacity(capacity(secrets)));
        let mut log = None;
        match self {
            Self::Json => write_map(&mut text, secrets, "{\n", "  ", ": ", ",\n", "\n}\n")?,
            // A JSON string is a YAML string, in 1.1 and 1.2, since serde_json escapes control characters and we the rest.
            Self::Yaml if secrets.is_empty() => text.push_str("{}\n"),
            Self::Yaml => write_map(&mut text, secrets, "", "", ": ", "\n", "\n")?,
            Self::Dotenv => {
                for (name, value) in variables(secrets)? {
                    let quoted =
                        keyfob_env::dotenv::quote(text_of(&name, value)?).map_err(|error| error.with("name", name.clone()))?;
                    push(&mut text, &[&name, "=", &quoted, "\n"]);
                }
            }
            Self::Shell => {
                for (name, value) in variables(secrets)? {
                    let value = without_nul(&name, text_of(&name, value)?)?;
                    push(
                        &mut text,
                        &["export ", &name, "='", &Zeroizing::new(value.replace('\'', r"'\''")), "'\n"],
                    );
                }
            }
            Self::Docker => {
                for (name, value) in variables(secrets)? {
                    let value = without_nul(&name, text_of(&name, value)?)?;
                    if value.contains(['\n', '\r']) {
                        return Err(Error::new(ErrorKind::InvalidInput, "docker's variables can't have line ends")
                            .with("name", name)
                            .with_hint("mount a file instead"));
                    }
                    push(&mut text, &[&name, "=", value, "\n"]);
                }
            }
            Self::GithubActions => {
                let mut masks = Zeroizing::new(String::with_capacity(3 * capacity(secrets)));
                for (name, value) in variables(secrets)? {
                    let value = without_nul(&name, text_of(&name, value)?)?;
                    mask(&mut masks, value);
                    let delimiter = delimiter(value)?;
                    push(&mut text, &[&name, "<<", &delimiter, "\n", value, "\n", &delimiter, "\n"]);
                }
                log = Some(masks);
            }
        }
        Ok(Export { text, log })
    }
}

/// Appends to a file that exists, as `$GITHUB_ENV`, or makes one that only its owner may read.
///
/// # Errors
/// `Other` when the file can't be written.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?
            .write_all(bytes)
    };
    write().map_err(|error| {
        Error::new(ErrorKind::Other, "can't write the file")
            .with("file", path.display().to_string())
            .with_source(error)
    })
}

/// Enough that the text does not grow, which would leave copies of it behind.
fn capacity(secrets: &[(String, SecretValue)]) -> usize {
    secrets
        .iter()
        .map(|(name, value)| 6 * name.len() + 6 * value.len() + 128)
        .sum::<usize>()
        + 16
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

fn write_map(
    text: &mut String,
    secrets: &[(String, SecretValue)],
    open: &str,
    indent: &str,
    colon: &str,
    between: &str,
    close: &str,
) -> Result<()> {
    text.push_str(open);
    for (index, (name, value)) in secrets.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        push(
            text,
            &[indent, &json_string(name)?, colon, &json_string(text_of(name, value)?)?],
        );
    }
    text.push_str(close);
    Ok(())
}

/// Also escapes what YAML takes for a line end or may not hold.
fn json_string(value: &str) -> Result<Zeroizing<String>> {
    let json = serde_json::to_string(value).map_err(|_| Error::new(ErrorKind::Other, "the text can't be written as JSON"))?;
    let json = Zeroizing::new(json);
    let odd = |c: char| {
        matches!(
            c,
            '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
    };
    if !json.contains(odd) {
        return Ok(json);
    }
    let mut escaped = Zeroizing::new(String::with_capacity(6 * json.len()));
    for c in json.chars() {
        if odd(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Ok(escaped)
}

fn variables(secrets: &[(String, SecretValue)]) -> Result<Vec<(String, &SecretValue)>> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut variables = Vec::with_capacity(secrets.len());
    for (name, value) in secrets {
        let variable = SecretName::new(name)
            .ok()
            .and_then(|name| keyfob_env::variable_for(&name))
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the name can't become a variable").with("name", name.clone()))?;
        if let Some(other) = taken.insert(variable.clone(), name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("`{other}` and `{name}` would become the same variable"),
            )
            .with("variable", variable)
            .with_hint("export them one after the other, with a longer prefix"));
        }
        variables.push((variable, value));
    }
    Ok(variables)
}

fn text_of<'a>(name: &str, value: &'a SecretValue) -> Result<&'a str> {
    value.expose_str().map_err(|error| error.with("name", name))
}

fn without_nul<'a>(name: &str, value: &'a str) -> Result<&'a str> {
    if value.contains('\0') {
        return Err(Error::new(ErrorKind::InvalidInput, "a variable can't hold a NUL byte").with("name", name));
    }
    Ok(value)
}

/// Hides a value in the log: the runner masks line by line, so every line that says something is masked too.
fn mask(masks: &mut String, value: &str) {
    let whole = value.trim_end_matches(['\n', '\r']);
    let lines = whole.lines().filter(|line| line.trim().len() >= 4 && *line != whole);
    for secret in std::iter::once(whole).chain(lines).filter(|secret| !secret.is_empty()) {
        masks.push_str("::add-mask::");
        for c in secret.chars() {
            match c {
                '%' => masks.push_str("%25"),
                '\r' => masks.push_str("%0D"),
                '\n' => masks.push_str("%0A"),
                other => masks.push(other),
            }
        }
        masks.push('\n');
    }
}

/// Random, so that no value can close the block and set variables of its own.
fn delimiter(value: &str) -> Result<String> {
    loop {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Error::new(ErrorKind::Other, "the system gives no random bytes"))?;
        let delimiter = format!("keyfob_{}", data_encoding::HEXLOWER.encode(&random));
        if !value.contains(&delimiter) {
            return Ok(delimiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(format: ExportFormat, secrets: &[(&str, &str)]) -> Result<Export> {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretValue::from(*value)))
            .collect();
        format.write(&secrets)
    }

    #[test]
    fn documents_keep_names_and_values() {
        let secrets = [("db/password", "it's: \"x\" # \u{2028}\u{85}\n"), ("a", "")];
        for format in [ExportFormat::Json, ExportFormat::Yaml] {
            let text = export(format, &secrets).unwrap().text;
            let back = keyfob::flatten(
                if format == ExportFormat::Json {
                    keyfob::format::Format::Json
                } else {
                    keyfob::format::Format::Yaml
                },
                &text,
            );
            let back: Vec<_> = back
                .unwrap()
                .into_iter()
                .map(|(name, value)| (name.to_string(), value.expose_str().unwrap().to_owned()))
                .collect();
            assert_eq!(back, secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        assert_eq!(&**export(ExportFormat::Yaml, &[]).unwrap().text, "{}\n");
    }

    #[test]
    fn variables_are_mapped_and_quoted() {
        let secrets = [("db/password", "it's $HOME"), ("API_KEY", "b")];
        assert_eq!(
            &**export(ExportFormat::Shell, &secrets).unwrap().text,
            "export DB_PASSWORD='it'\\''s $HOME'\nexport API_KEY='b'\n"
        );
        assert_eq!(
            &**export(ExportFormat::Docker, &secrets).unwrap().text,
            "DB_PASSWORD=it's $HOME\nAPI_KEY=b\n"
        );
        let error = export(ExportFormat::Docker, &[("a", "hunter2\n")]).err().unwrap();
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(
            export(ExportFormat::Shell, &[("a/b", "1"), ("a-b", "2")])
                .err()
                .unwrap()
                .kind(),
            ErrorKind::Conflict
        );
    }

    #[test]
    fn a_value_can_neither_show_in_a_log_nor_end_its_block() {
        let value = "line one\nEOF\n100%\n";
        let export = export(ExportFormat::GithubActions, &[("a", value)]).unwrap();
        assert_eq!(
            &**export.log.unwrap(),
            "::add-mask::line one%0AEOF%0A100%25\n::add-mask::line one\n::add-mask::100%25\n"
        );
        let text = export.text;
        let (head, rest) = text.split_once('\n').unwrap();
        let delimiter = head.strip_prefix("a<<").unwrap();
        assert_eq!(rest, format!("{value}\n{delimiter}\n"));
    }
}
