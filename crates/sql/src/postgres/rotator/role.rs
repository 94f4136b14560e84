//! A role, and a session in which its password is changed.

use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use keyfob_rotation::StepContext;
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Socket};

use crate::postgres::config::{PostgresTls, invalid};
use crate::postgres::dial::Dial;
use crate::postgres::error::{from_postgres, has_code, wants_password};
use crate::postgres::tls;

/// The name of a role, which PostgreSQL takes as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role(String);

impl Role {
    /// The server cuts a longer name off, and would then change another role.
    const MAX_BYTES: usize = 63;

    pub(super) fn new(name: &str) -> Result<Self> {
        match name.is_empty() || name.len() > Self::MAX_BYTES || name.contains('\0') {
            true => Err(invalid("the name of a role has 1 to 63 bytes")),
            false => Ok(Self(name.to_owned())),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// As it stands in a statement.
    fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// By how much earlier than the lease the server refuses.
const MARGIN: Duration = Duration::from_millis(100);

/// One connection, closed when it is dropped.
pub(super) struct Session {
    client: Client,
    user: String,
    timeout: Duration,
}

impl Session {
    pub(super) async fn open(dial: Dial<'_>) -> Result<Self> {
        let client = connect(dial).await?.map_err(|error| of_login(error, dial.user))?;
        Ok(Self {
            client,
            user: dial.user.to_owned(),
            timeout: dial.timeout,
        })
    }

    /// Whether the server never asks for a password. Nothing is tried that it would log as a failure.
    pub(super) async fn opens_without_password(dial: Dial<'_>) -> Result<bool> {
        match connect(dial).await? {
            Ok(_) => Ok(true),
            Err(error) if wants_password(&error) => Ok(false),
            Err(error) => Err(of_login(error, dial.user)),
        }
    }

    /// How many sessions of a role there are, in whichever database. Everybody may count them.
    pub(super) async fn count(&self, role: &Role) -> Result<i64> {
        let question = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = $1";
        let parameters: [&(dyn ToSql + Sync); 1] = [&role.name()];
        let answer = tokio::time::timeout(self.timeout, self.client.query_one(question, &parameters)).await;
        let row = answer.map_err(|_| no_answer())?.map_err(from_postgres)?;
        row.try_get(0).map_err(from_postgres)
    }

    /// Whether statements are answered, and not only the log-in.
    pub(super) async fn is_alive(&self) -> Result<()> {
        self.perform("SELECT 1").await.map(|_| ())
    }

    /// Makes this the password of a role, as [`change`](Self::change) says.
    pub(super) async fn set_password(&self, role: &Role, password: &SecretValue, step: &StepContext<'_>) -> Result<()> {
        // Base64, `$` and `:`, so there is nothing to quote.
        let verifier = format!("'{}'", scram_sha_256(password.expose_secret()));
        let answer = self.change(role, &verifier, step).await;
        answer.map_err(|error| self.of_change(error, role))
    }

    /// Takes the password away from a role, as [`change`](Self::change) says. One that is not there has none.
    pub(super) async fn lock(&self, role: &Role, step: &StepContext<'_>) -> Result<()> {
        match self.change(role, "NULL", step).await {
            Err(error) if has_code(&error, &["42704"]) => Ok(()),
            answer => answer.map_err(|error| self.of_change(error, role)),
        }
    }

    /// Nothing is changed once the lease is over: by the server's clock, in the same transaction, so that it holds however long we
    /// are paused on the way.
    async fn change(&self, role: &Role, password: &str, step: &StepContext<'_>) -> Result<()> {
        let since = self
            .perform("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .await?;
        let since: i64 = since
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::new(ErrorKind::Other, "the database's answer was not understood"))?;
        // Asked after the server's time: a pause in between makes the deadline earlier, not later.
        let within = i64::try_from(step.remaining().saturating_sub(MARGIN).as_millis()).unwrap_or(i64::MAX);
        let deadline = since.saturating_add(within);
        let timeout = self.timeout.as_millis();
        // The look at the clock comes last, after any wait for a lock.
        let commands = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog; \
             SET LOCAL statement_timeout = {timeout}; SET LOCAL lock_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'; \
             ALTER ROLE {} PASSWORD {password}; \
             SELECT 1 / ((extract(epoch FROM clock_timestamp()) * 1000)::bigint < {deadline})::int; COMMIT",
            timeout / 2,
            role.quoted()
        );
        self.perform(&commands).await.map(|_| ())
    }

    /// The first column of the first row of the first answer that has one.
    async fn perform(&self, commands: &str) -> Result<Option<String>> {
        let answer = tokio::time::timeout(self.timeout, self.client.simple_query(commands)).await;
        let messages = answer.map_err(|_| no_answer())?.map_err(from_postgres)?;
        Ok(messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
            _ => None,
        }))
    }

    fn of_change(&self, error: Error, role: &Role) -> Error {
        let said = |kind, message| Error::new(kind, message).with("role", role.name());
        if has_code(&error, &["22012"]) {
            said(
                ErrorKind::Unavailable,
                "the lease of this rotation was over before the password could be changed",
            )
            .with_hint("run it again: it goes on where this run stopped")
        } else if has_code(&error, &["42704"]) {
            said(ErrorKind::InvalidConfig, "there is no such role")
                .with_hint("make it with the rights that the application needs: `CREATE ROLE ... LOGIN`")
        } else if has_code(&error, &["42501"]) {
            said(
                ErrorKind::PermissionDenied,
                "the password of this role may not be changed by the one who is logged in",
            )
            .with("user", self.user.as_str())
            .with_hint("they need `CREATEROLE`, and from PostgreSQL 16 on the role `WITH ADMIN OPTION`")
        } else if has_code(&error, &["XX000"]) {
            // Two at once: "tuple concurrently updated".
            said(ErrorKind::Unavailable, "somebody else is changing this role").with_hint("try again; nothing was changed")
        } else if has_code(&error, &["25006", "0A000"]) {
            said(
                ErrorKind::PermissionDenied,
                "the server takes no writes: it is a standby, or read-only",
            )
            .with_hint("name the primary")
        } else {
            error.with("role", role.name())
        }
    }
}

type Opened = Result<Client, tokio_postgres::Error>;

async fn connect(dial: Dial<'_>) -> Result<Opened> {
    let opening = async {
        match dial.tls {
            PostgresTls::Off => Ok(open(dial, NoTls).await),
            PostgresTls::Verified { authorities } => Ok(open(dial, tls::connector(authorities.as_deref())?).await),
        }
    };
    tokio::time::timeout(dial.timeout, opening).await.map_err(|_| no_answer())?
}

async fn open<T>(dial: Dial<'_>, tls: T) -> Opened
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = dial.settings().connect(tls).await?;
    // Ends when the client is dropped. What it says, the client's own calls say too.
    tokio::spawn(connection);
    Ok(client)
}

fn of_login(error: tokio_postgres::Error, user: &str) -> Error {
    from_postgres(error).with("role", user)
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the database did not answer in time").with_hint("try again: what was done may be done again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_end_its_quotes_and_is_never_cut_off() {
        assert_eq!(
            Role::new(r#"a"; DROP ROLE b; --"#).unwrap().quoted(),
            r#""a""; DROP ROLE b; --""#
        );
        assert_eq!(Role::new("App User").unwrap().quoted(), "\"App User\"");
        for name in ["", "a\0b", &"x".repeat(64), &"ä".repeat(32)] {
            assert_eq!(Role::new(name).unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    }
}
