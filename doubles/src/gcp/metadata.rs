//! The rules of labels, annotations and tags.

use std::collections::BTreeMap;

use super::status::Status;

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let refused = |message: String| Err(Status::field("secret.labels", message));
    if labels.len() > 64 {
        return refused("No more than 64 labels can be assigned to a given resource.".to_owned());
    }
    for (key, value) in labels {
        let first = key.chars().next().is_some_and(is_letter);
        if !first || key.chars().count() > 63 || key.len() > 128 || !key.chars().all(is_label_character) {
            return refused(format!(
                "Label key [{key}] does not conform to [\\p{{Ll}}\\p{{Lo}}][\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,62}}"
            ));
        }
        if value.chars().count() > 63 || value.len() > 128 || !value.chars().all(is_label_character) {
            return refused(format!(
                "Label value [{value}] does not conform to [\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,63}}"
            ));
        }
    }
    Ok(())
}

/// `\p{Ll}` or `\p{Lo}`, as near as the standard library comes: a letter that is not written large.
fn is_letter(character: char) -> bool {
    character.is_alphabetic() && character.to_lowercase().eq([character])
}

fn is_label_character(character: char) -> bool {
    is_letter(character) || character.is_numeric() || matches!(character, '_' | '-')
}

pub(super) fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), Status> {
    let refused = |message: String| Err(Status::field("secret.annotations", message));
    for key in annotations.keys() {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let ends = [key.bytes().next(), key.bytes().last()];
        let ends_fit = ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()));
        if !ends_fit || key.len() > 63 || !key.bytes().all(inside) {
            return refused(format!("The annotation key [{key}] is not in a valid format."));
        }
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size >= 16 << 10 {
        return refused("The total size of annotation keys and values must be less than 16KiB.".to_owned());
    }
    Ok(())
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Status> {
    let fits = |key: &str| {
        key.split_once('/')
            .is_some_and(|(parent, name)| !parent.is_empty() && !name.is_empty())
    };
    match tags.iter().find(|(key, value)| !fits(key) || value.is_empty()) {
        None => Ok(()),
        Some((key, _)) => Err(Status::field(
            "secret.tags",
            format!("The tag key [{key}] is not in a valid format."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const SIZE: usize>(pairs: [(&str, &str); SIZE]) -> BTreeMap<String, String> {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn labels_are_lower_case_words_of_any_script() {
        check_labels(&map([("team", ""), ("größe", "大-1_x"), ("数", "3")])).unwrap();
        for pair in [
            ("Team", "x"),
            ("1a", "x"),
            ("", "x"),
            ("a", "X"),
            ("a", "a b"),
            ("a.b", ""),
            ("a", "a/b"),
        ] {
            check_labels(&map([pair])).unwrap_err();
        }
        check_labels(&map([(&"a".repeat(63), &"a".repeat(63))])).unwrap();
        check_labels(&map([(&"a".repeat(64), "")])).unwrap_err();
        check_labels(&map([("a", &"a".repeat(64))])).unwrap_err();
        // 129 bytes.
        check_labels(&map([("a", &"大".repeat(43))])).unwrap_err();
        let mut many: BTreeMap<_, _> = (0..64).map(|index| (format!("a{index}"), String::new())).collect();
        check_labels(&many).unwrap();
        many.insert("b".to_owned(), String::new());
        check_labels(&many).unwrap_err();
    }

    #[test]
    fn annotations_hold_any_text_up_to_their_limit() {
        check_annotations(&map([("a", &"é".repeat(8188)), ("b.c-D", "\n")])).unwrap();
        let status = check_annotations(&map([("a", &"é".repeat(8188)), ("b.c-D_", "\n")])).unwrap_err();
        assert!(status.message.contains("valid format"));
        let status = check_annotations(&map([("a", &"é".repeat(8188)), ("b.c-D", "\nx")])).unwrap_err();
        assert_eq!(
            status.message,
            "The total size of annotation keys and values must be less than 16KiB."
        );
        for key in ["", "-a", "a-", "a/b", "ä", &"a".repeat(64)] {
            check_annotations(&map([(key, "")])).unwrap_err();
        }
    }

    #[test]
    fn tags_have_a_parent() {
        check_tags(&map([("123/environment", "production")])).unwrap();
        for pair in [("environment", "x"), ("/x", "x"), ("1/", "x"), ("1/x", "")] {
            check_tags(&map([pair])).unwrap_err();
        }
    }
}
