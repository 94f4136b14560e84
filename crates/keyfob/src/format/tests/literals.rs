//! Which literal a value gets.

use std::collections::BTreeMap;

use super::super::{Document, Format};
use super::{AWKWARD, replaced};

/// Every document with a reference, by style; `${x}` is what is replaced.
const JSON: &[&str] = &[
    r#"{"before": "a", "v": "${x}", "after": [1, "b"]}"#,
    "{ // ${x} in a comment\n  \"${k}\": 1, \"v\": \"a\\n${x}\\u00e9\", /* c */ }\n",
    "[\"${x}\"]",
    "\"${x}\"",
];
const TOML: &[&str] = &[
    "a = 1 # ${x}\nv = \"<${x}>\" # c\nb = 2024-01-01\n",
    "v = '${x}'\n[t]\nw = 'k'\n",
    "v = '''\n${x}'''\n",
    "v = '''${x}'''\nw = 1\n",
    "v = \"\"\"\n${x}\n  end\"\"\"\n",
    "v = \"\"\"${x}\"\"\"\n",
    "p = {a = 1, v = '${x}', b = [\"k\"]}\n",
];
const YAML: &[&str] = &[
    "a: 1 # ${x}\nv: ${x} # c\nb: yes\n",
    "v: '${x}'\nb: {a: 'k'}\n",
    "v: \"<${x}>\"\nb: 1\n",
    "v: |\n  ${x}\nb: 1\n",
    "v: |-  # c\n    ${x}\n# c\nb: 1\n",
    "v: |+\n  ${x}\n\n\nb: 1\n",
    "v: |2\n  ${x}\nb: 1\n",
    "v: >\n  ${x}\nb: 1\n",
    "v: >-\n  a ${x} b\n  folded\n\n  more\nb: 1\n",
    "- a\n- &anchor !!str ${x}\n- *anchor\n",
    "- [a, '${x}', \"b\"]\n- {k: \"${x}\"}\n",
    "- |\n ${x}\n- k\n",
    "v: plain\n  over ${x}\n  lines\nb: 1\n",
    "v: 'single\n\n  over ${x}\n  lines'\nb: 1\n",
    "v: \"double\\\n  over ${x}\n\n  lines\"\nb: 1\n",
    "--- |\n ${x}\n---\nb\n...\n",
    "--- ${x}\n--- k\n",
    ">\n  ${x}\n  b\n",
    "# c\n\n|-\n  ${x}\n--- k\n",
    "v: ${x}\n\t\n",
    "{a: '|', b: '>-'}: |\n  ${x}\n",
    "? - |\n    k\n: - - &a|b !x |  # | c\n      ${x}\n",
    "k: |\n  ${x}",
    "k: |-\n  ${x}",
    "k:\n  # c | d\n  - !!str # c > d\n    |\n    ${x}\n  - k\n",
    "? k\n: |\r\n  ${x}\r\nb: 1\r\n",
];
const DOTENV: &[&str] = &["# ${x}\nexport A=${x} # c\nB=k\n", "A='${x}'\n", "A=\"<${x}>\"\n"];

#[test]
fn json_gives_every_value_back() {
    for text in JSON {
        for value in AWKWARD {
            let rendered = replaced(Format::Json, text, value);
            let uncommented = rendered.replace("// ${x} in a comment", "").replace(", /* c */ ", "");
            let read: serde_json::Value = serde_json::from_str(&uncommented).unwrap();
            let read = read.get("v").or(read.get(0)).unwrap_or(&read).as_str().unwrap().to_owned();
            let expected = if text.contains("\\n${x}") {
                format!("a\n{value}é")
            } else {
                (*value).to_owned()
            };
            assert_eq!(read, expected, "{rendered}");
        }
    }
}

#[test]
fn toml_gives_every_value_back() {
    for text in TOML {
        for value in AWKWARD {
            let rendered = replaced(Format::Toml, text, value);
            let read: toml::Table = toml::from_str(&rendered).unwrap();
            let before: toml::Table = toml::from_str(text).unwrap();
            let table = |table: &toml::Table| table.get("p").and_then(toml::Value::as_table).unwrap_or(table).clone();
            let (mut read, mut before) = (table(&read), table(&before));
            let (now, was) = (read.remove("v").unwrap(), before.remove("v").unwrap());
            assert_eq!(
                now.as_str().unwrap(),
                was.as_str().unwrap().replace("${x}", value),
                "{rendered}"
            );
            assert_eq!(read, before);
        }
    }
}

#[test]
fn yaml_gives_every_value_back_as_text() {
    for text in YAML {
        let document = Document::parse(Format::Yaml, (*text).to_owned()).unwrap();
        let was: Vec<_> = document.slots().iter().map(|slot| slot.text().to_owned()).collect();
        for value in AWKWARD {
            // `render` itself reads back with the parser that serde-saphyr has, other programs do in
            // `tests/other_programs.rs`.
            let rendered = replaced(Format::Yaml, text, value);
            let now = Document::parse(Format::Yaml, rendered.clone()).unwrap();
            let mut changed = false;
            for (slot, was) in now.slots().iter().zip(&was) {
                let expected = if changed { was.clone() } else { was.replace("${x}", value) };
                changed |= was.contains("${x}");
                assert_eq!(slot.text(), expected, "{rendered}");
            }
        }
    }
}

#[test]
fn dotenv_gives_every_value_back() {
    for text in DOTENV {
        for value in AWKWARD.iter().filter(|value| !value.contains('\0')) {
            let rendered = replaced(Format::Dotenv, text, value);
            let read = keyfob_env::dotenv::Document::parse(&rendered).unwrap();
            let expected = if text.contains('<') {
                format!("<{value}>")
            } else {
                (*value).to_owned()
            };
            assert_eq!(read.get("A").unwrap().value(), expected, "{rendered}");
        }
    }
}

#[test]
fn a_nul_in_a_dotenv_file_is_refused_with_its_place() {
    let document = Document::parse(Format::Dotenv, "A=1\n B=${x}\n".to_owned()).unwrap();
    let error = document.render(&BTreeMap::from([(1, "canary\0")])).unwrap_err();
    assert_eq!(error.kind(), keyfob_core::ErrorKind::Other);
    let shown = format!("{error:?}");
    assert!(
        shown.contains("key `B`, line `2`, column `4`") && !shown.contains("canary"),
        "{shown}"
    );
}

#[test]
fn styles_stay_where_they_can() {
    for (format, text, value, expected) in [
        (Format::Toml, "v = '${x}'", "C:\\x", "v = 'C:\\x'"),
        (Format::Toml, "v = '${x}'", "it's", "v = \"it's\""),
        (Format::Toml, "v = '''\n${x}\n'''", "a\nb", "v = '''\na\nb\n'''"),
        (
            Format::Toml,
            "v = \"\"\"\n${x}\n\"\"\"",
            "a\n\"b\"",
            "v = \"\"\"\na\n\\\"b\\\"\n\"\"\"",
        ),
        (Format::Yaml, "v: '${x}' # c", "it's", "v: 'it''s' # c"),
        (Format::Yaml, "v: '${x}'", "a\nb", "v: \"a\\nb\""),
        (Format::Yaml, "v: ${x}   # c", "5432", "v: \"5432\"   # c"),
        (Format::Yaml, "v: &a !!int ${x}", "5432", "v: &a !!int \"5432\""),
        (Format::Yaml, "v: |\n  ${x}\nb: 1", "k\nl", "v: |\n  k\n  l\nb: 1"),
        (Format::Yaml, "v: |  # c\n  ${x}\nb: 1", "k\n", "v: \"k\\n\\n\"  # c\nb: 1"),
        (Format::Yaml, "v: |\n  a\n  ${x}\n", " k\n\n  l", "v: |\n  a\n   k\n\n    l\n"),
        (Format::Yaml, "v: >-\n  ${x}\nb: 1", "k l", "v: >-\n  k l\nb: 1"),
        (Format::Yaml, "v: >-\n  ${x}\nb: 1", "k\nl", "v: |-\n  k\n  l\nb: 1"),
        (Format::Yaml, "v: |1\n ${x}\n\n", " k", "v: |1\n  k\n\n"),
        (Format::Yaml, "v: |\r\n  ${x}\r\n", "k\nl", "v: |\r\n  k\r\n  l\r\n"),
        (Format::Yaml, "v: |\n  ${x}\n", "---\n%a", "v: |\n  ---\n  %a\n"),
        (Format::Yaml, "--- |\n${x}\n", "---", "--- \"---\\n\"\n"),
        (Format::Yaml, "v: ${x} \t\n\t\n", "k", "v: \"k\" \n\n"),
        (Format::Dotenv, "A=\"${x}\" # c", "a b", "A=\"a b\" # c"),
        (Format::Dotenv, "A=${x} # c", "a b", "A='a b' # c"),
    ] {
        assert_eq!(replaced(format, text, value), expected);
    }
}
