//! A field of a document, as External Secrets finds it: a path of gjson.

use keyfob::Field;

/// The path to the field; an error says why there is none.
pub(super) fn property(field: &Field) -> Result<String, String> {
    let steps: Vec<String> = match field.as_str().strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => vec![field.as_str().to_owned()],
    };
    if steps.iter().any(String::is_empty) {
        return Err(format!(
            "the field `#{field}` has an empty key on its way, to which there is no path"
        ));
    }
    let steps: Vec<String> = steps.iter().map(|step| escaped(step)).collect();
    Ok(steps.join("."))
}

/// Of ASCII, only these mean nothing in a path.
fn escaped(step: &str) -> String {
    let mut out = String::with_capacity(step.len());
    for c in step.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '_' | '-' | ':') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_becomes_a_path() {
        for (field, path) in [
            ("user", "user"),
            ("a.b", r"a\.b"),
            ("/db/hosts/0", "db.hosts.0"),
            ("/a~1b/c~0d.e", r"a\/b.c\~d\.e"),
            ("@this", r"\@this"),
            ("schlüssel", "schlüssel"),
        ] {
            assert_eq!(property(&Field::parse(field).unwrap()).unwrap(), path, "{field}");
        }
        assert!(property(&Field::parse("/a//b").unwrap()).is_err());
    }
}
