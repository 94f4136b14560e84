//! The requests that all verbs are made of, and what of their answers is believed.

use std::time::{Duration, SystemTime};

use google_cloud_secretmanager_v1::model::secret_version::State;
use google_cloud_secretmanager_v1::model::{
    ListSecretsResponse, Secret as GcpSecret, SecretPayload, SecretVersion, UpdateSecretRequest,
};
use keyfob_core::{Error, ErrorKind, SecretName, SecretValue};

use super::Inner;
use crate::crc32c::crc32c;
use crate::error::{Failed, failed};
use crate::notes::Notes;

/// What is asked for at once.
const PAGE: i32 = 1_000;
/// After so many pages the service is not believed any more.
const MAX_PAGES: usize = 1_000;

/// A secret without its versions.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) notes: Notes,
    pub(super) etag: String,
    pub(super) created: Option<SystemTime>,
    /// Names that the service itself knows for versions.
    pub(super) aliases: Vec<(String, u64)>,
}

impl Described {
    /// Whether somebody may be between the two requests of a write: has noted something for a version that is about to
    /// come. A write that was broken off there would look the same, but for its age.
    pub(super) fn is_being_written(&self, now: SystemTime, timeout: Duration) -> bool {
        let begun = self.notes.begun.max(self.created);
        // A clock that is behind makes it young, never old.
        begun.is_some_and(|begun| !now.duration_since(begun).is_ok_and(|age| age > ABANDONED.max(timeout * 2)))
    }
}

/// After so long nobody is about to write any more.
const ABANDONED: Duration = Duration::from_secs(60);

/// A version without its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) is_enabled: bool,
    pub(super) is_destroyed: bool,
    pub(super) created: Option<SystemTime>,
}

/// A value, and which version it is.
pub(super) struct Accessed {
    pub(super) number: u64,
    pub(super) value: SecretValue,
}

impl Inner {
    /// The resource name of a secret.
    pub(super) fn path(&self, name: &SecretName) -> String {
        format!("{}/secrets/{}", self.parent, self.names.id(name))
    }

    /// `version` is a number or an alias.
    pub(super) async fn access(&self, name: &SecretName, version: &str) -> Result<Accessed, Failed> {
        let path = format!("{}/versions/{version}", self.path(name));
        let answer = self
            .client
            .access_secret_version()
            .set_name(path)
            .send()
            .await
            .map_err(failed)?;
        let number = self.number(name, &answer.name)?;
        // An alias is answered with the number behind it.
        let is_other = version.parse().is_ok_and(|asked: u64| asked != number);
        let payload = answer.payload.filter(|_| !is_other).ok_or_else(Failed::incomprehensible)?;
        // The same buffer: nobody else holds it.
        let value = SecretValue::new(Vec::from(payload.data));
        if payload
            .data_crc32c
            .is_some_and(|sum| sum != i64::from(crc32c(value.expose_secret())))
        {
            let error = Error::new(
                ErrorKind::Corrupt,
                "the value was damaged on its way: its checksum is another",
            );
            return Err(Failed::new(error));
        }
        Ok(Accessed { number, value })
    }

    /// Asks for the value of a secret that nobody has, behind the prefix: a role may be for that alone.
    pub(super) async fn access_nothing(&self) -> Result<(), Failed> {
        let path = format!("{}/secrets/{}/versions/latest", self.parent, self.names.id_of_nothing());
        match self
            .client
            .access_secret_version()
            .set_name(path)
            .send()
            .await
            .map_err(failed)
        {
            Err(failed) if !failed.is_not_found() => Err(failed),
            _ => Ok(()),
        }
    }

    pub(super) async fn describe(&self, name: &SecretName) -> Result<Described, Failed> {
        let answer = self
            .client
            .get_secret()
            .set_name(self.path(name))
            .send()
            .await
            .map_err(failed)?;
        self.described(name, answer)
    }

    /// The newest version, whatever its state; `None` when there is none.
    pub(super) async fn newest(&self, name: &SecretName) -> Result<Option<Listed>, Failed> {
        let path = format!("{}/versions/latest", self.path(name));
        match self.client.get_secret_version().set_name(path).send().await.map_err(failed) {
            Ok(answer) => self.listed(name, &answer).map(Some),
            Err(failed) if failed.is_not_found() => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// All versions, or those that are enabled, newest first.
    pub(super) async fn all_versions(&self, name: &SecretName, only_enabled: bool) -> Result<Vec<Listed>, Failed> {
        let filter = if only_enabled { "state:ENABLED" } else { "" };
        let (mut versions, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let request = self.client.list_secret_versions().set_parent(self.path(name));
            let request = request.set_filter(filter).set_page_size(PAGE).set_page_token(token);
            let page = request.send().await.map_err(failed)?;
            for version in &page.versions {
                versions.push(self.listed(name, version)?);
            }
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        // Whatever the filter was taken for.
        versions.retain(|version| version.is_enabled || !only_enabled);
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        versions.dedup_by_key(|version| version.number);
        Ok(versions)
    }

    pub(super) async fn list_page(&self, size: i32, token: String, filter: String) -> Result<ListSecretsResponse, Failed> {
        let request = self.client.list_secrets().set_parent(&self.parent);
        let request = request.set_page_size(size).set_page_token(token).set_filter(filter);
        request.send().await.map_err(failed)
    }

    /// Every secret that `filter` lets through, and perhaps others.
    pub(super) async fn list_all(&self, filter: &str) -> Result<Vec<GcpSecret>, Failed> {
        let (mut secrets, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let page = self.list_page(PAGE, token, filter.to_owned()).await?;
            secrets.extend(page.secrets);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(secrets)
    }

    /// Adds a version, which is then the newest and enabled.
    pub(super) async fn add(&self, name: &SecretName, value: &SecretValue) -> Result<Listed, Failed> {
        let payload = SecretPayload::new()
            .set_data(value.expose_secret().to_vec())
            .set_data_crc32c(crc32c(value.expose_secret()));
        let request = self
            .client
            .add_secret_version()
            .set_parent(self.path(name))
            .set_payload(payload);
        let answer = request.send().await.map_err(failed)?;
        self.listed(name, &answer)
    }

    /// Writes annotations and labels, if nobody did since they were read.
    pub(super) async fn write_notes(&self, name: &SecretName, notes: &Notes, etag: &str) -> Result<Described, Failed> {
        let secret = GcpSecret::new()
            .set_name(self.path(name))
            .set_etag(etag)
            .set_annotations(notes.annotations())
            .set_labels(notes.labels());
        let mut request = UpdateSecretRequest::new().set_secret(secret);
        request.update_mask.insert(Default::default()).paths = vec!["annotations".to_owned(), "labels".to_owned()];
        let answer = self
            .client
            .update_secret()
            .with_request(request)
            .send()
            .await
            .map_err(failed)?;
        self.kept(name, answer, notes)
    }

    /// Refuses a service that takes annotations and does not keep them: it would not say so.
    pub(super) fn kept(&self, name: &SecretName, answer: GcpSecret, notes: &Notes) -> Result<Described, Failed> {
        let described = self.described(name, answer)?;
        match described.notes.annotations() == notes.annotations() {
            true => Ok(described),
            false => Err(Failed::new(
                Error::new(ErrorKind::Other, "the service did not keep the annotations that it was given")
                    .with_hint("check that the endpoint is Secret Manager"),
            )),
        }
    }

    pub(super) async fn set_enabled(&self, name: &SecretName, number: u64, is_enabled: bool) -> Result<(), Failed> {
        let path = format!("{}/versions/{number}", self.path(name));
        let answer = match is_enabled {
            true => self.client.enable_secret_version().set_name(path).send().await,
            false => self.client.disable_secret_version().set_name(path).send().await,
        };
        let version = self.listed(name, &answer.map_err(failed)?)?;
        match version.number == number && version.is_enabled == is_enabled {
            true => Ok(()),
            false => Err(Failed::incomprehensible()),
        }
    }

    pub(super) fn described(&self, name: &SecretName, answer: GcpSecret) -> Result<Described, Failed> {
        if id_in(&answer.name) != Some(&self.names.id(name)) {
            return Err(Failed::incomprehensible());
        }
        let aliases = answer.version_aliases.iter();
        Ok(Described {
            notes: Notes::read(&answer.annotations, &answer.labels),
            created: answer.create_time.and_then(time),
            aliases: aliases
                .filter_map(|(alias, number)| Some((alias.clone(), u64::try_from(*number).ok()?)))
                .collect(),
            etag: answer.etag,
        })
    }

    fn listed(&self, name: &SecretName, answer: &SecretVersion) -> Result<Listed, Failed> {
        Ok(Listed {
            number: self.number(name, &answer.name)?,
            is_enabled: answer.state == State::Enabled,
            is_destroyed: answer.state == State::Destroyed,
            created: answer.create_time.and_then(time),
        })
    }

    /// The number in the resource name of a version of this secret. The project in it is not compared: it can be a number
    /// where an id was asked for.
    fn number(&self, name: &SecretName, path: &str) -> Result<u64, Failed> {
        let number = path.rsplit_once("/versions/").and_then(|(secret, number)| {
            let number = number.parse().ok()?;
            (id_in(secret)? == self.names.id(name)).then_some(number)
        });
        number.ok_or_else(Failed::incomprehensible)
    }
}

/// The id in the resource name of a secret.
pub(super) fn id_in(path: &str) -> Option<&str> {
    path.rsplit_once("/secrets/").map(|(_, id)| id).filter(|id| !id.is_empty())
}

fn time<T>(time: T) -> Option<SystemTime>
where
    SystemTime: TryFrom<T>,
{
    SystemTime::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_waited_for_long_is_abandoned() {
        let now = SystemTime::now();
        let described = |created: u64, begun: Option<u64>| {
            let mut notes = Notes::default();
            notes.begun = begun.map(|age| now - Duration::from_secs(age));
            Described {
                notes,
                etag: String::new(),
                created: Some(now - Duration::from_secs(created)),
                aliases: Vec::new(),
            }
        };
        let is_being_written =
            |created, begun, timeout| described(created, begun).is_being_written(now, Duration::from_secs(timeout));
        assert!(is_being_written(5, None, 10));
        assert!(!is_being_written(500, None, 10));
        assert!(is_being_written(500, Some(5), 10));
        assert!(!is_being_written(500, Some(100), 10));
        assert!(is_being_written(500, Some(100), 300));
        assert!(described(5, None).is_being_written(now - Duration::from_secs(1000), Duration::ZERO));
    }
}
