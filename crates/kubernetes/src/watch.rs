//! What the API server tells of changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use keyfob_core::{ChangeSource, ChangeStream, Error, ErrorKind, StoreChange};
use serde::Deserialize;

use crate::client::{Accept, Call, Cluster, Lines, Path, Query};
use crate::error::Failed;
use crate::names;
use crate::object::{Partial, PartialList};

/// The API server ends a watch after this long, and a watch that ended later is one whose connection is gone.
const WATCH_FOR: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(30);
/// The pauses after a failure: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells of changes by a watch of metadata: no value is ever sent for it.
///
/// In a namespace it tells of each Secret by its name. Of the keys of one Secret it tells that anything may have changed: the
/// metadata don't say which key did. That watch needs the verb `watch` on this one Secret alone
/// (`resourceNames`).
#[derive(Clone)]
pub struct KubernetesChanges {
    cluster: Arc<Cluster>,
    namespace: String,
    /// The one object, if it is about one.
    object: Option<String>,
}

impl KubernetesChanges {
    pub(crate) fn of_objects(cluster: Arc<Cluster>, namespace: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            object: None,
        }
    }

    pub(crate) fn of_keys(cluster: Arc<Cluster>, namespace: &str, object: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            object: Some(object.to_owned()),
        }
    }

    fn query(&self) -> Query {
        match &self.object {
            None => Query::default(),
            Some(object) => Query::default().with("fieldSelector", &format!("metadata.name={object}")),
        }
    }

    /// The version from which on a watch tells all. `is_forgotten`: that of the object was tried, and is too old.
    async fn start(&self, is_forgotten: bool) -> Result<String, Failed> {
        let call = Call::get(Path::secrets(&self.namespace), Accept::MetadataList).query(self.query().with("limit", "1"));
        match self.cluster.ask::<PartialList>(&call).await {
            Ok(list) => {
                list.confirm(&self.namespace)?;
                return Ok(list.metadata.resource_version);
            }
            Err(failed) if failed.is_denied() => {}
            Err(failed) => return Err(failed),
        }
        // Who may not list may look at the one object, perhaps: a watch from its version on tells all that came later.
        if let Some(object) = self.object.as_deref().filter(|_| !is_forgotten) {
            let call = Call::get(Path::secret(&self.namespace, object), Accept::Metadata);
            match self.cluster.ask::<Partial>(&call).await {
                Ok(partial) => {
                    partial.confirm(&self.namespace, object)?;
                    return Ok(partial.metadata.resource_version);
                }
                Err(failed) if failed.is_denied() || failed.is_not_found() => {}
                Err(failed) => return Err(failed),
            }
        }
        // Then the watch itself begins with what is there, as old as it may be.
        Ok("0".to_owned())
    }

    async fn listen(&self, from: &str) -> Result<Lines, Failed> {
        let query = self
            .query()
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", &WATCH_FOR.as_secs().to_string())
            .with("resourceVersion", from);
        let call = Call::get(Path::secrets(&self.namespace), Accept::Metadata).query(query);
        self.cluster.lines(&call).await
    }
}

impl fmt::Debug for KubernetesChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesChanges")
            .field("server", &self.cluster.server())
            .field("namespace", &self.namespace)
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

impl ChangeSource for KubernetesChanges {
    fn changes(&self) -> ChangeStream {
        let watch = Watch {
            source: self.clone(),
            state: State::Begin,
            seen: None,
            is_new: true,
            is_forgotten: false,
            pause: FIRST_PAUSE,
        };
        let told = stream::unfold(watch, |mut watch| async move {
            let change = watch.next().await?;
            Some((change, watch))
        });
        Box::pin(told.fuse())
    }
}

/// One stream of changes.
struct Watch {
    source: KubernetesChanges,
    state: State,
    /// The version up to which everything was told.
    seen: Option<String>,
    /// What was before may have been missed.
    is_new: bool,
    /// The last version to begin from was too old.
    is_forgotten: bool,
    pause: Duration,
}

enum State {
    Begin,
    Listening { lines: Box<Lines>, until: tokio::time::Instant },
    Over,
}

/// What came of waiting.
enum Step {
    Tell(StoreChange),
    Silent,
    /// The API server ended the watch, as it does from time to time.
    Ended,
    /// What is to be gone on from is not known any more.
    Forgotten,
    Failed(Error),
}

impl Watch {
    async fn next(&mut self) -> Option<StoreChange> {
        loop {
            let step = match &mut self.state {
                State::Over => return None,
                State::Begin => match self.begin().await {
                    Ok(Some(change)) => return Some(change),
                    Ok(None) => continue,
                    Err(failed) if failed.is_expired() => Step::Forgotten,
                    Err(failed) if failed.is_denied() => {
                        tracing::warn!(
                            target: "keyfob",
                            namespace = self.source.namespace.as_str(),
                            "the Role does not allow to watch Secrets: changes are not told"
                        );
                        self.state = State::Over;
                        return None;
                    }
                    Err(failed) => Step::Failed(failed.into_error()),
                },
                State::Listening { lines, until } => match tokio::time::timeout_at(*until, lines.next()).await {
                    Ok(Ok(Some(line))) => self.read(&line),
                    Ok(Ok(None)) => Step::Ended,
                    Ok(Err(error)) => Step::Failed(error),
                    Err(_) => Step::Failed(Failed::too_late().into_error()),
                },
            };
            match step {
                Step::Tell(change) => {
                    self.pause = FIRST_PAUSE;
                    self.is_forgotten = false;
                    return Some(change);
                }
                Step::Silent => {
                    self.pause = FIRST_PAUSE;
                    self.is_forgotten = false;
                }
                Step::Ended => {
                    // Everything was told up to here, and is from here on.
                    self.state = State::Begin;
                    self.wait().await;
                }
                Step::Forgotten => {
                    self.is_forgotten = true;
                    self.start_anew().await;
                }
                Step::Failed(error) => {
                    tracing::debug!(target: "keyfob", kind = error.kind().as_str(), "the watch of Secrets broke off");
                    self.start_anew().await;
                }
            }
        }
    }

    /// Begins to listen; the change with which that is told.
    async fn begin(&mut self) -> Result<Option<StoreChange>, Failed> {
        let from = match self.seen.take() {
            Some(seen) => seen,
            None => self.source.start(self.is_forgotten).await?,
        };
        let lines = self.source.listen(&from).await?;
        self.seen = Some(from);
        self.state = State::Listening {
            lines: Box::new(lines),
            until: tokio::time::Instant::now() + WATCH_FOR + GRACE,
        };
        Ok(std::mem::take(&mut self.is_new).then_some(StoreChange::Anything))
    }

    fn read(&mut self, line: &[u8]) -> Step {
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            return Step::Failed(crate::error::incomprehensible());
        };
        let metadata = event.object.metadata.unwrap_or_default();
        match event.event_type.as_str() {
            "ERROR" if event.object.code == Some(410) => return Step::Forgotten,
            "ERROR" => {
                return Step::Failed(Error::new(
                    ErrorKind::Unavailable,
                    "the API server ended the watch with an error",
                ));
            }
            "BOOKMARK" | "ADDED" | "MODIFIED" | "DELETED" => {}
            _ => return Step::Failed(crate::error::incomprehensible()),
        }
        if let Some(version) = metadata.resource_version.filter(|version| !version.is_empty()) {
            self.seen = Some(version);
        }
        if event.event_type == "BOOKMARK" {
            return Step::Silent;
        }
        if self.source.object.is_some() {
            return Step::Tell(StoreChange::Anything);
        }
        match metadata.name.and_then(|name| names::name_of_object(&name)) {
            Some(name) => Step::Tell(StoreChange::Secret(name)),
            None => Step::Silent,
        }
    }

    async fn start_anew(&mut self) {
        self.state = State::Begin;
        self.seen = None;
        self.is_new = true;
        self.wait().await;
    }

    async fn wait(&mut self) {
        let mut byte = [0];
        let _ = getrandom::fill(&mut byte);
        // So that not everybody comes back at once.
        tokio::time::sleep(self.pause.mul_f64(0.5 + f64::from(byte[0]) / 510.0)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// A line of a watch: `WatchEvent` in k8s.io/apimachinery/pkg/apis/meta/v1/watch.go.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    event_type: String,
    object: About,
}

/// The metadata of an object, or a `Status`.
#[derive(Deserialize)]
struct About {
    code: Option<u16>,
    metadata: Option<AboutObject>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AboutObject {
    name: Option<String>,
    resource_version: Option<String>,
}
