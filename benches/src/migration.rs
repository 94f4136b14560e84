//! Migrations by the command, beside bare writes to the same stores.
//!
//! A migration reads and compares both stores, writes, reads back what it wrote, and keeps its report. Held against it are as many
//! bare writes to the slower of both stores, as many at the same time, by the store's own adapter in this process: nothing
//! is read, compared or written down, and no process is started.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use keyfob::{
    Change, DeleteMode, DeleteOptions, Deleted, Environment, Error, ListOptions, PutMode, PutRequest, SecretName, SecretStore,
    StoreUrl, backends,
};
use keyfob_envelope::RawKey;
use keyfob_integration_tests::servers::{self, Provider};
use keyfob_sql::{SqlConfig, SqlStore};
use tokio::runtime::Runtime;

use crate::report::{Goal, Report};
use crate::sample::{Effort, Samples};
use crate::{Outcome, clouds};

/// How many secrets are migrated.
const SECRETS: usize = 1000;
/// How many are written at the same time, as a migration does.
const AT_ONCE: usize = 16;
/// How often everything goes around.
const ROUNDS: usize = 3;

/// The stores, in the order in which everything goes around.
const KINDS: [Kind; 4] = [Kind::Sqlite, Kind::OpenBao, Kind::LocalStack, Kind::Kubernetes];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    OpenBao,
    LocalStack,
    Kubernetes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::OpenBao => "OpenBao",
            Self::LocalStack => "LocalStack",
            Self::Kubernetes => "Kubernetes",
        }
    }

    fn provider(self) -> Option<Provider> {
        match self {
            Self::Sqlite => None,
            Self::OpenBao => Some(Provider::Vault),
            Self::LocalStack => Some(Provider::Aws),
            Self::Kubernetes => Some(Provider::Kubernetes),
        }
    }
}

/// An empty store that nobody else has.
struct Place {
    url: String,
    variables: Vec<(&'static str, String)>,
    store: Arc<dyn SecretStore>,
}

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (secrets, rounds) = match effort {
        Effort::Quick => (20, 1),
        Effort::Full => (SECRETS, ROUNDS),
    };
    let mut bare = [const { Vec::<Duration>::new() }; 4];
    let mut legs = [const { Vec::<Duration>::new() }; 4];
    for _ in 0..rounds {
        let home = tempfile::tempdir()?;
        for (index, kind) in KINDS.into_iter().enumerate() {
            let Some(place) = Place::new(&runtime, kind, home.path(), "bare")? else {
                return Ok(());
            };
            let begin = Instant::now();
            runtime.block_on(fill(&place.store, secrets))?;
            bare[index].push(begin.elapsed());
            place.remove(&runtime)?;
        }
        around(&runtime, home.path(), secrets, &mut legs)?;
    }
    let bare = bare.map(Samples::from);
    for (index, times) in legs.into_iter().enumerate() {
        let next = (index + 1) % KINDS.len();
        let slower = if bare[index].seconds() > bare[next].seconds() {
            index
        } else {
            next
        };
        let title = format!(
            "`keyfob migrate`, {secrets} secrets, {} to {}",
            KINDS[index].name(),
            KINDS[next].name()
        );
        let beside = format!("as many bare writes to {}", KINDS[slower].name());
        report.ratio(&title, &beside, &times.into(), &bare[slower], Goal::Ratio(2.0));
    }
    Ok(())
}

/// What the page says of the stores.
pub(crate) fn versions() -> Outcome<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut servers = runtime.block_on(clouds::of_migrations())?;
    servers.push(format!("SQLite {}", rusqlite::version()));
    Ok(servers.iter().map(|server| format!("- {server}\n")).collect())
}

/// Migrates from store to store, back to one of the kind where it began.
fn around(runtime: &Runtime, home: &Path, secrets: usize, legs: &mut [Vec<Duration>; 4]) -> Outcome {
    let Some(mut from) = Place::new(runtime, KINDS[0], home, "start")? else {
        return Ok(());
    };
    runtime.block_on(fill(&from.store, secrets))?;
    for (index, times) in legs.iter_mut().enumerate() {
        let kind = KINDS[(index + 1) % KINDS.len()];
        let Some(to) = Place::new(runtime, kind, home, "end")? else {
            return Ok(());
        };
        let mut command = from.keyfob(home)?;
        command.envs(to.variables.iter().map(|(name, value)| (name, value)));
        let report = home.join(format!("report-{index}.jsonl"));
        command
            .args(["migrate", "--quiet", "--from", &from.url, "--to", &to.url, "--report"])
            .arg(report);
        let begin = Instant::now();
        let output = command.output()?;
        times.push(begin.elapsed());
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
        }
        let there = runtime.block_on(names(&to.store, Deleted::Exclude))?.len();
        if there != secrets {
            return Err(format!("{there} of {secrets} secrets were migrated").into());
        }
        std::mem::replace(&mut from, to).remove(runtime)?;
    }
    from.remove(runtime)
}

impl Place {
    /// `None`, told, when there is no such server.
    fn new(runtime: &Runtime, kind: Kind, home: &Path, name: &str) -> Outcome<Option<Self>> {
        let mut variables = match kind.provider() {
            Some(provider) => match servers::variables("bench", provider) {
                Some(variables) => variables,
                None => return Ok(None),
            },
            None => Vec::new(),
        };
        let url = match kind.provider() {
            Some(provider) => format!("{}:", provider.name()),
            None => {
                let directory = tempfile::Builder::new().prefix(name).tempdir_in(home)?.keep();
                let key = directory.join("key");
                RawKey::create_file(&key)?;
                variables.push(("KEYFOB_KEY_FILE", key.display().to_string()));
                format!("sqlite:{}", directory.join("secrets.db").display())
            }
        };
        let fake = Environment::fake().host_files().home(home);
        let fake = variables
            .iter()
            .fold(fake, |fake, (name, value)| fake.var(*name, value.as_str()));
        let environment = fake.build();
        let parsed = StoreUrl::parse(&url)?;
        let store = runtime.block_on(async {
            if kind == Kind::Sqlite {
                drop(SqlStore::create(SqlConfig::from_url(&parsed, &environment)?).await?);
            }
            Ok::<_, Error>((backends::find(parsed.scheme())?.connect)(parsed, &environment).await?.store)
        })?;
        Ok(Some(Self { url, variables, store }))
    }

    fn keyfob(&self, home: &Path) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("keyfob"));
        command
            .current_dir(home)
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn remove(self, runtime: &Runtime) -> Outcome {
        runtime.block_on(clear(&self.store))?;
        servers::remove(&self.variables);
        Ok(())
    }
}

/// Writes what a migration would: every secret with a description and a tag.
async fn fill(store: &Arc<dyn SecretStore>, secrets: usize) -> Result<(), Error> {
    let mode = match store.info().capabilities.put_create {
        true => PutMode::Create,
        false => PutMode::Upsert,
    };
    let writes = stream::iter(0..secrets).map(|number| {
        let mode = mode.clone();
        async move {
            let name = SecretName::new(format!("app/part-{}/key-{number:05}", number % 10))?;
            let mut request = PutRequest::new(format!("kfcanary-bench{number:08}")).mode(mode);
            request.description = Change::Set(format!("the secret number {number}"));
            request.tags = Change::Set([("team".to_owned(), "web".to_owned())].into());
            store.put(&name, request).await.map(drop)
        }
    });
    writes.buffer_unordered(AT_ONCE).try_collect().await
}

async fn names(store: &Arc<dyn SecretStore>, deleted: Deleted) -> Result<Vec<SecretName>, Error> {
    let mut options = ListOptions {
        deleted,
        ..ListOptions::default()
    };
    let mut names = Vec::new();
    loop {
        let page = store.list(&options).await?;
        names.extend(page.items.into_iter().map(|metadata| metadata.name));
        options.page.token = page.next;
        if options.page.token.is_none() {
            return Ok(names);
        }
    }
}

/// Deletes everything for good, so that the next round finds the server as this one did.
async fn clear(store: &Arc<dyn SecretStore>) -> Result<(), Error> {
    let options = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    let options = &options;
    let deletions =
        stream::iter(names(store, Deleted::Exclude).await?).map(|name| async move { store.delete(&name, options).await });
    deletions.buffer_unordered(AT_ONCE).try_collect().await
}
