#![doc = include_str!("../README.md")]

mod client;
mod config;
mod credentials;
mod error;
mod http;
mod kms;
mod names;
mod profiles;
mod stages;
mod store;

use keyfob_core::{Backend, Connected};

pub use config::AwsConfig;
pub use kms::KmsKeySource;
pub use store::{AwsStore, ReplicaStatus, Rotation, is_version_id};

/// AWS Secrets Manager: `aws://REGION`, or `aws:` for the region of the environment.
pub const BACKEND: Backend = Backend {
    scheme: store::SCHEME,
    aliases: &[],
    summary: "AWS Secrets Manager",
    url_help: "aws://REGION",
    parameters: AwsConfig::PARAMETERS,
    identity: Some(|url, environment| credentials::identity(&AwsConfig::from_url(url, environment)?)),
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            let store = AwsStore::connect(&AwsConfig::from_url(&url, environment)?).await?;
            Ok(Connected::new(store))
        })
    },
};
