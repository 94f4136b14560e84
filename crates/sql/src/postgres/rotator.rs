//! The passwords of PostgreSQL's roles.

mod credentials;
mod role;

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use keyfob_rotation::{Alphabet, Drain, Recipe, Rotator, StepContext};

use self::credentials::Credentials;
use self::role::{Role, Session};
use super::config::invalid;
use super::dial::Dial;
use super::error::{LOGIN_REFUSED, has_code};
use super::server::PostgresServer;

/// Changes the password of a role of PostgreSQL, or of two roles in turn.
///
/// # The secret
/// Either a JSON object with the fields of AWS's [structure of a secret for PostgreSQL][structure], which other tools read too:
///
/// ```json
/// {"engine": "postgres", "host": "db.example", "port": 5432, "dbname": "app", "username": "app_a", "password": "..."}
/// ```
///
/// or, for one role, its bare password. Of the object `username` and `password` must be there, `engine` must be a PostgreSQL if
/// it is there, log-ins are tried in `dbname` (else in the [server's](PostgresServer::database)), and everything else stays as it
/// is, in its order. `host` and `port` are for the application: whoever may write the secret shall not choose who is given the
/// administrator's log-in. For the same reason the roles are named here, and a secret that names another one is refused.
///
/// # One role: [`single`](Self::single)
/// A role has one password, so from `set` until the application has the new value, new log-ins with the old value fail.
/// Connections that are open stay open. Without an [administrator](PostgresServer::administrator) the role changes its own
/// password.
///
/// # Two roles in turn: [`alternating`](Self::alternating)
/// While one is in use the other gets a new password, is tried, and becomes current; at the end of the grace period the one that
/// was left has no password any more. There is no moment in which the current value, or the one before it, is not accepted. Both
/// must exist, and should be members of a third role that owns the tables and has the rights:
///
/// ```sql
/// CREATE ROLE app NOLOGIN;
/// CREATE ROLE app_a LOGIN IN ROLE app PASSWORD '...';   -- the first value of the secret
/// CREATE ROLE app_b LOGIN IN ROLE app;
/// ALTER ROLE app_a SET role = app;                      -- what either makes belongs to both
/// ALTER ROLE app_b SET role = app;
/// ```
///
/// # The administrator
/// Is a superuser, or has `CREATEROLE` and, from PostgreSQL 16 on, was granted the roles `WITH ADMIN OPTION`.
///
/// # What the server sees
/// Never a password: keyfob computes the SCRAM-SHA-256 verifier that the server keeps, so neither the wire nor a log of statements has
/// more than that. A log-in proves the password without sending it, unless `pg_hba.conf` asks for the method `password`.
///
/// Passwords are changed in transactions that the server itself refuses once the run's lease is over, so that a run which was
/// paused and taken over changes nothing.
///
/// # Errors
/// - `InvalidConfig`: the server lets the role in without a password, so that nothing can prove the new one; there is no such role.
/// - `InvalidInput`: the secret is neither of the two, or names another role.
/// - `Unauthenticated`: the log-in is refused: the administrator's, or the new one (`role` says whose).
/// - `PermissionDenied`: the administrator may not change this role, or the server is a standby.
/// - `Timeout`, `Unavailable`: no answer in time, no connection left, or the lease was over before the server did it. The next run
///   goes on.
///
/// [structure]: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
#[derive(Debug, Clone)]
pub struct PostgresRotator {
    server: PostgresServer,
    roles: Roles,
    passwords: Recipe,
}

#[derive(Debug, Clone)]
enum Roles {
    Single(Role),
    Alternating(Role, Role),
}

impl PostgresRotator {
    /// Changes the password of one role.
    ///
    /// # Errors
    /// `InvalidConfig` for a role that can't be, and for the administrator: without one a role changes its own password.
    pub fn single(server: PostgresServer, role: &str) -> Result<Self> {
        if server.administrator.as_deref() == Some(role) {
            return Err(invalid("the administrator's own password is what the rotation logs in with")
                .with_hint("leave the administrator out: then the role changes its own password"));
        }
        Self::new(server, Roles::Single(Role::new(role)?))
    }

    /// Gives two roles new passwords in turn.
    ///
    /// # Errors
    /// `InvalidConfig` for a role that can't be, twice the same, or the administrator, and without an administrator.
    pub fn alternating(server: PostgresServer, first: &str, second: &str) -> Result<Self> {
        let problem = match server.administrator.as_deref() {
            None => "a role can't change the password of another one, so two in turn need an administrator",
            Some(administrator) if [first, second].contains(&administrator) => {
                "the administrator can't be one of the roles whose passwords are rotated"
            }
            Some(_) if first == second => "two roles in turn must be two",
            Some(_) => return Self::new(server, Roles::Alternating(Role::new(first)?, Role::new(second)?)),
        };
        Err(invalid(problem))
    }

    fn new(server: PostgresServer, roles: Roles) -> Result<Self> {
        server.check()?;
        Ok(Self {
            server,
            roles,
            passwords: Recipe::text(32, Alphabet::alphanumeric(), &[])?,
        })
    }

    /// What new passwords look like. 32 letters and digits by default, which need no quoting anywhere.
    #[must_use]
    pub fn passwords(mut self, recipe: Recipe) -> Self {
        self.passwords = recipe;
        self
    }

    /// The log-in that a value stands for.
    fn login(&self, value: &SecretValue) -> Result<Login> {
        let credentials = Credentials::parse(value)?;
        let role = match (&self.roles, credentials.user()) {
            (Roles::Single(role), None) => role,
            (Roles::Single(role), Some(user)) if role.name() == user => role,
            (Roles::Alternating(first, _), Some(user)) if first.name() == user => first,
            (Roles::Alternating(_, second), Some(user)) if second.name() == user => second,
            (Roles::Alternating(..), None) => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "a bare password does not say which of the two roles it is for",
                )
                .with_hint("make the secret a JSON object with `username` and `password`"));
            }
            (_, Some(user)) => {
                return Err(
                    Error::new(ErrorKind::InvalidInput, "the secret is for a role that is not rotated here")
                        .with("role", user.to_owned())
                        .with_hint("name this role in the rotation, or correct `username` in the secret"),
                );
            }
        };
        Ok(Login {
            role: role.clone(),
            credentials,
        })
    }

    fn is_alternating(&self) -> bool {
        matches!(self.roles, Roles::Alternating(..))
    }

    /// The role that is not in use.
    fn other<'r>(&'r self, role: &'r Role) -> &'r Role {
        match &self.roles {
            Roles::Alternating(first, second) if first == role => second,
            Roles::Alternating(first, _) => first,
            Roles::Single(_) => role,
        }
    }

    fn dial<'a>(&'a self, user: &'a str, password: Option<&'a SecretValue>, database: Option<&'a str>) -> Dial<'a> {
        Dial {
            host: &self.server.host,
            port: self.server.port,
            database: database.unwrap_or(&self.server.database),
            user,
            password,
            tls: &self.server.tls,
            timeout: self.server.timeout,
        }
    }

    fn dial_as<'a>(&'a self, login: &'a Login, password: Option<&'a SecretValue>) -> Dial<'a> {
        self.dial(login.role.name(), password, login.credentials.database())
    }

    /// Logs in with a value.
    async fn enter(&self, login: &Login) -> Result<Session> {
        Session::open(self.dial_as(login, Some(login.credentials.password()))).await
    }

    /// Whether the server accepts a value.
    async fn accepts(&self, login: &Login) -> Result<bool> {
        match self.enter(login).await {
            Ok(_) => Ok(true),
            Err(error) if is_refused(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The administrator's session; else that of the role itself, by whichever of its passwords is accepted.
    async fn session(&self, passwords: [Option<&Login>; 2]) -> Result<Session> {
        if let Some(administrator) = &self.server.administrator {
            let dial = self.dial(administrator, self.server.password.as_ref(), None);
            return Session::open(dial).await;
        }
        let mut refused = None;
        for login in passwords.into_iter().flatten() {
            match self.enter(login).await {
                Err(error) if is_refused(&error) => refused = Some(error),
                answer => return answer,
            }
        }
        Err(refused.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "no password is known to log in with")))
    }

    /// Makes the server accept `new`.
    async fn give(&self, step: &StepContext<'_>, new: &Login, passwords: [Option<&Login>; 2]) -> Result<()> {
        let session = self.session(passwords).await?;
        session.set_password(&new.role, new.credentials.password(), step).await
    }

    /// Makes the server accept no password of a role.
    async fn lock(&self, step: &StepContext<'_>, role: &Role, password: Option<&Login>) -> Result<()> {
        let session = self.session([password, None]).await?;
        session.lock(role, step).await
    }
}

/// What a value is good for.
struct Login {
    role: Role,
    credentials: Credentials,
}

#[async_trait]
impl Rotator for PostgresRotator {
    fn kind(&self) -> &str {
        match self.roles {
            Roles::Single(_) => "postgres",
            Roles::Alternating(..) => "postgres-alternating",
        }
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let old = self.login(step.old_value()?)?;
        let password = self.passwords.generate()?;
        old.credentials.replaced(self.other(&old.role).name(), &password)
    }

    async fn set(&self, step: &StepContext<'_>) -> Result<()> {
        let (old, new) = (self.login(step.old_value()?)?, self.login(step.new_value()?)?);
        if self.is_alternating() && old.role == new.role {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the value that is to come is for the role that is in use: its password would fail at once",
            )
            .with("role", new.role.name())
            .with_hint("rotate with one role, or write a value for the other one"));
        }
        self.give(step, &new, [Some(&old), Some(&new)]).await
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let new = self.login(step.new_value()?)?;
        self.enter(&new).await?.is_alive().await?;
        // Where nobody is asked for a password every one of them seems to work.
        if Session::opens_without_password(self.dial_as(&new, None)).await? {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "the server lets this role in without a password, so nothing proves the new one",
            )
            .with("role", new.role.name())
            .with_hint("ask for `scram-sha-256` in `pg_hba.conf`"));
        }
        Ok(())
    }

    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        if self.is_alternating() {
            let current = self.login(step.new_value()?)?;
            self.lock(step, self.other(&current.role), None).await?;
        }
        Ok(None)
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        // Before there is a new value nothing has been done to the server.
        let Ok(new) = step.new_value() else {
            return Ok(());
        };
        let new = self.login(new)?;
        let Ok(old) = step.old_value() else {
            // The secret was deleted: what nobody is to use is shut, unless it never worked.
            if self.accepts(&new).await? {
                self.lock(step, &new.role, Some(&new)).await?;
            }
            return Ok(());
        };
        let old = self.login(old)?;
        match old.role == new.role {
            true => self.give(step, &old, [Some(&old), Some(&new)]).await,
            false => self.lock(step, &new.role, None).await,
        }
    }
}

/// The old value is no longer in use when nobody is logged in as its role, which only two roles in turn can tell: an application that
/// reads the secret once and connects rarely may have no session and still need it. Those should get a grace period without this.
#[async_trait]
impl Drain for PostgresRotator {
    async fn is_drained(&self, step: &StepContext<'_>) -> Result<bool> {
        let (old, new) = (self.login(step.old_value()?)?, self.login(step.new_value()?)?);
        if old.role == new.role {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "sessions of one role don't tell by which password they were opened",
            ));
        }
        let session = self.session([None, None]).await?;
        Ok(session.count(&old.role).await? == 0)
    }
}

fn is_refused(error: &Error) -> bool {
    has_code(error, &LOGIN_REFUSED)
}
