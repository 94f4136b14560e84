//! AWS Secrets Manager.

use keyfob::{Environment, Error, ErrorKind, Result, SecretName, SecretRef, StoreUrl, VersionSelector};
use keyfob_aws::{AwsConfig, is_version_id};
use serde_json::{Map, Value, json};

use super::field::property;
use super::{Access, Auth, Identity, Provider, Remote, no_place};
use crate::exit::Failure;

pub(super) struct Aws {
    config: AwsConfig,
    region: String,
    /// The role of the service account.
    role: Option<String>,
    service_account: Option<Map<String, Value>>,
}

impl Aws {
    pub(super) fn new(url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Self, Failure> {
        let config = AwsConfig::from_url(url, environment)?;
        let Some(region) = config.region.clone() else {
            let error = Error::new(
                ErrorKind::InvalidConfig,
                "the region must be said: in a cluster this machine's does not count",
            );
            return Err(error.with_hint("write `aws://REGION`").into());
        };
        if config.endpoint.is_some() {
            let error = no_place("a store of External Secrets has no place for the address of AWS", url);
            return Err(error
                .with_hint("it is a variable of External Secrets' own pods: `AWS_SECRETSMANAGER_ENDPOINT`")
                .into());
        }
        let auth = access.auth(&[Auth::Irsa, Auth::PodIdentity])?;
        let role = match auth {
            Auth::Irsa => Some(access.identity(
                "the role of IAM that the service account has",
                "arn:aws:iam::123456789012:role/shop-secrets",
            )?),
            _ => access.identity.clone(),
        };
        if role
            .as_ref()
            .is_some_and(|role| !role.starts_with("arn:") || !role.contains(":role/"))
        {
            return Err(Failure::usage(
                "`--identity` is not the ARN of a role",
                "it is like `arn:aws:iam::123456789012:role/shop-secrets`",
            ));
        }
        Ok(Self {
            config,
            region,
            role,
            service_account: (auth == Auth::Irsa).then(|| access.service_account_ref()),
        })
    }

    fn arn(&self, name: &SecretName) -> Result<String> {
        let id = self.config.secret_id(name)?;
        if id.starts_with("arn:") {
            return Ok(id);
        }
        let partition = match self.region.as_str() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            region if region.starts_with("us-isob-") => "aws-iso-b",
            region if region.starts_with("us-iso-") => "aws-iso",
            _ => "aws",
        };
        let account = self.role.as_ref().and_then(|role| role.split(':').nth(4)).unwrap_or("*");
        // AWS hangs `-` and six characters on the name of every secret.
        Ok(format!(
            "arn:{partition}:secretsmanager:{}:{account}:secret:{id}-??????",
            self.region
        ))
    }
}

impl Provider for Aws {
    fn remote(&self, secret: &SecretRef) -> Result<Remote, String> {
        Ok(Remote {
            key: self.config.secret_id(&secret.name).map_err(|error| error.to_string())?,
            property: secret.field.as_ref().map(property).transpose()?,
            version: match &secret.version {
                VersionSelector::Current => None,
                VersionSelector::Previous => Some("AWSPREVIOUS".to_owned()),
                VersionSelector::Exact(version) if is_version_id(version) => Some(format!("uuid/{version}")),
                VersionSelector::Exact(label) => Some(label.to_string()),
            },
        })
    }

    fn whole(&self, name: &SecretName, _has_fields: bool) -> Result<Remote, String> {
        self.remote(&SecretRef::new(name.clone()))
    }

    fn spec(&self) -> Value {
        let mut aws = Map::new();
        aws.insert("service".to_owned(), json!("SecretsManager"));
        aws.insert("region".to_owned(), json!(self.region));
        if let Some(role) = &self.config.role_arn {
            aws.insert("role".to_owned(), json!(role));
        }
        if let Some(account) = &self.service_account {
            aws.insert("auth".to_owned(), json!({"jwt": {"serviceAccountRef": account}}));
        }
        json!({ "aws": aws })
    }

    fn identity(&self) -> Identity {
        match (&self.service_account, &self.role) {
            (Some(_), Some(role)) => Identity::ServiceAccount(vec![("eks.amazonaws.com/role-arn", role.clone())]),
            _ => Identity::Controller,
        }
    }

    fn url(&self) -> Result<StoreUrl> {
        let mut url = StoreUrl::parse(&format!("aws://{}", self.region))?;
        if !self.config.prefix.is_empty() {
            url = url.with_parameter("prefix", self.config.prefix.as_str());
        }
        if let Some(role) = &self.config.role_arn {
            url = url.with_parameter("role_arn", role.as_str());
        }
        Ok(url)
    }

    fn policy(&self, names: &[SecretName]) -> Result<String> {
        let arns: Vec<String> = names.iter().map(|name| self.arn(name)).collect::<Result<_>>()?;
        let mut statements = vec![json!({
            "Sid": "ReadSecrets",
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": arns,
        })];
        if let Some(role) = &self.config.role_arn {
            statements.push(json!({
                "Sid": "AssumeRole",
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Resource": role,
            }));
        }
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        Ok(format!("{policy:#}\n"))
    }
}
