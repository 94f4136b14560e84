//! Where a byte of a decoded value stands in the text.

use super::super::{Document, Format};

/// Each `®` of a value is written as itself, so it tells what its position must be.
fn check(format: Format, text: &str) {
    let document = Document::parse(format, text.to_owned()).unwrap();
    let mut expected: Vec<(usize, usize)> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').split('\n').enumerate() {
        let marks = line.chars().enumerate().filter(|(_, character)| *character == '®');
        expected.extend(marks.map(|(column, _)| (index + 1, column + 1)));
    }
    let mut found = Vec::new();
    for (number, slot) in document.slots().iter().enumerate() {
        for (offset, _) in slot.text().match_indices('®') {
            let position = document.position(number, offset);
            found.push((position.line, position.column));
        }
    }
    assert!(!found.is_empty());
    assert_eq!(found, expected, "{format}: {text:?}");
}

#[test]
fn json() {
    check(
        Format::Json,
        "\u{feff}{\"é\": \"®\",\n \"b\": \"\\n\\u00e9®\\ud83d\\ude00®\\\\®\\\"®\\/😀®\\t®\", \"c\": [\"x®\", \"®®\"]}",
    );
}

#[test]
fn toml() {
    check(
        Format::Toml,
        "a = \"®\\u00e9®\\U0001F600®\\\\®\\\"®\\e\\x41®\"\nb = 'é\\®'\nc = \"\"\"\n®\\\n   \n  ®\\t®\n\n ®\"\"\"\nd = '''\r\n®\r\né®\r\n'''\ne = \"\"\"®\\   \n ®\"\"\"\n",
    );
}

#[test]
fn yaml() {
    for text in [
        "a: ®é®\nb: '®''®''''®'\nc: \"®\\n\\u00e9®\\U0001F600\\x41®\\ud83d\\ude00®\\\\®\"\n",
        "a: ® plain\n  ® over\n\n\n  é® lines ® # c\nb: ®\n",
        "a: '® single  \n  ® over\n\n\n  é® ''lines ®'\n",
        "a: \"® double \\\n   ® over \\n ®\n\n\n  é®\\   ® lines ®\n\n  \"\n",
        "a: |\n  ®\n  é®\n\n    ® ®\n  ®\n\nb: ®\n",
        "a: |2-\n    ®\n  é®\n\n    ® ®\n  ®\n\nb: ®\n",
        "a: >  # c\n\n  ®\n  é®\n\n\n    ® ®\n  ®\n  ®\n \n\nb: ®\n",
        "- >\r\n  ®\r\n  é®\r\n   ®\r\n- |+\r\n  ®\r\n\r\n  ®\r\n",
        "- |\n \n  ®\n- ®\n--- >\n®\n®\n",
        "{a: ®, \"b\": [®, '®']}",
        "a: !!str # c\n  |\n  ®\n",
        "a: \"®  ®   \t®\"\n",
        "a: |\n  x\n     \n  ®\n",
        "a: >\n  x\n     \n  ®\n     \n\n  ®",
    ] {
        check(Format::Yaml, text);
    }
}

#[test]
fn dotenv() {
    check(
        Format::Dotenv,
        "\u{feff}A=®é®\nexport B='®\né®\\®' # c\nC=\"®\\n®\\\\®\\x®\\\"®\\$®\r\n®\"\n",
    );
}

#[test]
fn text() {
    check(Format::Text, "®é®\r\n😀®\n\n®");
}

#[test]
fn beyond_the_value_is_the_end_of_the_literal() {
    let document = Document::parse(Format::Json, "[\"abc\"]".to_owned()).unwrap();
    assert_eq!(document.position(0, 3), document.position(0, 99));
    assert_eq!(document.position(0, 3).column, 7);
    assert_eq!(document.position(0, 0).column, 3);
}
