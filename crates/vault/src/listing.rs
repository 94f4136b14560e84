//! Walks the folders of a mount.
//!
//! The server lists one folder at a time, names and folders (with a `/` at the end) in byte order. Since everything in
//! the folder `a/` begins with `a/`, the order of a folder's entries is the order of all names below them.

use std::sync::Arc;

use futures_util::future::try_join_all;
use keyfob_core::{Error, ErrorKind, PageToken, Result};
use serde::Deserialize;

use crate::client::{ApiPath, Vault};

/// So many folders are asked for at once.
const AT_ONCE: usize = 32;

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The text with which paths begin.
    pub(crate) prefix: String,
    /// Only paths behind this one, in byte order.
    pub(crate) after: Option<String>,
    /// So many paths are enough.
    pub(crate) enough: usize,
}

/// Paths in byte order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) paths: Vec<String>,
    /// Whether there may be more behind them.
    pub(crate) more: bool,
}

#[derive(Debug)]
enum Entry {
    Secret(String),
    /// With a `/` at the end; the root is empty.
    Folder(String),
}

impl Wanted {
    /// Finds the first paths.
    ///
    /// Only folders in which one can be are asked for, and not many more than are needed.
    ///
    /// # Errors
    /// What listing a folder fails with, `PermissionDenied` among it.
    pub(crate) async fn find<L, F>(&self, list: L) -> Result<Found>
    where
        L: Fn(Arc<str>) -> F,
        F: Future<Output = Result<Vec<String>>>,
    {
        let root = self.prefix.rfind('/').map_or("", |end| &self.prefix[..=end]);
        let mut entries = vec![Entry::Folder(root.to_owned())];
        loop {
            let folders = self.next_folders(&entries);
            if folders.is_empty() {
                break;
            }
            let answers = try_join_all(folders.iter().map(|(_, folder)| list(Arc::clone(folder)))).await?;
            // From behind, so that the places before stay what they are.
            for ((index, folder), keys) in folders.iter().zip(answers).rev() {
                let inside = self.inside(folder, keys);
                entries.splice(index..=index, inside);
            }
        }
        let mut found = Found::default();
        for entry in entries {
            match entry {
                Entry::Secret(path) if found.paths.len() < self.enough => found.paths.push(path),
                _ => {
                    found.more = true;
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The first folders that have not been looked into, up to where enough paths are known.
    fn next_folders(&self, entries: &[Entry]) -> Vec<(usize, Arc<str>)> {
        let mut paths = 0;
        let mut folders = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if paths > self.enough || folders.len() == AT_ONCE {
                break;
            }
            match entry {
                Entry::Secret(_) => paths += 1,
                Entry::Folder(folder) => folders.push((index, folder.as_str().into())),
            }
        }
        folders
    }

    fn inside(&self, folder: &str, keys: Vec<String>) -> Vec<Entry> {
        let mut paths: Vec<String> = keys.into_iter().map(|key| format!("{folder}{key}")).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.into_iter().filter_map(|path| self.entry(path)).collect()
    }

    fn entry(&self, path: String) -> Option<Entry> {
        let after = self.after.as_deref();
        if path.ends_with('/') {
            if ApiPath::parse(path.trim_end_matches('/')).is_err() || path.ends_with("//") {
                tracing::debug!(target: "keyfob", folder = ?path, "a folder whose name keyfob can't express is not listed");
                return None;
            }
            let matches = path.starts_with(&self.prefix) || self.prefix.starts_with(&path);
            let is_passed = after.is_some_and(|after| path.as_str() < after && !after.starts_with(&path));
            (matches && !is_passed).then_some(Entry::Folder(path))
        } else {
            let is_passed = after.is_some_and(|after| path.as_str() <= after);
            (path.starts_with(&self.prefix) && !is_passed).then_some(Entry::Secret(path))
        }
    }
}

/// The keys directly in a folder, which stands below `endpoint`.
pub(crate) async fn folder(vault: &Vault, endpoint: ApiPath, folder: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        keys: Vec<String>,
    }
    let path = match folder.trim_end_matches('/') {
        "" => endpoint,
        // What begins a name that can't be has nothing below it.
        inside => match endpoint.join(inside) {
            Ok(path) => path,
            Err(_) => return Ok(Vec::new()),
        },
    };
    let answer = vault.list(&path).await?;
    if answer.is_missing() {
        return Ok(Vec::new());
    }
    answer.data().map(|body: Body| body.keys)
}

// A token says of which listing it is, so that another listing's is refused.

pub(crate) fn token_after(path: &str) -> PageToken {
    PageToken::new(format!("after:{path}"))
}

pub(crate) fn path_after(token: &PageToken) -> Result<String> {
    let path = token.as_str().strip_prefix("after:").filter(|path| !path.is_empty());
    path.map(str::to_owned).ok_or_else(not_a_token)
}

pub(crate) fn token_below(version: u64) -> PageToken {
    PageToken::new(format!("below:{version}"))
}

pub(crate) fn number_below(token: &PageToken) -> Result<u64> {
    let number = token.as_str().strip_prefix("below:").and_then(|number| number.parse().ok());
    number.ok_or_else(not_a_token)
}

fn not_a_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a page token of this listing")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    /// A mount with these paths; says which folders were asked for.
    fn walk(paths: &[&str], wanted: &Wanted) -> (Found, Vec<String>) {
        let asked = Mutex::new(Vec::new());
        let list = |folder: Arc<str>| {
            let keys: BTreeSet<String> = paths
                .iter()
                .filter_map(|path| path.strip_prefix(&*folder))
                .map(|rest| rest.find('/').map_or(rest, |end| &rest[..=end]).to_owned())
                .collect();
            asked.lock().unwrap().push(folder.to_string());
            async move { Ok(keys.into_iter().collect()) }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(wanted.find(list)).unwrap();
        (found, asked.into_inner().unwrap())
    }

    fn wanted(prefix: &str, after: Option<&str>, enough: usize) -> Wanted {
        Wanted {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            enough,
        }
    }

    const PATHS: &[&str] = &["a", "a-c", "a.d", "a/b", "a/c/d", "a0", "db", "db/a", "dbx/y", "e/f/g"];

    #[test]
    fn pages_of_any_size_give_every_path_in_byte_order() {
        for enough in 1..=PATHS.len() {
            let (mut seen, mut after) = (Vec::new(), None::<String>);
            loop {
                let (found, _) = walk(PATHS, &wanted("", after.as_deref(), enough));
                assert!(found.paths.len() <= enough);
                seen.extend(found.paths);
                if !found.more {
                    break;
                }
                after = seen.last().cloned();
            }
            assert_eq!(seen, PATHS, "in pages of {enough}");
        }
    }

    #[test]
    fn only_folders_that_can_match_are_asked_for() {
        let (found, asked) = walk(PATHS, &wanted("db", None, 100));
        assert_eq!(found.paths, ["db", "db/a", "dbx/y"]);
        assert_eq!(asked, ["", "db/", "dbx/"]);
        let (found, asked) = walk(PATHS, &wanted("a/c/", None, 100));
        assert_eq!((found.paths, asked), (vec!["a/c/d".to_owned()], vec!["a/c/".to_owned()]));
        let (found, asked) = walk(PATHS, &wanted("", Some("db"), 100));
        assert_eq!(found.paths, ["db/a", "dbx/y", "e/f/g"]);
        assert!(!asked.contains(&"a/".to_owned()));
    }

    #[test]
    fn what_is_not_needed_is_not_asked_for() {
        let (found, asked) = walk(&["a", "b", "c/d"], &wanted("", None, 1));
        assert_eq!(found.paths, ["a"]);
        assert!(found.more);
        assert_eq!(asked, [""]);
    }

    #[test]
    fn a_folder_without_a_name_is_left_out() {
        let (found, _) = walk(&["a//b", "a/c", "/d"], &wanted("", None, 100));
        assert_eq!(found.paths, ["a/c"]);
    }
}
