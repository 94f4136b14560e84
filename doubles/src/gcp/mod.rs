//! The double of Google Cloud Secret Manager.

use crate::Failure;
use crate::arguments::Arguments;
use crate::server::{self, Request, Response};

/// Serves until the process ends.
pub(crate) async fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let port = arguments.number("--port")?.unwrap_or(0);
    arguments.finish()?;
    let listener = server::listen(port).await?;
    server::serve(listener, None, handle).await
}

/// Answers one request.
pub(crate) async fn handle(_request: Request) -> Response {
    Response::empty(501)
}
