//! Random documents, random values, independent readers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::{Document, Format};
use super::AWKWARD;

/// A document before it is printed.
#[derive(Debug, Clone)]
enum Node {
    Number(i32),
    Bool(bool),
    Text(String, Style),
    /// A text around a reference, which `value` replaces.
    Reference {
        before: String,
        value: String,
        style: Style,
    },
    List(Vec<Self>, bool),
    Map(Vec<Self>, bool),
}

/// Numbers that a printer maps to what its format has.
type Style = u8;

fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(AWKWARD).prop_map(str::to_owned),
        prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter),
        prop::collection::vec(
            prop::sample::select(&[' ', '\n', '\t', '\r', 'a', '#', ':', '\'', '"', '\\', '-'][..]),
            0..12
        )
        .prop_map(String::from_iter),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Node::Number),
        any::<bool>().prop_map(Node::Bool),
        ("w[a-z ]{0,8}[a-z]", any::<u8>()).prop_map(|(text, style)| Node::Text(text, style)),
        ("([a-z]{1,4} |[a-z]{1,4}\n )?", awkward(), any::<u8>()).prop_map(|(before, value, style)| Node::Reference {
            before: before.replace("\n ", "\n"),
            value,
            style
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), any::<bool>()).prop_map(|(items, flow)| Node::List(items, flow)),
            (prop::collection::vec(inner, 0..4), any::<bool>()).prop_map(|(items, flow)| Node::Map(items, flow)),
        ]
    })
}

fn root() -> impl Strategy<Value = Node> {
    prop::collection::vec(node(), 1..5).prop_map(|items| Node::Map(items, false))
}

impl Node {
    /// What a reader must get, given what the style adds at the end of a text.
    fn expected(&self, ending: fn(Style, bool) -> &'static str, in_flow: bool) -> Json {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Bool(bool) => (*bool).into(),
            Self::Text(text, style) => format!("{text}{}", ending(*style, in_flow)).into(),
            Self::Reference { before, value, style } => format!("{before}{value}{}", ending(*style, in_flow)).into(),
            Self::List(items, flow) => items
                .iter()
                .map(|item| item.expected(ending, in_flow || *flow))
                .collect::<Vec<_>>()
                .into(),
            Self::Map(items, flow) => {
                let pair = |(index, item): (usize, &Self)| (format!("k{index}"), item.expected(ending, in_flow || *flow));
                Json::Object(items.iter().enumerate().map(pair).collect())
            }
        }
    }

    fn values(&self, values: &mut Vec<String>) {
        match self {
            Self::Reference { value, .. } => values.push(value.clone()),
            Self::List(items, _) | Self::Map(items, _) => items.iter().for_each(|item| item.values(values)),
            _ => {}
        }
    }

    /// The text of a leaf as it stands in the template.
    fn template(&self) -> Option<(String, Style)> {
        match self {
            Self::Text(text, style) => Some((text.clone(), *style)),
            Self::Reference { before, style, .. } => Some((format!("{before}${{x}}"), *style)),
            _ => None,
        }
    }
}

/// Puts the values of `node` into `text` and checks that nothing else changed.
fn resolve(format: Format, text: &str, node: &Node) -> String {
    let document = Document::parse(format, text.to_owned()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut values = Vec::new();
    node.values(&mut values);
    let mut values = values.into_iter();
    let mut replacements = BTreeMap::new();
    for (index, slot) in document.slots().iter().enumerate() {
        if let Some(at) = slot.text().find("${x}") {
            let position = document.position(index, at);
            let line = text.split('\n').nth(position.line - 1).unwrap();
            assert!(
                line.chars().skip(position.column - 1).collect::<String>().starts_with("${x}"),
                "{position}\n{text}"
            );
            replacements.insert(index, slot.text().replace("${x}", &values.next().unwrap()));
        }
    }
    assert_eq!(values.next(), None);
    let rendered = document
        .render(&replacements)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let now = Document::parse(format, rendered.to_string()).unwrap();
    assert_eq!(around(&document), around(&now));
    rendered.to_string()
}

/// What is not in a slot.
fn around(document: &Document) -> String {
    let mut around = String::new();
    let mut at = 0;
    for slot in document.slots() {
        around.push_str(&document.text()[at..slot.span().start]);
        around.push('\u{1}');
        at = slot.span().end;
    }
    around + &document.text()[at..]
}

fn json(node: &Node, out: &mut String) {
    match node {
        Node::Number(number) => out.push_str(&number.to_string()),
        Node::Bool(bool) => out.push_str(&bool.to_string()),
        Node::List(items, spaced) => {
            out.push_str(if *spaced { "[ " } else { "[\n\t" });
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { " , " } else { "" });
                json(item, out);
            }
            out.push(']');
        }
        Node::Map(items, spaced) => {
            out.push('{');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&format!("\r\n\"k{index}\"{}: ", if *spaced { " " } else { "" }));
                json(item, out);
            }
            out.push_str(" }");
        }
        leaf => {
            let (text, style) = leaf.template().unwrap();
            let plain = Json::from(text).to_string();
            out.push_str(&match style % 3 {
                0 => plain,
                1 => plain.replace('a', "\\u0061"),
                _ => plain.replace('e', "\\u0065"),
            });
        }
    }
}

fn toml(node: &Node, out: &mut String) {
    match node {
        Node::List(items, spaced) => {
            out.push('[');
            for item in items {
                out.push_str(if *spaced { " # c\n " } else { "" });
                toml(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Node::Map(items, _) => {
            out.push('{');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&format!("k{index} = "));
                toml(item, out);
            }
            out.push('}');
        }
        Node::Text(..) | Node::Reference { .. } => {
            let (text, style) = node.template().unwrap();
            let escaped = text.replace('\n', "\\n");
            out.push_str(&match style % 6 {
                0 if !text.contains('\n') => format!("'{text}'"),
                1 => format!("\"\"\"{text}\"\"\""),
                2 => format!("\"\"\"\n{text}\"\"\""),
                3 => format!("'''{text}'''"),
                4 => format!("'''\n{text}'''"),
                _ => format!("\"{escaped}\""),
            });
        }
        other => json(other, out),
    }
}

/// Lists and maps, block or flow, indented by `step`. Behind the key or dash that is already there.
fn yaml(node: &Node, indent: usize, step: usize, flow: bool, out: &mut String) {
    match node {
        Node::List(items, asks_flow) | Node::Map(items, asks_flow) if flow || *asks_flow || items.is_empty() => {
            let map = matches!(node, Node::Map(..));
            out.push(if map { '{' } else { '[' });
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                if map {
                    out.push_str(&format!("k{index}: "));
                }
                yaml(item, indent, step, true, out);
            }
            out.push_str(if map { "}\n" } else { "]\n" }.trim_end());
            out.push_str(if flow { "" } else { " # c\n" });
        }
        Node::List(items, _) | Node::Map(items, _) => {
            out.push('\n');
            for (index, item) in items.iter().enumerate() {
                let head = if matches!(node, Node::Map(..)) {
                    format!("k{index}:")
                } else {
                    "-".to_owned()
                };
                out.push_str(&format!("{}{head} ", " ".repeat(indent)));
                yaml(item, indent + step, step, false, out);
            }
        }
        Node::Text(..) | Node::Reference { .. } => yaml_text(node, indent, flow, out),
        other => {
            json(other, out);
            out.push_str(if flow { "" } else { "   # c\n" });
        }
    }
}

fn yaml_text(node: &Node, indent: usize, flow: bool, out: &mut String) {
    let (text, style) = node.template().unwrap();
    let lines = || {
        text.split('\n')
            .map(|line| format!("\n{}{line}", " ".repeat(indent)))
            .collect::<String>()
    };
    // What a fold makes of an empty line is a line break.
    let folded = lines().replacen('\n', "", 1).trim_start().replace('\n', "\n\n");
    let literal = match style % 8 {
        3 if !flow => format!("|{}\n", lines()),
        4 if !flow => format!("|-{}\n", lines()),
        5 if !flow => format!(
            ">{}\n",
            lines()
                .replacen('\n', "\u{1}", 1)
                .replace('\n', "\n\n")
                .replace('\u{1}', "\n")
        ),
        6 if !flow => format!("|+{}\n\n", lines()),
        0 if !flow => format!("{folded} # c\n"),
        1 => format!("!!str '{folded}'"),
        2 => format!("&a \"{folded}\""),
        _ => format!("\"{}\"", text.replace('\n', "\\n")),
    };
    out.push_str(&literal);
    if !flow && !literal.ends_with('\n') {
        out.push('\n');
    }
}

fn yaml_ending(style: Style, flow: bool) -> &'static str {
    match style % 8 {
        3 | 5 if !flow => "\n",
        6 if !flow => "\n\n",
        _ => "",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn json_readers_get_exactly_the_values(root in root()) {
        let mut text = String::new();
        json(&root, &mut text);
        let read: Json = serde_json::from_str(&resolve(Format::Json, &text, &root)).unwrap();
        prop_assert_eq!(read, root.expected(|_, _| "", false));
    }

    #[test]
    fn toml_readers_get_exactly_the_values(root in root()) {
        let Node::Map(items, _) = &root else { unreachable!() };
        let mut text = String::from("# ${x}\n");
        for (index, item) in items.iter().enumerate() {
            text.push_str(&format!("k{index} = "));
            toml(item, &mut text);
            text.push_str(" # ${x}\n");
        }
        let read: Json = ::toml::from_str(&resolve(Format::Toml, &text, &root)).unwrap();
        prop_assert_eq!(read, root.expected(|_, _| "", false));
    }

    #[test]
    fn yaml_readers_get_exactly_the_values(root in root(), step in 1_usize..4, windows in any::<bool>(), mark in any::<bool>()) {
        let mut text = String::from(if mark { "\u{feff}# ${x}\n---" } else { "---" });
        yaml(&root, 0, step, false, &mut text);
        if windows {
            text = text.replace('\n', "\r\n");
        }
        let rendered = resolve(Format::Yaml, &text, &root);
        let read: Json = serde_saphyr::from_str(&rendered).unwrap();
        prop_assert_eq!(read, root.expected(yaml_ending, false), "{}", rendered);
    }

    #[test]
    fn dotenv_readers_get_exactly_the_values(values in prop::collection::vec((awkward(), 0_u8..3), 1..5)) {
        let mut text = String::new();
        let mut nodes = Vec::new();
        for (index, (value, style)) in values.iter().enumerate() {
            let quote = ["", "'", "\""][usize::from(*style)];
            text.push_str(&format!("# ${{x}}\nexport K{index}={quote}${{x}}{quote} # ${{x}}\n"));
            nodes.push(Node::Reference { before: String::new(), value: value.replace('\0', "0"), style: 0 });
        }
        let rendered = resolve(Format::Dotenv, &text, &Node::List(nodes, false));
        let read = keyfob_env::dotenv::Document::parse(&rendered).unwrap();
        for (entry, (value, _)) in read.entries().zip(values) {
            prop_assert_eq!(entry.value(), value.replace('\0', "0"));
        }
    }

    #[test]
    fn arbitrary_text_never_panics_and_never_shows_in_an_error(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..24),
        value in awkward(),
        format in prop::sample::select(&Format::ALL[..]),
    ) {
        let text = words.concat();
        match Document::parse(format, text.clone()) {
            Err(error) => {
                prop_assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("canary"), "{error:?}");
                prop_assert!(error.line() <= text.matches('\n').count() + 1);
            }
            Ok(document) => {
                for (index, slot) in document.slots().iter().enumerate() {
                    for offset in 0..=slot.text().len() + 1 {
                        let position = document.position(index, offset);
                        prop_assert!(position.line >= 1 && position.column >= 1);
                    }
                    if format != Format::Dotenv || !value.contains('\0') {
                        let rendered = document.render(&BTreeMap::from([(index, &value)]));
                        prop_assert!(rendered.is_ok(), "{:?} in slot {index} of {text:?}", rendered);
                    }
                }
            }
        }
    }

    #[test]
    fn arbitrary_characters_never_panic(text in any::<String>(), format in prop::sample::select(&Format::ALL[..])) {
        if let Ok(document) = Document::parse(format, text) {
            let all: BTreeMap<usize, &str> = (0..document.slots().len()).map(|index| (index, "${x}\n")).collect();
            document.render(&all).unwrap();
        }
    }
}

/// What documents are made of.
const WORDS: &[&str] = &[
    "a",
    "canary",
    "1",
    "é",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\n  ",
    "\n ",
    "\n- ",
    "\n  a: ",
    "a: ",
    "b = ",
    "A=",
    "- ",
    "? ",
    ": ",
    "|",
    ">",
    "|-",
    "|+2",
    ">1",
    "'",
    "''",
    "\"",
    "'''",
    "\"\"\"",
    "\\",
    "\\n",
    "\\u00e9",
    "\\x41",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ",",
    "#",
    " # c",
    "//",
    "/*",
    "*/",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "<<: ",
    "---\n",
    "--- ",
    "...\n",
    "%YAML 1.1\n",
    "null",
    "true",
    "\u{feff}",
    "\u{85}",
    "${secret:x}",
    "export ",
    "\0",
    "|\n  a\n",
    ">\n  a\n  b\n",
    "{\"a\":",
    "[\"a\",",
];
