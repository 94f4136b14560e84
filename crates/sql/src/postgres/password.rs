//! The password that the URL does not hold: `PGPASSWORD`, then the password file of `psql`.

use std::path::PathBuf;

use keyfob_core::{Environment, Error, ErrorKind, Result, SecretValue};

/// Much more than any such file has.
const MAX_BYTES: usize = 1 << 20;

/// The password for this database and role, if there is one.
///
/// # Errors
/// `InvalidConfig` when the file that `PGPASSFILE` names can't be read, or others may read the password file.
pub(super) fn find(environment: &Environment, host: &str, port: u16, database: &str, user: &str) -> Result<Option<SecretValue>> {
    if let Some(password) = environment.secret_var("PGPASSWORD").filter(|password| !password.is_empty()) {
        return Ok(Some(password));
    }
    let named = environment.var("PGPASSFILE")?.map(|file| environment.absolute(file));
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| environment.home().map(|home| home.join(".pgpass"))) else {
        return Ok(None);
    };
    let refused = |message: &'static str, path: &PathBuf| {
        Error::new(ErrorKind::InvalidConfig, message).with("file", path.display().to_string())
    };
    let status = match environment.status(&path) {
        Ok(status) => status,
        Err(error) if is_named => return Err(refused("the file that `PGPASSFILE` names can't be read", &path).with_source(error)),
        Err(_) => return Ok(None),
    };
    if status.mode & 0o077 != 0 {
        let hint = format!("`chmod 600 {}`", path.display());
        return Err(refused("others may read the password file", &path).with_hint(hint));
    }
    let bytes = environment
        .read(&path, MAX_BYTES)
        .map_err(|error| refused("the password file can't be read", &path).with_source(error))?;
    let whole = SecretValue::new(bytes);
    let text = whole
        .expose_str()
        .map_err(|_| refused("the password file is not UTF-8 text", &path))?;
    let port = port.to_string();
    let wanted = [host, &port, database, user];
    Ok(text.lines().find_map(|line| password_of(line, &wanted)))
}

/// The password of a line `host:port:database:user:password` that fits; `*` fits everything, `\` takes away a meaning.
fn password_of(line: &str, wanted: &[&str; 4]) -> Option<SecretValue> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for expected in wanted {
        let (field, is_any, after) = next_field(rest)?;
        rest = after;
        if !is_any && field != *expected {
            return None;
        }
    }
    // The last field may hold colons.
    let mut password = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        password.push(match letter {
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        });
    }
    Some(SecretValue::from(password))
}

/// The text up to the next colon, whether it stands for everything, and what comes after the colon.
fn next_field(text: &str) -> Option<(String, bool, &str)> {
    let mut field = String::new();
    let mut letters = text.char_indices();
    let mut is_escaped = false;
    while let Some((at, letter)) = letters.next() {
        match letter {
            ':' => return Some((field.clone(), field == "*" && !is_escaped, text.get(at + 1..)?)),
            '\\' => {
                is_escaped = true;
                field.push(letters.next()?.1);
            }
            other => field.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(text: &str, mode: u32) -> Result<Option<Vec<u8>>> {
        let environment = Environment::fake().file_of("/home/user/.pgpass", text, 1000, mode).build();
        let found = find(&environment, "db.example", 5432, "secrets", "app")?;
        Ok(found.map(|password| password.expose_secret().to_vec()))
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        for (text, expected) in [
            (
                "# db.example:5432:secrets:app:no\ndb.example:5432:secrets:app:a:b\\:c\\\\d\n",
                Some("a:b:c\\d"),
            ),
            ("other:*:*:*:no\n*:*:*:app:yes\n*:*:*:*:later\n", Some("yes")),
            ("\\*:*:*:*:no\n", None),
            ("db.example:5432:secrets:app\n", None),
            ("", None),
        ] {
            assert_eq!(
                in_file(text, 0o600).unwrap().as_deref(),
                expected.map(str::as_bytes),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_variable_comes_first_and_an_open_file_is_refused() {
        let environment = Environment::fake()
            .var("PGPASSWORD", "word")
            .file("/home/user/.pgpass", "*:*:*:*:no");
        let found = find(&environment.build(), "h", 1, "d", "u").unwrap().unwrap();
        assert!(found.expose_secret() == b"word");
        assert_eq!(in_file("*:*:*:*:word\n", 0o640).unwrap_err().kind(), ErrorKind::InvalidConfig);
        let missing = Environment::fake().var("PGPASSFILE", "/nowhere").build();
        assert_eq!(find(&missing, "h", 1, "d", "u").unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
