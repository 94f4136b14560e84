//! Objects as YAML, the way people write them: block style, text in quotes only where it must be.

use std::fmt::Write as _;

use serde_json::Value;

/// The document; ends with a line end. The same value is always the same text.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => node(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => node(&mut out, value, 0),
        _ => {
            inline(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// The lines of a map or list that is not empty, each at this indentation.
fn node(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                // The first key stands behind what the caller has written: nothing, or the `- ` of a list.
                if index > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                text(out, key);
                out.push(':');
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        out.push('\n');
                        out.push_str(&" ".repeat(indent + 2));
                        node(out, value, indent + 2);
                    }
                    Value::Array(list) if !list.is_empty() => {
                        out.push('\n');
                        out.push_str(&" ".repeat(indent + 2));
                        node(out, value, indent + 2);
                    }
                    _ => {
                        out.push(' ');
                        inline(out, value, indent + 2);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                match value {
                    Value::Object(map) if !map.is_empty() => node(out, value, indent + 2),
                    Value::Array(list) if !list.is_empty() => node(out, value, indent + 2),
                    _ => {
                        inline(out, value, indent + 2);
                        out.push('\n');
                    }
                }
            }
        }
        _ => inline(out, value, indent),
    }
}

/// What stands on the line of its key. A text of several lines goes on below it, at this indentation.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) => match block(string) {
            Some(header) => {
                out.push_str(header);
                for line in string.lines() {
                    out.push('\n');
                    if !line.is_empty() {
                        out.push_str(&" ".repeat(indent));
                        out.push_str(line);
                    }
                }
            }
            None => text(out, string),
        },
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// The header of the literal block that holds this text exactly, if it has several lines and there is one.
fn block(text: &str) -> Option<&'static str> {
    let can_stand = |line: &str| line.chars().all(is_printable) && !line.ends_with([' ', '\t']);
    let begins_well = !text.starts_with([' ', '\t', '\n']);
    if !text.trim_end_matches('\n').contains('\n') || !begins_well || !text.split('\n').all(can_stand) {
        return None;
    }
    match text.strip_suffix('\n') {
        None => Some("|-"),
        Some(rest) if !rest.ends_with('\n') => Some("|"),
        Some(_) => None,
    }
}

fn text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xFFFF => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
}

/// What any reader of YAML takes for itself and for text, without quotes.
fn is_plain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+' | '=');
    // Among the words of YAML 1.1, `y`, `on` and `null` are no text; whatever could be a number or a date isn't either.
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(inner)
        && !text.ends_with(':')
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

/// What YAML lets stand as it is. A mark of byte order in the middle is no text for some readers.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
        && !matches!(c, '\u{FEFF}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_written_as_people_write_them() {
        let value = json!({
            "apiVersion": "v1",
            "metadata": {"labels": {}, "name": "app", "annotations": {"a.example/b": "x: y"}},
            "list": [{"a": 1, "b": [true, "true"]}, "x", [], {"c": {"d": "e"}}],
        });
        let expected = "\
apiVersion: v1
metadata:
  labels: {}
  name: app
  annotations:
    a.example/b: \"x: y\"
list:
  - a: 1
    b:
      - true
      - \"true\"
  - x
  - []
  - c:
      d: e
";
        assert_eq!(write(&value), expected);
        assert_eq!(write(&json!({})), "{}\n");
    }

    #[test]
    fn text_that_a_reader_would_take_for_something_else_is_quoted() {
        for text in [
            "",
            "1",
            "0x1F",
            "1e3",
            "2026-01-01",
            "on",
            "No",
            "null",
            "~",
            "a: b",
            "a #b",
            "-",
            "*a",
            "{{ .x }}",
            "a:",
            "12:30",
        ] {
            let written = write(&json!({ "k": text }));
            assert_eq!(written, format!("k: {}\n", json!(text)), "{text}");
        }
        assert_eq!(
            write(&json!({"k": "a\u{7f}\u{85}\u{feff}\u{1}é"})),
            "k: \"a\\u007F\\u0085\\uFEFF\\u0001é\"\n"
        );
        for text in ["a", "arn:aws:iam::1:role/x", "https://h:8200", "/a/b", "a=b"] {
            assert_eq!(write(&json!({ "k": text })), format!("k: {text}\n"));
        }
    }

    #[test]
    fn lines_stand_in_a_block_when_it_holds_them_exactly() {
        assert_eq!(
            write(&json!({"k": {"f": "a: 1\n\nb: 2\n"}})),
            "k:\n  f: |\n    a: 1\n\n    b: 2\n"
        );
        assert_eq!(write(&json!({"k": ["a\nb"]})), "k:\n  - |-\n    a\n    b\n");
        for text in ["a \nb", " a\nb", "\na\nb", "a\nb\n\n", "a\r\nb", "a\n", "a\t\nb"] {
            assert!(write(&json!({ "k": text })).starts_with("k: \""), "{text:?}");
        }
    }
}
