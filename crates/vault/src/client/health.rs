//! What a server says about itself.

use keyfob_core::{ErrorKind, Result};
use serde::Deserialize;

use super::call::Call;
use super::exchange::Exchange;
use super::path::ApiPath;

/// What a server says about itself, without a log-in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerHealth {
    /// Its version, for example `2.7.2`.
    pub version: String,
    /// The name of its cluster, if it has one.
    pub cluster: Option<String>,
    /// Whether it is a standby node, which passes requests on to the active one.
    pub standby: bool,
}

#[derive(Deserialize)]
struct Body {
    initialized: bool,
    sealed: bool,
    #[serde(default)]
    standby: bool,
    version: String,
    cluster_name: Option<String>,
}

impl ServerHealth {
    pub(super) async fn ask(exchange: &Exchange) -> Result<Self> {
        // All states as a 200: the body says which it is.
        let path = ApiPath::of("sys/health")
            .query("standbyok", "true")
            .query("perfstandbyok", "true")
            .query("sealedcode", "200")
            .query("uninitcode", "200")
            .query("drsecondarycode", "200");
        let call = Call::get(&path).in_root_namespace();
        let answer = exchange.send_in_time(&call, None).await?;
        let body: Body = answer.json()?;
        if !body.initialized {
            return Err(answer.error(ErrorKind::Unavailable, "the server is not initialized"));
        }
        if body.sealed {
            let error = answer.error(ErrorKind::Unavailable, "the server is sealed");
            return Err(error.with_hint("someone with the unseal keys must unseal it"));
        }
        Ok(Self {
            version: shown(&body.version),
            cluster: body.cluster_name.as_deref().map(shown),
            standby: body.standby,
        })
    }
}

/// A server's word, bounded and printable.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
