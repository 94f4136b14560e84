//! What stands around a part of a value.

use std::ops::Range;

use crate::format::{Format, Slot};

/// Whether no letter and no digit stands beside it.
pub(super) fn is_delimited(text: &str, part: &Range<usize>) -> bool {
    let before = text[..part.start].chars().next_back();
    let after = text[part.end..].chars().next();
    !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
}

/// Whether it is all of the password in `scheme://user:password@`.
pub(super) fn is_url_password(text: &str, part: &Range<usize>) -> bool {
    let Some(before) = text[..part.start].strip_suffix(':') else {
        return false;
    };
    let Some((scheme, user)) = before.rsplit_once("://") else {
        return false;
    };
    let ends_user = |character: char| character.is_whitespace() || "/:?#@\"'<>".contains(character);
    scheme.ends_with(|character: char| character.is_ascii_alphanumeric())
        && !user.contains(ends_user)
        && text[part.end..].starts_with('@')
}

/// Whether some readers take what stands there without quotes for something else than text. YAML 1.2 takes all slots for
/// text; 1.1 has more numbers, and dates.
pub(super) fn is_maybe_not_text(format: Format, source: &str, slot: &Slot) -> bool {
    let literal = &source[slot.span()];
    if format != Format::Yaml || literal.starts_with(['\'', '"', '|', '>']) {
        return false;
    }
    let text = slot.text();
    let unsigned = text.trim_start_matches(['-', '+']);
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && text.contains(|character: char| character.is_ascii_digit())
        && text
            .chars()
            .all(|character| character.is_ascii_digit() || "_:.,+-eEtTzZ ".contains(character));
    let is_digits_of = |prefix: &str, radix: u32| {
        let digits = unsigned.strip_prefix(prefix);
        digits.is_some_and(|digits| digits.chars().all(|digit| digit == '_' || digit.is_digit(radix)))
    };
    let word = text.to_ascii_lowercase();
    let is_word = matches!(word.as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    is_number || is_digits_of("0x", 16) || is_digits_of("0b", 2) || is_word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Document;

    fn part(text: &str, part: &str) -> Range<usize> {
        let start = text.find(part).unwrap();
        start..start + part.len()
    }

    #[test]
    fn the_password_of_a_url_is_known() {
        for (text, is) in [
            ("postgres://app:PASSWORD@db/x", true),
            ("see redis://:PASSWORD@h and go", true),
            ("https://a.org/?u=http://u:PASSWORD@b", true),
            ("postgres://app:xPASSWORD@db/x", false),
            ("postgres://app:PASSWORDx@db/x", false),
            ("postgres://db:PASSWORD/x", false),
            ("postgres://a/app:PASSWORD@db", false),
            ("postgres://a@app:PASSWORD@db", false),
            ("://app:PASSWORD@db", false),
            ("app:PASSWORD@db", false),
            ("PASSWORD", false),
        ] {
            assert_eq!(is_url_password(text, &part(text, "PASSWORD")), is, "{text}");
        }
    }

    #[test]
    fn letters_and_digits_beside_it_make_it_a_part_of_a_word() {
        for (text, is) in [
            ("a=PASSWORD;b", true),
            ("PASSWORD", true),
            ("«PASSWORD»", true),
            ("éPASSWORD", false),
            ("PASSWORD9", false),
        ] {
            assert_eq!(is_delimited(text, &part(text, "PASSWORD")), is, "{text}");
        }
    }

    #[test]
    fn what_yaml_1_1_reads_otherwise_is_no_text_for_sure() {
        for (literal, is) in [
            ("yes", true),
            ("Off", true),
            ("2024-01-01", true),
            ("2024-01-01T12:00:00Z", true),
            ("12:30:45", true),
            ("1_000_000", true),
            ("0b1010_1010", true),
            ("0x_1F", true),
            ("'2024-01-01'", false),
            ("\"yes\"", false),
            ("12ab34cd", false),
            ("eeee-zzzz", false),
            ("hunter2", false),
        ] {
            let document = Document::parse(Format::Yaml, format!("k: {literal}\n")).unwrap();
            let slot = &document.slots()[0];
            assert_eq!(is_maybe_not_text(Format::Yaml, document.text(), slot), is, "{literal}");
            assert!(!is_maybe_not_text(Format::Toml, document.text(), slot), "{literal}");
        }
    }
}
