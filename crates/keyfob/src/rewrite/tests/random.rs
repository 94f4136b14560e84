//! Random documents: what is replaced says the same, and every other byte stays.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{RewriteOptions, rewritten};
use crate::format::{Document, Format};

const SECRETS: [(&str, &str); 5] = [
    ("db/password", "kfcanary-abcdefgh"),
    ("smtp/token", "kfcanary-'\" \\ # é: ,"),
    ("tls/key", "kfcanary-one\n two\n\nkfcanary-three"),
    ("port", "5432"),
    ("odd", "kfcanary${secret:port}"),
];

/// A text that may hold values of secrets, in pieces.
fn value() -> impl Strategy<Value = String> {
    let secret = prop::sample::select(&SECRETS[..]).prop_map(|(_, value)| value.to_owned());
    let text = prop::sample::select(
        &[
            "",
            " ",
            "x",
            ":",
            "@",
            "postgres://u:",
            "\n",
            "$",
            "${",
            "${env:",
            "}",
            "${env:X}",
            "$${secret:y}",
            "é",
            "\"",
            "'",
            "#",
        ][..],
    )
    .prop_map(str::to_owned);
    let pieces = prop_oneof![2 => secret, 3 => text];
    prop::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

/// Keys and texts, written by the format's own writers, with comments between them.
fn document(format: Format, values: &[String], quoted: bool) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        let json = Json::from(value.clone()).to_string();
        match format {
            Format::Json => text.push_str(&format!(
                "{}\"k{index}\": {json}",
                if index == 0 { "{ // c\n" } else { ",\n\t" }
            )),
            Format::Yaml if quoted => text.push_str(&format!("# c kfcanary\nk{index}: {json}   # c\n")),
            Format::Yaml => text.push_str(&format!(
                "? k{index}\n: [ &a{index} '{}' ,]\n",
                value.replace('\'', "''").replace('\n', "\n\n ")
            )),
            Format::Toml => text.push_str(&format!("k{index}  =\t{}# c\n", ::toml::Value::String(value.clone()))),
            Format::Dotenv => {
                let mut line = keyfob_env::dotenv::Document::parse("").unwrap();
                line.set(&format!("K{index}"), value).unwrap();
                text.push_str(&format!("# c\n\n{}\n", line.text().trim_end_matches('\n')));
            }
            _ => text.push_str(value),
        }
    }
    if format == Format::Json {
        text.push_str(if values.is_empty() { "{}" } else { "\n} // c" });
    }
    text
}

/// What is in no slot.
fn around(document: &Document) -> Vec<String> {
    let ends = std::iter::once(0).chain(document.slots().iter().map(|slot| slot.span().end));
    let starts = document
        .slots()
        .iter()
        .map(|slot| slot.span().start)
        .chain([document.text().len()]);
    ends.zip(starts)
        .map(|(from, to)| document.text()[from..to].to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_new_text_says_the_same_and_nothing_else_changed(
        values in prop::collection::vec(value(), 0..5),
        format in prop::sample::select(&[Format::Json, Format::Yaml, Format::Toml, Format::Dotenv, Format::Text][..]),
        quoted in any::<bool>(),
        parts in any::<bool>(),
    ) {
        let old = document(format, &values, quoted);
        let before = Document::parse(format, old.clone()).unwrap();
        let options = RewriteOptions { parts, min_length: 8, ..RewriteOptions::default() };
        // It proves by itself, over the store, that both say the same; here it is proven once more, by other means.
        let found = rewritten(&SECRETS, &options, format, &old);
        let after = Document::parse(format, found.text().to_owned()).unwrap();
        prop_assert_eq!(around(&before), around(&after));
        let secrets: BTreeMap<String, &str> = SECRETS.iter().map(|(name, value)| (format!("${{secret:{name}}}"), *value)).collect();
        let mut changed = 0;
        for (was, now) in before.slots().iter().zip(after.slots()) {
            if was.text() == now.text() {
                prop_assert_eq!(&old[was.span()], &found.text()[now.span()]);
                continue;
            }
            changed += 1;
            let filled = secrets.iter().fold(now.text().replace("$${secret:y}", "\u{1}"), |text, (reference, value)| text.replace(reference, value));
            prop_assert_eq!(was.text().replace("${secret:port}", "5432"), filled.replace('\u{1}', "$${secret:y}").replace("${secret:port}", "5432"));
        }
        prop_assert_eq!(changed > 0, found.is_changed());
    }
}
