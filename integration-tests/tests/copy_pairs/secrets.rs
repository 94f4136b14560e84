//! The secrets: awkward in every way that somebody has had.

use std::collections::BTreeSet;

use keyfob::{SecretName, SecretValue};

/// A secret to copy.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: SecretName,
    pub(crate) value: SecretValue,
}

/// What is special about a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) portable: bool,
    pub(crate) name_bytes: usize,
    pub(crate) text: bool,
    pub(crate) value_bytes: usize,
}

impl Sample {
    fn new(name: &str, value: impl Into<Vec<u8>>) -> Self {
        let value: Vec<u8> = value.into();
        Self {
            name: SecretName::new(name).unwrap(),
            value: SecretValue::from(value),
        }
    }

    pub(crate) fn traits(&self) -> Traits {
        Traits {
            portable: self.name.is_portable(),
            name_bytes: self.name.as_str().len(),
            text: self.value.expose_str().is_ok(),
            value_bytes: self.value.len(),
        }
    }
}

/// Names that meet another when letter case, separators or escapes are lost.
const NAMES: &[&str] = &[
    "db/password",
    "DB/password",
    "Db/Password",
    "db.password",
    "db-password",
    "db_password",
    "db--password",
    "db__password",
    "db/pass/word",
    "a",
    "A",
    "0",
    "-",
    "_",
    "a-",
    "-a",
    "a_",
    "_a",
    "a.",
    "a.b.c",
    "a-2e-b",
    "a-2E-b",
    "a_2e_b",
    "a_x2e_b",
    "a--2eb",
    "a%2Fb",
    "a_2Fb",
    "a_x2F_b",
    "x-2f-y",
    "x--y",
    "x---y",
    "x/-/y",
    "x/_/y",
    "x-/-y",
    "value",
    "data",
    "metadata",
    "keyfob",
    "deletedsecrets",
    "versions",
    "current",
    "latest",
    "null",
    "true",
    "...",
    "a...b",
    "CON",
    "nul",
    "index.html",
];

/// Names that only some stores take.
const OTHER_NAMES: &[&str] = &[
    "users/jo@x.org",
    "a b",
    "ключ/пароль",
    "世界",
    "key🔑",
    "e\u{301}",
    "é",
    "a:b",
    "a=b",
    "a+b",
    "a#b",
    "a{b}",
    "a$b",
    "a,b",
    "a;b",
    "a'b",
    "a\"b",
    "a\\b",
    "a?b",
    "a&b",
    "a*b",
    "a|b",
    "a<b>",
    "a~b",
    "ﬁ",
    "ß",
    "SS",
    "ss",
    "İ",
    "ı",
];

/// Texts that a reader, a writer or a store could change.
const TEXTS: &[&str] = &[
    "x",
    " ",
    " leading",
    "trailing ",
    "\n",
    "one\ntwo\n",
    "one\r\ntwo\r\n",
    "\ttab\t",
    "\u{feff}bom",
    "Grüße, 世界 🔑 e\u{301}é",
    "null",
    "true",
    "0",
    "00",
    "1e3",
    "{}",
    "[]",
    "\"quoted\"",
    "'single'",
    "{\"value\":\"x\"}",
    "{\"user\":\"jo\",\"password\":\"p\"}",
    "[1,2]",
    "${secret:db/password}",
    "$HOME",
    "#no-comment",
    "a=b",
    "\\n",
    "\\",
    "%2F%00",
    "YmFzZTY0",
    "-----BEGIN KEY-----\nkfcanary-pairs0001\n-----END KEY-----\n",
    "a\u{0}b",
    "\u{1}\u{7f}\u{85}\u{2028}",
    "<>&;|`",
    "kfcanary-pairs0002",
];

/// One of each awkwardness.
pub(crate) fn sentinels() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        samples.push(Sample::new(name, TEXTS[index % TEXTS.len()]));
    }
    for (index, name) in OTHER_NAMES.iter().enumerate() {
        samples.push(Sample::new(name, format!("kfcanary-pairs{index:04}")));
    }
    for (index, text) in TEXTS.iter().enumerate() {
        samples.push(Sample::new(&format!("text/t{index}"), *text));
    }
    samples.push(Sample::new("bytes/all", (0..=255).collect::<Vec<u8>>()));
    samples.push(Sample::new("bytes/not-text", b"kfcanary-pairs0003\xff\xfe".as_slice()));
    samples.push(Sample::new("empty", ""));
    samples.push(Sample::new("size/25-kb", text_of(25_000)));
    samples.push(Sample::new("size/64-kib", text_of(65_536)));
    samples.push(Sample::new("size/more-than-64-kib", text_of(65_537)));
    samples.push(Sample::new(&format!("long/{}", "n".repeat(95)), "kfcanary-pairs0004"));
    samples.push(Sample::new(&format!("longest/{}", "n".repeat(504)), "kfcanary-pairs0005"));
    samples
}

/// So many secrets: the sentinels, and others like them.
pub(crate) fn corpus(count: usize) -> Vec<Sample> {
    let mut samples = sentinels();
    let mut index = 0;
    while samples.len() < count {
        let text = TEXTS[index % TEXTS.len()];
        let name = match index % 5 {
            0 => format!("team-{}/app_{}/KEY.{index}", index % 7, index % 11),
            1 => format!("Team/{index}/a-b"),
            2 => format!("team/{index}/a-b"),
            3 => format!("n{index}"),
            _ => format!("пользователь {index}/{text_index}", text_index = index % TEXTS.len()),
        };
        let value: Vec<u8> = match index % 17 {
            0 => (0..64).map(|byte| (byte * 7 + index) as u8 | 0x80).collect(),
            1 => vec![0; index % 50 + 1],
            _ => format!("{text}{index}{text}").into_bytes(),
        };
        samples.push(Sample::new(&name, value));
        index += 1;
    }
    let names: BTreeSet<&SecretName> = samples.iter().map(|sample| &sample.name).collect();
    assert_eq!(names.len(), samples.len(), "two samples have the same name");
    samples
}

fn text_of(bytes: usize) -> String {
    let mut text = "kfcanary-pairs0006 ".repeat(bytes / 19 + 1);
    text.truncate(bytes);
    text
}
