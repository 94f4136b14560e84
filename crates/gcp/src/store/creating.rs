//! `put` of a secret that is not there.
//!
//! A secret is made in two requests: one takes the name, with all annotations, and only one of many can; the other adds the
//! value. In between there is a secret without a value. That is also what is left when a write is broken off there, and
//! what infrastructure tools make on purpose: the next write completes it.

use std::time::SystemTime;

use google_cloud_secretmanager_v1::model::replication::Automatic;
use google_cloud_secretmanager_v1::model::{Replication, Secret as GcpSecret};
use keyfob_core::{Error, ErrorKind, Metadata, PutRequest, Result, SecretName, SecretValue};

use super::Inner;
use super::limits::check_notes;
use super::writing::{metadata, with_changes};
use crate::error::{about, failed, reserved};
use crate::notes::{Notes, kept_expiry};

impl Inner {
    /// Makes the secret; `None` when it has just gone and the write has to begin again.
    pub(super) async fn create(&self, name: &SecretName, value: &SecretValue, request: &PutRequest) -> Result<Option<Metadata>> {
        let mut notes = with_changes(&Notes::default(), request);
        let expires_at = request.expires_at.clone().apply(None);
        notes.expiries.set(1, expires_at);
        let mut secret = GcpSecret::new()
            .set_annotations(notes.annotations())
            .set_labels(notes.labels());
        if !self.is_regional {
            secret = secret.set_replication(Replication::new().set_automatic(Automatic::new()));
        }
        let create = self
            .client
            .create_secret()
            .set_parent(&self.parent)
            .set_secret_id(self.names.id(name));
        match create.set_secret(secret).send().await.map_err(failed) {
            Ok(answer) => drop(self.kept(name, answer, &notes).map_err(|failed| failed.about(name))?),
            Err(failed) if failed.is_taken() => return self.complete(name, value, request).await,
            Err(failed) if failed.is_precondition() => {
                return Err(failed.about(name).with_hint(
                    "an organisation policy may forbid automatic replication: name a location, or make the secret without a \
                     value and with the replication that is allowed, and keyfob writes into it",
                ));
            }
            Err(failed) => return Err(failed.about(name)),
        };
        self.first_value(name, value, &notes, expires_at).await
    }

    async fn first_value(
        &self,
        name: &SecretName,
        value: &SecretValue,
        notes: &Notes,
        expires_at: Option<SystemTime>,
    ) -> Result<Option<Metadata>> {
        let added = self.add(name, value).await.map_err(|failed| {
            let is_settled = failed.kind() != ErrorKind::Timeout;
            let error = failed.about(name);
            match is_settled && error.hint().is_none() {
                true => error.with_hint("the name is taken now, without a value: write it again"),
                false => error,
            }
        })?;
        // Somebody else wrote a value in between.
        if added.number != 1 && !notes.expiries.is_empty() {
            self.note_expiry(name, added.number, expires_at).await?;
        }
        Ok(Some(metadata(name, notes, added, expires_at.map(kept_expiry))))
    }

    /// Writes the first value of a secret that has none. Who begins with that claims the secret first: of many one wins.
    async fn complete(&self, name: &SecretName, value: &SecretValue, request: &PutRequest) -> Result<Option<Metadata>> {
        let described = match self.describe(name).await {
            Ok(described) => described,
            // It has just gone.
            Err(failed) if failed.is_not_found() => return Ok(None),
            Err(failed) => return Err(failed.about(name)),
        };
        if described.notes.deletion.is_some() {
            return Err(reserved(name));
        }
        if self.newest(name).await.map_err(|failed| failed.about(name))?.is_some() {
            return Err(about(Error::new(ErrorKind::AlreadyExists, "the secret exists already"), name));
        }
        let now = SystemTime::now();
        if described.is_being_written(now, self.timeout) {
            return Err(begun(name));
        }
        let mut notes = with_changes(&described.notes, request);
        let expires_at = request.expires_at.clone().apply(None);
        notes.expiries.forget_after(0);
        notes.expiries.set(1, expires_at);
        notes.begun = Some(now);
        check_notes(name, &notes)?;
        match self.write_notes(name, &notes, &described.etag).await {
            Ok(_) => self.first_value(name, value, &notes, expires_at).await,
            Err(failed) if failed.is_overtaken() => Err(begun(name)),
            Err(failed) => Err(failed.about(name)),
        }
    }
}

fn begun(name: &SecretName) -> Error {
    about(
        Error::new(ErrorKind::AlreadyExists, "another write has begun to make the secret"),
        name,
    )
    .with_hint(
        "if that write was broken off, the secret can be completed in a minute: try again then, or write without `--create`",
    )
}
