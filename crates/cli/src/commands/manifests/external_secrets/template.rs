//! How the values of a Secret are put together: the template language of External Secrets, which is Go's.

use keyfob::Fallback;
use keyfob::format::Format;

use super::configuration::{File, Part, Value};

/// The value as a template; `names` are what the secrets are called in it.
pub(super) fn of_value(value: &Value, names: &[String]) -> String {
    let mut out = String::new();
    for (index, part) in value.parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                let action_follows = matches!(value.parts.get(index + 1), Some(Part::Secret(..)));
                literal(&mut out, text, action_follows);
            }
            Part::Secret(number, fallback) => {
                let expression = expression(&names[*number], fallback);
                // Parentheses are only needed where it is an argument.
                let bare = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                out.push_str(&format!("{{{{ {} }}}}", bare.unwrap_or(&expression)));
            }
        }
    }
    out
}

/// The whole file as a template: every value that holds references replaced by one that any reader of the format reads back
/// exactly. `None` for a format in which there is no such way.
pub(super) fn of_file(file: &File, names: &[String]) -> Option<String> {
    let mut out = String::new();
    let mut at = 0;
    for value in &file.values {
        let value_text = match file.format {
            Format::Text => of_value(value, names),
            // Each takes what JSON writes between quotes.
            Format::Json | Format::Yaml | Format::Toml => quoted(value, names),
            _ => return None,
        };
        literal(&mut out, &file.text[at..value.span.start], value_text.starts_with('{'));
        out.push_str(&value_text);
        at = value.span.end;
    }
    literal(&mut out, &file.text[at..], false);
    Some(out)
}

/// The value as a string of JSON.
fn quoted(value: &Value, names: &[String]) -> String {
    if !value.has_secret() {
        let mut out = String::new();
        let texts = value.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Secret(..) => None,
        });
        let text: String = texts.collect();
        literal(&mut out, &go_string(&text), false);
        return out;
    }
    let mut arguments = value.parts.iter().map(|part| match part {
        Part::Text(text) => go_string(text),
        Part::Secret(number, fallback) => expression(&names[*number], fallback),
    });
    match (arguments.next(), value.parts.len()) {
        (Some(only), 1) => format!("{{{{ {only} | toRawJson }}}}"),
        (first, _) => {
            let all: Vec<String> = first.into_iter().chain(arguments).collect();
            format!("{{{{ print {} | toRawJson }}}}", all.join(" "))
        }
    }
}

/// A secret's value, as an argument. A name with a dot in front is an error when there is nothing; an index gives the empty
/// text.
fn expression(name: &str, fallback: &Fallback) -> String {
    match fallback {
        Fallback::None => format!(".{name}"),
        Fallback::Empty => format!("(index . {})", go_string(name)),
        Fallback::Text(default) => format!("(index . {} | default {})", go_string(name), go_string(default)),
    }
}

/// Text that stays as it is. Braces that would begin an action are written by one; so is a brace before an action.
fn literal(out: &mut String, text: &str, action_follows: bool) {
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let run = rest[start..].bytes().take_while(|byte| *byte == b'{').count();
        let is_last = start + run == rest.len();
        out.push_str(&rest[..start]);
        let braces = &rest[start..start + run];
        match run > 1 || (is_last && action_follows) {
            true => out.push_str(&format!("{{{{ {} }}}}", go_string(braces))),
            false => out.push_str(braces),
        }
        rest = &rest[start + run..];
    }
    out.push_str(rest);
}

/// A string of Go, which takes every escape that JSON writes.
fn go_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::configuration::Place;
    use super::*;

    fn value(parts: Vec<Part>) -> Value {
        Value {
            span: 0..0,
            key: None,
            place: Place::default(),
            parts,
        }
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    #[test]
    fn a_value_is_put_together_of_text_and_secrets() {
        let names = ["db_user".to_owned(), "db_password".to_owned()];
        let url = value(vec![
            text("postgres://"),
            Part::Secret(0, Fallback::Text("jo\"".into())),
            text(":"),
            Part::Secret(1, Fallback::None),
            text("@h/db?{x}"),
        ]);
        assert_eq!(
            of_value(&url, &names),
            r#"postgres://{{ index . "db_user" | default "jo\"" }}:{{ .db_password }}@h/db?{x}"#
        );
        assert_eq!(
            quoted(&url, &names),
            r#"{{ print "postgres://" (index . "db_user" | default "jo\"") ":" .db_password "@h/db?{x}" | toRawJson }}"#
        );
        let lone = value(vec![Part::Secret(1, Fallback::Empty)]);
        assert_eq!(of_value(&lone, &names), r#"{{ index . "db_password" }}"#);
        assert_eq!(quoted(&lone, &names), r#"{{ (index . "db_password") | toRawJson }}"#);
    }

    #[test]
    fn braces_of_the_text_begin_no_action() {
        let names = ["x".to_owned()];
        let braces = value(vec![text("{{ env }} {a} {"), Part::Secret(0, Fallback::None), text("}{{{")]);
        assert_eq!(
            of_value(&braces, &names),
            r#"{{ "{{" }} env }} {a} {{ "{" }}{{ .x }}}{{ "{{{" }}"#
        );
    }
}
