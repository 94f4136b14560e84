//! Wrong documents: a clear place, no content, no panic.

use super::super::{Document, Format};

fn problem(format: Format, text: &str) -> (usize, usize, String) {
    let error = Document::parse(format, text.to_owned()).unwrap_err();
    (error.line(), error.column(), error.problem().to_owned())
}

#[test]
fn an_error_says_where_and_what() {
    for (format, text, line, column, expected) in [
        (Format::Json, "", 1, 1, "there is no value"),
        (Format::Json, "{\n  \"é\": canary\n}", 2, 8, "a word that is not `true`"),
        (
            Format::Json,
            "{\"a\": \"canary\ncanary\"}",
            1,
            14,
            "a control character or line break",
        ),
        (Format::Json, "[\"\\ud800 canary\"]", 1, 3, "half of a surrogate pair"),
        (Format::Json, "{'a': 1}", 1, 2, "single-quoted strings are not allowed"),
        (Format::Json, "[1] canary", 1, 5, ""),
        (Format::Toml, "a = 1\nb = canary\n", 2, 5, ""),
        (Format::Toml, "a = \"canary", 1, 12, "invalid basic string"),
        (Format::Toml, "a = '''\r canary'''", 1, 9, "carriage return"),
        (Format::Yaml, "a: b\nc: [canary", 2, 4, ""),
        (Format::Yaml, "a: \"\\qcanary\"", 1, 4, "unknown escape"),
        (Format::Yaml, "a: *canary", 1, 4, "unknown anchor"),
        (Format::Dotenv, "A=1\n\nB='canary", 3, 3, "a quote that is never closed"),
        (Format::Dotenv, "\u{feff}canary", 1, 7, "no `=`"),
    ] {
        let (found_line, found_column, problem) = problem(format, text);
        assert!(problem.contains(expected), "{text:?}: {problem}");
        assert!(!problem.contains("canary"), "{problem}");
        assert_eq!((found_line, found_column), (line, column), "{text:?}: {problem}");
    }
}

#[test]
fn an_unquoted_reference_in_flow_yaml_gets_a_hint() {
    let error = Document::parse(Format::Yaml, "a: [${secret:x}, ${secret:y}]\n".to_owned()).unwrap_err();
    assert!(error.hint().unwrap().contains("in quotes"), "{error}");
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let deep = 200_000;
    for (format, text) in [
        (Format::Json, "[".repeat(deep)),
        (Format::Json, "{\"a\":".repeat(deep)),
        (Format::Json, format!("{}{}", "[".repeat(101), "]".repeat(101))),
        (Format::Yaml, "[".repeat(deep)),
        (Format::Yaml, "{a: ".repeat(deep)),
        (Format::Yaml, "- ".repeat(deep)),
        (Format::Yaml, "? ".repeat(deep)),
        (Format::Yaml, format!("{}{}", "[".repeat(101), "]".repeat(101))),
        (Format::Toml, format!("a = {}", "[".repeat(deep))),
        (Format::Toml, format!("a = {}", "{a=".repeat(deep))),
        (Format::Toml, format!("{}a = 1", "a.".repeat(deep))),
        (Format::Toml, format!("[{}a]", "a.".repeat(deep))),
        (Format::Toml, format!("a = {}{}", "[".repeat(101), "]".repeat(101))),
    ] {
        assert!(Document::parse(format, text).is_err());
    }
    let deepest = format!("{}{}", "[".repeat(100), "]".repeat(100));
    Document::parse(Format::Json, deepest.clone()).unwrap();
    Document::parse(Format::Yaml, deepest).unwrap();
    Document::parse(Format::Toml, format!("a = {}{}", "[".repeat(99), "]".repeat(99))).unwrap();
}

#[test]
fn what_is_no_string_is_no_slot() {
    for (format, text) in [
        (Format::Json, "{\"a\": [1, -2.5e3, true, null]}"),
        (Format::Toml, "a = [1, 0x1f, 2.5, inf, true, 1979-05-27T07:32:00Z, 07:32:00]"),
        (
            Format::Yaml,
            "a: [1, -0x1f, 0o17, 2.5e3, .inf, -.INF, .nan, true, False, null, ~, ]\nb:\nc:",
        ),
        (Format::Yaml, "? a\n? 'b'\n? |\n  c\n"),
    ] {
        assert_eq!(Document::parse(format, text.to_owned()).unwrap().slots().len(), 0, "{text}");
    }
    let texts = "[yes, 1.2.3, 0o8, 0x, +, ., 2024-01-01, 'true', \"1\", !!str 5, nullx, 1 2]";
    assert_eq!(Document::parse(Format::Yaml, texts.to_owned()).unwrap().slots().len(), 12);
}

#[test]
fn duplicate_keys_aliases_and_merges_are_left_alone() {
    let yaml = "a: &a {x: '${x}'}\na: *a\nb: {<<: *a, y: k}\n";
    let document = Document::parse(Format::Yaml, yaml.to_owned()).unwrap();
    let keys: Vec<_> = document.slots().iter().filter_map(|slot| slot.key()).collect();
    assert_eq!(keys, ["a.x", "b.y"]);
    assert_eq!(
        Document::parse(Format::Json, "{\"a\":\"1\",\"a\":\"2\"}".to_owned())
            .unwrap()
            .slots()
            .len(),
        2
    );
}
