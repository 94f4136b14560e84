//! What we write, read by other programs: every awkward value in every place of every format.
//!
//! `KEYFOB_TEST_PYTHON` names a Python (3.11 or later) that has PyYAML, ruamel.yaml and python-dotenv; without it the
//! tests that need it print `ignored`, and fail in CI. `sh` is always there.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use keyfob::format::{Document, Format};
use serde_json::{Value, json};

#[path = "../src/format/tests/awkward.rs"]
mod awkward;

const JSON: &[&str] = &[
    r#"{"${x}": "${x}", "a": [1, null, "${x}", {"b": "\u00e9<${x}>\n"}], "c": true}"#,
    r#""${x}""#,
];

const TOML: &[&str] = &[
    "# ${x}\na = '${x}'\nb = \"<${x}>\" # ${x}\nc = '''${x}'''\nd = \"\"\"${x}\"\"\"\ne = 5\n",
    "a = '''\n${x}\n'''\nb = \"\"\"\n${x}\n\"\"\"\nc = {d = '${x}', e = [\"${x}\", 1]}\n[\"${x}\"]\nf = '${x}'\n[[g]]\nh = \"${x}\"\n",
    "a = '''\r\n${x}\r\n'''\r\nb = \"\"\"\\\r\n  ${x}\r\n\"\"\"\r\nc = 1\r\n",
];

const YAML: &[&str] = &[
    "# ${x}\na: ${x} # ${x}\nb: '${x}' # c\nc: \"${x}\"\nd: yes\ne: 5\nf: 2024-01-01\n",
    "a: pre ${x}\nb: 'pre ${x} post'\nc: \"pre\\t${x}\"\nd:\n- ${x}\n- [k, '${x}', \"${x}\"]\n- {k: '${x}', l: \"${x}\"}\n",
    "a: |\n  ${x}\nb: |-\n  ${x}\nc: |+\n  ${x}\n\n\nd: |2\n  ${x}\ne: 1\n",
    "a: >\n  ${x}\nb: >-  # c\n  pre ${x}\n  post\n\n  end\nc: >+\n  ${x}\n\nd: |  # c\n\n  ${x}\n\n    more\ne: 1\n",
    "a:\n    - |\n     ${x}\n    - b:\n          - >-\n           ${x}\n          - k\nc: k\n",
    "a: &anchor ${x}\nb: *anchor\nc: !!str ${x}\nd: &other !!str '${x}'\ne: &block |\n  ${x}\nf: *block\n<<: {g: '${x}'}\n",
    "a: pre\n  over ${x}\n  lines\nb: 'pre\n\n  over ${x}\n  lines'\nc: \"pre\\\n  over ${x}\n\n  lines\"\nd: 1\n",
    ">\n  a ${x}\n  b\n--- '${x}'\n",
    "|-\n  ${x}\n",
    "--- ${x}\n--- '${x}'\n--- |\n  ${x}\n--- >-\n  ${x}\n...\n---\n- ${x}\n",
    "a: |\r\n  ${x}\r\nb: '${x}'\r\nc: >\r\n  ${x}\r\nd: 1\r\n",
    "%YAML 1.1\n---\na: ${x}\nb: '${x}'\n...\n",
];

const DOTENV: &[&str] = &["V='${x}'", "V=\"${x}\"", "V=${x}"];

fn values() -> Vec<String> {
    let mut values: Vec<String> = awkward::AWKWARD.iter().map(|value| (*value).to_owned()).collect();
    values.push("0123456789 abcdef: #'\"\\\n".repeat(4000));
    values.push("x".repeat(100_000));
    values
}

/// The text with `value` in the place of every `${x}` that is in a value.
fn rendered(format: Format, text: &str, value: &str) -> String {
    let document = Document::parse(format, text.to_owned()).unwrap();
    let replacements: BTreeMap<usize, String> = document
        .slots()
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.text().contains("${x}"))
        .map(|(index, slot)| (index, slot.text().replace("${x}", value)))
        .collect();
    assert!(!replacements.is_empty());
    document.render(&replacements).unwrap().to_string()
}

/// The same replacement in what a reader made of the text.
fn replaced(read: &Value, value: &str) -> Value {
    match read {
        Value::String(text) => text.replace("${x}", value).into(),
        Value::Array(items) => items.iter().map(|item| replaced(item, value)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), replaced(item, value))).collect(),
        other => other.clone(),
    }
}

/// A reader is a Python function that takes a text; all texts are read by one process.
fn read_all(python: &str, reader: &str, texts: &[String]) -> Vec<Value> {
    let program = format!(
        "import json, sys, io\n{reader}\nprint(json.dumps([read(text) for text in json.loads(sys.stdin.buffer.read())], default=repr))"
    );
    let mut child = Command::new(python)
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let request = json!(texts).to_string();
    let writer = std::thread::spawn(move || input.write_all(request.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    writer.join().unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every value in every template: the reader finds what it finds in the template, with the value in its places.
fn compare(format: Format, reader: &str, templates: &[&str]) {
    let Some(python) = python() else { return };
    let templates: Vec<String> = templates.iter().map(|text| (*text).to_owned()).collect();
    let before = read_all(&python, reader, &templates);
    let values = values();
    let mut texts = Vec::new();
    let mut expected = Vec::new();
    for (template, before) in templates.iter().zip(&before) {
        for value in &values {
            texts.push(rendered(format, template, value));
            expected.push(replaced(before, value));
        }
    }
    for ((text, now), expected) in texts.iter().zip(read_all(&python, reader, &texts)).zip(expected) {
        assert!(now == expected, "{}", shown(text));
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(2000).collect::<String>())
}

fn python() -> Option<String> {
    let python = std::env::var("KEYFOB_TEST_PYTHON").ok().filter(|python| !python.is_empty());
    if python.is_none() {
        keyfob_testkit::skip(
            "keyfob other_programs",
            "`KEYFOB_TEST_PYTHON` is not set; run `cargo xtask test`",
        );
    }
    python
}

const PYYAML: &str = "import yaml\ndef read(text): return list(yaml.safe_load_all(text))";
const LIBYAML: &str =
    "import yaml\nload = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)\ndef read(text): return list(yaml.load_all(text, load))";
const RUAMEL: &str = "import ruamel.yaml\ndef read(text): return list(ruamel.yaml.YAML(typ='safe', pure=True).load_all(text))";

#[test]
fn python_reads_our_json() {
    compare(Format::Json, "read = json.loads", JSON);
}

#[test]
fn tomllib_reads_our_toml() {
    compare(Format::Toml, "import tomllib\nread = tomllib.loads", TOML);
}

#[test]
fn pyyaml_reads_our_yaml() {
    compare(Format::Yaml, PYYAML, YAML);
}

#[test]
fn libyaml_reads_our_yaml() {
    compare(Format::Yaml, LIBYAML, YAML);
}

#[test]
fn ruamel_reads_our_yaml() {
    compare(Format::Yaml, RUAMEL, YAML);
}

/// A block without a line break at the end of the file: readers disagree about it, not about what we make of it.
#[test]
fn yaml_readers_agree_about_what_they_read_differently_before() {
    let Some(python) = python() else { return };
    let values = values();
    let texts: Vec<String> = values
        .iter()
        .map(|value| rendered(Format::Yaml, "a: |\n  ${x}", value))
        .collect();
    for reader in [PYYAML, LIBYAML, RUAMEL] {
        for (value, read) in values.iter().zip(read_all(&python, reader, &texts)) {
            assert!(read == json!([{"a": format!("{value}\n")}]), "{}", shown(value));
        }
    }
}

#[test]
fn python_dotenv_reads_our_dotenv() {
    let Some(python) = python() else { return };
    let reader =
        "import dotenv\ndef read(text): return dotenv.dotenv_values(stream=io.StringIO(text, newline=''), interpolate=False)";
    // Its single quotes know `\\` and its double quotes neither `\$` nor `` \` ``: see the dialect of keyfob-env.
    let misread = |text: &str| {
        text.starts_with("V='") && text.contains("\\\\")
            || text.starts_with("V=\"") && (text.contains("\\$") || text.contains("\\`"))
    };
    let (texts, expected): (Vec<String>, Vec<String>) = dotenv().into_iter().filter(|(text, _)| !misread(text)).unzip();
    assert!(texts.len() > DOTENV.len() * values().len() * 3 / 4);
    for ((text, value), read) in texts.iter().zip(expected).zip(read_all(&python, reader, &texts)) {
        assert!(read == json!({"V": value, "W": "k"}), "{}", shown(text));
    }
}

#[test]
fn sh_reads_our_dotenv() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vars.env");
    // The shell has no escape for a carriage return.
    for (text, value) in dotenv().into_iter().filter(|(_, value)| !value.contains('\r')) {
        std::fs::write(&file, &text).unwrap();
        let output = Command::new("sh")
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .args(["-c", ". \"$1\" && printf '%s.%s' \"$V\" \"$W\"", "sh"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", shown(&text));
        assert!(
            String::from_utf8(output.stdout).unwrap() == format!("{value}.k"),
            "{}",
            shown(&text)
        );
    }
}

/// Files and the value of `V` in them.
fn dotenv() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for template in DOTENV {
        for value in values().into_iter().filter(|value| !value.contains('\0')) {
            files.push((
                rendered(Format::Dotenv, &format!("{template} # ${{x}}\nW=k\n"), &value),
                value,
            ));
        }
    }
    files
}
