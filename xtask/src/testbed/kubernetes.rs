//! The API server of Kubernetes, built from its Go module, over an etcd of its own.
//!
//! It is the real one, with RBAC, but nothing else of a cluster runs: no controller makes service accounts, and nothing
//! would run a pod.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates;
use super::http;
use super::identity::Signal;
use super::pins::Pins;
use super::random;
use super::state::{Record, create_private};
use super::table::{Launch, Program, Server, clean_environment};
use crate::cache::hinted;
use crate::go;
use crate::process::{Failure, Result, output};

const URL: &str = "KEYFOB_TEST_KUBERNETES_URL";
/// The file with what a client has to know, of an administrator of the cluster.
const CONFIG: &str = "KEYFOB_TEST_KUBECONFIG";

/// The directory with the kinds of External Secrets, for tests that apply its objects. No server of its own, so nobody who
/// has a cluster has to set it.
const KINDS: &str = "KEYFOB_TEST_EXTERNAL_SECRETS_CRDS";

/// The kinds that `keyfob manifests` makes objects of, in the module of External Secrets.
const KIND_FILES: [&str; 3] = [
    "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    "config/crds/bases/external-secrets.io_secretstores.yaml",
    "config/crds/bases/external-secrets.io_clustersecretstores.yaml",
];

const MODULE: &str = include_str!("../../testbed/kubernetes/go.mod");
const SUMS: &str = include_str!("../../testbed/kubernetes/go.sum");

/// Starts etcd, then the program that the arguments name, the API server. When one of them ends, in whatever way, the
/// other does, and this shell.
///
/// etcd asks nobody for a password, and so listens at sockets in the directory of this server, where only its owner gets.
const SCRIPT: &str = "
{
    etcd --data-dir etcd --listen-client-urls unix://etcd:1 --advertise-client-urls unix://etcd:1 \\
        --listen-peer-urls unix://peer:1 --initial-advertise-peer-urls unix://peer:1 \\
        --initial-cluster default=unix://peer:1
    kill -s KILL 0
} &
until [ -S etcd:1 ]; do sleep 0.05; done
\"$@\"
kill -s KILL 0
";

pub(super) struct Kubernetes;

impl Server for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL, CONFIG]
    }

    fn pinned(&self) -> Result<Option<&'static str>> {
        Pins::of("kubernetes")?.version().map(Some)
    }

    fn install(&self) -> Result<Program> {
        let pins = Pins::of("kubernetes")?;
        let version = pins.version()?;
        hinted("apt-get install etcd-server", output(Command::new("etcd").arg("--version")))?;
        let mut numbers = version.split('.');
        let variables = [
            ("gitVersion", format!("v{version}")),
            ("gitMajor", numbers.next().unwrap_or_default().to_owned()),
            ("gitMinor", numbers.next().unwrap_or_default().to_owned()),
        ];
        let recipe = go::Recipe {
            name: "kube-apiserver",
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
            source: None,
            module: MODULE,
            sums: SUMS,
            // What the build of a release sets.
            variables: &variables.map(|(name, value)| format!("k8s.io/component-base/version.{name}={value}")),
            compiler: pins.requirement()?,
            python: pins.python,
        };
        let path = go::program(&recipe, |program| {
            let said = output(Command::new(program).arg("--version"))?;
            if said.trim_end() == format!("Kubernetes v{version}") {
                Ok(said)
            } else {
                Err(Failure::failed(format!("it is not {version} but {said}")))
            }
        })?;
        Ok(Program {
            path,
            version: version.to_owned(),
        })
    }

    fn is_current(&self, record: &Record) -> Result<bool> {
        Ok(record
            .variable(KINDS)
            .is_ok_and(|given| kinds().is_ok_and(|kinds| Path::new(given) == kinds)))
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let token = random()?;
        let kinds = kinds()?;
        let write = |name: &str, text: &str| {
            let path = scratch.join(name);
            create_private(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(Failure::io(format_args!("write `{}`", path.display())))?;
            Ok(path)
        };
        let openssl = || {
            let mut command = Command::new("openssl");
            clean_environment(&mut command, scratch);
            command
        };
        certificates::make(openssl)?;
        // In the older format: of a key of a curve it reads no other.
        certificates::run(openssl().args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "accounts.key"]))?;
        let authority = certificates::run(openssl().args(["base64", "-A", "-in", "ca.pem"]))?;
        write("tokens.csv", &format!("{token},keyfob,keyfob,system:masters\n"))?;
        let url = format!("https://127.0.0.1:{port}");
        let config = write("kubeconfig", &config(&url, authority.trim_end(), &token))?;

        let mut command = Command::new("sh");
        clean_environment(&mut command, scratch);
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(&program.path)
            .arg(format!("--secure-port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                // No object tells others where it is: nobody but its clients, which know, has to find it.
                "--endpoint-reconciler-type=none",
                "--etcd-servers=unix://etcd:1",
                "--cert-dir=.",
                "--tls-cert-file=server.pem",
                "--tls-private-key-file=server.key",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-key-file=accounts.key",
                "--service-account-signing-key-file=accounts.key",
                "--service-cluster-ip-range=10.0.0.0/24",
            ]);
        Ok(Launch {
            command,
            // It reaches all processes at once, and what they would still write is thrown away.
            stop: Signal::Kill,
            variables: vec![
                (URL, url),
                (CONFIG, config.display().to_string()),
                (KINDS, kinds.display().to_string()),
            ],
            secrets: vec![token],
            outside: None,
        })
    }

    /// The namespace `default`, which it makes last, is there, and it calls itself ready.
    fn answers(&self, record: &Record) -> Result {
        let path = Path::new(record.variable(CONFIG)?);
        let config = fs::read_to_string(path).map_err(Failure::io(format_args!("read `{}`", path.display())))?;
        let token = token(&config).ok_or_else(|| Failure::failed(format!("`{}` has no token", path.display())))?;
        let authority = path.with_file_name("ca.pem");
        let get = |path: &str| http::get_tls(record.variable(URL)?, path, &authority, token);
        get("/api/v1/namespaces/default")?;
        get("/readyz").map(drop)
    }
}

/// The directory with the kinds of External Secrets.
fn kinds() -> Result<PathBuf> {
    let pins = Pins::of("external-secrets")?;
    let (module, sum) = pins.module()?;
    go::files(&go::Files {
        name: "external-secrets-crds",
        module: &module,
        sum,
        paths: &KIND_FILES,
        compiler: pins.requirement()?,
        python: pins.python,
    })
}

/// What a client has to know, as every client of Kubernetes reads it.
fn config(url: &str, authority: &str, token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: keyfob
contexts:
- name: keyfob
  context:
    cluster: keyfob
    user: administrator
    namespace: default
clusters:
- name: keyfob
  cluster:
    server: {url}
    certificate-authority-data: {authority}
users:
- name: administrator
  user:
    token: \"{token}\"
"
    )
}

/// The token in what [`config`] gives.
fn token(config: &str) -> Option<&str> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("token: "))?;
    line.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt as _;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::testbed::identity::Process;

    /// Runs the script with `etcd`, a shell script, as etcd, and `server` as the API server. Gives the processes that are
    /// left a little after the shell has ended: of those that wrote their number into a file.
    fn left_of(name: &str, etcd: &str, server: &str) -> Vec<Process> {
        let dir = std::env::temp_dir().join(format!("keyfob-xtask-kubernetes-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let _socket = UnixListener::bind(dir.join("etcd:1")).unwrap();
        let program = dir.join("etcd");
        fs::write(&program, format!("#!/bin/sh\n{etcd}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", "sh", "-c", server])
            .env("PATH", path)
            .current_dir(&dir);
        let mut child = command.process_group(0).spawn().unwrap();
        assert!(!child.wait().unwrap().success());
        let numbers = fs::read_to_string(dir.join("numbers")).unwrap();
        let numbers: Vec<u32> = numbers.lines().map(|line| line.parse().unwrap()).collect();
        assert!(!numbers.is_empty());
        let left = || numbers.iter().filter_map(|pid| Process::at(*pid)).collect::<Vec<_>>();
        let end = Instant::now() + Duration::from_secs(5);
        while !left().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = left();
        fs::remove_dir_all(&dir).unwrap();
        left
    }

    #[test]
    fn when_the_api_server_ends_so_does_etcd() {
        let etcd = "echo $$ >> numbers; exec sleep 600";
        assert_eq!(
            left_of("server", etcd, "until [ -e numbers ]; do sleep 0.01; done; exit 1"),
            []
        );
    }

    #[test]
    fn when_etcd_ends_so_does_the_api_server() {
        let etcd = "until [ -e numbers ]; do sleep 0.01; done; exit 1";
        assert_eq!(left_of("etcd", etcd, "echo $$ >> numbers; exec sleep 600"), []);
    }

    #[test]
    fn the_token_is_read_as_it_is_written() {
        assert_eq!(token(&config("https://127.0.0.1:1", "Y2E=", "12e4")), Some("12e4"));
        assert_eq!(token("apiVersion: v1\n"), None);
    }

    #[test]
    fn the_module_is_of_the_pinned_version_and_its_parts_are_of_that_release() {
        let version = Pins::of("kubernetes").unwrap().version().unwrap();
        let words: Vec<Vec<&str>> = MODULE.lines().map(|line| line.split_whitespace().collect()).collect();
        let required = format!("v{version}");
        assert!(words.iter().any(|words| words.ends_with(&["k8s.io/kubernetes", &required])));
        // The module itself points at directories beside it, which are modules of their own when it is not the main one.
        let part = format!("v0{}", version.strip_prefix('1').unwrap());
        let parts: Vec<_> = words.iter().filter(|words| words.contains(&"=>")).collect();
        assert!(parts.len() > 20, "{}", parts.len());
        for words in parts {
            let [module, "=>", replacement, version] = words[..] else {
                panic!("{words:?}")
            };
            assert_eq!((replacement, version), (module, part.as_str()));
        }
        // Of every module that it is built of there is the sum of its content, and not only of its `go.mod`.
        assert!(SUMS.contains(&format!("k8s.io/kubernetes {required} h1:")));
    }
}
