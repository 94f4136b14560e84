//! Where a value stands in the structure, as people write it.

use std::fmt::Write as _;

/// The steps down to the current value.
#[derive(Default)]
pub(super) struct Path(Vec<Step>);

enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push_key(&mut self, key: impl Into<String>) {
        self.0.push(Step::Key(key.into()));
    }

    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    pub(super) fn truncate(&mut self, depth: usize) {
        self.0.truncate(depth);
    }

    /// `services[0].db."a.b"`; `None` at the top.
    pub(super) fn to_key(&self) -> Option<String> {
        let mut key = String::new();
        for step in &self.0 {
            match step {
                Step::Index(index) => write!(key, "[{index}]").ok()?,
                Step::Key(name) => {
                    if !key.is_empty() {
                        key.push('.');
                    }
                    if is_plain(name) {
                        key.push_str(name);
                    } else {
                        write!(key, "\"{}\"", name.escape_debug()).ok()?;
                    }
                }
            }
        }
        (!key.is_empty()).then_some(key)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|character| character.is_alphanumeric() || "_-/:@".contains(character))
}
