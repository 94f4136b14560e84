//! A sandbox with encrypted stores, which this process opens too, and servers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, stream};
use keyfob::{
    Change, DeleteMode, DeleteOptions, Deleted, Environment, Expired, GetOptions, ListOptions, PutRequest, SecretName,
    SecretStore, StoreUrl, backends,
};
use keyfob_core::{Layer as _, RetryLayer};
use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_integration_tests::servers::{self, Provider};
use serde_json::Value;

/// All that a migration has to keep of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) value: Vec<u8>,
    pub(crate) description: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) expires_at: Option<SystemTime>,
}

pub(crate) type Contents = BTreeMap<SecretName, Kept>;

/// A store, as the command line names it, and its variables.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) url: String,
    variables: Vec<(&'static str, String)>,
}

impl End {
    pub(crate) fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    }

    /// The same with another value of a variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
        self
    }
}

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    ends: Vec<End>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            ends: Vec::new(),
        }
    }

    /// A new encrypted store.
    pub(crate) fn sqlite(&self, name: &str) -> End {
        let url = format!("sqlite:{name}.db");
        let _ = self.sandbox.succeed(&format!("keyfob init -q --no-project --store {url}"));
        End {
            url,
            variables: Vec::new(),
        }
    }

    /// A place on a server; `None`, told, when there is none.
    pub(crate) fn server(&mut self, test: &str, provider: Provider) -> Option<End> {
        let variables = servers::variables(test, provider)?;
        let end = End {
            url: format!("{}:", provider.name()),
            variables,
        };
        self.ends.push(end.clone());
        Some(end)
    }

    /// The command, which knows both stores.
    pub(crate) fn keyfob(&self, arguments: &[&str], ends: [&End; 2]) -> Command {
        let mut command = self.sandbox.keyfob(arguments);
        for end in ends {
            command.envs(end.variables.iter().map(|(name, value)| (name, value)));
        }
        command
    }

    pub(crate) fn migrate(&self, from: &End, to: &End, report: &str) -> Command {
        self.keyfob(
            &[
                "migrate", "--quiet", "--json", "--from", &from.url, "--to", &to.url, "--report", report,
            ],
            [from, to],
        )
    }

    pub(crate) fn report(&self, name: &str) -> PathBuf {
        self.sandbox.work().join(name)
    }

    /// The store, opened by this process.
    pub(crate) async fn open(&self, end: &End) -> Arc<dyn SecretStore> {
        let fake = Environment::fake()
            .host_files()
            .home(self.sandbox.path())
            .current_dir(self.sandbox.work());
        let fake = end
            .variables
            .iter()
            .fold(fake, |fake, (name, value)| fake.var(*name, value.as_str()));
        let url = StoreUrl::parse(&end.url).unwrap();
        let backend = backends::find(url.scheme()).unwrap();
        let connected = (backend.connect)(url, &fake.build()).await.unwrap();
        RetryLayer::default().layer(connected.store)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for end in &self.ends {
            servers::remove(&end.variables);
        }
    }
}

/// Secrets with everything that all the stores of the chain keep. `binary` are bytes that are no text.
pub(crate) fn secrets(count: usize, is_binary: bool) -> Contents {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let kept = (0..count).map(|number| {
        let name = format!("app{}/part-{}/key_{number:05}", number % 7, number % 31);
        let text = match number % 5 {
            0 => format!("kfcanary-chain{number:08} with spaces, \"quotes\" and ünï ✓"),
            1 => format!("kfcanary-chain{number:08}\nlines\r\n\n\ttabs\n"),
            2 => format!("{{\"user\":\"app\",\"password\":\"kfcanary-chain{number:08}\"}}"),
            3 => format!("kfcanary-chain{number:08}{}", "x".repeat(number % 3000)),
            _ => format!("kfcanary-chain{number:08}"),
        };
        let mut value = text.into_bytes();
        if is_binary {
            value.extend([0, 0xff, 0xfe, b'\n', u8::try_from(number % 256).unwrap()]);
        }
        let tags = (0..number % 3).map(|tag| (format!("tag-{tag}"), format!("value {number}")));
        let kept = Kept {
            value,
            description: (number % 2 == 0).then(|| format!("the secret number {number}")),
            tags: tags.collect(),
            expires_at: (number % 4 == 0).then(|| UNIX_EPOCH + Duration::from_secs(now + 86_400 * (30 + number as u64 % 300))),
        };
        (SecretName::new(name).unwrap(), kept)
    });
    kept.collect()
}

pub(crate) async fn fill(store: &Arc<dyn SecretStore>, contents: &Contents) {
    let writes = stream::iter(contents).map(|(name, kept)| async move {
        let mut request = PutRequest::new(kept.value.clone());
        if let Some(description) = &kept.description {
            request.description = Change::Set(description.clone());
        }
        request.tags = Change::Set(kept.tags.clone());
        if let Some(expires_at) = kept.expires_at {
            request.expires_at = Change::Set(expires_at);
        }
        store.put(name, request).await.unwrap();
    });
    writes.buffer_unordered(16).collect::<()>().await;
}

pub(crate) async fn names(store: &Arc<dyn SecretStore>, deleted: Deleted) -> Vec<SecretName> {
    let mut options = ListOptions {
        deleted,
        ..ListOptions::default()
    };
    let mut names = Vec::new();
    loop {
        let page = store.list(&options).await.unwrap();
        names.extend(page.items.into_iter().map(|metadata| metadata.name));
        options.page.token = page.next;
        if options.page.token.is_none() {
            return names;
        }
    }
}

pub(crate) async fn contents(store: &Arc<dyn SecretStore>) -> Contents {
    let options = &GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    let reads = stream::iter(names(store, Deleted::Exclude).await).map(|name| async move {
        let secret = store.get(&name, options).await.unwrap();
        let kept = Kept {
            value: secret.value.expose_secret().to_vec(),
            description: secret.metadata.description.clone(),
            tags: secret.metadata.tags.clone(),
            expires_at: secret.metadata.expires_at,
        };
        (name, kept)
    });
    reads.buffer_unordered(16).collect().await
}

/// Whether both are the same, and the first name that is not, without any value.
pub(crate) fn assert_same(is: &Contents, should: &Contents, what: &str) {
    for (name, should) in should {
        let Some(is) = is.get(name) else {
            panic!("{what}: `{name}` is missing");
        };
        assert!(is.value == should.value, "{what}: `{name}` has another value");
        assert_eq!(
            (&is.description, &is.tags, is.expires_at),
            (&should.description, &should.tags, should.expires_at),
            "{what}: `{name}`"
        );
    }
    assert_eq!(is.len(), should.len(), "{what}: there is more than was migrated");
}

/// Deletes everything for good.
pub(crate) async fn clear(store: &Arc<dyn SecretStore>) {
    let mut all = names(store, Deleted::Exclude).await;
    if store.info().capabilities.delete_recoverable {
        all.extend(names(store, Deleted::Only).await);
    }
    let mode = DeleteMode::Permanent;
    let deletions = stream::iter(all).map(|name| async move { store.delete(&name, &DeleteOptions { mode }).await.unwrap() });
    deletions.buffer_unordered(16).collect::<()>().await;
}

/// Starts it and kills it when its report has so many secrets that were written since.
pub(crate) fn kill_in_the_middle(mut command: Command, report: &std::path::Path, count: usize) {
    let ended = || {
        let text = std::fs::read_to_string(report).unwrap_or_default();
        text.matches("\"event\":\"ended\"").count()
    };
    let before = ended();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(&mut child, || ended() >= before + count);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it was over before it could be killed");
}

fn wait_until(child: &mut Child, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !is_so() {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it could be killed");
        assert!(Instant::now() < deadline, "it does not get on");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Runs it until everything is there: what was begun on AWS and has no value yet is left alone for a minute.
pub(crate) fn finish(command: impl Fn() -> Command) -> Value {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let output = command().output().unwrap();
        if output.status.success() {
            return answer(&output);
        }
        assert!(Instant::now() < deadline, "{}", said(&output));
        std::thread::sleep(Duration::from_secs(5));
    }
}

pub(crate) fn answer(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

pub(crate) fn names_of(answer: &Value, list: &str) -> usize {
    answer[list].as_array().unwrap().len()
}
