//! What stands after the `?` of a store URL.

use std::str::FromStr;

use super::StoreUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::nearest::nearest;
use crate::value::SecretValue;

/// The parameters of a [`StoreUrl`], taken one by one, so that what nobody took can be refused.
#[derive(Debug)]
pub struct Parameters {
    url: String,
    left: Vec<(String, SecretValue)>,
    known: Vec<String>,
}

impl Parameters {
    pub(super) fn new(url: &StoreUrl) -> Self {
        Self {
            url: url.to_string(),
            left: url.parameters.clone(),
            known: Vec::new(),
        }
    }

    /// Takes a parameter that holds no secret.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.take_secret(name)
            .map(|value| String::from_utf8_lossy(value.expose_secret()).into_owned())
    }

    /// Takes a parameter that holds a secret.
    pub fn take_secret(&mut self, name: &str) -> Option<SecretValue> {
        self.known.push(name.to_owned());
        let index = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.remove(index).1)
    }

    /// Takes a parameter and parses it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] naming the parameter, saying that `expected` would be right.
    pub fn take_parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, format!("the parameter `{name}` is not {expected}"))
                .with("url", self.url.as_str())
        })
    }

    /// Refuses parameters that nobody took.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] naming the first of them and the nearest known one.
    pub fn finish(self) -> Result<()> {
        let Some((unknown, _)) = self.left.first() else {
            return Ok(());
        };
        let error = Error::new(
            ErrorKind::InvalidConfig,
            format!("unknown parameter `{}`", unknown.escape_debug()),
        )
        .with("url", self.url.as_str());
        let known = self.known.iter().map(String::as_str);
        Err(match nearest(unknown, known).first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None if self.known.is_empty() => error.with_hint("this store's URL takes no parameters"),
            None => error.with_hint(format!("known are: `{}`", self.known.join("`, `"))),
        })
    }
}
