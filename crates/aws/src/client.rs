//! How clients of AWS are made: one configuration for every service.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::{
    ConfigBag, ProvideCredentials as _, ResolveCachedIdentity, RuntimeComponents, SharedCredentialsProvider, SharedIdentityCache,
    SharedInterceptor,
};
use aws_smithy_async::rt::sleep::default_async_sleep;
use aws_smithy_runtime_api::client::identity::{Identity, IdentityFuture, SharedIdentityResolver};
use keyfob_core::{Error, ErrorKind, Result};

use crate::config::{AwsConfig, check_endpoint, variable};
use crate::credentials::{Found, LOOKED_FOR, find, region};
use crate::http::{self, HideBodies};
use crate::store::SCHEME;

/// What every client of a service is made from: region, credentials, HTTP client, time limits, no retries. The endpoint
/// is that of `AWS_ENDPOINT_URL`, or none; each service then adds its own, and [`hide_bodies`].
///
/// # Errors
/// `InvalidConfig` without a region, `Unauthenticated` without credentials, each with what was looked for. What the
/// credential sources say of their own is `Unauthenticated` too.
pub(crate) async fn sdk_config(config: &AwsConfig) -> Result<SdkConfig> {
    config.check()?;
    let environment = &config.environment;
    let http = http::client();
    let mut providers = ProviderConfig::empty()
        .with_http_client(http.clone())
        .with_retry_config(RetryConfig::disabled())
        .with_timeout_config(timeouts(config))
        .with_behavior_version(Some(BehaviorVersion::latest()));
    if let Some(sleep) = default_async_sleep() {
        providers = providers.with_sleep_impl(sleep);
    }
    let region = match &config.region {
        Some(region) => Region::new(region.clone()),
        None => region(config, &providers).await?,
    };
    let providers = providers.with_region(Some(region.clone()));
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(config))
        // Answers are read by our own client, within the time limit.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .use_fips(is_on(config, "AWS_USE_FIPS_ENDPOINT")?)
        .use_dual_stack(is_on(config, "AWS_USE_DUALSTACK_ENDPOINT")?)
        .identity_cache(IdentityCache::lazy().build());
    builder.set_sleep_impl(default_async_sleep());
    if let Some(endpoint) = variable(environment, "AWS_ENDPOINT_URL")? {
        check_endpoint(&endpoint)?;
        builder = builder.endpoint_url(endpoint);
    }
    match (find(config, &providers)?, &config.role_arn) {
        (Found::Static(credentials), None) => Ok(builder.credentials_provider(credentials).build()),
        (Found::Chain(credentials), None) => primed(builder.build(), credentials, config).await,
        (Found::Static(credentials) | Found::Chain(credentials), Some(role)) => {
            let sdk = builder.build();
            let sts = match variable(environment, "AWS_ENDPOINT_URL_STS")? {
                Some(endpoint) => {
                    check_endpoint(&endpoint)?;
                    sdk.to_builder().endpoint_url(endpoint).build()
                }
                None => sdk.clone(),
            };
            let role = AssumeRoleProvider::builder(role).configure(&sts).session_name("keyfob");
            let role = role.build_from_provider(credentials).await;
            primed(sdk, SharedCredentialsProvider::new(role), config).await
        }
    }
}

/// Keeps values out of the SDK's trace log of requests; for the configuration of every service's client.
pub(crate) fn hide_bodies() -> SharedInterceptor {
    SharedInterceptor::new(HideBodies)
}

/// Gets the credentials once, so that it is known now whether there are any, and keeps them for the first requests.
async fn primed(sdk: SdkConfig, credentials: SharedCredentialsProvider, config: &AwsConfig) -> Result<SdkConfig> {
    let had = tokio::time::timeout(config.timeout, credentials.provide_credentials()).await;
    let had = match had {
        Ok(Ok(had)) => had,
        Ok(Err(error)) => {
            // Its own words name files, profiles and providers; the errors below it could hold more.
            return Err(unauthenticated("there are no AWS credentials", config).with("reason", shown(&error)));
        }
        Err(_) => return Err(unauthenticated("no AWS credentials came in time", config)),
    };
    let cache = Primed {
        good_until: had.expiry().map(|expiry| expiry.checked_sub(RENEW_BEFORE).unwrap_or(expiry)),
        first: had.into(),
        then: sdk.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build()),
    };
    let builder = sdk.into_builder().credentials_provider(credentials);
    Ok(builder.identity_cache(cache).build())
}

fn unauthenticated(message: &'static str, config: &AwsConfig) -> Error {
    let error = Error::new(ErrorKind::Unauthenticated, message).with("store", SCHEME);
    match (&config.profile, &config.role_arn) {
        (None, None) => error.with_hint(LOOKED_FOR),
        (Some(profile), None) => error.with("profile", profile.as_str()).with_hint(
            "only this profile of `~/.aws` was looked at, because the URL names it; log in with `aws sso login --profile NAME`",
        ),
        (_, Some(role)) => error.with("role", role.as_str()).with_hint(
            "the credentials that were found must be allowed to assume the role (`sts:AssumeRole`), and it must trust them",
        ),
    }
}

/// The SDK's sentence about its own failure, by kind: the chain below could quote an answer.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn timeouts(config: &AwsConfig) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_timeout(config.timeout)
        .connect_timeout(config.connect_timeout.min(config.timeout))
        .build()
}

fn is_on(config: &AwsConfig, name: &str) -> Result<bool> {
    Ok(variable(&config.environment, name)?.is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

/// Credentials that will end soon are got again this long before.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// The credentials that were had at the start, for as long as they are good; then the SDK's own cache.
struct Primed {
    first: Identity,
    good_until: Option<SystemTime>,
    then: SharedIdentityCache,
}

impl fmt::Debug for Primed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Primed")
            .field("good_until", &self.good_until)
            .finish_non_exhaustive()
    }
}

impl ResolveCachedIdentity for Primed {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        runtime_components: &'a RuntimeComponents,
        config_bag: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        match self.good_until {
            Some(end) if end <= SystemTime::now() => self.then.resolve_cached_identity(resolver, runtime_components, config_bag),
            _ => IdentityFuture::ready(Ok(self.first.clone())),
        }
    }
}
