//! Which vault.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use keyfob_core::Result;
use url::Url;

use super::invalid;

/// The address of a vault: a host, and a port if it isn't the usual one. Always HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultAddress {
    /// `https://HOST[:PORT]/`.
    url: Url,
}

/// A cloud of Microsoft's: where its vaults are, where to log in, and what a token for vaults is called.
struct Cloud {
    vaults: &'static str,
    authority: &'static str,
}

const PUBLIC: Cloud = Cloud {
    vaults: "vault.azure.net",
    authority: "https://login.microsoftonline.com",
};

/// <https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers>
const CLOUDS: [Cloud; 3] = [
    PUBLIC,
    Cloud {
        vaults: "vault.azure.cn",
        authority: "https://login.chinacloudapi.cn",
    },
    Cloud {
        vaults: "vault.usgovcloudapi.net",
        authority: "https://login.microsoftonline.us",
    },
];

impl VaultAddress {
    /// The vault of this name in the public cloud.
    ///
    /// # Errors
    /// `InvalidConfig` when no vault can have that name.
    pub fn of_name(name: &str) -> Result<Self> {
        let inner = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_one = inner
            && (3..=24).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && !name.ends_with('-')
            && !name.contains("--");
        if !is_one {
            return Err(invalid("no vault can have this name").with_hint(
                "the name of a vault has 3 to 24 letters, digits and `-`; another host is written with its dots, \
                 `azure://name.vault.azure.cn`",
            ));
        }
        Self::of_host(&format!("{name}.{}", PUBLIC.vaults), None)
    }

    /// A vault at a host, for other clouds and private ones.
    ///
    /// # Errors
    /// `InvalidConfig` when it is no host.
    pub fn of_host(host: &str, port: Option<u16>) -> Result<Self> {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Self::parse(&format!("https://{host}{port}/"))
    }

    /// The address as Azure writes it, `https://NAME.vault.azure.net/`.
    ///
    /// # Errors
    /// `InvalidConfig` when it is not the HTTPS address of a host and nothing else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            invalid("the address of the vault is not one").with_hint("it is like `https://NAME.vault.azure.net`, without a path")
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        if url.scheme() == "http" {
            return Err(invalid("the vault is only spoken to over HTTPS").with_hint("write `https://` in the address"));
        }
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        // The URL Standard reads more as a host than what can stand in one here.
        let is_host = url.host_str().is_some_and(|host| {
            let plain = host.trim_start_matches('[').trim_end_matches(']');
            !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
        });
        match url.scheme() == "https" && is_bare && is_host && !text.chars().any(|c| c.is_control() || c == '\\') {
            true => Ok(Self { url }),
            false => Err(wrong()),
        }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port, if it isn't the usual one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.url.port()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || plain.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
            || plain.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
    }

    /// Where to log in when nothing else is said.
    pub(crate) fn authority(&self) -> &'static str {
        self.cloud().unwrap_or(&PUBLIC).authority
    }

    /// What a token for this vault is called, where that is known without asking.
    pub(crate) fn scope(&self) -> Option<String> {
        self.cloud().map(|cloud| format!("https://{}/.default", cloud.vaults))
    }

    fn cloud(&self) -> Option<&'static Cloud> {
        let host = self.host();
        CLOUDS.iter().find(|cloud| {
            let name = host.strip_suffix(cloud.vaults).and_then(|name| name.strip_suffix('.'));
            name.is_some_and(|name| !name.is_empty())
        })
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_vault_of_the_public_cloud() {
        let vault = VaultAddress::of_name("Team-kv1").unwrap();
        assert_eq!(vault.to_string(), "https://team-kv1.vault.azure.net");
        assert_eq!(vault.scope().as_deref(), Some("https://vault.azure.net/.default"));
        for name in ["ab", "1ab", "a--b", "ab-", "a_b", &"a".repeat(25), ""] {
            assert!(VaultAddress::of_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_cloud_is_known_by_its_own_domain() {
        let china = VaultAddress::parse("https://kv.vault.azure.cn/").unwrap();
        assert_eq!(china.authority(), "https://login.chinacloudapi.cn");
        assert_eq!(VaultAddress::of_host("kv.example", None).unwrap().scope(), None);
        assert_eq!(VaultAddress::of_host("evilvault.azure.net", None).unwrap().scope(), None);
    }

    #[test]
    fn only_the_https_address_of_a_host_is_an_address() {
        for text in [
            "",
            "kv",
            "http://kv.vault.azure.net",
            "https://",
            "https://user@kv.example",
            "https://user:pw@kv.example",
            "https://kv.example/path",
            "https://kv.example?x",
            "https://kv.example#x",
            "https://kv.example\\@other",
            "ftp://kv.example",
            "https://k v.example",
        ] {
            assert!(VaultAddress::parse(text).is_err(), "{text}");
        }
        assert!(VaultAddress::parse("https://127.0.0.1:8443").unwrap().is_loopback());
        assert!(VaultAddress::parse("https://[::1]:8443/").unwrap().is_loopback());
        assert!(VaultAddress::parse("https://localhost:8443").unwrap().is_loopback());
        assert!(!VaultAddress::parse("https://localhost.example").unwrap().is_loopback());
    }
}
