//! The profiles in `~/.aws/config` and `~/.aws/credentials`, as the environment shows these files.
#![expect(
    deprecated,
    reason = "the names that are to be used instead stand in a crate that would be one more dependency for nothing else"
)]

use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use keyfob_core::{Environment, Result};

use crate::config::variable;

/// The profile that the environment chooses.
pub(crate) fn profile_name(environment: &Environment) -> Result<String> {
    Ok(variable(environment, "AWS_PROFILE")?.unwrap_or_else(|| "default".to_owned()))
}

/// The credentials of a profile: static ones, a role, `aws sso login`, a process.
pub(crate) fn profile_provider(
    profile: &str,
    environment: &Environment,
    providers: &ProviderConfig,
) -> Result<ProfileFileCredentialsProvider> {
    Ok(ProfileFileCredentialsProvider::builder()
        .configure(providers)
        .profile_files(profile_files(environment)?)
        .profile_name(profile)
        .build())
}

/// The region of a profile.
pub(crate) fn profile_region(
    profile: &str,
    environment: &Environment,
    providers: &ProviderConfig,
) -> Result<ProfileFileRegionProvider> {
    Ok(ProfileFileRegionProvider::builder()
        .configure(providers)
        .profile_files(profile_files(environment)?)
        .profile_name(profile)
        .build())
}

/// The profile files, as the environment shows them.
fn profile_files(environment: &Environment) -> Result<ProfileFiles> {
    let mut files = ProfileFiles::builder();
    let places = [
        (ProfileFileKind::Config, "AWS_CONFIG_FILE", "~/.aws/config"),
        (
            ProfileFileKind::Credentials,
            "AWS_SHARED_CREDENTIALS_FILE",
            "~/.aws/credentials",
        ),
    ];
    for (kind, name, default) in places {
        let path = variable(environment, name)?.unwrap_or_else(|| default.to_owned());
        let contents = environment.read(&path, MAX_FILE_BYTES).unwrap_or_default();
        files = files.with_contents(kind, String::from_utf8_lossy(&contents));
    }
    Ok(files.build())
}

const MAX_FILE_BYTES: usize = 1 << 20;
