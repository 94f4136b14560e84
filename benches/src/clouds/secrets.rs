//! The secrets that everyone starts a process with.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use data_encoding::BASE64;

/// How many there are.
pub(super) const SECRETS: usize = 100;

/// Values that nobody else has, for one service.
pub(super) struct Secrets {
    /// Their project, application, prefix or namespace there.
    pub(super) project: String,
    values: Vec<String>,
}

impl Secrets {
    pub(super) fn new() -> Self {
        let number = RandomState::new().hash_one(std::process::id());
        Self {
            project: format!("keyfob-bench-{number:x}"),
            values: (0..SECRETS)
                .map(|index| format!("kfcanary-{number:016x}{index:07}"))
                .collect(),
        }
    }

    pub(super) fn value(&self, index: usize) -> &str {
        &self.values[index]
    }

    pub(super) fn base64(&self, index: usize) -> String {
        BASE64.encode(self.values[index].as_bytes())
    }

    /// Whether an answer has all of these values.
    pub(super) fn are_in(&self, body: &str, mut indices: Range<usize>) -> bool {
        indices.all(|index| body.contains(&self.values[index]))
    }

    /// How many of these lines, a child's environment, are right.
    pub(super) fn right(&self, environment: &str) -> usize {
        let right = |line: &&str| {
            line.split_once('=').is_some_and(|(name, value)| {
                let index: Option<usize> = name.strip_prefix("VALUE_").and_then(|index| index.parse().ok());
                index
                    .and_then(|index| self.values.get(index))
                    .is_some_and(|right| right == value)
            })
        };
        environment.lines().filter(right).count()
    }
}

/// The variable that a child sees.
pub(super) fn variable(index: usize) -> String {
    format!("VALUE_{index}")
}

/// The same as a name where only lower case is allowed, and no `_`.
pub(super) fn lower_case(index: usize) -> String {
    format!("value-{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_value_under_the_right_name_counts() {
        let secrets = Secrets {
            project: String::new(),
            values: vec!["kfcanary-a".to_owned(), "kfcanary-b".to_owned()],
        };
        assert_eq!(secrets.right("PATH=/bin\nVALUE_1=kfcanary-b\nVALUE_0=kfcanary-a\n"), 2);
        for wrong in [
            "VALUE_0=kfcanary-b",
            "VALUE_0=kfcanary-a ",
            "VALUE_0=",
            "VALUE_2=kfcanary-a",
            "VALUE_0=${secret:VALUE_0}",
            "0=kfcanary-a",
        ] {
            assert_eq!(secrets.right(wrong), 0, "{wrong}");
        }
        assert!(secrets.are_in("kfcanary-a, kfcanary-b", 0..2) && !secrets.are_in("kfcanary-a", 0..2));
    }
}
