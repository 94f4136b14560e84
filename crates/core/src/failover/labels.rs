//! Which store a version or a page belongs to, written into its token.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::failover::options::wrong;
use crate::options::PageToken;
use crate::secret::Version;

/// What stands between a label and a store's own token. No label has it.
const SEPARATOR: char = ':';

/// So that a label leaves room for the token: the longest that a service gives out has 64 bytes.
const MAX_LABEL_BYTES: usize = 64;

/// The labels of a failover list, in its order.
#[derive(Debug)]
pub(super) struct Labels(Vec<Arc<str>>);

impl Labels {
    /// # Errors
    /// `InvalidConfig` when there is none, one is there twice, or one can't be a label.
    pub(super) fn new(labels: Vec<Arc<str>>) -> Result<Self> {
        if labels.is_empty() {
            return Err(wrong("it has no store"));
        }
        let mut known = HashSet::new();
        for label in &labels {
            let has_only = |ok: fn(char) -> bool| label.chars().all(ok);
            if label.is_empty() || label.len() > MAX_LABEL_BYTES || !has_only(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            {
                return Err(wrong(format_args!(
                    "`{}` is no label of a store: 1 to {MAX_LABEL_BYTES} letters, digits, `.`, `_` and `-`",
                    label.escape_debug()
                )));
            }
            if !known.insert(label) {
                return Err(wrong(format_args!("two stores have the label `{label}`")));
            }
        }
        Ok(Self(labels))
    }

    /// All of them, as a list is written.
    pub(super) fn joined(&self) -> String {
        self.0.join(",")
    }

    pub(super) fn get(&self, rank: usize) -> &Arc<str> {
        &self.0[rank]
    }

    /// A store's version as the list hands it out: `LABEL:TOKEN`; of the first store `TOKEN`, unless that begins like a
    /// label. `None` when there is no room for the label.
    pub(super) fn version_out(&self, rank: usize, version: &Version) -> Option<Version> {
        if rank == 0 && self.split(version.as_str()).is_none() {
            return Some(version.clone());
        }
        Version::new(format!("{}{SEPARATOR}{version}", self.0[rank])).ok()
    }

    /// Whose version this is, and how its store calls it. `None` when no store can have such a one.
    pub(super) fn version_in(&self, version: &Version) -> Option<(usize, Version)> {
        match self.split(version.as_str()) {
            None => Some((0, version.clone())),
            Some((rank, token)) => Version::new(token).ok().map(|version| (rank, version)),
        }
    }

    /// A store's page token as the list hands it out: `LABEL:TOKEN`.
    pub(super) fn page_out(&self, rank: usize, token: &PageToken) -> PageToken {
        PageToken::new(format!("{}{SEPARATOR}{}", self.0[rank], token.as_str()))
    }

    /// Whose page this is, and how its store calls it.
    ///
    /// # Errors
    /// `InvalidInput` for what [`page_out`](Self::page_out) did not give out.
    pub(super) fn page_in(&self, token: &PageToken) -> Result<(usize, PageToken)> {
        match self.split(token.as_str()) {
            Some((rank, token)) => Ok((rank, PageToken::new(token))),
            None => Err(Error::new(ErrorKind::InvalidInput, "not a page token of this list of stores")),
        }
    }

    /// Splits a known label off.
    fn split<'a>(&self, token: &'a str) -> Option<(usize, &'a str)> {
        let (label, token) = token.split_once(SEPARATOR)?;
        let rank = self.0.iter().position(|known| **known == *label)?;
        Some((rank, token))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(labels: &[&str]) -> Result<Labels> {
        Labels::new(labels.iter().map(|label| Arc::from(*label)).collect())
    }

    fn version(token: &str) -> Version {
        Version::new(token).unwrap()
    }

    #[test]
    fn tokens_of_the_first_store_stay_as_they_are_unless_they_could_be_mistaken() {
        let labels = labels(&["vault", "aws"]).unwrap();
        for (rank, token, out) in [
            (0, "7", "7"),
            (0, "sha256:abc", "sha256:abc"),
            (0, "aws:7", "vault:aws:7"),
            (0, "vault:7", "vault:vault:7"),
            (1, "7", "aws:7"),
            (1, "aws:7", "aws:aws:7"),
        ] {
            assert_eq!(labels.version_out(rank, &version(token)), Some(version(out)));
            assert_eq!(labels.version_in(&version(out)), Some((rank, version(token))));
        }
        assert_eq!(labels.version_in(&version("aws:")), None);
    }

    #[test]
    fn a_token_without_room_for_the_label_is_not_handed_out_cut() {
        let labels = labels(&["vault", "aws"]).unwrap();
        assert_eq!(labels.version_out(1, &version(&"x".repeat(253))), None);
        assert!(labels.version_out(1, &version(&"x".repeat(252))).is_some());
        assert!(labels.version_out(0, &version(&"x".repeat(256))).is_some());
    }

    #[test]
    fn labels_that_could_be_mistaken_are_refused() {
        for wrong in [
            &[][..],
            &[""],
            &["a", "b", "a"],
            &["a:b"],
            &["a b"],
            &["ä"],
            &["a\n"],
            &[&"x".repeat(65)],
        ] {
            assert_eq!(labels(wrong).unwrap_err().kind(), ErrorKind::InvalidConfig, "{wrong:?}");
        }
        labels(&["aws", "aws-2", "AWS", "eu-west-1.aws_x", &"x".repeat(64)]).unwrap();
    }

    proptest! {
        #[test]
        fn every_token_comes_back_to_its_store(rank in 0..3_usize, token in "(a|b|c|ab|x)?(:|%|,)?(a|b|:){0,3}[!-~]{1,8}") {
            let labels = labels(&["a", "b", "ab"]).unwrap();
            let own = version(&token);
            let out = labels.version_out(rank, &own).unwrap();
            prop_assert_eq!(labels.version_in(&out), Some((rank, own)));
            let page = PageToken::new(token);
            prop_assert_eq!(labels.page_in(&labels.page_out(rank, &page)).unwrap(), (rank, page));
        }
    }
}
