//! Where policies come from, and which one counts.

use std::path::Path;
use std::sync::Arc;

use keyfob::rotation::{Made, Outcome, Policies, Policy, Rotation, RotationOptions, Rotator, Rotators as _};
use keyfob::{
    DEFAULT_SCHEME, Error, ErrorKind, Expired, GetOptions, Intent, POLICIES_FILE_NAME, Result, SecretManager, SecretName, Verb,
};

use crate::context::Context;

/// How one secret is rotated.
pub(crate) struct How {
    made: Made,
    policy: Option<Arc<Policy>>,
}

impl How {
    /// What makes the value, with what the policy lays around it.
    pub(crate) async fn rotator(&self, manager: &SecretManager, rotation: &Rotation, at_once: bool) -> Result<Arc<dyn Rotator>> {
        let rotator = manager.rotator(&self.made).await?;
        Ok(match &self.policy {
            Some(policy) => policy.around(rotator, rotation, at_once),
            None => rotator,
        })
    }

    /// `rotation`, with whoever knows whether the old value is still in use.
    pub(crate) async fn drained(&self, manager: &SecretManager, rotation: Rotation) -> Result<Rotation> {
        let plan = self
            .policy
            .as_ref()
            .and_then(|policy| Some((&policy.made, policy.drain.as_ref()?)));
        Ok(match plan {
            Some((made, plan)) => rotation.drain(manager.drain(made, plan).await?),
            None => rotation,
        })
    }

    /// Tells whom the policy wants to be told.
    pub(crate) async fn notify(&self, name: &SecretName, outcome: Result<&Outcome, &Error>) {
        if let Some(policy) = &self.policy {
            policy.notify(name, outcome).await;
        }
    }

    /// What the policy says, and for the rest what `rotation` has already.
    pub(crate) fn options(&self, rotation: &Rotation) -> RotationOptions {
        let present = rotation.present_options().clone();
        match &self.policy {
            None => RotationOptions {
                step_limit: self.made.step_limit().unwrap_or(present.step_limit),
                ..present
            },
            Some(policy) => RotationOptions {
                reason: present.reason,
                lease: present.lease,
                clock_skew: present.clock_skew,
                ..policy.options.clone()
            },
        }
    }
}

/// The policies, which there must be.
pub(crate) fn required(context: &Context, file: Option<&Path>) -> Result<Policies> {
    find(context, file)?.ok_or_else(|| {
        Error::new(ErrorKind::InvalidConfig, format!("there is no `{POLICIES_FILE_NAME}`"))
            .with_hint("write one beside `keyfob.toml`, or name it with `--policies`")
    })
}

/// How `name` is rotated: as `make` says, else as the policy that counts for it.
pub(crate) async fn of(
    context: &Context,
    manager: &SecretManager,
    file: Option<&Path>,
    make: Option<&Made>,
    name: &SecretName,
) -> Result<How> {
    let policies = find(context, file)?;
    let policy = match &policies {
        // Only for its tags; the value is dropped at once.
        Some(policies) => {
            let store = manager.store_for(DEFAULT_SCHEME, &Intent::of(Verb::Get, name)).await?;
            let options = GetOptions {
                expired: Expired::Allow,
                ..GetOptions::default()
            };
            let secret = store.get(name, &options).await?;
            policies.of(&secret.metadata).cloned()
        }
        None => None,
    };
    match (make, &policy) {
        (Some(made), _) => Ok(How {
            made: made.clone(),
            policy,
        }),
        (None, Some(found)) => Ok(How {
            made: found.made.clone(),
            policy,
        }),
        (None, None) => Err(Error::new(ErrorKind::InvalidConfig, "nothing says how the new value is made")
            .with("name", name.as_str())
            .with_hint(format!(
                "add `--make uuid`, for example, or a policy for it in `{POLICIES_FILE_NAME}`"
            ))),
    }
}

fn find(context: &Context, file: Option<&Path>) -> Result<Option<Policies>> {
    keyfob::policies(context.environment(), &context.selection()?, file)
}
