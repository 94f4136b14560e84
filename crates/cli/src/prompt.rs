//! Asking a person for something that must not be seen.

use std::io;

use keyfob::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

/// Asks twice, without echo, and refuses two different answers.
///
/// # Errors
/// `InvalidInput` when the answers differ; `Unavailable` when there is no terminal to ask at.
pub(crate) fn new_secret(what: &str) -> Result<SecretValue> {
    let first = ask(&format!("{what}: "))?;
    let second = ask("the same again: ")?;
    if *first != *second {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the two entries differ, nothing was written",
        ));
    }
    Ok(SecretValue::from(first.as_str()))
}

/// Asks once, without echo.
///
/// # Errors
/// `Unavailable` when there is no terminal to ask at.
pub(crate) fn secret(what: &str) -> Result<SecretValue> {
    ask(&format!("{what}: ")).map(|answer| SecretValue::from(answer.as_str()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted => "nothing was entered",
            _ => "there is no terminal to ask at",
        };
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    })
}
