//! The way to a service: the line, which is slow and counts, and what stands for the service at its end.

use std::fs;
use std::path::{Path, PathBuf};

use keyfob_integration_tests::fault_proxy::{FaultProxy, Line};
use tokio::runtime::Runtime;

use super::front::{Front, Names};
use super::http::Endpoint;
use super::service::{KeyVault, Place, Service};
use super::tls::Identity;
use super::tunnel;
use crate::Outcome;

const HTTP_1: &[&str] = &["http/1.1"];
/// As Google's servers.
const HTTP_2: &[&str] = &["h2", "http/1.1"];

pub(super) struct Way {
    /// Where the service is for who comes this way.
    pub(super) url: String,
    /// Where one logs in, if that is another place.
    pub(super) login: Option<String>,
    /// The authority of both.
    pub(super) ca: Option<PathBuf>,
    /// An HTTP proxy for tools that have the service's public name built in.
    pub(super) tunnel: Option<String>,
    proxies: Vec<FaultProxy>,
    fronts: Vec<Front>,
    /// Whether the proxies see requests.
    is_open: bool,
    /// Holds what the fronts and the tunnel run on.
    runtime: Runtime,
}

impl Way {
    /// Over a line; without one, as direct as can be.
    pub(super) fn to(service: &Service, line: Option<Line>) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let mut way = Self {
            url: String::new(),
            login: None,
            ca: None,
            tunnel: None,
            proxies: Vec::new(),
            fronts: Vec::new(),
            is_open: false,
            runtime,
        };
        match &service.place {
            Place::OpenBao(place) => way.open(&place.url, line)?,
            Place::LocalStack(place) => way.open(&place.url, line)?,
            Place::SecretManager(place) => {
                let upstream = Endpoint::parse(&place.url, None)?;
                let address = way.fronted(upstream, &place.identity, HTTP_2, Names::default(), line)?;
                way.url = format!("https://{address}");
                way.ca = Some(place.identity.ca());
                let places = vec![("secretmanager.googleapis.com", address)];
                way.tunnel = Some(tunnel::start(way.runtime.handle(), places)?);
            }
            Place::KeyVault(place) => {
                let names = Names {
                    host: Some(place.url.trim_start_matches("https://").to_owned()),
                    public: vec![
                        (place.url.clone(), public_vault()),
                        (place.authority.clone(), format!("https://{LOGIN}")),
                    ],
                };
                let vault = Endpoint::parse(&place.url, Some(&place.ca))?;
                let vault = way.fronted(vault, &place.identity, HTTP_1, names.clone(), line)?;
                let login = Endpoint::parse(&place.authority, Some(&place.ca))?;
                let login = way.fronted(login, &place.identity, HTTP_1, names, line)?;
                way.url = format!("https://{vault}");
                way.login = Some(format!("https://{login}"));
                way.ca = Some(place.identity.ca());
                let places = vec![(VAULTS, vault), (LOGIN, login)];
                way.tunnel = Some(tunnel::start(way.runtime.handle(), places)?);
            }
            Place::Kubernetes(place) => {
                let address = place.url.trim_start_matches("https://");
                way.url = format!("https://{}", way.closed(address, line)?);
                way.ca = Some(place.ca());
            }
            Place::Postgres(place) => {
                let (before, rest) = place.url.rsplit_once('@').ok_or("the URL of PostgreSQL names no user")?;
                let (address, database) = rest.split_once('/').ok_or("the URL of PostgreSQL names no database")?;
                way.url = format!("{before}@{}/{database}", way.closed(address, line)?);
            }
        }
        Ok(way)
    }

    /// The proxy sees what passes.
    fn open(&mut self, url: &str, line: Option<Line>) -> Outcome {
        self.is_open = true;
        url.clone_into(&mut self.url);
        if let Some(line) = line {
            let proxy = FaultProxy::to(url)?.line(line).start()?;
            self.url = proxy.url();
            self.proxies.push(proxy);
        }
        Ok(())
    }

    /// What passes is encrypted, or no HTTP, and the proxy lets it alone. Gives the address.
    fn closed(&mut self, address: &str, line: Option<Line>) -> Outcome<String> {
        let Some(line) = line else { return Ok(address.to_owned()) };
        let proxy = FaultProxy::to(address)?.line(line).opaque().start()?;
        let address = proxy.address().to_string();
        self.proxies.push(proxy);
        Ok(address)
    }

    /// The same, with TLS at the end of the line.
    fn fronted(
        &mut self,
        upstream: Endpoint,
        identity: &Identity,
        protocols: &[&str],
        names: Names,
        line: Option<Line>,
    ) -> Outcome<String> {
        let front = Front::start(self.runtime.handle(), upstream, identity, protocols, names)?;
        let address = self.closed(&front.address(), line)?;
        self.fronts.push(front);
        Ok(address)
    }

    pub(super) fn endpoint(&self) -> Outcome<Endpoint> {
        Endpoint::parse(&self.url, self.ca.as_deref())
    }

    pub(super) fn login(&self) -> Outcome<Endpoint> {
        let login = self.login.as_ref().ok_or("there is no log-in on this way")?;
        Endpoint::parse(login, self.ca.as_deref())
    }

    pub(super) fn forget(&self) {
        self.proxies.iter().for_each(FaultProxy::forget);
        self.fronts.iter().for_each(Front::forget);
    }

    /// How many connections came, or none where nobody counts.
    pub(super) fn connections(&self) -> Option<usize> {
        let counts = self.proxies.iter().map(FaultProxy::connections);
        (!self.proxies.is_empty()).then(|| counts.sum())
    }

    /// How many requests came, or none where nobody can see them.
    pub(super) fn requests(&self) -> Option<usize> {
        let of_fronts = self.fronts.iter().map(Front::requests);
        let of_proxies = self.proxies.iter().map(|proxy| proxy.requests().len());
        match self.is_open {
            true => Some(of_proxies.sum()),
            false => (!self.fronts.is_empty()).then(|| of_fronts.sum()),
        }
    }

    /// A kubeconfig that leads this way.
    pub(super) fn kubeconfig(&self, text: &str, server: &str, file: &Path) -> Outcome {
        Ok(fs::write(file, text.replace(server, &self.url))?)
    }
}

/// Where one logs in, by its public name.
const LOGIN: &str = "login.microsoftonline.com";
/// The end of every vault's public name.
const VAULTS: &str = ".vault.azure.net";

/// The public URL of the vault.
fn public_vault() -> String {
    format!("https://{}{VAULTS}", KeyVault::NAME)
}
