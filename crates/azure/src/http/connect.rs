//! Connections: TLS, proxies, time limits.

use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};

use crate::config::{AzureConfig, invalid};

/// The largest file of certificates, in bytes.
const MAX_PEM_BYTES: usize = 1 << 20;

/// The client for the vault and for logging in. No connection is made.
pub(crate) fn client(config: &AzureConfig) -> Result<Client> {
    let mut builder = plain()
        .https_only(true)
        .connect_timeout(config.connect_timeout.min(config.timeout));
    if let Some(file) = &config.ca {
        let about = |error: Error| error.with("file", file.display().to_string());
        let pem = config.environment.read(file, MAX_PEM_BYTES).map_err(|error| {
            about(invalid("the file of certificate authorities can't be read")).with("reason", error.to_string())
        })?;
        let authorities = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if authorities.is_empty() {
            return Err(about(invalid(
                "there is no certificate in PEM in the file of certificate authorities",
            )));
        }
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(proxy) = proxy(&config.environment)? {
        builder = builder.proxy(proxy);
    }
    builder
        .build()
        .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the TLS settings can't be used"))
}

/// The client for services of this machine, which are never behind a proxy.
pub(crate) fn machine_client(connect_timeout: Duration) -> Result<Client> {
    plain()
        // Without a certificate to check there is no need to load the system's authorities, which takes long.
        .tls_certs_only([])
        .connect_timeout(connect_timeout)
        .build()
        .map_err(|_| Error::new(ErrorKind::Other, "the HTTP client can't be made"))
}

fn plain() -> ClientBuilder {
    ClientBuilder::new()
        // A token must not follow to another host.
        .redirect(Policy::none())
        // The retry layer is the only owner of retries.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
}

/// The proxy that the environment names. Its URL may hold a password and is never repeated.
fn proxy(environment: &Environment) -> Result<Option<Proxy>> {
    let text = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| environment.secret_var(name).filter(|text| !text.is_empty()))
    };
    let Some(address) = text(["HTTPS_PROXY", "https_proxy"]).or_else(|| text(["ALL_PROXY", "all_proxy"])) else {
        return Ok(None);
    };
    let wrong = || invalid("the address of the proxy is not one").with_hint("check `HTTPS_PROXY` and `ALL_PROXY`");
    let address = address.expose_str().map_err(|_| wrong())?.trim();
    let proxy = Proxy::https(address).map_err(|_| wrong())?;
    let except = text(["NO_PROXY", "no_proxy"]);
    let except = except
        .as_ref()
        .and_then(|except| NoProxy::from_string(except.expose_str().ok()?));
    Ok(Some(proxy.no_proxy(except)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_taken_from_the_environment_and_a_wrong_one_is_not_repeated() {
        assert!(proxy(&Environment::fake().build()).unwrap().is_none());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let right = Environment::fake().var(name, "http://user:kfcanary-proxypassword@proxy.example:3128");
            let right = right.var("NO_PROXY", "localhost,.internal").build();
            assert!(proxy(&right).unwrap().is_some(), "{name}");
            let wrong = Environment::fake()
                .var(name, "http://user:kfcanary-proxypassword@[bad")
                .build();
            let error = proxy(&wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(!format!("{error:?}").contains("kfcanary-"), "{name}");
        }
        let other = Environment::fake().var("HTTP_PROXY", "http://proxy.example").build();
        assert!(proxy(&other).unwrap().is_none(), "the vault is never spoken to over HTTP");
    }
}
