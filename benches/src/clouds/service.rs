//! The services, each with the secrets of this run in it.

mod aws;
mod azure;
mod gcp;
mod kubernetes;
mod openbao;
mod postgres;

use std::fmt;

use futures_util::future::try_join_all;

pub(super) use azure::KeyVault;
pub(super) use gcp::SecretManager;
pub(super) use kubernetes::{Kubernetes, Shape};
pub(super) use openbao::OpenBao;
pub(super) use postgres::Postgres;

use self::aws::LocalStack;
use super::http::{Connection, Endpoint};
use super::secrets::Secrets;
use super::way::Way;
use crate::Outcome;

/// Connections that write the data.
const WRITERS: usize = 4;

/// The services that are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OpenBao,
    LocalStack,
    SecretManager,
    KeyVault,
    Kubernetes(Shape),
    Postgres,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::OpenBao,
        Self::LocalStack,
        Self::SecretManager,
        Self::KeyVault,
        Self::Kubernetes(Shape::Objects),
        Self::Kubernetes(Shape::Keys),
        Self::Postgres,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenBao => "OpenBao",
            Self::LocalStack => "LocalStack",
            Self::SecretManager => "Secret Manager",
            Self::KeyVault => "Key Vault",
            Self::Kubernetes(_) => "Kubernetes",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A service that runs, with the secrets of this run in it.
pub(super) struct Service {
    pub(super) place: Place,
    pub(super) secrets: Secrets,
    /// Its name and version.
    pub(super) name: String,
}

/// Where the secrets are.
pub(super) enum Place {
    OpenBao(OpenBao),
    LocalStack(LocalStack),
    SecretManager(SecretManager),
    KeyVault(KeyVault),
    Kubernetes(Kubernetes),
    Postgres(Postgres),
}

/// How a bare client gets all values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    /// Over so many connections of its own at the same time, one request after the other on each.
    Connections(usize),
    /// All requests at the same time over one connection, with HTTP/2.
    Multiplexed,
    /// With one query.
    Query,
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(1) => f.write_str("floor, 1 connection"),
            Self::Connections(number) => write!(f, "floor, {number} connections"),
            Self::Multiplexed => f.write_str("floor, HTTP/2"),
            Self::Query => f.write_str("floor, one query"),
        }
    }
}

/// Where there is a choice, several are tried, and the lowest counts: more connections cost the machine more, fewer wait.
const WIDTHS: [Floor; 4] = [
    Floor::Connections(100),
    Floor::Connections(50),
    Floor::Connections(25),
    Floor::Connections(10),
];

/// The names and versions of the servers that migrations go to.
pub(super) async fn of_migrations() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    if let Ok(place) = OpenBao::find() {
        names.push(place.name().await?);
    }
    if let Ok(place) = LocalStack::find() {
        names.push(place.name().await?);
    }
    if let Ok(place) = Kubernetes::find(Shape::Objects)? {
        names.push(place.name().await?);
    }
    Ok(names)
}

impl Service {
    /// Writes the secrets to the service that the environment names; or says which variable is missing.
    pub(super) async fn prepare(kind: Kind) -> Outcome<Result<Self, &'static str>> {
        let secrets = Secrets::new();
        let found = match kind {
            Kind::OpenBao => OpenBao::find().map(Place::OpenBao),
            Kind::LocalStack => LocalStack::find().map(Place::LocalStack),
            Kind::SecretManager => SecretManager::find().await?.map(Place::SecretManager),
            Kind::KeyVault => KeyVault::find()?.map(Place::KeyVault),
            Kind::Kubernetes(shape) => Kubernetes::find(shape)?.map(Place::Kubernetes),
            Kind::Postgres => Postgres::find(&secrets)?.map(Place::Postgres),
        };
        let place = match found {
            Ok(place) => place,
            Err(missing) => return Ok(Err(missing)),
        };
        let name = match &place {
            Place::OpenBao(place) => place.name().await?,
            Place::LocalStack(place) => place.name().await?,
            Place::SecretManager(_) => "Secret Manager (double)".to_owned(),
            Place::KeyVault(_) => "Key Vault (double)".to_owned(),
            Place::Kubernetes(place) => place.name().await?,
            Place::Postgres(place) => place.name().await?,
        };
        let service = Self { place, secrets, name };
        let written = match &service.place {
            Place::OpenBao(place) => place.write(&service.secrets).await,
            Place::LocalStack(place) => place.write(&service.secrets).await,
            Place::SecretManager(place) => place.write(&service.secrets).await,
            Place::KeyVault(place) => place.write(&service.secrets).await,
            Place::Kubernetes(place) => place.write(&service.secrets).await,
            Place::Postgres(place) => place.write(&service.secrets).await,
        };
        if let Err(error) = written {
            // What went wrong first says more.
            let _ = service.remove().await;
            return Err(format!("{}: {error}", service.name).into());
        }
        Ok(Ok(service))
    }

    /// Removes what [`Self::prepare`] wrote.
    pub(super) async fn remove(&self) -> Outcome {
        match &self.place {
            Place::OpenBao(place) => place.remove(&self.secrets).await,
            Place::LocalStack(place) => place.remove(&self.secrets).await,
            Place::SecretManager(place) => place.remove(&self.secrets).await,
            Place::KeyVault(place) => place.remove(&self.secrets).await,
            Place::Kubernetes(place) => place.remove(&self.secrets).await,
            Place::Postgres(place) => place.remove().await,
        }
    }

    /// What a bare client can do.
    pub(super) fn floors(&self) -> Vec<Floor> {
        match &self.place {
            Place::OpenBao(_) | Place::KeyVault(_) => WIDTHS.to_vec(),
            Place::LocalStack(_) => vec![Floor::Connections(aws::REQUESTS)],
            Place::SecretManager(_) => [&[Floor::Multiplexed], &WIDTHS[..]].concat(),
            Place::Kubernetes(place) => place.floors(),
            Place::Postgres(_) => vec![Floor::Query],
        }
    }

    /// Gets all values through `way` as `floor` says, and compares them.
    pub(super) async fn fetch(&self, way: &Way, floor: Floor) -> Outcome {
        match &self.place {
            Place::OpenBao(place) => place.fetch(&self.secrets, way, floor).await,
            Place::LocalStack(place) => place.fetch(&self.secrets, way, floor).await,
            Place::SecretManager(place) => place.fetch(&self.secrets, way, floor).await,
            Place::KeyVault(place) => place.fetch(&self.secrets, way, floor).await,
            Place::Kubernetes(place) => place.fetch(&self.secrets, way, floor).await,
            Place::Postgres(place) => place.fetch(way).await,
        }
    }

    /// How often keyfob must be faster than the fastest peer, where the service is far.
    pub(super) fn goal(&self) -> f64 {
        match self.place {
            Place::LocalStack(_) => 2.0,
            _ => 3.0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Remove,
}

/// The value of a variable, or its name when there is none.
fn variable(name: &'static str) -> Result<String, &'static str> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(name)
}

/// Does `work` with each number below `count`, over so many connections of their own at the same time.
async fn each(
    endpoint: &Endpoint,
    connections: usize,
    count: usize,
    work: impl AsyncFn(&mut Connection, usize) -> Outcome,
) -> Outcome {
    let work = &work;
    let lines = (0..connections).map(|first| async move {
        let mut connection = endpoint.connect().await?;
        for index in (first..count).step_by(connections) {
            work(&mut connection, index).await?;
        }
        Ok(())
    });
    try_join_all(lines).await.map(|_: Vec<()>| ())
}

/// Whether a change happened, or was not needed.
fn confirm(status: u16, change: Change) -> Outcome {
    match (status, change) {
        (200..=204, _) | (404 | 400, Change::Remove) => Ok(()),
        _ => Err(format!("it answered with status {status} when the data was written").into()),
    }
}

fn confirm_values(status: u16, are_there: bool) -> Outcome {
    match status == 200 && are_there {
        true => Ok(()),
        false => Err(format!("the floor's own request was answered with status {status}").into()),
    }
}

/// How many connections the floor opens.
fn width(floor: Floor) -> usize {
    match floor {
        Floor::Connections(number) => number,
        Floor::Multiplexed | Floor::Query => 1,
    }
}

/// A member of the JSON text `body` that is a string without escapes.
fn member<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\"{name}\":"))?;
    rest.split('"').nth(1)
}
