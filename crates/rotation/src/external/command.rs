//! A program that is started for each question.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::try_join3;
use keyfob_core::{Environment, Error, ErrorKind, Result, SecretValue};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::Reply;

/// The longest answer.
const MAX_ANSWER: usize = 1 << 20;

/// How much of the standard error is kept; the rest is read and forgotten.
const MAX_SAID: usize = 4096;

/// What a program can hardly do without, and what holds no secret.
const ALLOWED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The exit code of `sysexits.h` for what may work later.
const TEMPORARY: i32 = 75;

/// A program for [`ExternalRotator`](super::ExternalRotator), and how it is started. No shell is in between.
///
/// It has a process group of its own, which is killed when the time is over or the run lost its lease. Of the environment it has
/// `PATH`, `HOME`, `USER`, `LOGNAME`, `LANG`, `LC_ALL`, `TZ`, `TMPDIR` and what is [allowed](Self::allow).
#[derive(Debug, Clone)]
pub struct RotationCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
    allowed: Vec<String>,
    environment: Environment,
    directory: Option<PathBuf>,
    limit: Duration,
}

impl RotationCommand {
    /// The program: a path, or a name that is looked for in `PATH`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            allowed: Vec::new(),
            environment: Environment::from_process(),
            directory: None,
            limit: Duration::from_secs(60),
        }
    }

    /// With these arguments. Everybody on the machine sees them.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Hands this variable on, if it is set.
    #[must_use]
    pub fn allow(mut self, variable: impl Into<String>) -> Self {
        self.allowed.push(variable.into());
        self
    }

    /// Takes variables from here instead of from this process.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// In this directory instead of that of this process.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long it may take for one answer. One minute by default; never longer than
    /// [`step_limit`](crate::RotationOptions::step_limit), which is for all answers of a step together.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Tells it something, for which no answer is wanted.
    pub(crate) async fn tell(&self, message: &SecretValue) -> Result<()> {
        self.ask(message).await?.failure.map_or(Ok(()), Err)
    }

    pub(super) async fn ask(&self, question: &SecretValue) -> Result<Reply> {
        let (mut child, group) = self.start()?;
        match tokio::time::timeout(self.limit, converse(&mut child, question)).await {
            Ok(answer) => {
                let reply = answer.map_err(|error| self.named(error))?;
                group.spare();
                Ok(Reply {
                    failure: reply.failure.map(|failure| self.named(failure)),
                    ..reply
                })
            }
            // The group is killed when it is dropped.
            Err(_) => Err(self.named(
                Error::new(
                    ErrorKind::Timeout,
                    "the rotator's command did not answer in time and was killed",
                )
                .with("seconds", self.limit.as_secs_f32().to_string()),
            )),
        }
    }

    fn start(&self) -> Result<(Child, Group)> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in ALLOWED.into_iter().chain(self.allowed.iter().map(String::as_str)) {
            if let Some(value) = self.environment.secret_var(name) {
                command.env(name, OsStr::from_bytes(value.expose_secret()));
            }
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().map_err(|error| self.not_started(&error))?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok((child, Group(leader)))
    }

    fn not_started(&self, error: &std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            // Too many processes or open files, and a program that is being written.
            Io::WouldBlock | Io::OutOfMemory | Io::ExecutableFileBusy => ErrorKind::Unavailable,
            _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => ErrorKind::Unavailable,
            _ => ErrorKind::InvalidConfig,
        };
        self.named(Error::new(kind, "the rotator's command can't be started").with("reason", error.to_string()))
    }

    fn named(&self, error: Error) -> Error {
        error.with("command", self.program.display().to_string())
    }
}

/// A process and its descendants, killed when this is dropped before it is over.
struct Group(Option<Pid>);

impl Group {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails only where nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// It is over when the program has ended and nobody holds its standard output and error any more.
async fn converse(child: &mut Child, question: &SecretValue) -> Result<Reply> {
    let broken = |_| Error::new(ErrorKind::Unavailable, "the rotator's command can't be listened to");
    let (mut input, output, said) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(input), Some(output), Some(said)) => (input, output, said),
        _ => return Err(broken(std::io::ErrorKind::BrokenPipe.into())),
    };
    let asking = async move {
        // Whoever doesn't read the question doesn't have to.
        let _ = input.write_all(question.expose_secret()).await;
        Ok(())
    };
    let answering = async {
        let mut bytes = Vec::with_capacity(MAX_ANSWER + 1);
        let taken = output.take(MAX_ANSWER as u64 + 1).read_to_end(&mut bytes).await;
        let answer = SecretValue::new(bytes);
        taken.map_err(broken)?;
        match answer.len() > MAX_ANSWER {
            true => Err(Error::new(
                ErrorKind::InvalidInput,
                "the answer of the rotator's command is longer than 1 MiB",
            )),
            false => {
                let status = child.wait().await.map_err(broken)?;
                Ok((answer, status))
            }
        }
    };
    let hearing = async { Ok(listen(said).await) };
    let ((), (answer, status), said) = try_join3(asking, answering, hearing).await?;
    Ok(Reply {
        answer,
        failure: failure(status),
        said,
    })
}

/// The last whole lines that were said: a part of one could be a part of a value, which nobody would find.
async fn listen(mut said: impl AsyncRead + Unpin) -> String {
    let mut kept = Zeroizing::new(Vec::with_capacity(2 * MAX_SAID));
    let mut bytes = Zeroizing::new([0; 1024]);
    let mut is_cut = false;
    while let Ok(count @ 1..) = said.read(&mut *bytes).await {
        kept.extend_from_slice(&bytes[..count]);
        let excess = kept.len().saturating_sub(MAX_SAID);
        is_cut |= excess > 0;
        kept.drain(..excess);
    }
    let whole = match (is_cut, kept.iter().position(|byte| *byte == b'\n')) {
        (false, _) => &kept[..],
        (true, Some(end)) => &kept[end..],
        (true, None) => &[],
    };
    String::from_utf8_lossy(whole).into_owned()
}

fn failure(status: ExitStatus) -> Option<Error> {
    let (kind, message) = match status.code() {
        Some(0) => return None,
        Some(TEMPORARY) => (ErrorKind::Unavailable, "the rotator's command says that it may work later"),
        Some(_) => (ErrorKind::Other, "the rotator's command failed"),
        None => (ErrorKind::Unavailable, "the rotator's command was ended by a signal"),
    };
    Some(Error::new(kind, message).with("status", status.to_string()))
}
