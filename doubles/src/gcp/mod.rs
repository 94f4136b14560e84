//! The double of Google Cloud Secret Manager's REST API, version 1.
//!
//! ```text
//! keyfob-double gcp --port PORT [--directory DIRECTORY] [--anonymous] [--page-size NUMBER]
//! ```
//!
//! Written from the published service definition (`google/cloud/secretmanager/v1/service.proto` and `resources.proto`), the
//! guides at <https://cloud.google.com/secret-manager/docs> and the design rules at <https://google.aip.dev>. It prints
//! one line of JSON when it listens: `url`, `tokens` (what each may do is said in `callers.rs`), `project`, and `files`
//! with Application Default Credentials when it has a `DIRECTORY`, where `double.json` holds the same line. With
//! `--anonymous` who sends no token may do everything; otherwise that is a 401. With `--page-size` a page has so many
//! elements when the client leaves it to the service.
//!
//! Besides the API at `/v1/` there are a token endpoint at `/token`, a metadata server at `/computeMetadata/`, and for
//! tests:
//!
//! | request | what it does |
//! |---|---|
//! | `GET /_double` | says the same as the line |
//! | `POST /_double/faults` | plans a fault: `{"fault": "RESOURCE_EXHAUSTED", "method": "AccessSecretVersion", "resource": "part-of-the-path", "count": 2, "retryDelay": "3s", "afterwards": false}`; all but `fault` can be left out. Faults are `ABORTED`, `INTERNAL`, `RESOURCE_EXHAUSTED`, `SERVICE_DISABLED`, `UNAVAILABLE` and `WRONG_CHECKSUM` |
//! | `DELETE /_double/faults` | forgets all that are planned |
//! | `POST /_double/clock` | puts the clock forward: `{"advanceSeconds": 60}` |
//!
//! What the service has and this double has not is answered with 501: IAM policies, rotation, topics, keys of the customer,
//! typed secrets, the list of locations. Regional secrets are served at the same address as global ones.

mod callers;
mod control;
mod crc32c;
mod credentials;
mod faults;
mod filter;
mod json;
mod metadata;
mod metadata_server;
mod methods;
mod names;
mod pages;
mod random;
mod secret;
mod service;
mod status;
mod store;
mod version;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::arguments::Arguments;
use crate::server::{self, Request, Response};
use callers::Callers;
use credentials::Credentials;
use faults::Faults;
use service::Service;
use store::Store;

/// Serves until the process ends.
pub(crate) async fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let port = arguments.number("--port")?.unwrap_or(0);
    // Whoever reads its line or its file may be in another directory.
    let directory = arguments.text("--directory")?.map(std::path::absolute).transpose()?;
    let anonymous = arguments.flag("--anonymous");
    let page_size = arguments.number("--page-size")?.unwrap_or(100);
    arguments.finish()?;

    let listener = server::listen(port).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let credentials = Credentials::new(&url)?;
    let directory = directory.as_deref();
    if let Some(directory) = directory {
        credentials.write(directory)?;
    }
    let line = line(&url, directory);
    if let Some(directory) = directory {
        credentials::write_private(&directory.join("double.json"), &line)?;
    }
    let service = Arc::new(Mutex::new(service(credentials, anonymous, page_size)));
    say(&line);
    server::serve(listener, None, move |request| {
        let service = Arc::clone(&service);
        let line = line.clone();
        async move {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&mut service, &line, &request)
        }
    })
    .await
}

fn service(credentials: Credentials, anonymous: bool, page_size: usize) -> Service {
    Service {
        store: Store::new(page_size, Timestamp::now().as_microsecond().unsigned_abs()),
        callers: Callers::default(),
        credentials,
        faults: Faults::default(),
        ahead: SignedDuration::ZERO,
        anonymous,
    }
}

fn answer(service: &mut Service, line: &Value, request: &Request) -> Response {
    if let Some(path) = request.path.strip_prefix("/v1/") {
        return service.answer(path, request);
    }
    metadata_server::answer(service, request)
        .or_else(|| control::answer(service, line, request))
        .unwrap_or_else(|| service::no_such_page(&request.path))
}

/// What it says of itself.
fn line(url: &str, directory: Option<&Path>) -> Value {
    let mut tokens: Map<String, Value> = callers::KNOWN
        .iter()
        .map(|(name, token, _)| ((*name).to_owned(), json!(token)))
        .collect();
    tokens.insert("expired".to_owned(), json!(callers::EXPIRED));
    let project = credentials::PROJECT;
    let mut line = json!({
        "url": url,
        "project": project,
        "projectNumber": names::project_number(project).map(|number| number.to_string()),
        "tokens": tokens,
    });
    if let Some(directory) = directory {
        let file = |name: &str| directory.join(name).display().to_string();
        line["files"] = json!({
            "serviceAccount": file("service-account.json"),
            "authorizedUser": file("authorized-user.json"),
        });
    }
    line
}

#[expect(clippy::print_stdout, reason = "who starts it reads it")]
fn say(line: &Value) {
    println!("{line}");
}
