//! `health`: whether the API server answers and knows who asks.

use futures_util::future::join;
use keyfob_core::{Health, Result};

use super::keys::Keys;
use super::objects::Objects;
use crate::client::{Accept, Call, Cluster, Path, Query};
use crate::error::Failed;
use crate::object::{Partial, PartialList};

impl Objects {
    pub(super) async fn health(&self) -> Result<Health> {
        let query = Query::default().with("limit", "1");
        let call = Call::get(Path::secrets(&self.namespace), Accept::MetadataList).query(query);
        let asked = async {
            let list: PartialList = self.cluster.ask(&call).await?;
            list.confirm(&self.namespace)
        };
        judge(&self.cluster, &self.namespace, asked, Some(DENIED_LIST), None).await
    }
}

impl Keys {
    pub(super) async fn health(&self) -> Result<Health> {
        let call = Call::get(Path::secret(&self.namespace, &self.object), Accept::Metadata);
        let asked = async {
            let partial: Partial = self.cluster.ask(&call).await?;
            partial.confirm(&self.namespace, &self.object)
        };
        // Who may not get this one object can read nothing here.
        judge(&self.cluster, &self.namespace, asked, None, Some(MISSING)).await
    }
}

const DENIED_LIST: &str = "`list` of secrets in the namespace is not allowed: names can't be listed, and whether secrets can be \
    read by name only a read shows";
const MISSING: &str = "the Secret does not exist yet: the first write makes it";

/// Asks for the namespace beside: to reads, one that is missing looks like an empty one.
async fn judge(
    cluster: &Cluster,
    namespace: &str,
    asked: impl Future<Output = Result<(), Failed>>,
    denied: Option<&'static str>,
    missing: Option<&'static str>,
) -> Result<Health> {
    let call = Call::get(Path::namespace(namespace), Accept::Metadata);
    let (asked, of_namespace) = join(asked, cluster.answer(&call)).await;
    let mut health = Health::default();
    match asked {
        Ok(()) => {}
        Err(failed) => {
            let warning = match (missing, denied) {
                (Some(missing), _) if failed.is_not_found() => missing,
                // The API server knows who asks.
                (_, Some(denied)) if failed.is_denied() => denied,
                _ => return Err(failed.into_error()),
            };
            health.warnings.push(warning.to_owned());
        }
    }
    // Few are allowed to look at it, and then it stays unknown.
    if let Err(failed) = of_namespace
        && failed.lacks_namespace()
    {
        return Err(failed.into_error().with("namespace", namespace));
    }
    health.details.push(("server", cluster.server().to_owned()));
    health.details.push(("namespace", namespace.to_owned()));
    Ok(health)
}
