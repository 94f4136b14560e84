//! PostgreSQL, the one of this machine: a store, and OpenBao's database engine makes roles in it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates;
use super::identity::Signal;
use super::random;
use super::state::{Record, create_private, make_private};
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::{Failure, Result, output};

const URL: &str = "KEYFOB_TEST_POSTGRES_URL";
const TLS_URL: &str = "KEYFOB_TEST_POSTGRES_TLS_URL";
/// The authority of its certificate.
const TLS_CA: &str = "KEYFOB_TEST_POSTGRES_TLS_CA";
const USER: &str = "postgres";
/// Older ones were not tried.
const OLDEST: u32 = 15;

pub(super) enum PostgreSql {
    Plain,
    Tls,
}

impl Server for PostgreSql {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "postgres",
            Self::Tls => "postgres-tls",
        }
    }

    fn variables(&self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[URL],
            Self::Tls => &[TLS_URL, TLS_CA],
        }
    }

    /// Whatever the machine has.
    fn pinned(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }

    fn install(&self) -> Result<Program> {
        let mut reasons = Vec::new();
        for dir in directories() {
            match version(&dir) {
                Ok((major, version)) if major >= OLDEST => return Ok(Program { path: dir, version }),
                Ok((_, version)) => reasons.push(format!("`{}` has {version}", dir.display())),
                Err(_) => {}
            }
        }
        if reasons.is_empty() {
            reasons.push("it is not installed".to_owned());
        }
        Err(Failure::failed(format!(
            "PostgreSQL {OLDEST} or newer is needed, but {} (on Debian: `apt-get install postgresql`)",
            reasons.join(", ")
        )))
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let password = random()?;
        let unprivileged = Unprivileged::of(scratch)?;
        let (home, outside) = match &unprivileged {
            None => (scratch.to_path_buf(), None),
            Some(user) => {
                // That user can't reach into the home directory of root.
                let home = std::env::temp_dir().join(format!("keyfob-postgres-{}", random()?));
                make_private(&home)?;
                user.own(&home)?;
                (home.clone(), Some(home))
            }
        };
        let started = |name: &str| {
            let mut command = Command::new(program.path.join(name));
            clean_environment(&mut command, &home);
            if let Some(user) = &unprivileged {
                command.uid(user.uid).gid(user.gid);
            }
            command
        };
        let password_file = home.join("password");
        create_private(&password_file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, password.as_bytes()))
            .map_err(Failure::io("write a password file"))?;
        if let Some(user) = &unprivileged {
            user.own(&password_file)?;
        }
        let data = home.join("data");
        output(
            started("initdb")
                .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync", "--encoding=UTF8"])
                .arg("--pgdata")
                .arg(&data)
                .arg("--pwfile")
                .arg(&password_file),
        )?;
        let _ = fs::remove_file(&password_file);
        let mut command = started("postgres");
        command.arg("-D").arg(&data);
        for setting in [
            &format!("port={port}"),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // What it holds is thrown away.
            "fsync=off",
            "max_connections=300",
        ] {
            command.args(["-c", setting]);
        }
        let address = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
        let variables = match self {
            Self::Plain => vec![(URL, address)],
            Self::Tls => {
                // In its home, as its user, who must own the key.
                certificates::make(|| {
                    let mut command = Command::new("openssl");
                    clean_environment(&mut command, &home);
                    if let Some(user) = &unprivileged {
                        command.uid(user.uid).gid(user.gid);
                    }
                    command
                })?;
                for (setting, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
                    command.args(["-c", &format!("{setting}={}", home.join(file).display())]);
                }
                command.args(["-c", "ssl=on"]);
                vec![(TLS_URL, address), (TLS_CA, home.join("ca.pem").display().to_string())]
            }
        };
        Ok(Launch {
            command,
            // Ends it without waiting for clients.
            stop: Signal::Interrupt,
            variables,
            secrets: vec![password],
            outside,
        })
    }

    fn answers(&self, record: &Record) -> Result {
        let url = record.variable(self.variables()[0])?;
        // In the environment, not an argument: those are for everybody on this machine to see.
        let (before, after) = url.rsplit_once('@').unwrap_or(("", url));
        let password = before.rsplit_once(':').map_or("", |(_, password)| password);
        let mut command = Command::new(record.program.join("psql"));
        clean_environment(&mut command, Path::new("/"));
        command
            .args(["--no-psqlrc", "--no-password", "--tuples-only", "--command", "select 6 * 7"])
            .arg(format!("postgres://{USER}@{after}"))
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "5");
        match output(&mut command)?.trim() {
            "42" => Ok(()),
            _ => Err(Failure::failed("it does not give the answer to a query")),
        }
    }
}

/// The user that the server runs as, when this one is root: as root it refuses to start.
struct Unprivileged {
    uid: u32,
    gid: u32,
}

impl Unprivileged {
    /// `mine` is a file of the user who runs this.
    fn of(mine: &Path) -> Result<Option<Self>> {
        let owner = fs::metadata(mine).map_err(Failure::io(format_args!("look at `{}`", mine.display())))?;
        if owner.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(Failure::io("read `/etc/passwd`"))?;
        [USER, "nobody"]
            .iter()
            .find_map(|name| Self::named(&users, name))
            .map(Some)
            .ok_or_else(|| Failure::failed("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`"))
    }

    fn named(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self {
            uid: fields.next()?.parse().ok().filter(|uid| *uid != 0)?,
            gid: fields.next()?.parse().ok()?,
        })
    }

    fn own(&self, path: &Path) -> Result {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Failure::io(format_args!("give `{}` away", path.display())))
    }
}

/// Where its programs may be: the path, then where Debian puts them, newest first.
fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<_> = versions.map(|entry| entry.path()).collect();
    of_debian.sort_by_key(|dir| {
        let number = dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(number)
    });
    directories.extend(of_debian.into_iter().map(|dir| dir.join("bin")));
    let programs = ["initdb", "postgres", "psql"];
    let complete = |dir: &PathBuf| {
        programs.iter().all(|program| {
            let file = fs::metadata(dir.join(program));
            file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    };
    directories.retain(complete);
    directories
}

/// The major number and the whole version of what is in `dir`.
fn version(dir: &Path) -> Result<(u32, String)> {
    let said = output(Command::new(dir.join("postgres")).arg("--version"))?;
    parse_version(&said).ok_or_else(|| Failure::failed("it did not say its version"))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(said: &str) -> Option<(u32, String)> {
    let version = said.split_whitespace().nth(2)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, "15.18".to_owned())));
        assert_eq!(
            parse_version("postgres (PostgreSQL) 18beta1\n"),
            Some((18, "18beta1".to_owned()))
        );
        assert_eq!(parse_version("postgres"), None);
    }

    #[test]
    fn the_user_is_read_and_is_never_root() {
        let users = "root:x:0:0::/:/bin/sh\npostgres2:x:7:8::/:/bin/sh\nnobody:x:65534:65533::/:/bin/sh\n";
        let nobody = Unprivileged::named(users, "nobody").unwrap();
        assert_eq!((nobody.uid, nobody.gid), (65534, 65533));
        assert!(Unprivileged::named(users, "postgres").is_none());
        assert!(Unprivileged::named(users, "root").is_none());
    }
}
