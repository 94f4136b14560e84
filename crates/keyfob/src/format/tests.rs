//! What the formats must do alike, and each format's own literals.

mod awkward;
mod literals;
mod positions;
mod random;
mod syntax;

use std::collections::BTreeMap;

use super::{Document, Format};
use awkward::AWKWARD;

/// `text` with the slot that holds `${x}` replaced.
fn replaced(format: Format, text: &str, value: &str) -> String {
    let document = Document::parse(format, text.to_owned()).unwrap();
    let slot = document
        .slots()
        .iter()
        .position(|slot| slot.text().contains("${x}"))
        .expect("a slot with a reference");
    let new = document.slots()[slot].text().replace("${x}", value);
    document.render(&BTreeMap::from([(slot, new)])).unwrap().to_string()
}

#[test]
fn text_is_one_slot_and_raw() {
    let document = Document::parse(Format::Text, "a ${x} \"b\"\r\n".to_owned()).unwrap();
    assert_eq!(document.slots().len(), 1);
    assert_eq!(document.slots()[0].key(), None);
    assert_eq!(*document.render(&BTreeMap::from([(0, "any\0thing")])).unwrap(), "any\0thing");
    assert_eq!(Document::parse(Format::Text, String::new()).unwrap().slots()[0].text(), "");
}

#[test]
fn nothing_to_replace_changes_nothing() {
    for (format, text) in [
        (Format::Text, "x"),
        (Format::Dotenv, "\u{feff}export A = 'b' # c\r\n\r\n"),
        (Format::Json, "\u{feff}{ // c\r\n \"a\" : [ 1e5 , \"\\u00e9\", ], }\n"),
        (Format::Yaml, "\u{feff}%YAML 1.1\n---\na:   'b'  # c\n...\n"),
        (Format::Toml, "\u{feff}a  =  'b' # c\r\n"),
        (Format::Yaml, ""),
        (Format::Toml, ""),
        (Format::Dotenv, ""),
    ] {
        let document = Document::parse(format, text.to_owned()).unwrap();
        assert_eq!(*document.render(&BTreeMap::<usize, String>::new()).unwrap(), text);
        let same: BTreeMap<usize, &str> = document.slots().iter().map(|slot| slot.text()).enumerate().collect();
        assert_eq!(document.slots().len(), same.len());
        document.render(&same).unwrap();
    }
}

#[test]
fn a_slot_that_is_not_there_is_an_error() {
    let document = Document::parse(Format::Json, "[\"a\"]".to_owned()).unwrap();
    assert!(document.render(&BTreeMap::from([(1, "x")])).is_err());
    assert_eq!(document.position(9, 0).to_string(), "line 1, column 6");
}

#[test]
fn debug_prints_no_text() {
    let document = Document::parse(Format::Json, "{\"a\": \"canary\"}".to_owned()).unwrap();
    assert!(!format!("{document:?} {:?}", document.slots()).contains("canary"));
}

#[test]
fn keys_say_where_a_value_stands() {
    for (format, text, keys) in [
        (
            Format::Json,
            r#"{"a": ["x", {"b.c": "y"}], "d e": {"": "z"}, "n": 1}"#,
            &["a[0]", "a[1].\"b.c\"", "\"d e\".\"\""][..],
        ),
        (
            Format::Yaml,
            "a: [x, {b.c: y}]\n? [k1, k2]\n: - z\n  - 7\n  - - w\n*a : v\n---\n- p\n---\nroot\n"
                .replace("*a ", "5")
                .as_str(),
            &["a[0]", "a[1].\"b.c\"", "\"?\"[0]", "\"?\"[2][0]", "5", "[0]", ""],
        ),
        (
            Format::Toml,
            "t = 'r'\na.b = {c = 'x', d = ['y', 1, ['z']]}\n[[s]]\nn = '0'\n[[s.t]]\nn = '1'\n[[s]]\n[s.u]\n\"v w\" = '2'\n[[s.t]]\nn='3'\n",
            &[
                "t",
                "a.b.c",
                "a.b.d[0]",
                "a.b.d[2][0]",
                "s[0].n",
                "s[0].t[0].n",
                "s[1].u.\"v w\"",
                "s[1].t[0].n",
            ],
        ),
        (Format::Dotenv, "A=1\nexport B='2'\nC=\n", &["A", "B", "C"]),
    ] {
        let document = Document::parse(format, text.to_owned()).unwrap();
        let found: Vec<_> = document.slots().iter().map(|slot| slot.key().unwrap_or_default()).collect();
        assert_eq!(found, keys, "{format}");
    }
}

#[test]
fn ten_megabytes_with_many_values_take_no_time() {
    let mut text = String::from("[\n");
    for index in 0..200_000 {
        text.push_str(&format!("  \"value number {index} of very many values\",\n"));
    }
    text.push_str("  \"${x}\"\n]\n");
    let document = Document::parse(Format::Json, text).unwrap();
    let last = document.slots().len() - 1;
    let rendered = document.render(&BTreeMap::from([(last, "v")])).unwrap();
    assert!(rendered.ends_with("  \"v\"\n]\n"));
    assert_eq!(document.position(last, 0).line, 200_002);
}
