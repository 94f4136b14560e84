//! How the SDK's requests go over HTTP.
//!
//! The SDK lets its transport be replaced, and its own would not do: it follows redirects and sends the body, which can be a
//! value, along; it reads answers of any length; it makes a connection for each request that runs at the same time; with
//! `GOOGLE_CLOUD_RUST_LOGGING=true` it logs requests and answers with their values. Requests, answers and their JSON are the
//! SDK's.

use std::fmt;
use std::time::Duration;

use google_cloud_gax::options::RequestOptions;
use google_cloud_gax::response::Response;
use google_cloud_secretmanager_v1::model::{
    AccessSecretVersionRequest, AccessSecretVersionResponse, AddSecretVersionRequest, CreateSecretRequest, DeleteSecretRequest,
    DisableSecretVersionRequest, EnableSecretVersionRequest, GetSecretRequest, GetSecretVersionRequest,
    ListSecretVersionsRequest, ListSecretVersionsResponse, ListSecretsRequest, ListSecretsResponse, Secret, SecretVersion,
    UpdateSecretRequest,
};
use google_cloud_secretmanager_v1::stub::SecretManagerService;
use keyfob_core::adapter::WipedBuffer;
use keyfob_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Url};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::config::GcpConfig;
use crate::credentials::Identity;
use crate::error::{Failed, refused, too_large, too_late, undelivered, unreadable};
use crate::permissions::Permission;

/// The largest answer that is read. A page of a listing can have 1,000 secrets with 16 KiB of annotations each.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Sends the SDK's requests to one endpoint, each once and within the time limit.
pub(crate) struct Transport {
    client: Client,
    /// Without a `/` at the end.
    endpoint: String,
    identity: Identity,
    timeout: Duration,
    /// Over TLS the first request goes ahead alone: the others then share its connection, instead of each making one of
    /// its own to find out that one (HTTP/2) is enough.
    opened: Option<OnceCell<()>>,
}

impl Transport {
    /// Makes a client. No connection is made.
    pub(crate) fn new(config: &GcpConfig, endpoint: &str, identity: Identity) -> Result<Self> {
        let is_secure = endpoint.starts_with("https:");
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(config.connect_timeout.min(config.timeout));
        if !is_secure {
            // Without a certificate to check there is no need to load the system's authorities, which takes long.
            builder = builder.tls_certs_only([]);
        }
        if config.endpoint_is_local() {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|_| Error::new(ErrorKind::InvalidConfig, "the TLS settings of this machine can't be used"))?;
        Ok(Self {
            client,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            identity,
            timeout: config.timeout,
            opened: is_secure.then(OnceCell::new),
        })
    }

    async fn call<T: DeserializeOwned>(&self, call: Result<Call, Failed>) -> google_cloud_gax::Result<Response<T>> {
        let exchange = async {
            let call = call?;
            let (status, body) = self.exchange(&call).await?;
            // serde's words may quote the body, and are left out.
            serde_json::from_slice(&body).map_err(|_| unreadable(status))
        };
        // The kind of the SDK's error says nothing here; ours is its source.
        exchange
            .await
            .map(Response::from)
            .map_err(google_cloud_gax::error::Error::exhausted)
    }

    /// Status and body of a success.
    async fn exchange(&self, call: &Call) -> Result<(u16, Zeroizing<Vec<u8>>), Failed> {
        let writes = call.permission.is_to_write();
        let exchange = async {
            let request = self.request(call).await?;
            let answer = self.send(request).await.map_err(|error| undelivered(&error, writes))?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = read(answer, writes).await?;
            match status.is_success() {
                true => Ok((status.as_u16(), body)),
                false => Err(refused(status.as_u16(), &headers, &body, call.permission)),
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(too_late(writes)),
        }
    }

    async fn request(&self, call: &Call) -> Result<Request, Failed> {
        let unbuilt = || Failed::new(Error::new(ErrorKind::Other, "the request could not be built"));
        let mut url = Url::parse(&format!("{}/v1/{}", self.endpoint, call.path)).map_err(|_| unbuilt())?;
        for (name, value) in &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = Request::new(call.method.clone(), url);
        let headers = request.headers_mut();
        headers.extend(self.identity.headers().await?);
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("keyfob/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(body) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            // The HTTP client owns what it sends, and does not wipe it.
            *request.body_mut() = Some(body.to_vec().into());
        }
        Ok(request)
    }

    async fn send(&self, request: Request) -> reqwest::Result<reqwest::Response> {
        let Some(opened) = &self.opened else {
            return self.client.execute(request).await;
        };
        let (mut request, mut answer) = (Some(request), None);
        let first = async {
            let Some(request) = request.take() else { return Err(()) };
            answer
                .insert(self.client.execute(request).await)
                .as_ref()
                .map(drop)
                .map_err(drop)
        };
        // Whether this request went ahead or waited, and how that ended, stands in `answer`.
        let _ = opened.get_or_try_init(|| first).await;
        match (answer, request) {
            (Some(answer), _) => answer,
            (None, Some(request)) => self.client.execute(request).await,
            (None, None) => unreachable!("a request that is taken has an answer"),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

async fn read(mut answer: reqwest::Response, writes: bool) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let status = answer.status().as_u16();
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > MAX_ANSWER_BYTES) {
        return Err(too_large(status));
    }
    let mut body = WipedBuffer::with_capacity(announced.unwrap_or_default());
    loop {
        match answer.chunk().await {
            Ok(None) => return Ok(body.into_inner()),
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => return Err(too_large(status)),
            Ok(Some(chunk)) => body.extend(&chunk),
            Err(error) => return Err(undelivered(&error, writes)),
        }
    }
}

/// One request. What its path is made of has been checked: it needs no escapes.
struct Call {
    permission: Permission,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Call {
    fn get(permission: Permission, path: impl Into<String>) -> Self {
        Self {
            permission,
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            body: None,
        }
    }

    fn write<B: Serialize>(permission: Permission, method: Method, path: impl Into<String>, body: &B) -> Result<Self, Failed> {
        let mut bytes = WipedBuffer::default();
        serde_json::to_writer(&mut bytes, body)
            // Its words could repeat a part of the body.
            .map_err(|_| Failed::new(Error::new(ErrorKind::Other, "the request can't be written as JSON")))?;
        Ok(Self {
            method,
            body: Some(bytes.into_inner()),
            ..Self::get(permission, path)
        })
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((name, value));
        }
        self
    }

    fn page(self, size: i32, token: String, filter: String) -> Self {
        let size = if size > 0 { size.to_string() } else { String::new() };
        self.query("pageSize", size).query("pageToken", token).query("filter", filter)
    }
}

type Answer<T> = google_cloud_gax::Result<Response<T>>;

/// <https://cloud.google.com/secret-manager/docs/reference/rest>
impl SecretManagerService for Transport {
    async fn list_secrets(&self, req: ListSecretsRequest, _: RequestOptions) -> Answer<ListSecretsResponse> {
        let call =
            Call::get(Permission::ListSecrets, format!("{}/secrets", req.parent)).page(req.page_size, req.page_token, req.filter);
        self.call(Ok(call)).await
    }

    async fn create_secret(&self, req: CreateSecretRequest, _: RequestOptions) -> Answer<Secret> {
        let call = Call::write(
            Permission::CreateSecret,
            Method::POST,
            format!("{}/secrets", req.parent),
            &req.secret,
        );
        self.call(call.map(|call| call.query("secretId", req.secret_id))).await
    }

    async fn add_secret_version(&self, mut req: AddSecretVersionRequest, _: RequestOptions) -> Answer<SecretVersion> {
        // What stands in the path does not stand in the body too.
        let path = format!("{}:addVersion", std::mem::take(&mut req.parent));
        let call = Call::write(Permission::AddVersion, Method::POST, path, &req);
        // The same buffer, which nobody else holds, to be wiped.
        drop(req.payload.map(|payload| Zeroizing::new(Vec::from(payload.data))));
        self.call(call).await
    }

    async fn get_secret(&self, req: GetSecretRequest, _: RequestOptions) -> Answer<Secret> {
        self.call(Ok(Call::get(Permission::GetSecret, req.name))).await
    }

    async fn update_secret(&self, req: UpdateSecretRequest, _: RequestOptions) -> Answer<Secret> {
        let path = req.secret.as_ref().map(|secret| secret.name.clone()).unwrap_or_default();
        let mask = req.update_mask.map(|mask| mask.paths.join(",")).unwrap_or_default();
        let call = Call::write(Permission::UpdateSecret, Method::PATCH, path, &req.secret);
        self.call(call.map(|call| call.query("updateMask", mask))).await
    }

    async fn delete_secret(&self, req: DeleteSecretRequest, _: RequestOptions) -> Answer<()> {
        let call = Call {
            method: Method::DELETE,
            ..Call::get(Permission::DeleteSecret, req.name)
        };
        // An empty object; a page that stands in the way is none.
        let answer = self.call::<std::collections::BTreeMap<String, IgnoredAny>>(Ok(call.query("etag", req.etag)));
        answer.await.map(|_| Response::from(()))
    }

    async fn list_secret_versions(
        &self,
        req: ListSecretVersionsRequest,
        _: RequestOptions,
    ) -> Answer<ListSecretVersionsResponse> {
        let call = Call::get(Permission::ListVersions, format!("{}/versions", req.parent)).page(
            req.page_size,
            req.page_token,
            req.filter,
        );
        self.call(Ok(call)).await
    }

    async fn get_secret_version(&self, req: GetSecretVersionRequest, _: RequestOptions) -> Answer<SecretVersion> {
        self.call(Ok(Call::get(Permission::GetVersion, req.name))).await
    }

    async fn access_secret_version(
        &self,
        req: AccessSecretVersionRequest,
        _: RequestOptions,
    ) -> Answer<AccessSecretVersionResponse> {
        let path = format!("{}:access", req.name);
        self.call(Ok(Call::get(Permission::AccessVersion, path))).await
    }

    async fn disable_secret_version(&self, mut req: DisableSecretVersionRequest, _: RequestOptions) -> Answer<SecretVersion> {
        let path = format!("{}:disable", std::mem::take(&mut req.name));
        self.call(Call::write(Permission::DisableVersion, Method::POST, path, &req))
            .await
    }

    async fn enable_secret_version(&self, mut req: EnableSecretVersionRequest, _: RequestOptions) -> Answer<SecretVersion> {
        let path = format!("{}:enable", std::mem::take(&mut req.name));
        self.call(Call::write(Permission::EnableVersion, Method::POST, path, &req))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use keyfob_core::Environment;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const REQUESTS: usize = 5;

    /// A server that drops so many connections, each after a moment, and answers on the others; and how many connections
    /// it had when it was done with the first of each kind.
    async fn run(dropped: usize) -> (Vec<bool>, Vec<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("gcp://my-project?endpoint=http://{}", listener.local_addr().unwrap());
        let environment = Environment::fake().build();
        let config = GcpConfig::from_url(&url.parse().unwrap(), &environment).unwrap();
        let endpoint = config.endpoint.clone().unwrap();
        let mut transport = Transport::new(&config, &endpoint, Identity::find(&config).unwrap()).unwrap();
        // As over TLS.
        transport.opened = Some(OnceCell::new());
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let (counted, noted) = (Arc::clone(&accepted), Arc::clone(&ended));
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let (counted, noted) = (Arc::clone(&counted), Arc::clone(&noted));
                tokio::spawn(async move {
                    let _ = connection.read(&mut [0; 4096]).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if number <= dropped + 1 {
                        noted.lock().unwrap().push(counted.load(Ordering::SeqCst));
                    }
                    if number > dropped {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                        let _ = connection.write_all(answer).await;
                    }
                });
            }
        });
        let call = Call::get(Permission::ListSecrets, "projects/my-project/secrets");
        let calls = (0..REQUESTS).map(|_| async { transport.exchange(&call).await.is_ok() });
        let answers = join_all(calls).await;
        let ended = ended.lock().unwrap().clone();
        (answers, ended)
    }

    #[tokio::test]
    async fn the_first_request_goes_ahead_and_the_others_follow() {
        assert_eq!(run(0).await, (vec![true; REQUESTS], vec![1]));
    }

    #[tokio::test]
    async fn when_the_first_fails_another_goes_ahead() {
        let (answers, ended) = run(2).await;
        assert_eq!(answers.iter().filter(|answer| !**answer).count(), 2);
        assert_eq!(ended, [1, 2, 3]);
    }

    #[test]
    fn what_is_sent_is_what_the_reference_says() {
        let page = Call::get(Permission::ListSecrets, "projects/p/secrets").page(25, String::new(), "name:a b".to_owned());
        let expected = [("pageSize", "25".to_owned()), ("filter", "name:a b".to_owned())];
        assert_eq!(page.query, expected);
        let payload = google_cloud_secretmanager_v1::model::SecretPayload::new()
            .set_data(b"abc".to_vec())
            .set_data_crc32c(i64::from(crate::crc32c::crc32c(b"abc")));
        let body = AddSecretVersionRequest::new().set_payload(payload);
        let call = Call::write(Permission::AddVersion, Method::POST, "x:addVersion", &body).unwrap();
        // <https://cloud.google.com/secret-manager/docs/reference/rest/v1/SecretPayload>: 64-bit numbers are strings.
        assert_eq!(
            call.body.unwrap().as_slice(),
            br#"{"payload":{"data":"YWJj","dataCrc32c":"910901175"}}"#
        );
    }
}
