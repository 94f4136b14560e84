//! What AWS takes in a write, as far as the capabilities don't say it.

use keyfob_core::{Change, Error, ErrorKind, PutRequest, Result, SecretName};

use crate::names::is_given_by_aws;

/// Checks what the capabilities don't say, before any I/O: nothing may fail when the value is already written.
pub(super) fn check(name: &SecretName, request: &PutRequest) -> Result<()> {
    check_own(name)?;
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
    if let Change::Set(text) = &request.description
        && text.chars().count() > MAX_DESCRIPTION
    {
        return invalid(format!(
            "the description has {} characters, AWS takes {MAX_DESCRIPTION}",
            text.chars().count()
        ));
    }
    let Change::Set(tags) = &request.tags else { return Ok(()) };
    for (key, value) in tags {
        let shown = key.escape_debug();
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return invalid(format!(
                "the tag `{shown:.40}` is too long or has no name: AWS takes 128 characters, and 256 in its value"
            ));
        }
        if key.starts_with("aws:") {
            return invalid(format!("the tag `{shown}` begins with `aws:`, which belongs to AWS"));
        }
        if !key.chars().chain(value.chars()).all(is_tag_char) {
            return invalid(format!(
                "the tag `{shown}` has a character that AWS doesn't take: letters, digits, spaces and `_.:/=+-@`"
            ));
        }
    }
    Ok(())
}

/// Refuses to write what AWS has named.
pub(super) fn check_own(name: &SecretName) -> Result<()> {
    if is_given_by_aws(name) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "an ARN, and a name that AWS gives itself, can be read and not written",
        )
        .with("name", name.as_str()));
    }
    Ok(())
}

const MAX_DESCRIPTION: usize = 2048;

/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}
