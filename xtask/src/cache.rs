//! Directories outside the repository that are built once: downloads, environments, and where servers keep their state.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::process::{Failure, Result};

/// A directory of the cache, keyed by `inputs`: everything that decides what is in it. It is built when `works` fails in
/// it. A lock file keeps two runs from building at once.
pub(crate) fn cached(
    name: &str,
    inputs: &[&[u8]],
    works: impl Fn(&Path) -> Result<String>,
    build: impl Fn(&Path) -> Result<String>,
) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let dir = cache.join(format!("{name}-{}", key(inputs)));
    fs::create_dir_all(&cache).map_err(Failure::io(format_args!("make `{}`", cache.display())))?;
    let _lock = lock(&dir.with_extension("lock"))?;

    if works(&dir).is_err() {
        eprintln!("preparing {}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(Failure::io(format_args!("remove `{}`", dir.display())))?;
        }
        fs::create_dir(&dir).map_err(Failure::io(format_args!("make `{}`", dir.display())))?;
        build(&dir)?;
        works(&dir)?;
    }
    Ok(dir)
}

/// The directory for everything that keyfob's tasks keep outside the repository. It need not exist.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let absolute = |variable: &str| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        path.is_absolute().then_some(path)
    };
    absolute("KEYFOB_CACHE_DIR")
        .or_else(|| absolute("XDG_CACHE_HOME"))
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .map(|base| base.join("keyfob"))
        .ok_or_else(|| {
            Failure::failed("no cache directory: none of `KEYFOB_CACHE_DIR`, `XDG_CACHE_HOME` and `HOME` is an absolute path")
        })
}

/// Waits until the file at `path`, which is made, is locked. The lock ends with the file that is given, or with the
/// process.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let lock = File::create(path).map_err(Failure::io(format_args!("make `{}`", path.display())))?;
    lock.lock().map_err(Failure::io(format_args!("lock `{}`", path.display())))?;
    Ok(lock)
}

/// A short name for `inputs`, the same for the same ones.
pub(crate) fn key<T: Hash + ?Sized>(inputs: &T) -> String {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Adds how to install what the command belongs to.
pub(crate) fn hinted<T>(install: &str, result: Result<T>) -> Result<T> {
    result.map_err(|failure| Failure::failed(format!("{failure} (on Debian: `{install}`)")))
}
