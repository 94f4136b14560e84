//! A rotator that is somebody else's program: each step is one question and one answer in JSON.

mod command;
#[cfg(feature = "http")]
mod endpoint;
mod message;
mod screen;

pub use self::command::RotationCommand;
#[cfg(feature = "http")]
pub use self::endpoint::RotationEndpoint;

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};

use self::message::{Answer, More, Question};
use self::screen::Screen;
use crate::drain::Drain;
use crate::keyring::{Portion, Reencrypt};
use crate::progress::Progress;
use crate::rotator::{Rotator, StepContext};

/// A rotator that is somebody else's program, asked once for each step.
///
#[doc = include_str!("../EXTERNAL.md")]
///
/// # Errors
/// Those that the program names by `kind`; else
/// - `Timeout`: no answer within the limit; the program was ended. `Unavailable`: it was ended by a signal, or exited with 75
///   (`EX_TEMPFAIL` of `sysexits.h`). After both the next run goes on.
/// - `InvalidConfig`: it can't be started.
/// - `InvalidInput`: the answer is not of the protocol, or is too long.
/// - `Other`: it exited with another number than 0.
#[derive(Debug, Clone)]
pub struct ExternalRotator {
    transport: Transport,
}

#[derive(Debug, Clone)]
enum Transport {
    Command(RotationCommand),
    #[cfg(feature = "http")]
    Endpoint(Box<RotationEndpoint>),
}

/// What came back of a question.
struct Reply {
    /// The answer, as far as there is one.
    answer: SecretValue,
    /// Why there may be none.
    failure: Option<Error>,
    /// What was said besides, for people.
    said: String,
}

impl ExternalRotator {
    /// Asks a program that is started for each question.
    #[must_use]
    pub const fn command(command: RotationCommand) -> Self {
        Self {
            transport: Transport::Command(command),
        }
    }

    /// Asks a server over HTTP.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn endpoint(endpoint: RotationEndpoint) -> Self {
        Self {
            transport: Transport::Endpoint(Box::new(endpoint)),
        }
    }

    /// A question, as often as the program wants it, and the value in its last answer.
    async fn value(&self, name: &'static str, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        loop {
            let answer = self.ask(name, step, More::default()).await?;
            let value = answer.value().map_err(|error| error.with("step", name))?;
            match (value, answer.again) {
                (None, true) => {}
                (value, false) => return Ok(value),
                (Some(_), true) => {
                    let message = "the answer has a value and asks for the question again";
                    return Err(Error::new(ErrorKind::InvalidInput, message).with("step", name));
                }
            }
        }
    }

    /// One question and its answer, if the answer is no error.
    async fn ask(&self, name: &'static str, step: &StepContext<'_>, more: More<'_>) -> Result<Answer> {
        let (old, new) = (step.old_value().ok(), step.new_value().ok());
        let question = Question {
            name,
            step,
            old,
            new,
            more,
        }
        .text()?;
        let Reply { answer, failure, said } = match &self.transport {
            Transport::Command(command) => command.ask(&question).await?,
            #[cfg(feature = "http")]
            Transport::Endpoint(endpoint) => endpoint.ask(&question).await?,
        };
        let screen = Screen::of([old, new].into_iter().flatten());
        let parsed = Answer::parse(&answer);
        let own = parsed.as_ref().ok().and_then(|answer| answer.error(&screen));
        let error = match (own, failure, parsed) {
            // What it says itself is more than how it ended.
            (Some(error), ..) => error,
            (None, Some(failure), _) => match screen.shown(&said) {
                // The new value is not known yet, so nobody can say whether it is in there.
                _ if name == "create" => failure,
                Some(said) if said.is_empty() => failure,
                Some(said) => failure.with("said", said),
                None => failure.with("said", "withheld: it holds a value"),
            },
            (None, None, Err(error)) => error,
            (None, None, Ok(answer)) => {
                answer.check_fields(name).map_err(|error| error.with("step", name))?;
                for (key, note) in &answer.notes {
                    step.save(key, note).await?;
                }
                return Ok(answer);
            }
        };
        Err(error.with("step", name))
    }

    /// A question whose answer has no value.
    async fn tell(&self, name: &'static str, step: &StepContext<'_>) -> Result<()> {
        match self.value(name, step).await? {
            None => Ok(()),
            Some(_) => {
                let message = "only `create` and `revoke` may answer with a value";
                Err(Error::new(ErrorKind::InvalidInput, message).with("step", name))
            }
        }
    }
}

#[async_trait]
impl Rotator for ExternalRotator {
    fn kind(&self) -> &str {
        match self.transport {
            Transport::Command(_) => "exec",
            #[cfg(feature = "http")]
            Transport::Endpoint(_) => "http",
        }
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let value = self.value("create", step).await?;
        value.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the answer to `create` has no value"))
    }

    async fn set(&self, step: &StepContext<'_>) -> Result<()> {
        self.tell("set", step).await
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        self.tell("test", step).await
    }

    async fn finish(&self, step: &StepContext<'_>) -> Result<()> {
        self.tell("finish", step).await
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        self.value("revoke", step).await
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        self.tell("rollback", step).await
    }
}

#[async_trait]
impl Reencrypt for ExternalRotator {
    async fn portion(&self, step: &StepContext<'_>, progress: &Progress) -> Result<Portion> {
        let more = More {
            progress: Some(progress),
            ..More::default()
        };
        let answer = self.ask("reencrypt", step, more).await?;
        match (answer.progress, answer.complete) {
            (all, true) => Ok(Portion::Last(all.unwrap_or_else(|| progress.clone()))),
            (Some(further), false) => Ok(Portion::More(further)),
            // Silence is no proof that everything was done.
            (None, false) => Err(Error::new(
                ErrorKind::InvalidInput,
                "the answer to `reencrypt` says neither how far it is nor that it is complete",
            )),
        }
    }

    async fn unused(&self, step: &StepContext<'_>, ids: &[String]) -> Result<Vec<String>> {
        let more = More {
            keys: Some(ids),
            ..More::default()
        };
        let answer = self.ask("unused", step, more).await?;
        answer.unused.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the answer to `unused` does not say which keys are unused",
            )
        })
    }
}

#[async_trait]
impl Drain for ExternalRotator {
    async fn is_drained(&self, step: &StepContext<'_>) -> Result<bool> {
        let answer = self.ask("drain", step, More::default()).await?;
        answer.drained.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the answer to `drain` does not say whether it is `drained`",
            )
        })
    }
}
