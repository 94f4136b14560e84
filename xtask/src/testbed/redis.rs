//! Redis, the one of this machine: the second level of the cache.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::identity::Signal;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::{Failure, Result, output};

const URL: &str = "KEYFOB_TEST_REDIS_URL";
/// Older ones can't look at the time in a script that writes.
const OLDEST: u32 = 5;

pub(super) struct Redis;

impl Server for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    /// Whatever the machine has.
    fn pinned(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }

    fn install(&self) -> Result<Program> {
        let hint = "(on Debian: `apt-get install redis-server`)";
        let said = output(Command::new("redis-server").arg("--version"))
            .map_err(|_| Failure::failed(format!("Redis {OLDEST} or newer is needed, but it is not installed {hint}")))?;
        let (major, version) = parse_version(&said).ok_or_else(|| Failure::failed("it did not say its version"))?;
        if major < OLDEST {
            return Err(Failure::failed(format!(
                "Redis {OLDEST} or newer is needed, this is {version} {hint}"
            )));
        }
        Ok(Program {
            path: "redis-server".into(),
            version,
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let mut command = Command::new(&program.path);
        clean_environment(&mut command, scratch);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables: vec![(URL, format!("redis://127.0.0.1:{port}/0"))],
            secrets: Vec::new(),
            outside: None,
        })
    }

    fn answers(&self, record: &Record) -> Result {
        let url = record.variable(URL)?;
        let address = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
        let said = ping(address).map_err(Failure::io("ask it"))?;
        if said.starts_with("+PONG") {
            Ok(())
        } else {
            Err(Failure::failed("it does not answer `PING`"))
        }
    }
}

fn ping(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"PING\r\n")?;
    let mut said = [0; 5];
    stream.read_exact(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Reads `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=...`.
fn parse_version(said: &str) -> Option<(u32, String)> {
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    let major = version.split('.').next()?.parse().ok()?;
    Some((major, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let said = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0\n";
        assert_eq!(parse_version(said), Some((7, "7.0.15".to_owned())));
        assert_eq!(parse_version("Valkey server"), None);
    }
}
