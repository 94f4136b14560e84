//! What AWS adds to what every store can do.

use aws_sdk_secretsmanager::types::{ReplicaRegionType, RotationRulesType};
use keyfob_core::{Error, ErrorKind, Result, SecretName, Version};

use super::{AwsStore, Inner, SCHEME};
use crate::error::{Failed, confirm, failed, failed_write, incomprehensible};

/// How AWS rotates a secret with a Lambda function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The ARN of the function; `None`: the one that is set already, or AWS's own for a secret that it manages.
    pub lambda_arn: Option<String>,
    /// From now on every so many days, 1 to 1000; `None` leaves the schedule.
    pub every_days: Option<u16>,
    /// Only sets function and schedule, and rotates at the next time of the schedule.
    pub later: bool,
}

/// A copy of a secret in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// The region.
    pub region: String,
    /// `InSync`, `InProgress` or `Failed`.
    pub status: String,
    /// What AWS says about it.
    pub message: Option<String>,
}

impl AwsStore {
    /// Copies a secret to other regions, where AWS keeps the copies up to date, and returns the state of all its copies.
    ///
    /// # Errors
    /// `InvalidInput` without a region or for one that AWS doesn't know, `NotFound`.
    pub async fn replicate(&self, name: &SecretName, regions: &[String]) -> Result<Vec<ReplicaStatus>> {
        self.info.capabilities.check_name(name)?;
        if regions.is_empty() {
            return Err(
                Error::new(ErrorKind::InvalidInput, "there is no region to copy the secret to").with("name", name.as_str()),
            );
        }
        let replicas = regions
            .iter()
            .map(|region| ReplicaRegionType::builder().region(region).build())
            .collect();
        let request = self
            .inner
            .client
            .replicate_secret_to_regions()
            .secret_id(self.inner.names.id(name));
        let request = request.set_add_replica_regions(Some(replicas));
        let answer = request.send().await.map_err(|error| failed_write(error).about(name))?;
        if answer.replication_status.is_none() {
            return Err(Failed::incomprehensible().about(name));
        }
        let status = answer.replication_status().iter().map(|status| ReplicaStatus {
            region: status.region().unwrap_or_default().to_owned(),
            status: status.status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
            message: status.status_message().map(str::to_owned),
        });
        Ok(status.collect())
    }

    /// Starts AWS's own rotation. Returns the version that is being made; it becomes current when the function is done,
    /// which takes from seconds to minutes.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the secret has no function, or a rotation is under way; `InvalidInput`.
    pub async fn rotate(&self, name: &SecretName, rotation: &Rotation) -> Result<Version> {
        self.info.capabilities.check_name(name)?;
        let rules = match rotation.every_days {
            None => None,
            Some(days @ 1..=1000) => Some(RotationRulesType::builder().automatically_after_days(days.into()).build()),
            Some(_) => {
                let message = "AWS rotates every 1 to 1000 days";
                return Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
            }
        };
        let Inner { client, names, .. } = &*self.inner;
        let answer = client
            .rotate_secret()
            .secret_id(names.id(name))
            .client_request_token(super::writing::new_version()?)
            .set_rotation_lambda_arn(rotation.lambda_arn.clone())
            .set_rotation_rules(rules)
            .rotate_immediately(!rotation.later)
            .send()
            .await
            .map_err(|error| {
                let error = failed_write(error).about(name);
                match error.kind() {
                    ErrorKind::Conflict => error.with_hint(
                        "has the secret a rotation function, and is none running? see `aws secretsmanager describe-secret`",
                    ),
                    _ => error,
                }
            })?;
        let version = answer
            .version_id()
            .ok_or_else(|| incomprehensible().with("name", name.as_str()).with("store", SCHEME))?;
        Version::new(version)
    }

    /// The policy that stands at the secret itself, as JSON; `None` when there is none.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resource_policy(&self, name: &SecretName) -> Result<Option<String>> {
        self.info.capabilities.check_name(name)?;
        let request = self.inner.client.get_resource_policy().secret_id(self.inner.names.id(name));
        let answer = request.send().await.map_err(|error| failed(error).about(name))?;
        confirm(&self.inner.names.id(name), answer.name(), answer.arn()).map_err(|failed| failed.about(name))?;
        Ok(answer.resource_policy.filter(|policy| !policy.is_empty()))
    }
}
