//! Values as literals.

use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::parse::Quoting;

/// The literal, with its quotes, that stands for `value` in a `.env` file and comes back byte for byte.
///
/// Single quotes where they can hold the value, else double quotes: the form that most programs read alike, and in
/// which no program runs anything. [Who reads it how](crate::dotenv#who-reads-what-how).
///
/// ```
/// use keyfob_env::dotenv::quote;
///
/// assert_eq!(*quote(r#"p#a"s$s"#)?, r#"'p#a"s$s'"#);
/// assert_eq!(*quote("it's $5")?, r#""it's \$5""#);
/// # Ok::<(), keyfob_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a value with a NUL character: no environment variable can hold it.
pub fn quote(value: &str) -> Result<Zeroizing<String>> {
    refuse_nul(value)?;
    Ok(if fits_single(value) {
        wrapped(value, '\'')
    } else {
        escaped(value)
    })
}

/// The same, in the quoting that stands there now where every program reads the value alike in it.
pub(super) fn quote_like(value: &str, present: Quoting) -> Result<Zeroizing<String>> {
    match present {
        Quoting::Unquoted if is_plain(value) => Ok(Zeroizing::new(value.to_owned())),
        Quoting::Double if !value.contains(['\\', '"', '$', '`', '\r', '\0']) => Ok(wrapped(value, '"')),
        _ => quote(value),
    }
}

fn refuse_nul(value: &str) -> Result<()> {
    if value.contains('\0') {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the value contains a NUL character, a `.env` file can't hold it",
        )
        .with_hint("encode it first, for example as base64"));
    }
    Ok(())
}

/// Whether it needs no quotes anywhere: not for a shell, and not for a tool that sees comments, quotes or expansions.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'@' | b'%' | b'+' | b',' | b'=')
        })
}

/// A `\` at the end would hide the closing quote from several tools; a carriage return is a line end for several.
fn fits_single(value: &str) -> bool {
    !value.contains(['\'', '\r']) && !value.ends_with('\\')
}

fn wrapped(value: &str, quote: char) -> Zeroizing<String> {
    let mut literal = Zeroizing::new(String::with_capacity(value.len() + 2));
    literal.push(quote);
    literal.push_str(value);
    literal.push(quote);
    literal
}

fn escaped(value: &str) -> Zeroizing<String> {
    // With a `\r` no shell can read it anyway, so its line feeds may be escapes too: a multi-line literal with
    // carriage returns around it is what editors damage first.
    let escape_newlines = value.contains('\r');
    let mut literal = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    literal.push('"');
    for character in value.chars() {
        match character {
            '\r' => literal.push_str("\\r"),
            '\n' if escape_newlines => literal.push_str("\\n"),
            // `$` and backtick must not be left to a shell: it would expand and run what stands there.
            '\\' | '"' | '$' | '`' => {
                literal.push('\\');
                literal.push(character);
            }
            _ => literal.push(character),
        }
    }
    literal.push('"');
    literal
}
