//! The dialect, sentence by sentence, and the laws of a lossless document.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use keyfob_core::ErrorKind;
use keyfob_env::dotenv::{Document, Quoting, quote};
use proptest::prelude::*;

fn value(text: &str, variable: &str) -> String {
    Document::parse(text).unwrap().get(variable).unwrap().value().to_owned()
}

#[test]
fn a_value_reads_as_documented() {
    for (text, expected) in [
        ("A=plain", "plain"),
        ("A=", ""),
        ("A=  ", ""),
        ("A= # comment", ""),
        ("A=  two words \t", "two words"),
        ("A = x", "x"),
        ("  A=x", "x"),
        ("\tA\t=\tx", "x"),
        ("export A=x", "x"),
        ("export \t A=x", "x"),
        ("A=x # comment", "x"),
        ("A=x#y", "x#y"),
        ("A=#x", "#x"),
        ("A=it's \"quoted\"", "it's \"quoted\""),
        ("A=a\\n\\\\b$c", "a\\n\\\\b$c"),
        ("A=a=b==", "a=b=="),
        ("A=''", ""),
        ("A='a\\n$b\"`#'", "a\\n$b\"`#"),
        ("A='dir\\'", "dir\\"),
        ("A='x' # it's", "x"),
        ("A='one\ntwo'", "one\ntwo"),
        ("A='one\r\ntwo'\r\n", "one\ntwo"),
        (r#"A="\n\r\t\\\"\$\`""#, "\n\r\t\\\"$`"),
        (r#"A="\a\'\x41\u0041 ${B} $C""#, r"\a\'\x41\u0041 ${B} $C"),
        ("A=\"one\r\ntwo\\\nthree\"", "one\ntwo\\\nthree"),
        ("A=\"ключ 🔑\"", "ключ 🔑"),
        ("\u{FEFF}A=x", "x"),
        ("A=x\r\nB=y\r\n", "x"),
        ("# c\n\n   # d\nA=x", "x"),
        ("A=1\nA=2", "2"),
        ("A=${secret:db/password}", "${secret:db/password}"),
    ] {
        assert_eq!(value(text, "A"), expected, "{text:?}");
    }
    assert_eq!(value("export=x", "export"), "x");
    assert_eq!(value("export = x", "export"), "x");
    assert_eq!(value("a.b-c=x", "a.b-c"), "x");
}

#[test]
fn what_tools_read_differently_is_refused_with_its_place_and_without_its_content() {
    for (text, line, column, problem) in [
        ("B=1\nHUNTER2", 2, 8, "no `=` after the variable name"),
        ("A HUNTER2", 1, 3, "no `=` after the variable name"),
        ("export A", 1, 9, "no `=` after the variable name"),
        ("A: HUNTER2", 1, 2, "`:` after the variable name"),
        ("=HUNTER2", 1, 1, "no variable name"),
        ("1A=HUNTER2", 1, 1, "no variable name"),
        ("ключ=HUNTER2", 1, 1, "no variable name"),
        ("A='HUNTER2\nB=1", 1, 3, "a quote that is never closed"),
        ("\n\nA=\"HUNTER2\\\"", 3, 3, "a quote that is never closed"),
        ("A='HUNTER2'x", 1, 11, "text behind the closing quote"),
        ("A='HUNTER2'#x", 1, 11, "text behind the closing quote"),
        (
            "A='it\\'s HUNTER2'",
            1,
            7,
            "`\\'` between single quotes, which is an escape for some tools and not for others",
        ),
        (
            "A=`HUNTER2`",
            1,
            3,
            "a value that begins with a backtick, which is a quote for some tools and not for others",
        ),
        ("A=HUNTER2\rB=1", 1, 10, "a carriage return without a line feed"),
        ("A='HUN\0TER2'", 1, 7, "a NUL character"),
        ("\u{FEFF}B=1\n\u{FEFF}A=HUNTER2", 2, 1, "no variable name"),
    ] {
        let error = Document::parse(text).unwrap_err();
        assert_eq!(
            (error.line(), error.column(), error.problem()),
            (line, column, problem),
            "{text:?}"
        );
        let error = keyfob_core::Error::from(error);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("HUNTER2"));
    }
}

#[test]
fn a_set_changes_the_value_alone() {
    for (text, value, expected) in [
        ("  export A = old  # why\nB=2", "new", "  export A = new  # why\nB=2"),
        ("A=old # why", "two words", "A='two words' # why"),
        ("A='old' # why", "new", "A='new' # why"),
        ("A='old'", "it's", "A=\"it's\""),
        ("A=\"old\"", "it's", "A=\"it's\""),
        ("A=\"old\"", "new\nline", "A=\"new\nline\""),
        ("A=\"old\"", "$5", "A='$5'"),
        ("A=\"old\"", "a\\b", "A='a\\b'"),
        ("A= # why", "x y", "A='x y' # why"),
        ("A=", "", "A=''"),
        ("A=x", "", "A=''"),
        ("A=1\nA=2\nB=3\n", "x", "A=1\nA=x\nB=3\n"),
        ("a.b=1", "2", "a.b=1\nA='2'\n"),
        ("B=1\r\nC=2", "x", "B=1\r\nC=2\r\nA='x'\r\n"),
        ("B=1\r\nC=2\r\n", "x", "B=1\r\nC=2\r\nA='x'\r\n"),
        ("# only a comment", "x", "# only a comment\nA='x'\n"),
        ("\u{FEFF}", "x", "\u{FEFF}A='x'\n"),
        ("", "x", "A='x'\n"),
        ("", "a\r\nb", "A=\"a\\r\\nb\"\n"),
        ("", "C:\\dir\\", "A=\"C:\\\\dir\\\\\"\n"),
    ] {
        let mut document = Document::parse(text).unwrap();
        document.set("A", value).unwrap();
        assert_eq!(document.text(), expected, "{text:?}");
        assert_eq!(document.get("A").unwrap().value(), value);
    }
}

#[test]
fn what_cannot_come_back_is_refused_and_changes_nothing() {
    let mut document = Document::parse("A=1\nB=2\n").unwrap();
    assert_eq!(document.set("A", "HUNTER\0").unwrap_err().kind(), ErrorKind::InvalidInput);
    for name in ["", "a b", "A-B", "1A", "A=1\nX", "é"] {
        assert_eq!(
            document.set(name, "x").unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name:?}"
        );
    }
    let error = document
        .replace_values(|entry| Some(if entry.name() == "B" { "\0" } else { "x" }))
        .unwrap_err();
    assert!(error.to_string().contains("variable `B`"), "{error}");
    assert_eq!(document.text(), "A=1\nB=2\n");
}

#[test]
fn a_removal_takes_every_line_of_the_variable() {
    let mut document = Document::parse("# a\nA='1\n2'\n\nB=1 # b\n  export A=3").unwrap();
    assert!(document.remove("A").unwrap());
    assert_eq!(document.text(), "# a\n\nB=1 # b\n");
    assert!(!document.remove("A").unwrap());
}

#[test]
fn many_values_are_replaced_in_one_go() {
    let mut document = Document::parse("A=${secret:a}\nB=keep # c\nA=\"${secret:b}\"\n").unwrap();
    document
        .replace_values(|entry| (entry.name() == "A").then(|| format!("value {}", entry.index())))
        .unwrap();
    assert_eq!(document.text(), "A='value 0'\nB=keep # c\nA=\"value 2\"\n");
}

#[test]
fn debug_shows_no_value() {
    let document = Document::parse("# HUNTER2\nA=HUNTER2").unwrap();
    assert!(!format!("{document:?}").contains("HUNTER2"));
    assert!(format!("{document:?}").contains("line: 2"));
}

/// Text in which quotes, escapes, line ends and comments are frequent.
fn dense(length: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'"),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just("$"),
        Just("#"),
        Just(" "),
        Just("\t"),
        Just("="),
        Just("\n"),
        Just("\r\n"),
        Just("A"),
        Just("B_1"),
        Just("export "),
        Just("A="),
        Just("B='"),
        Just("x.y-z"),
        Just("é🔑"),
        Just("\u{FEFF}"),
        Just("${secret:a}"),
        Just("n"),
        Just("r"),
        Just("\u{2028}"),
        Just("\r"),
        Just("\x1b"),
    ];
    prop::collection::vec(piece, 0..length).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![dense(12), any::<String>()].prop_filter("no NUL", |value| !value.contains('\0'))
}

fn any_document() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        ("[A-C]", any_value()).prop_map(|(name, value)| format!("{name}={}", *quote(&value).unwrap())),
        ("[A-C]", "[a-z0-9#'\"]{0,5}").prop_filter_map("unquoted", |(name, value)| {
            let line = format!("  export {name} = {value} # it's");
            Document::parse(&line).is_ok().then_some(line)
        }),
        Just("# comment 'with a quote".to_owned()),
        Just(String::new()),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (prop::collection::vec(line, 0..6), end, any::<bool>()).prop_map(|(lines, end, last)| {
        let mut text = lines.join(end);
        if last {
            text.push_str(end);
        }
        text
    })
}

fn entries(document: &Document) -> Vec<(String, String)> {
    let entries = document.entries();
    entries
        .map(|entry| (entry.name().to_owned(), entry.value().to_owned()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_a_document_that_renders_as_it_was_or_an_error(text in prop_oneof![dense(30), any::<String>()]) {
        match Document::parse(&text) {
            Ok(document) => {
                prop_assert_eq!(document.text(), &text);
                for entry in document.entries() {
                    let raw = &text[entry.span()];
                    let quoted = raw.starts_with(['\'', '"']);
                    prop_assert_eq!(entry.quoting() != Quoting::Unquoted, quoted);
                    for offset in 0..=entry.value().len() + 1 {
                        prop_assert!(entry.span().contains(&entry.text_offset(offset)) || entry.text_offset(offset) == entry.span().end);
                    }
                }
            }
            Err(error) => {
                prop_assert!(error.line() <= text.matches('\n').count() + 1);
                let same = Document::parse(&text.replace('A', "Z"));
                prop_assert_eq!(same.unwrap_err().to_string(), error.to_string());
            }
        }
    }

    #[test]
    fn a_quoted_value_comes_back(value in any_value(), before in any_document(), after in any_document()) {
        let mut text = before;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("Z={} # c\n{after}", *quote(&value).unwrap()));
        let document = Document::parse(&text).unwrap();
        let entry = document.get("Z").unwrap();
        prop_assert_eq!(entry.value(), &value);
        prop_assert_eq!(entry.comment().is_some(), entry.comment() == Some("comment 'with a quote"));
    }

    #[test]
    fn a_set_value_comes_back_and_no_other_entry_changes(text in any_document(), value in any_value(), name in "[A-D]") {
        let mut document = Document::parse(&text).unwrap();
        let mut expected = entries(&document);
        document.set(&name, &value).unwrap();
        match expected.iter_mut().rev().find(|(present, _)| *present == name) {
            Some((_, present)) => present.clone_from(&value),
            None => expected.push((name, value)),
        }
        prop_assert_eq!(entries(&document), expected.clone());
        prop_assert_eq!(entries(&Document::parse(document.text()).unwrap()), expected);
    }

    #[test]
    fn a_removed_variable_is_gone_and_no_other_entry_changes(text in any_document(), name in "[A-D]") {
        let mut document = Document::parse(&text).unwrap();
        let mut expected = entries(&document);
        expected.retain(|(present, _)| *present != name);
        document.remove(&name).unwrap();
        prop_assert_eq!(entries(&document), expected);
    }

    #[test]
    fn a_place_in_a_value_is_a_place_in_the_file(prefix in any_value(), rest in "[a-z]{0,3}") {
        prop_assume!(!prefix.contains('@'));
        let text = format!("A='1'\n B={}", *quote(&format!("{prefix}@{rest}")).unwrap());
        let document = Document::parse(&text).unwrap();
        let entry = document.get("B").unwrap();
        let offset = entry.text_offset(prefix.len());
        prop_assert_eq!(&text[offset..=offset], "@");
        let place = entry.position_of(prefix.len());
        let line = text.split('\n').nth(place.line - 1).unwrap();
        prop_assert_eq!(line.trim_start_matches('\u{FEFF}').chars().nth(place.column - 1), Some('@'));
    }
}
