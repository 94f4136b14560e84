//! Who asks: the SDK's credential chain, with keyfob's view of the environment in front of it.
//!
//! The SDK's own loader reads the process's environment and can't be given another. So the chain is put together here,
//! from the SDK's providers, in the SDK's order: static credentials in the environment, the profile, a web identity,
//! the container's, the machine's. Variables and the profile files come from [`Environment`]; what a profile or the
//! container's provider refers to further (`credential_source = Environment`, `AWS_CONTAINER_CREDENTIALS_*`, the cache of
//! `aws sso login`) the SDK reads from the process.

use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_sdk_secretsmanager::config::{Credentials, Region, SharedCredentialsProvider};
use keyfob_core::{Environment, Error, ErrorKind, Result};

use crate::config::{AwsConfig, invalid, variable};
use crate::profiles::{profile_name, profile_provider, profile_region};

/// What credentials were found as.
pub(crate) enum Found {
    /// At hand, without asking anybody, and without an end that is known.
    Static(SharedCredentialsProvider),
    /// Whoever has to be asked.
    Chain(SharedCredentialsProvider),
}

/// Either is set in a container that has a role.
const CONTAINER: [&str; 2] = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// The places in which credentials are looked for, for the user.
pub(crate) const LOOKED_FOR: &str = "looked for `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, the profile in `~/.aws`, a web identity \
    (`AWS_WEB_IDENTITY_TOKEN_FILE`), a container's and a machine's role: set one, or log in with `aws sso login`";

/// The credentials that `config` means.
///
/// # Errors
/// `InvalidConfig` when half of a pair of variables is set, or a variable is not text.
pub(crate) fn find(config: &AwsConfig, providers: &ProviderConfig) -> Result<Found> {
    let environment = &config.environment;
    if let Some(profile) = &config.profile {
        return Ok(Found::Chain(SharedCredentialsProvider::new(profile_provider(
            profile,
            environment,
            providers,
        )?)));
    }
    if let Some(credentials) = in_variables(environment)? {
        return Ok(Found::Static(SharedCredentialsProvider::new(credentials)));
    }
    let profile = profile_name(environment)?;
    let mut chain = CredentialsProviderChain::first_try("Profile", profile_provider(&profile, environment, providers)?);
    if let Some(configuration) = web_identity(environment)? {
        let provider = WebIdentityTokenCredentialsProvider::builder()
            .configure(providers)
            .static_configuration(configuration)
            .build();
        chain = chain.or_else("WebIdentityToken", provider);
    }
    if CONTAINER.iter().any(|variable| environment.has_var(variable)) {
        chain = chain.or_else("EcsContainer", EcsCredentialsProvider::builder().configure(providers).build());
    }
    if let Some(client) = machine(environment, providers)? {
        let provider = ImdsCredentialsProvider::builder()
            .configure(providers)
            .imds_client(client)
            .build();
        chain = chain.or_else("Ec2InstanceMetadata", provider);
    }
    Ok(Found::Chain(SharedCredentialsProvider::new(chain)))
}

/// Whose credentials [`find`] would take, and what made it so. Asks nobody.
///
/// # Errors
/// Those of [`find`].
pub(crate) fn identity(config: &AwsConfig) -> Result<String> {
    let environment = &config.environment;
    let found = if let Some(profile) = &config.profile {
        format!("the profile `{profile}` (the URL names it)")
    } else if let Some(key) = in_variables(environment)? {
        format!("the access key `{}` (the variable `AWS_ACCESS_KEY_ID`)", key.access_key_id())
    } else {
        let mut candidates = Vec::new();
        let files = [
            ("AWS_CONFIG_FILE", "~/.aws/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ];
        for (name, default) in files {
            let file = variable(environment, name)?.unwrap_or_else(|| default.to_owned());
            if environment.is_file(&file) {
                let profile = profile_name(environment)?;
                candidates.push(format!("the profile `{profile}` (if the file `{file}` has it)"));
                break;
            }
        }
        if let Some(identity) = web_identity(environment)? {
            candidates.push(format!(
                "the role `{}` by a web identity (the variable `AWS_WEB_IDENTITY_TOKEN_FILE`)",
                identity.role_arn
            ));
        }
        for name in CONTAINER {
            if environment.has_var(name) {
                candidates.push(format!("the container's role (the variable `{name}`)"));
            }
        }
        let disabled = variable(environment, "AWS_EC2_METADATA_DISABLED")?;
        if disabled.is_none_or(|text| !text.eq_ignore_ascii_case("true")) {
            candidates.push("the machine's role".to_owned());
        }
        match candidates.as_slice() {
            [] => return Err(Error::new(ErrorKind::Unauthenticated, "there are no AWS credentials").with_hint(LOOKED_FOR)),
            _ => candidates.join(", else "),
        }
    };
    Ok(match &config.role_arn {
        Some(role) => format!("the role `{role}` (the URL names it), assumed by {found}"),
        None => found,
    })
}

/// The region of the profile, else of the machine.
///
/// # Errors
/// `InvalidConfig` when there is none.
pub(crate) async fn region(config: &AwsConfig, providers: &ProviderConfig) -> Result<Region> {
    let environment = &config.environment;
    let profile = match &config.profile {
        Some(profile) => profile.clone(),
        None => profile_name(environment)?,
    };
    if let Some(region) = profile_region(&profile, environment, providers)?.region().await {
        return Ok(region);
    }
    if let Some(client) = machine(environment, providers)? {
        let of_machine = ImdsRegionProvider::builder().configure(providers).imds_client(client).build();
        if let Some(region) = of_machine.region().await {
            return Ok(region);
        }
    }
    Err(Error::new(ErrorKind::InvalidConfig, "there is no AWS region")
        .with("profile", profile)
        .with_hint(
            "write `aws://eu-west-1`, or set `AWS_SECRET_MANAGER_REGION` or `AWS_REGION` (looked for these, \
             `AWS_DEFAULT_REGION`, `region` of the profile in `~/.aws/config`, and the region of the machine)",
        ))
}

/// `AWS_ACCESS_KEY_ID` and its companions. They never pass through a `String` that prints.
fn in_variables(environment: &Environment) -> Result<Option<Credentials>> {
    let Some(key) = variable(environment, "AWS_ACCESS_KEY_ID")? else {
        return Ok(None);
    };
    let secret = |name: &'static str| -> Result<Option<String>> {
        let Some(value) = environment.secret_var(name) else {
            return Ok(None);
        };
        let text = value
            .expose_str()
            .map_err(|_| Error::new(ErrorKind::InvalidConfig, format!("the variable `{name}` is not UTF-8 text")))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    };
    let Some(secret_key) = secret("AWS_SECRET_ACCESS_KEY")? else {
        return Err(invalid("`AWS_ACCESS_KEY_ID` is set and `AWS_SECRET_ACCESS_KEY` is not").with_hint("set both or neither"));
    };
    let token = secret("AWS_SESSION_TOKEN")?;
    Ok(Some(Credentials::new(key, secret_key, token, None, "environment")))
}

fn web_identity(environment: &Environment) -> Result<Option<StaticConfiguration>> {
    let file = variable(environment, "AWS_WEB_IDENTITY_TOKEN_FILE")?;
    let role = variable(environment, "AWS_ROLE_ARN")?;
    let (Some(file), Some(role_arn)) = (file, role) else {
        return Ok(None);
    };
    Ok(Some(StaticConfiguration {
        web_identity_token_file: environment.absolute(file),
        role_arn,
        session_name: variable(environment, "AWS_ROLE_SESSION_NAME")?.unwrap_or_else(|| "keyfob".to_owned()),
    }))
}

/// The machine's metadata service. Away from EC2 nobody answers there: one try of a second, not the SDK's four.
fn machine(environment: &Environment, providers: &ProviderConfig) -> Result<Option<imds::Client>> {
    let disabled = variable(environment, "AWS_EC2_METADATA_DISABLED")?;
    if disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let client = imds::Client::builder()
        .configure(providers)
        .max_attempts(1)
        .connect_timeout(MACHINE_TIMEOUT)
        .read_timeout(MACHINE_TIMEOUT)
        .operation_timeout(MACHINE_TIMEOUT * 2)
        .build();
    Ok(Some(client))
}

const MACHINE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::StoreUrl;

    fn identity_of(url: &str, variables: &[&str], files: &[&str]) -> Result<String> {
        let fake = variables.iter().fold(Environment::fake(), |fake, name| fake.var(*name, "x"));
        let fake = files.iter().fold(fake, |fake, file| fake.file(*file, ""));
        let environment = fake.var("AWS_EC2_METADATA_DISABLED", "true").build();
        identity(&AwsConfig::from_url(&StoreUrl::parse(url).unwrap(), &environment)?)
    }

    #[test]
    fn the_credentials_that_would_be_taken_are_named_with_what_made_it_so() {
        let key: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let web: &[&str] = &["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"];
        for (url, variables, files, expected) in [
            (
                "aws://r",
                key,
                &[][..],
                "the access key `x` (the variable `AWS_ACCESS_KEY_ID`)",
            ),
            ("aws://r?profile=p", key, &[], "the profile `p` (the URL names it)"),
            (
                "aws://r?role_arn=arn:aws:iam::123456789012:role/a",
                key,
                &[],
                "the role `arn:aws:iam::123456789012:role/a` (the URL names it), assumed by the access key `x` (the variable `AWS_ACCESS_KEY_ID`)",
            ),
            (
                "aws://r",
                web,
                &["~/.aws/config"],
                "the profile `default` (if the file `~/.aws/config` has it), else the role `x` by a web identity (the variable \
                 `AWS_WEB_IDENTITY_TOKEN_FILE`)",
            ),
        ] {
            assert_eq!(identity_of(url, variables, files).unwrap(), expected);
        }
        assert_eq!(
            identity_of("aws://r", &[], &[]).unwrap_err().kind(),
            ErrorKind::Unauthenticated
        );
    }
}
