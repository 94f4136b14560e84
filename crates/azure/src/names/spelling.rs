//! How any text is spelled with lower-case letters, digits and `-`.
//!
//! Letters `a-z`, digits and a single `-` stand for themselves, and `--` for `/`. All else is an escape, `---` and:
//!
//! | after `---` | means |
//! |---|---|
//! | `1`, `2`, `3`, `4` | `_`, `.`, `-`, `/` |
//! | `a` to `z` | the capital letter |
//! | `5`, `6` | from here on letters are capital, are small |
//! | `0` and two hexadecimal digits | that byte of UTF-8 |
//!
//! A run of one or two `-` can stand directly before an escape, so runs have up to five; `-` and `/` that would make a
//! run ambiguous are escaped. Three capital letters or more without a small one between them are written with `5`.

/// The only spelling of `text`.
pub(super) fn spell(text: &str) -> String {
    let mut spelling = Spelling::default();
    spelling.add(text);
    spelling.out
}

/// The most bytes that `text` can take when it stands behind other text.
pub(super) fn longest(text: &str) -> usize {
    let states = [false, true]
        .into_iter()
        .flat_map(|locked| (0..=2).map(move |run| (locked, run)));
    let lengths = states.map(|(is_locked, run)| {
        let mut spelling = Spelling {
            out: String::new(),
            is_locked,
            run,
        };
        spelling.add(text);
        spelling.out.len()
    });
    lengths.max().unwrap_or_default()
}

/// The text that is spelled so; `None` when none is.
pub(super) fn unspell(spelled: &str) -> Option<String> {
    let text = read(spelled.as_bytes())?;
    (spell(&text) == spelled).then_some(text)
}

#[derive(Default)]
struct Spelling {
    out: String,
    /// Letters are capital.
    is_locked: bool,
    /// So many `-` stand at the end.
    run: usize,
}

impl Spelling {
    fn add(&mut self, text: &str) {
        let bytes = text.as_bytes();
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                b'0'..=b'9' => self.plain(byte),
                b'a'..=b'z' => {
                    if self.is_locked {
                        self.escape(b'6');
                        self.is_locked = false;
                    }
                    self.plain(byte);
                }
                b'A'..=b'Z' => {
                    let small = byte.to_ascii_lowercase();
                    if !self.is_locked && capitals(&bytes[index..]) >= MANY_CAPITALS {
                        self.escape(b'5');
                        self.is_locked = true;
                    }
                    match self.is_locked {
                        true => self.plain(small),
                        false => self.escape(small),
                    }
                }
                b'-' if self.run == 0 => self.dashes(1),
                b'/' if self.run == 0 => self.dashes(2),
                b'_' => self.escape(b'1'),
                b'.' => self.escape(b'2'),
                b'-' => self.escape(b'3'),
                b'/' => self.escape(b'4'),
                _ => {
                    self.escape(b'0');
                    self.out.push_str(&format!("{byte:02x}"));
                }
            }
        }
    }

    fn plain(&mut self, byte: u8) {
        self.out.push(char::from(byte));
        self.run = 0;
    }

    fn dashes(&mut self, count: usize) {
        self.out.push_str(&"--"[..count]);
        self.run = count;
    }

    fn escape(&mut self, code: u8) {
        self.out.push_str("---");
        self.plain(code);
    }
}

const MANY_CAPITALS: usize = 3;

/// How many capital letters come before the next small one.
fn capitals(bytes: &[u8]) -> usize {
    let before_small = bytes.iter().take_while(|byte| !byte.is_ascii_lowercase());
    before_small.filter(|byte| byte.is_ascii_uppercase()).count()
}

fn read(spelled: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(spelled.len());
    let mut rest = spelled;
    let mut is_locked = false;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|byte| **byte == b'-').count();
        rest = &rest[run.max(1)..];
        let before = match run {
            0 => {
                bytes.push(if is_locked { first.to_ascii_uppercase() } else { first });
                continue;
            }
            1 | 2 => run,
            3..=5 => run - 3,
            _ => return None,
        };
        match before {
            1 => bytes.push(b'-'),
            2 => bytes.push(b'/'),
            _ => {}
        }
        if run < 3 {
            continue;
        }
        let (&code, after) = rest.split_first()?;
        rest = after;
        match code {
            b'0' => {
                let (digits, after) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            b'1' => bytes.push(b'_'),
            b'2' => bytes.push(b'.'),
            b'3' => bytes.push(b'-'),
            b'4' => bytes.push(b'/'),
            b'5' => is_locked = true,
            b'6' => is_locked = false,
            b'a'..=b'z' => bytes.push(code.to_ascii_uppercase()),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_their_own_spelling() {
        for name in ["a", "db-password", "app1", "-a", "a-", "0"] {
            assert_eq!(spell(name), name);
        }
    }

    #[test]
    fn the_rest_is_spelled_as_the_page_says() {
        for (text, spelled) in [
            ("team/db/password", "team--db--password"),
            ("db_password", "db---1password"),
            ("v1.2", "v1---22"),
            ("DbPassword", "---db---password"),
            ("DATABASE_URL", "---5database---1url"),
            ("DATABASE_URLs", "---5database---1url---6s"),
            ("a--b", "a----3b"),
            ("a-/b", "a----4b"),
            ("a/-b", "a-----3b"),
            ("a/B", "a-----b"),
            ("/a", "--a"),
            ("é", "---0c3---0a9"),
            ("a b", "a---020b"),
        ] {
            assert_eq!(spell(text), spelled, "{text}");
            assert_eq!(unspell(spelled).as_deref(), Some(text), "{spelled}");
        }
    }

    #[test]
    fn what_nothing_is_spelled_as_is_read_as_nothing() {
        for spelled in [
            "A", "a---", "---", "a------b", "---7", "---9", "---0z1", "---0c3", "---041", "---6a", "---5a", "a----", "---09",
        ] {
            assert_eq!(unspell(spelled), None, "{spelled}");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_from_its_spelling(text in "[ -~éЖ🔑]{0,40}") {
            let spelled = spell(&text);
            prop_assert!(spelled.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert_eq!(unspell(&spelled), Some(text));
        }

        #[test]
        fn every_spelling_has_one_text(spelled in "[a-c0-7-]{0,24}") {
            if let Some(text) = unspell(&spelled) {
                prop_assert_eq!(spell(&text), spelled);
            }
        }

        #[test]
        fn no_text_takes_more_behind_another_than_is_said(before in "[a-cA-C/_-]{0,12}", text in "[a-cA-C0-2/._-]{1,12}") {
            let together = spell(&format!("{before}{text}")).len();
            prop_assert!(together <= spell(&before).len() + longest(&text), "{} + {}", before, text);
        }
    }
}
