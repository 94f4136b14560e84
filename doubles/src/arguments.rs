//! The command line: a command, then `--name value` and `--name` in any order.

use std::path::PathBuf;
use std::str::FromStr;

use crate::Failure;

/// What is left of the command line. Each option is taken out of it, and [`Arguments::finish`] refuses the rest, so that
/// a mistyped option never goes unnoticed.
#[derive(Debug)]
pub(crate) struct Arguments {
    command: Option<String>,
    rest: Vec<String>,
}

impl Arguments {
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let words: Result<Vec<_>, _> = std::env::args_os().skip(1).map(|word| word.into_string()).collect();
        Ok(Self::new(words.map_err(|_| "an argument is not valid Unicode")?))
    }

    pub(crate) fn new(words: Vec<String>) -> Self {
        let mut words = words.into_iter();
        Self {
            command: words.next(),
            rest: words.collect(),
        }
    }

    pub(crate) fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// `--name`, which takes no value.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| word != name);
        self.rest.len() < before
    }

    /// `--name VALUE`.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(at) = self.rest.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 == self.rest.len() {
            return Err(format!("`{name}` needs a value").into());
        }
        self.rest.remove(at);
        Ok(Some(self.rest.remove(at)))
    }

    /// `--name NUMBER`.
    pub(crate) fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, Failure> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| format!("`{name}` needs a number, not `{text}`"))?;
        Ok(Some(number))
    }

    /// `--name PATH`, which must be there.
    pub(crate) fn path(&mut self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.text(name)?.ok_or_else(|| format!("`{name}` is missing"))?;
        Ok(PathBuf::from(path))
    }

    /// Refuses what no one has asked for.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is not known").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::new(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn options_come_in_any_order() {
        let mut arguments = arguments("azure --purge-protection --directory /d --port 80");
        assert_eq!(arguments.command(), Some("azure"));
        assert_eq!(arguments.number::<u16>("--port").unwrap(), Some(80));
        assert_eq!(arguments.path("--directory").unwrap(), PathBuf::from("/d"));
        assert!(arguments.flag("--purge-protection"));
        assert!(!arguments.flag("--purge-protection"));
        assert_eq!(arguments.number::<u64>("--settle-ms").unwrap(), None);
        arguments.finish().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |failure: Failure| failure.to_string();
        assert_eq!(
            said(arguments("gcp --ports 1").finish().unwrap_err()),
            "`--ports` is not known"
        );
        assert_eq!(
            said(arguments("gcp --port").number::<u16>("--port").unwrap_err()),
            "`--port` needs a value"
        );
        let wrong = arguments("gcp --port 70000").number::<u16>("--port").unwrap_err();
        assert_eq!(said(wrong), "`--port` needs a number, not `70000`");
        assert_eq!(
            said(arguments("azure").path("--directory").unwrap_err()),
            "`--directory` is missing"
        );
    }
}
