//! The HTTP client below the SDK: no TLS where none is needed, answers of bounded size, bodies that no log can print.

use std::fmt;

use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;

/// The largest answer that is read. The largest that can come is a batch of 20 values of 64 KiB, as JSON strings in
/// which every character may be escaped.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Connections for everything that is asked of AWS: secrets, keys, credentials.
pub(crate) fn client() -> SharedHttpClient {
    SharedHttpClient::new(Http {
        plain: Builder::new().build_http(),
        secure: Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .build_https(),
    })
}

struct Http {
    plain: SharedHttpClient,
    /// Loads the roots of the machine when it makes its first connector, which takes up to 90 ms: only for `https:`.
    secure: SharedHttpClient,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(ByScheme {
            plain: self.plain.http_connector(settings, components),
            secure: self.secure.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }
}

/// The connectors for one request. Each client keeps its own, with their connections, for as long as it lives.
struct ByScheme {
    plain: SharedHttpConnector,
    secure: SharedHttpClient,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl fmt::Debug for ByScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByScheme")
    }
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = if request.uri().starts_with("http:") {
            self.plain.call(request)
        } else {
            self.secure.http_connector(&self.settings, &self.components).call(request)
        };
        HttpConnectorFuture::new(async move { bounded(answer.await?).await })
    }
}

/// Reads the body, up to the limit.
async fn bounded(mut answer: HttpResponse) -> Result<HttpResponse, ConnectorError> {
    let announced = answer
        .headers()
        .get("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_ANSWER_BYTES) {
        return Err(ConnectorError::other(AnswerTooLarge.into(), None));
    }
    let mut stream = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
    // A capacity that is known from the start leaves no outgrown copies of values behind.
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| ConnectorError::io(error.into()))?;
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(ConnectorError::other(AnswerTooLarge.into(), None));
        }
        body.extend_from_slice(&part);
    }
    *answer.body_mut() = unprintable(SdkBody::from(body));
    Ok(answer)
}

/// The answer has more than [`MAX_ANSWER_BYTES`].
#[derive(Debug)]
pub(crate) struct AnswerTooLarge;

impl fmt::Display for AnswerTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is larger than 16 MiB")
    }
}

impl std::error::Error for AnswerTooLarge {}

/// Hides the body of every request, which may hold a value, from the SDK's trace log of requests.
#[derive(Debug)]
pub(crate) struct HideBodies;

impl Intercept for HideBodies {
    fn name(&self) -> &'static str {
        "HideBodies"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        *body = unprintable(std::mem::replace(body, SdkBody::taken()));
        Ok(())
    }
}

/// For actions that answer with nothing: refuses an answer that says something, as from a page that stands in the way.
#[derive(Debug)]
pub(crate) struct EmptyAnswer;

impl Intercept for EmptyAnswer {
    fn name(&self) -> &'static str {
        "EmptyAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let body = answer.body().bytes().map(<[u8]>::trim_ascii);
        match answer.status().is_success() && !matches!(body, Some(b"" | b"{}")) {
            true => Err("the answer is not empty".into()),
            false => Ok(()),
        }
    }
}

/// The same body behind a box: `Debug` of a body in memory prints its bytes, of a boxed one it doesn't.
fn unprintable(body: SdkBody) -> SdkBody {
    SdkBody::from_body_1_x(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_body_is_not_printed() {
        let body = || SdkBody::from("kfcanary-httpbody01");
        assert!(format!("{:?}", body()).contains("kfcanary"), "hiding is needed no more");
        assert!(
            !format!("{:?}", unprintable(body())).contains("kfcanary"),
            "the body is printed"
        );
    }
}
