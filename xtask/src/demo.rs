//! `cargo xtask demo`: the main job, from an empty directory to a started process.
//!
//! Every step is a line that the reader can type. It runs in a scratch directory that is also the home directory, so
//! nothing of the reader's own configuration takes part and nothing stays behind.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Failure, Result, build_keyfob};

/// The files that the scratch directory begins with.
const FILES: [(&str, &str); 4] = [
    ("app.yaml", include_str!("../demo/app.yaml")),
    ("app.env", include_str!("../demo/app.env")),
    ("broken.yaml", include_str!("../demo/broken.yaml")),
    ("existing.env", include_str!("../demo/existing.env")),
];

const STEPS: [Step; 12] = [
    Step::new("An encrypted store in one file, and its key, in this project", "keyfob init"),
    Step::new(
        "A new password that nobody has seen",
        "keyfob set db/password --generate --description 'database of the shop'",
    ),
    Step::new(
        "A secret with fields. A value is never an argument: it comes from standard input",
        r#"printf '{"user": "mailer", "password": "it'\''s: a #secret"}' | keyfob set mail/login --tag team=shop"#,
    ),
    Step::new("What other programs used until now", "keyfob import existing.env"),
    Step::new("Names, never values", "keyfob list"),
    Step::new(
        "A configuration may be committed: it holds references",
        "cat app.yaml app.env",
    ),
    Step::new("Does everything that it refers to exist?", "keyfob check app.yaml app.env"),
    Step::new(
        "The finished configuration, for its owner's eyes",
        "keyfob resolve app.yaml --output resolved.yaml",
    ),
    Step::new(
        "Comments and layout stay, and every value is what it should be for any YAML parser",
        "ls -l resolved.yaml && cat resolved.yaml",
    ),
    Step::new(
        "A process with the finished environment, without a file",
        r#"keyfob run --env-file app.env -- sh -c 'echo "the shop starts; DATABASE_URL has ${#DATABASE_URL} bytes"'"#,
    ),
    Step::failing(
        "Every failure in one report, and nothing half resolved",
        "keyfob resolve broken.yaml",
        1,
    ),
    Step::new("Which store, and why", "keyfob explain '${secret:db/password}'"),
];

/// A line of shell, and the exit status that it must end with.
struct Step {
    why: &'static str,
    line: &'static str,
    status: i32,
}

impl Step {
    const fn new(why: &'static str, line: &'static str) -> Self {
        Self::failing(why, line, 0)
    }

    const fn failing(why: &'static str, line: &'static str, status: i32) -> Self {
        Self { why, line, status }
    }
}

pub(crate) fn main() -> Result {
    let binary = build_keyfob()?;
    let scratch = Scratch::new()?;
    let project = scratch.0.join("shop");
    private_dir(&project)?;
    for (name, content) in FILES {
        fs::write(project.join(name), content).map_err(Failure::io(format_args!("write `{name}`")))?;
    }
    for (index, step) in STEPS.iter().enumerate() {
        println!("\n# {}. {}\n$ {}", index + 1, step.why, step.line);
        run(step, &binary, &scratch.0, &project)?;
    }
    println!("\nEvery step did what it should. The scratch directory is gone.");
    Ok(())
}

fn run(step: &Step, binary: &Path, home: &Path, project: &Path) -> Result {
    let mut path = binary.parent().unwrap_or(binary).as_os_str().to_owned();
    if let Some(inherited) = std::env::var_os("PATH") {
        path.push(":");
        path.push(inherited);
    }
    let mut command = Command::new("sh");
    command.args(["-c", step.line]).current_dir(project).stdin(Stdio::null());
    // A variable of the reader's (`SECRET_PROVIDER`, a cloud's) would make it another demonstration.
    command.env_clear().env("PATH", path).env("HOME", home);
    for kept in ["TERM", "LANG", "NO_COLOR", "CI"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    for (variable, dir) in [
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ] {
        command.env(variable, home.join(dir));
    }
    let status = command.status().map_err(Failure::io("start `sh`"))?;
    if status.code() != Some(step.status) {
        return Err(Failure::failed(format!(
            "`{}` ended with {status}, expected was exit status {}",
            step.line, step.status
        )));
    }
    if step.status != 0 {
        println!("(exit status {}, as it should be)", step.status);
    }
    Ok(())
}

/// A directory for this run alone, removed when the run ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("keyfob-demo-{}", std::process::id()));
        private_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: can't remove `{}`: {error}", self.0.display());
        }
    }
}

fn private_dir(dir: &Path) -> Result {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(Failure::io(format_args!("make `{}`", dir.display())))
}
