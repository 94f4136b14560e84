//! Where policies come from, and which one counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfob::rotation::{Made, Policies, Policy, Rotation, RotationOptions};
use keyfob::{DEFAULT_SCHEME, Error, ErrorKind, GetOptions, Intent, Result, SecretManager, SecretName, Verb};

use crate::context::Context;

const FILE_NAME: &str = "rotation.yaml";

/// No policies are longer.
const MAX_BYTES: u64 = 1024 * 1024;

/// How one secret is rotated.
pub(crate) struct How {
    pub(crate) made: Made,
    policy: Option<Arc<Policy>>,
}

impl How {
    /// What the policy says, and for the rest what `rotation` has already.
    pub(crate) fn options(&self, rotation: &Rotation) -> RotationOptions {
        let present = rotation.present_options().clone();
        match &self.policy {
            None => present,
            Some(policy) => RotationOptions {
                reason: present.reason,
                ..policy.options.clone()
            },
        }
    }
}

/// The policies, which there must be.
pub(crate) fn required(context: &Context, file: Option<&Path>) -> Result<Policies> {
    find(context, file)?.ok_or_else(|| {
        Error::new(ErrorKind::InvalidConfig, format!("there is no `{FILE_NAME}`"))
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
            let secret = store.get(name, &GetOptions::default()).await?;
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
            .with_hint(format!("add `--make uuid`, for example, or a policy for it in `{FILE_NAME}`"))),
    }
}

fn find(context: &Context, file: Option<&Path>) -> Result<Option<Policies>> {
    let (path, is_required) = match file {
        Some(file) => (file.to_owned(), true),
        None => (usual(context)?, false),
    };
    let read = || -> io::Result<String> {
        if std::fs::metadata(&path)?.len() > MAX_BYTES {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        std::fs::read_to_string(&path)
    };
    match read() {
        Ok(text) => Policies::parse(&text)
            .map(Some)
            .map_err(|error| error.with("file", path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => Ok(None),
        Err(error) => Err(Error::new(ErrorKind::InvalidConfig, "the policies can't be read")
            .with("file", path.display().to_string())
            .with_source(error)),
    }
}

/// Beside `keyfob.toml`, else in the current directory.
fn usual(context: &Context) -> Result<PathBuf> {
    let selection = context.selection()?;
    let directory = selection.project.as_ref().and_then(|project| project.path().parent());
    Ok(directory.map_or_else(|| FILE_NAME.into(), |directory| directory.join(FILE_NAME)))
}
