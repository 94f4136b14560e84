//! What the machine knows: on Google Cloud, its metadata service.

use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};
use reqwest::Client;
use reqwest::redirect::Policy;

use crate::config::is_project;
use crate::credentials::Identity;

/// Away from Google Cloud nobody answers there.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The project that this machine belongs to.
///
/// # Errors
/// `InvalidConfig` when there is none, or nobody says.
pub(crate) async fn project(identity: &Identity) -> Result<String> {
    if let Some(host) = identity.machine()
        && let Some(project) = ask(&host).await
        && is_project(&project)
    {
        return Ok(project);
    }
    Err(
        Error::new(ErrorKind::InvalidConfig, "there is no Google Cloud project").with_hint(
            "write `gcp://my-project`, or set `GCP_PROJECT_ID` (looked for it, `GOOGLE_CLOUD_PROJECT`, `project_id` of a service \
         account's key, and the project of the machine)",
        ),
    )
}

async fn ask(host: &str) -> Option<String> {
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .tls_certs_only([])
        .timeout(TIMEOUT)
        .build()
        .ok()?;
    let request = client
        .get(format!("http://{host}/computeMetadata/v1/project/project-id"))
        .header("metadata-flavor", "Google");
    let mut answer = request.send().await.ok()?.error_for_status().ok()?;
    // What answers without it is something else.
    answer.headers().get("metadata-flavor").filter(|flavor| *flavor == "Google")?;
    let first = answer.chunk().await.ok()??;
    String::from_utf8(first.to_vec()).ok().map(|text| text.trim().to_owned())
}
