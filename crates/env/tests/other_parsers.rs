//! What we write, read by the programs that read `.env` files.
//!
//! `sh` is always there. `KEYFOB_TEST_PYTHON` names a Python that has `python-dotenv`, and `KEYFOB_TEST_NODE_PATH` a
//! `node_modules` directory that has `dotenv`; without them their tests print `ignored`, and fail in CI.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use keyfob_env::dotenv::Document;

/// Values that break writers, and what breaks them.
const VALUES: &[&str] = &[
    "",
    "plain",
    "two words",
    "  blanks around\t",
    "# no comment",
    "a #b#c",
    "it's",
    "\"",
    "say \"it's\"",
    "'",
    "''",
    "a=b==",
    "export A=1",
    "key: value",
    "one\ntwo\n",
    "\n",
    "-----BEGIN KEY-----\nMIIB+/=\nB=1\n-----END KEY-----\n",
    "it's\nB=1\n\"two\"",
    "a\r\nb",
    "a\rb'c",
    "\\",
    "C:\\new\\dir",
    "C:\\dir\\",
    "\\\\server\\share",
    "it's \\n no line",
    "$HOME ${HOME} $(id) `id`",
    "it's $HOME ${HOME} $(id) `id`",
    "it's `id`",
    "~/x:~root",
    "!history ^ * ? [a] {b,c} <>|&;()",
    "{\"user\": \"jo\", \"pass\": \"p'w\"}",
    "ключ 🔑 日本",
    "\u{a0}\u{2028}\u{FEFF}",
    "\u{1}\u{b}\u{c}\u{1b}\u{7f}\u{85}",
    "%s %d 100%",
];

#[test]
fn sh_reads_what_we_write() {
    // The shell has no escape for a carriage return.
    let (document, expected) = written(|value| !value.contains('\r'));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vars.env");
    std::fs::write(&file, document.text()).unwrap();
    let mut read = BTreeMap::new();
    for (name, value) in &expected {
        let output = Command::new("sh")
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .args(["-c", r#"set -a; . "$1" || exit; eval "printf '%s.' \"\$$2\"""#, "sh"])
            .arg(&file)
            .arg(name)
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name} = {value:?}: {output:?}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        read.insert(name.clone(), text.strip_suffix('.').unwrap().to_owned());
    }
    assert_eq!(read, expected);
}

#[test]
fn python_dotenv_reads_what_we_write() {
    let Some(python) = required("KEYFOB_TEST_PYTHON") else {
        return;
    };
    let readable = |value: &str| {
        // See the table in DIALECT.md: its single quotes know `\\`, its double quotes neither `\$` nor `` \` ``.
        if written_in_double_quotes(value) {
            !value.contains(['$', '`'])
        } else {
            !value.contains("\\\\")
        }
    };
    let program = "import dotenv, json, sys; print(json.dumps(dotenv.dotenv_values(sys.argv[1], interpolate=False)))";
    compare(readable, |file| {
        let mut command = Command::new(&python);
        command.args(["-c", program]).arg(file);
        command
    });
}

#[test]
fn node_dotenv_reads_what_we_write() {
    let Some(modules) = required("KEYFOB_TEST_NODE_PATH") else {
        return;
    };
    // Its double quotes know no escape but `\n` and `\r`.
    let readable = |value: &str| !written_in_double_quotes(value) || !value.contains(['\\', '"', '$', '`']);
    let program = "console.log(JSON.stringify(require('dotenv').parse(require('fs').readFileSync(process.argv[1]))))";
    compare(readable, |file| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &modules).args(["-e", program]).arg(file);
        command
    });
}

fn written_in_double_quotes(value: &str) -> bool {
    value.contains(['\'', '\r']) || value.ends_with('\\')
}

/// A document with every value that is wanted, as `V0`, `V1`, ..., and a comment that could confuse a reader.
fn written(wanted: impl Fn(&str) -> bool) -> (Document, BTreeMap<String, String>) {
    let mut document = Document::parse("# it's \"a comment\n").unwrap();
    let mut expected = BTreeMap::new();
    for (index, value) in VALUES.iter().enumerate().filter(|(_, value)| wanted(value)) {
        let name = format!("V{index}");
        document.set(&name, value).unwrap();
        expected.insert(name, (*value).to_owned());
    }
    assert!(expected.len() > VALUES.len() / 2);
    (document, expected)
}

fn compare(readable: impl Fn(&str) -> bool, reader: impl Fn(&Path) -> Command) {
    let (document, expected) = written(readable);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vars.env");
    std::fs::write(&file, document.text()).unwrap();
    let output = reader(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(from_json(std::str::from_utf8(&output.stdout).unwrap()), expected);
}

/// The program that the variable names, else `None`, in CI a failure.
fn required(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        keyfob_testkit::skip(
            "keyfob-env other_parsers",
            &format!("`{variable}` is not set; run `cargo xtask test`"),
        );
    }
    value
}

fn from_json(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap()
}
