//! `keyfob rotate`

pub(super) mod answer;
mod filter;
mod plan;
pub(super) mod policies;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Parser;
use keyfob::rotation::{Made, Pass, Passed, Planned, Rotation};
use keyfob::{DEFAULT_SCHEME, Error, ErrorKind, Intent, SecretManager, SecretName, Verb};

use self::filter::Condition;
use crate::context::{Context, with_causes};
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::time::parse_duration;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotate app/token --make uuid
  keyfob rotate app/token --make '{ hex: { bytes: 32 } }' --grace 10m
  keyfob rotate --plan                          what `rotation.yaml` asks for, and when
  keyfob rotate --due                           for cron: everything that is due
  keyfob rotate --all --where tag=team=shop
  keyfob rotate --all --emergency --yes         at once, and no old value stays valid

JSON: of one secret {name, outcome, version, until}, else an array of them with {policy, error};
`--plan`: an array of {name, policy, due, now, phase, rotated, error}.

Exit status: 1 when a secret could not be rotated. With `--due`, what another run is rotating is left to it.")]
pub(crate) struct Args {
    /// The secret
    #[arg(conflicts_with_all = MANY, required_unless_present_any = MANY)]
    name: Option<String>,

    /// Show what the policies ask for and when, and do nothing
    #[arg(long, conflicts_with_all = ["due", "all"])]
    plan: bool,

    /// Go on with what is under way, and rotate what is due
    #[arg(long, conflicts_with = "all")]
    due: bool,

    /// Rotate every secret that a policy is about
    #[arg(long)]
    all: bool,

    /// Only those of which this holds: `name=PREFIX`, `policy=NAME`, `tag=KEY` or `tag=KEY=VALUE`; can be given several times
    #[arg(long = "where", value_name = "KEY=VALUE", conflicts_with = "name")]
    conditions: Vec<Condition>,

    /// Let no old value stay valid: no grace period, and those that are running end
    #[arg(long, conflicts_with_all = ["plan", "due"])]
    emergency: bool,

    /// The policies; `rotation.yaml` beside `keyfob.toml`, or in the current directory, if not given
    #[arg(long, value_name = "FILE")]
    policies: Option<PathBuf>,

    /// How to make the new value, as `make` of a policy says it, for example `uuid`
    #[arg(long, value_name = "HOW", conflicts_with_all = MANY, value_parser = parse_made)]
    make: Option<Made>,

    /// How long the old value stays valid; as the policy says, else an hour
    #[arg(long, value_name = "TIME", conflicts_with_all = MANY, conflicts_with = "emergency", value_parser = parse_duration)]
    grace: Option<Duration>,

    /// End the grace period of an earlier rotation, if there is one
    #[arg(long, conflicts_with_all = MANY, conflicts_with = "resume")]
    end_grace: bool,

    /// Wait until the grace period is over and the old value is revoked
    #[arg(long, conflicts_with_all = MANY)]
    wait: bool,

    /// Only go on with a rotation that is under way
    #[arg(long, conflicts_with_all = MANY, conflicts_with = "emergency")]
    resume: bool,

    /// Do not ask before an emergency rotation
    #[arg(long, short)]
    yes: bool,

    /// How many secrets are rotated at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value = "16")]
    concurrency: NonZeroUsize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What has to do with many secrets. `requires = "name"` would not do: it counts for nothing beside what conflicts with a name.
const MANY: [&str; 3] = ["plan", "due", "all"];

pub(super) fn parse_made(text: &str) -> Result<Made, String> {
    Made::parse(text).map_err(|error| error.to_string())
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match &self.name {
            Some(name) => {
                let name = SecretName::new(name).map_err(Failure::Usage)?;
                self.one(context, &name)
            }
            None => self.many(context),
        }
    }

    fn one(&self, context: &Context, name: &SecretName) -> Outcome {
        if self.emergency && !self.confirmed(context, &format!("rotate `{name}`, with no grace for the old value?"))? {
            return Ok(Exit::Failure);
        }
        let outcome = context.block_on::<_, Error>(async {
            let manager = context.manager()?;
            let rotation = rotation(&manager, &Intent::of(Verb::Put, name)).await?;
            let how = policies::of(context, &manager, self.policies.as_deref(), self.make.as_ref(), name).await?;
            let mut options = how.options(&rotation);
            options.wait = self.wait;
            if let Some(grace) = self.grace {
                options.grace = grace;
            }
            options.end_grace = self.end_grace || self.emergency;
            if self.emergency {
                options.grace = Duration::ZERO;
            }
            let rotation = how.drained(&manager, rotation.options(options)).await?;
            let rotator = how.rotator(&manager, &rotation, self.emergency).await?;
            let outcome = match self.resume {
                true => rotation.resume(name, &*rotator).await,
                false => rotation.rotate(name, &*rotator).await,
            };
            how.notify(name, outcome.as_ref()).await;
            outcome.map_err(answer::with_flags)
        })?;
        answer::tell_one(context.printer(), name, &outcome, self.json)?;
        Ok(Exit::Success)
    }

    fn many(&self, context: &Context) -> Outcome {
        let printer = context.printer();
        let policies = policies::required(context, self.policies.as_deref())?;
        context.block_on(async {
            let manager = context.manager()?;
            let rotation = rotation(&manager, &Intent::new(Verb::List)).await?;
            let plan = rotation.plan(&policies).await?;
            let now = SystemTime::now();
            let planned = plan.entries.into_iter();
            let planned: Vec<Planned> = planned.filter(|planned| self.is_meant(planned)).collect();
            for (name, policy) in &plan.missing {
                printer.warning(&format!(
                    "there is no secret `{name}`, which the policy `{}` is about",
                    policy.name
                ));
            }
            let unknown = planned.iter().any(|planned| planned.error.is_some());
            if self.plan {
                plan::tell(printer, &planned, now, self.json)?;
                return Ok(exit(unknown));
            }
            for planned in planned.iter().filter(|_| self.due) {
                if let Some(error) = &planned.error {
                    printer.warning(&format!("`{}` is left alone: {}", planned.name, with_causes(error)));
                }
            }
            let chosen: Vec<&Planned> = planned.iter().filter(|planned| self.all || planned.is_due(now)).collect();
            let count = chosen.len();
            if count == 0 && self.emergency {
                return Err(Error::new(ErrorKind::NotFound, "no secret is meant")
                    .with_hint("`keyfob rotate --plan` shows which policies are about which secrets")
                    .into());
            } else if count == 0 {
                printer.note("there is nothing to rotate");
            } else if !self.confirmed(context, &format!("rotate {count} secrets, with no grace for old values?"))? {
                return Ok(Exit::Failure);
            }
            let pass = Pass {
                concurrency: self.concurrency.get(),
                emergency: self.emergency,
            };
            let mut done = 0;
            let mut progress = printer.progress();
            let show = |_: &Passed| {
                done += 1;
                progress.show(&format!("{done} of {count} rotated"));
            };
            let passed = rotation.pass(chosen, &manager, &pass, show).await;
            drop(progress);
            // What another run has in hand is not due any more.
            let is_failure = |error: &Error| !(self.due && answer::is_held(error));
            let has_failed = passed.iter().any(|passed| passed.outcome.as_ref().is_err_and(is_failure));
            answer::tell_many(printer, passed, self.json)?;
            Ok(exit(has_failed || (self.due && unknown)))
        })
    }

    fn is_meant(&self, planned: &Planned) -> bool {
        self.conditions.iter().all(|condition| condition.holds(planned))
    }

    /// Whether somebody wants an emergency; everything else is wanted.
    fn confirmed(&self, context: &Context, question: &str) -> Result<bool, Failure> {
        let printer = context.printer();
        match self.yes || !self.emergency {
            true => Ok(true),
            false => match printer.confirm(question) {
                Some(false) => {
                    printer.note("nothing was rotated");
                    Ok(false)
                }
                Some(true) => Ok(true),
                None => Err(Failure::usage("there is nobody to confirm the emergency", "add `--yes`")),
            },
        }
    }
}

fn exit(has_failed: bool) -> Exit {
    match has_failed {
        true => Exit::Failure,
        false => Exit::Success,
    }
}

/// Rotations in the store that is meant, opened for what is intended.
pub(super) async fn rotation(manager: &SecretManager, intent: &Intent) -> Result<Rotation, Error> {
    let rotation = manager.rotation_for(DEFAULT_SCHEME, intent).await;
    rotation.map_err(embedded::hint_at_init)
}
