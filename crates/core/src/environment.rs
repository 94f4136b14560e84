//! What keyfob may know of the process and its machine, as one value that tests can make up.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::files::{FakeFile, FileStatus, Files};
use crate::value::SecretValue;

/// Variables that hold a secret. [`Environment::var`] refuses them.
const SECRET_VARIABLES: &[&str] = &[
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SECRET",
    "BAO_TOKEN",
    "HTTPS_PROXY",
    "IDENTITY_HEADER",
    "KEYFOB_KEY",
    "KEYFOB_PASSPHRASE",
    "PGPASSWORD",
    "POSTGRES_URL",
    "SECRET_CACHE_REDIS_KEY",
    "SECRET_CACHE_REDIS_PASSWORD",
    "VAULT_JWT",
    "VAULT_SECRET_ID",
    "VAULT_TOKEN",
    "VAULT_WRAPPED_SECRET_ID",
];

/// An immutable view of the process's variables, user, directories and file system.
///
/// Everything that keyfob takes from its surroundings comes through here, so that detection and configuration are
/// functions of one argument and tests never touch the process. Cheap to clone. `Debug` shows the names of the
/// variables, never a value.
///
/// Variables are copied once, when the view is made; files are looked at when asked for.
///
/// ```
/// use keyfob_core::Environment;
///
/// let env = Environment::fake().var("AWS_PROFILE", "dev").file("~/.aws/config", "[default]").build();
/// assert_eq!(env.var("AWS_PROFILE")?, Some("dev"));
/// assert!(env.is_file("~/.aws/config"));
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Environment(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    /// As secrets, because some are and nobody knows which: wiped when the view goes.
    variables: BTreeMap<String, SecretValue>,
    home: Option<PathBuf>,
    current_dir: Option<PathBuf>,
    user: u32,
    files: Files,
}

impl Environment {
    /// The view of this process. Variables whose name is not UTF-8 are left out: nothing could ask for them.
    #[must_use]
    pub fn from_process() -> Self {
        use std::os::unix::ffi::OsStringExt;
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, SecretValue::new(value.into_vec()))))
            .collect();
        Self(Arc::new(Inner {
            variables,
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            current_dir: std::env::current_dir().ok(),
            user: rustix::process::geteuid().as_raw(),
            files: Files::Host,
        }))
    }

    /// Begins a made-up view for tests: no variables, no files, home `/home/user`, current directory
    /// `/home/user/project`, user id 1000.
    #[must_use]
    pub fn fake() -> FakeEnvironment {
        FakeEnvironment {
            variables: BTreeMap::new(),
            home: Some("/home/user".into()),
            current_dir: "/home/user/project".into(),
            user: None,
            files: Vec::new(),
            host_files: false,
        }
    }

    /// The same view with another value of one variable: for what a command line says in the variable's place.
    #[must_use]
    pub fn with_var(&self, name: impl Into<String>, value: impl Into<SecretValue>) -> Self {
        let mut inner = Inner::clone(&self.0);
        inner.variables.insert(name.into(), value.into());
        Self(Arc::new(inner))
    }

    /// The value of a variable that holds no secret. An empty variable counts as unset, as everywhere in keyfob.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the value is not UTF-8, and when the variable is known to hold a secret:
    /// then [`secret_var`](Self::secret_var) is the way.
    pub fn var(&self, name: &str) -> Result<Option<&str>> {
        if SECRET_VARIABLES.contains(&name) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("the variable `{name}` holds a secret and can't be read as plain text"),
            ));
        }
        let Some(value) = self.0.variables.get(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match value.expose_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("the variable `{name}` is not UTF-8 text"),
            )),
        }
    }

    /// The bytes of any variable, as a secret. An empty variable is an empty secret.
    #[must_use]
    pub fn secret_var(&self, name: &str) -> Option<SecretValue> {
        self.0.variables.get(name).cloned()
    }

    /// Whether a variable is set and not empty.
    #[must_use]
    pub fn has_var(&self, name: &str) -> bool {
        self.0.variables.get(name).is_some_and(|value| !value.is_empty())
    }

    /// The names of all variables, sorted, also of empty ones.
    pub fn var_names(&self) -> impl Iterator<Item = &str> {
        self.0.variables.keys().map(String::as_str)
    }

    /// The user's home directory, when there is one. Always absolute.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.0.home.as_deref()
    }

    /// Where keyfob remembers what it saw elsewhere: `$KEYFOB_STATE_DIR`, else `keyfob` below `$XDG_STATE_HOME`, by default below
    /// `~/.local/state`. `None` without a home.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when a variable is not UTF-8.
    pub fn state_directory(&self) -> Result<Option<PathBuf>> {
        if let Some(directory) = self.var("KEYFOB_STATE_DIR")? {
            return Ok(Some(self.absolute(directory)));
        }
        let directory = self.base_directory("XDG_STATE_HOME", ".local/state")?;
        Ok(directory.map(|directory| directory.join("keyfob")))
    }

    /// A directory of the XDG base directory specification, by which a relative path in the variable is ignored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the variable is not UTF-8.
    pub fn base_directory(&self, variable: &str, below_home: &str) -> Result<Option<PathBuf>> {
        let from_variable = self.var(variable)?.map(PathBuf::from).filter(|path| path.is_absolute());
        Ok(from_variable.or_else(|| self.home().map(|home| home.join(below_home))))
    }

    /// The current directory; `None` when it has been deleted.
    #[must_use]
    pub fn current_dir(&self) -> Option<&Path> {
        self.0.current_dir.as_deref()
    }

    /// The effective user id.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.0.user
    }

    /// `path` as an absolute path: a leading `~/` is the home directory, a relative path stands below the current
    /// directory. Left as it is where these are unknown.
    #[must_use]
    pub fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        absolute(path.as_ref(), self.home(), self.current_dir())
    }

    /// What stands at `path`, without following a link that stands there itself.
    ///
    /// # Errors
    /// Those of the file system, `NotFound` among them.
    pub fn status(&self, path: impl AsRef<Path>) -> io::Result<FileStatus> {
        self.0.files.status(&self.absolute(path))
    }

    /// The real path of what stands at `path`, without links.
    ///
    /// # Errors
    /// Those of the file system, `NotFound` among them.
    pub fn real_path(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.0.files.real_path(&self.absolute(path))
    }

    /// Whether a regular file stands at `path`, perhaps through links.
    #[must_use]
    pub fn is_file(&self, path: impl AsRef<Path>) -> bool {
        self.0.files.is_file(&self.absolute(path))
    }

    /// The contents of a regular file of at most `max_bytes` bytes. Never waits for a pipe or a device.
    ///
    /// # Errors
    /// Those of the file system; `InvalidInput` when it is no regular file, `FileTooLarge` when it is larger.
    pub fn read(&self, path: impl AsRef<Path>, max_bytes: usize) -> io::Result<Vec<u8>> {
        self.0.files.read(&self.absolute(path), max_bytes)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.0.variables.keys())
            .field("home", &self.0.home)
            .field("current_dir", &self.0.current_dir)
            .field("user", &self.0.user)
            .finish_non_exhaustive()
    }
}

/// Builds a made-up [`Environment`]. Its files are in memory unless [`host_files`](Self::host_files) is called.
#[derive(Clone)]
pub struct FakeEnvironment {
    variables: BTreeMap<String, SecretValue>,
    home: Option<PathBuf>,
    current_dir: PathBuf,
    user: Option<u32>,
    files: Vec<(PathBuf, FakeFile)>,
    host_files: bool,
}

impl FakeEnvironment {
    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<SecretValue>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Places a file that belongs to the user, with mode 0600. Directories are there as needed, with mode 0755.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) -> Self {
        let owner = self.user.unwrap_or(FAKE_USER);
        self.file_of(path, contents, owner, 0o600)
    }

    /// Places a file that belongs to `owner`, with permission bits `mode`.
    #[must_use]
    pub fn file_of(mut self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>, owner: u32, mode: u32) -> Self {
        let contents = contents.into();
        self.files.push((path.into(), FakeFile { contents, owner, mode }));
        self
    }

    /// Sets the current directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = dir.into();
        self
    }

    /// Sets the home directory.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Takes the home directory away, as for a service user.
    #[must_use]
    pub fn no_home(mut self) -> Self {
        self.home = None;
        self
    }

    /// Sets the effective user id, also the owner of files placed from now on.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Shows the real file system instead of placed files, and the real user unless one is set: for tests with real
    /// stores and made-up variables.
    #[must_use]
    pub fn host_files(mut self) -> Self {
        self.host_files = true;
        self
    }

    /// The finished view.
    #[must_use]
    pub fn build(self) -> Environment {
        let (user, files) = if self.host_files {
            let real = || rustix::process::geteuid().as_raw();
            (self.user.unwrap_or_else(real), Files::Host)
        } else {
            let user = self.user.unwrap_or(FAKE_USER);
            let place = |path: PathBuf| absolute(&path, self.home.as_deref(), Some(&self.current_dir));
            let files = self.files.into_iter().map(|(path, file)| (place(path), file)).collect();
            (user, Files::Fake { user, files })
        };
        Environment(Arc::new(Inner {
            variables: self.variables,
            home: self.home,
            current_dir: Some(self.current_dir),
            user,
            files,
        }))
    }
}

impl fmt::Debug for FakeEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEnvironment")
            .field("variables", &self.variables.keys())
            .finish_non_exhaustive()
    }
}

const FAKE_USER: u32 = 1000;

fn absolute(path: &Path, home: Option<&Path>, current_dir: Option<&Path>) -> PathBuf {
    let joined = match path.strip_prefix("~") {
        Ok(below) => home.map(|home| home.join(below)),
        Err(_) => current_dir.map(|dir| dir.join(path)),
    };
    joined.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_never_a_value() {
        let fake = Environment::fake().var("APP_PASSWORD", "canary-7f3a");
        let env = fake.clone().build();
        for text in [format!("{fake:?}"), format!("{env:?}")] {
            assert!(text.contains("APP_PASSWORD") && !text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_variable_that_holds_a_secret_is_read_as_one() {
        let env = Environment::fake().var("VAULT_TOKEN", "canary-7f3a").build();
        let error = env.var("VAULT_TOKEN").unwrap_err();
        assert!(!format!("{error:?}").contains("canary"));
        assert_eq!(env.secret_var("VAULT_TOKEN").unwrap().expose_secret(), b"canary-7f3a");
    }

    #[test]
    fn a_variable_set_in_a_copy_leaves_the_view_as_it_is() {
        let env = Environment::fake().var("A", "1").build();
        let other = env.with_var("A", "2").with_var("B", "3");
        assert_eq!((env.var("A").unwrap(), env.var("B").unwrap()), (Some("1"), None));
        assert_eq!((other.var("A").unwrap(), other.var("B").unwrap()), (Some("2"), Some("3")));
    }

    #[test]
    fn an_empty_variable_is_unset_but_an_empty_secret() {
        let env = Environment::fake().var("EMPTY", "").build();
        assert_eq!(env.var("EMPTY").unwrap(), None);
        assert!(!env.has_var("EMPTY"));
        assert!(env.secret_var("EMPTY").unwrap().is_empty());
        assert!(env.secret_var("MISSING").is_none());
    }

    #[test]
    fn a_variable_that_is_not_text_is_an_error_that_names_it() {
        let env = Environment::fake().var("AWS_PROFILE", vec![0xff, b'x']).build();
        let error = env.var("AWS_PROFILE").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.to_string(), "the variable `AWS_PROFILE` is not UTF-8 text");
        assert!(env.has_var("AWS_PROFILE"));
    }

    #[test]
    fn paths_are_made_absolute() {
        let env = Environment::fake().build();
        assert_eq!(env.absolute("a/b"), Path::new("/home/user/project/a/b"));
        assert_eq!(env.absolute("~/a"), Path::new("/home/user/a"));
        assert_eq!(env.absolute("/a"), Path::new("/a"));
        assert_eq!(Environment::fake().no_home().build().absolute("~/a"), Path::new("~/a"));
    }

    #[test]
    fn the_view_of_this_process_has_its_variables() {
        let env = Environment::from_process();
        assert!(env.has_var("PATH"));
        assert!(env.var_names().any(|name| name == "PATH"));
        assert!(env.current_dir().unwrap().is_absolute());
    }
}
