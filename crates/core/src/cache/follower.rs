//! Hears what a store tells of.

use std::sync::{Arc, OnceLock};

use futures_util::StreamExt as _;

use crate::cache::table::Table;
use crate::changes::{ChangeSource, ChangeStream, StoreChange};

/// Forgets what the store tells of, from the first hit on.
#[derive(Debug)]
pub(super) struct Follower {
    changes: Option<Arc<dyn ChangeSource>>,
    task: OnceLock<Task>,
}

/// It holds the table alone, so the cache can go while it waits, and ends with the cache.
#[derive(Debug)]
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(super) fn new(changes: Option<Arc<dyn ChangeSource>>) -> Self {
        Self {
            changes,
            task: OnceLock::new(),
        }
    }

    /// Begins to listen, once, where there is something to listen to.
    #[inline]
    pub(super) fn listen(&self, table: &Arc<Table>) {
        if let Some(changes) = &self.changes
            && self.task.get().is_none()
        {
            self.begin(&**changes, table);
        }
    }

    fn begin(&self, changes: &dyn ChangeSource, table: &Arc<Table>) {
        // Without a runtime nothing can listen, and the time to live holds.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.task
                .get_or_init(|| Task(runtime.spawn(follow(changes.changes(), Arc::clone(table)))));
        }
    }
}

async fn follow(changes: ChangeStream, table: Arc<Table>) {
    let table = &*table;
    let forget = |change| {
        // At once, also while the second level takes its time over an earlier change.
        let name = match change {
            StoreChange::Secret(name) => {
                table.forget(&name);
                Some(name)
            }
            // What others have read since is theirs to forget: they hear of it as well.
            StoreChange::Anything => {
                table.forget_all();
                None
            }
        };
        async move {
            if let (Some(level), Some(name)) = (table.level(), name) {
                level.cache.forget(&name).await;
            }
        }
    };
    changes.for_each_concurrent(None, forget).await;
}
