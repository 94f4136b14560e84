//! Starting processes: what keyfob adds to starting the child directly.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::report::{Goal, Report};
use crate::sample::{Effort, pairs};
use crate::store::{filled, name_of};

/// How many secrets the store holds, and how many of them the child needs.
const SECRETS: usize = 10_000;
const REFERENCES: usize = 100;

/// A home directory with a store and a `.env` file. Made before everything else and measured last, so that the disk has
/// long written what was put there.
pub(crate) struct Prepared {
    home: tempfile::TempDir,
    env_file: PathBuf,
    secrets: usize,
}

impl Prepared {
    pub(crate) fn new(effort: Effort) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let secrets = if effort == Effort::Quick { 1000 } else { SECRETS };
        filled(home.path(), secrets)?;
        let mut variables = String::new();
        for index in 0..REFERENCES {
            let _ = writeln!(
                variables,
                "VALUE_{index}=${{secret:{}}}",
                name_of(index * (secrets / REFERENCES))
            );
        }
        let env_file = home.path().join("app.env");
        std::fs::write(&env_file, variables)?;
        Ok(Self { home, env_file, secrets })
    }
}

pub(crate) fn measure(report: &mut Report, effort: Effort, prepared: &Prepared) -> Outcome {
    let (home, env_file, secrets) = (prepared.home.path(), &prepared.env_file, prepared.secrets);
    check(home, env_file)?;

    let samples = effort.samples(301);
    let direct = || run(&mut command(Path::new("/bin/true"), home));
    let version = || run(command(&keyfob()?, home).arg("--version"));
    let (ours, theirs) = pairs(samples, version, direct)?;
    report.ratio(
        "`keyfob --version`",
        "`/bin/true`",
        &ours,
        &theirs,
        Goal::Extra(Duration::from_millis(2)),
    );

    let resolved = || {
        run(command(&keyfob()?, home)
            .arg("run")
            .arg("--env-file")
            .arg(env_file)
            .args(["--", "/bin/true"]))
    };
    let title = format!("`keyfob run`, {REFERENCES} references, embedded store of {secrets}");
    let (ours, theirs) = pairs(samples, resolved, direct)?;
    report.ratio(
        &title,
        "the child started directly",
        &ours,
        &theirs,
        Goal::Extra(Duration::from_millis(6)),
    );
    Ok(())
}

/// A measurement of a command that did nothing would be worth nothing: the child must see all values.
fn check(home: &Path, env_file: &Path) -> Outcome {
    let output = command(&keyfob()?, home)
        .arg("run")
        .arg("--env-file")
        .arg(env_file)
        .args(["--", "/usr/bin/env"])
        .stdout(Stdio::piped())
        .output()?;
    let seen = String::from_utf8_lossy(&output.stdout);
    let right = seen
        .lines()
        .filter(|line| line.starts_with("VALUE_") && !line.contains("${"))
        .count();
    if right == REFERENCES {
        Ok(())
    } else {
        Err(format!("the child saw {right} of {REFERENCES} values").into())
    }
}

/// The optimised binary beside this one.
pub(crate) fn keyfob() -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("keyfob");
    if path.exists() {
        Ok(path)
    } else {
        Err("no `keyfob` beside this program; run `cargo xtask bench`".into())
    }
}

fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("SECRET_PROVIDER", "sqlite");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn run(command: &mut Command) -> Outcome {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}
