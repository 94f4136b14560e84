//! How much a key of a document is like the name of a secret.

/// The words of a key or a name, in lower case: `db.adminPassword`, `DB_ADMIN_PASSWORD` and `db/admin-password` have the
/// same ones.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut after_lower = false;
    for character in text.chars() {
        if !character.is_alphanumeric() || (character.is_uppercase() && after_lower) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        after_lower = character.is_lowercase() || character.is_numeric();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The more the liker: first the same words, then as many common ones as possible, then those at the end.
pub(super) fn likeness(key: &[String], name: &[String]) -> (bool, usize, usize) {
    let mut left: Vec<&String> = name.iter().collect();
    let mut common = 0;
    for word in key {
        if let Some(at) = left.iter().position(|other| *other == word) {
            left.swap_remove(at);
            common += 1;
        }
    }
    let at_end = key
        .iter()
        .rev()
        .zip(name.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    (key == name, common, at_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_makes_no_other_words() {
        for text in [
            "db.adminPassword",
            "DB_ADMIN_PASSWORD",
            "db/admin-password",
            "Db.Admin.Password",
        ] {
            assert_eq!(words(text), ["db", "admin", "password"], "{text}");
        }
        assert_eq!(words("s3Key"), ["s3", "key"]);
        assert_eq!(words("_"), [""; 0]);
    }

    #[test]
    fn the_same_words_are_the_likest() {
        let like = |key: &str, name: &str| likeness(&words(key), &words(name));
        assert!(like("db.password", "db/password") > like("db.password", "app/db/password"));
        assert!(like("db.password", "app/db/password") > like("db.password", "smtp/password"));
        assert!(like("database.password", "smtp/password") == like("database.password", "db/password"));
        assert!(like("a.b", "c/d") == (false, 0, 0));
    }
}
