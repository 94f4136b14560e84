//! The map from secret names to variable names.

use keyfob_core::SecretName;

/// Whether every program can have a variable of that name: `[A-Za-z_][A-Za-z0-9_]*`.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The variable that keeps the secret `name`: the name itself where it is a variable name, else its
/// upper-case form with `_` for `/`, `-` and `.`, and with a `_` before a digit at the start. `None` when that is not
/// a variable name either.
///
/// ```
/// use keyfob_core::SecretName;
/// use keyfob_env::variable_for;
///
/// let variable = |name| variable_for(&SecretName::new(name).unwrap());
/// assert_eq!(variable("db/password").as_deref(), Some("DB_PASSWORD"));
/// assert_eq!(variable("Api_Key").as_deref(), Some("Api_Key"));
/// assert_eq!(variable("2fa.seed").as_deref(), Some("_2FA_SEED"));
/// assert_eq!(variable("users/jo@x.org"), None);
/// assert_eq!(variable("/db/password"), None);
/// ```
#[must_use]
pub fn variable_for(name: &SecretName) -> Option<String> {
    if is_variable_name(name.as_str()) {
        return Some(name.as_str().to_owned());
    }
    mapped(name)
}

/// Where a read looks: the exact name first, then the mapped one. Unlike [`variable_for`] this also finds `TOKEN`
/// for `token`.
pub(crate) fn spellings(name: &SecretName) -> impl Iterator<Item = String> {
    let exact = name.as_str().to_owned();
    let mapped = mapped(name).filter(|mapped| *mapped != exact);
    std::iter::once(exact).chain(mapped)
}

fn mapped(name: &SecretName) -> Option<String> {
    if name.is_absolute() {
        return None;
    }
    let mut variable = String::with_capacity(name.as_str().len() + 1);
    if name.as_str().starts_with(|first: char| first.is_ascii_digit()) {
        variable.push('_');
    }
    variable.extend(name.as_str().chars().map(|c| match c {
        '/' | '-' | '.' => '_',
        other => other.to_ascii_uppercase(),
    }));
    is_variable_name(&variable).then_some(variable)
}
