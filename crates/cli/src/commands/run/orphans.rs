//! The duty of the first process of a container: to wait for those whose parents are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, RawPid, WaitOptions, getpid, waitpid};
use tokio::time::Instant;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for orphans, if that is our duty.
pub(super) struct Orphans {
    is_ours: bool,
    due: Option<Instant>,
    /// What had ended at the last look.
    ended: BTreeSet<RawPid>,
}

impl Orphans {
    pub(super) fn new() -> Self {
        Self {
            is_ours: cfg!(target_os = "linux") && getpid() == Pid::INIT,
            due: None,
            ended: BTreeSet::new(),
        }
    }

    /// A process has ended that may be one.
    pub(super) fn may_be_there(&mut self) {
        if self.is_ours && self.due.is_none() {
            self.due = Some(Instant::now() + PAUSE);
        }
    }

    /// Until it is time to [look](Self::reap).
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Reaps what had ended at the last look already. A helper of ours, for credentials, is not there any more by then:
    /// whoever started it waits for it.
    pub(super) fn reap(&mut self, command: Pid) {
        self.due = None;
        let before = std::mem::take(&mut self.ended);
        for pid in ended_children().filter(|pid| *pid != command.as_raw_pid()) {
            match Pid::from_raw(pid).filter(|_| before.contains(&pid)) {
                Some(orphan) => {
                    let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
                }
                None => {
                    self.ended.insert(pid);
                }
            }
        }
        if !self.ended.is_empty() {
            self.may_be_there();
        }
    }
}

/// Children of the first process that have ended and that nobody has waited for.
fn ended_children() -> impl Iterator<Item = RawPid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(process.path().join("stat")).ok()?;
        has_ended(&status).then_some(pid)
    })
}

fn has_ended(status: &str) -> bool {
    // Behind the name, which is in parentheses and may hold anything.
    status.rsplit_once(") ").is_some_and(|(_, behind)| behind.starts_with("Z 1 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        assert!(has_ended("42 (a) b) Z 1 42 42 0"));
        assert!(!has_ended("42 (sh) S 1 42 42 0"));
        assert!(!has_ended("42 (sh) Z 12 42 42 0"));
        assert!(!has_ended("42 () Z 1 2) S 1 1 1 0"));
    }
}
