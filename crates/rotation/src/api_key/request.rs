//! A request of a provider's API, with holes.

use std::fmt;

use keyfob_core::Result;
use percent_encoding::percent_encode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::Value;
use zeroize::Zeroizing;

use super::template::{Holes, Part, Writing, fill, parts};
use crate::http::{self, invalid};
use crate::percent::RESERVED;

/// A request for [`ApiKeyRotator`](super::ApiKeyRotator), which explains what may stand in it. `Debug` shows its method only.
#[derive(Clone)]
pub struct ApiRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    None,
    Form(Vec<(String, String)>),
    Json(Value),
}

/// A request whose holes are filled. It is shown nowhere.
pub(super) struct Filled {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl ApiRequest {
    /// A request without headers and body. The URL is `https`, or `http` on this machine, and its host has no holes.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the fields of a form as the body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<'f>(mut self, fields: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.body = Body::Form(fields.collect());
        self
    }

    /// With a JSON document as the body, whose texts may have holes.
    #[must_use]
    pub fn json(mut self, document: Value) -> Self {
        self.body = Body::Json(document);
        self
    }

    /// # Errors
    /// `InvalidConfig` for what can't be a request.
    pub(super) fn check(&self) -> Result<()> {
        // Whoever chooses a part of the host chooses who is given the credential.
        let (origin, after) = self.origin()?;
        if origin.contains(['{', '}']) || !(after.is_empty() || after.starts_with(['/', '?'])) {
            return Err(invalid("the host of a request's URL must stand there as it is"));
        }
        let holes = Holes {
            key: "x",
            key_id: Some("x"),
            rotation: "x",
            name: "x",
            credential: Some("x"),
        };
        self.fill(&holes).map(|_| ())
    }

    /// Scheme and host, and the rest.
    fn origin(&self) -> Result<(&str, &str)> {
        let url = http::url(&self.url.replace(['{', '}'], ""))?;
        let scheme = url.scheme().len() + "://".len();
        let end = self
            .url
            .get(scheme..)
            .and_then(|rest| rest.find(['/', '?', '#']))
            .map_or(self.url.len(), |at| at + scheme);
        Ok(self.url.split_at(end))
    }

    /// Whether there is a hole of this name.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        let is_in = |text: &str| parts(text).is_ok_and(|parts| parts.contains(&Part::Hole(name)));
        let in_body = match &self.body {
            Body::None => false,
            Body::Form(fields) => fields.iter().any(|(_, text)| is_in(text)),
            Body::Json(document) => any_text(document, &is_in),
        };
        is_in(&self.url) || in_body || self.headers.iter().any(|(_, text)| is_in(text))
    }

    pub(super) fn fill(&self, holes: &Holes<'_>) -> Result<Filled> {
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|_| invalid("this is not the name of a method"))?;
        let mut headers = HeaderMap::new();
        let body = match &self.body {
            Body::None => None,
            Body::Form(fields) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                Some(form(fields, holes)?)
            }
            Body::Json(document) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let mut document = document.clone();
                fill_texts(&mut document, holes)?;
                let text = serde_json::to_vec(&document).map_err(|_| invalid("a body can't be written as JSON"))?;
                Some(Zeroizing::new(text))
            }
        };
        for (name, value) in &self.headers {
            let value = fill(value, holes, Writing::AsIs)?;
            let (name, value) = http::header(name, value.as_bytes())?;
            headers.insert(name, value);
        }
        Ok(Filled {
            method,
            url: http::url(&fill(&self.url, holes, Writing::Percent)?)?,
            headers,
            body,
        })
    }
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Filled {
    pub(super) fn request(&self, client: &Client) -> RequestBuilder {
        let request = client
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        match &self.body {
            // The HTTP client owns what it sends, and does not wipe it.
            Some(body) => request.body(body.to_vec()),
            None => request,
        }
    }

    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

fn form(fields: &[(String, String)], holes: &Holes<'_>) -> Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(String::new());
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        body.extend(percent_encode(name.as_bytes(), RESERVED));
        body.push('=');
        let value = fill(value, holes, Writing::AsIs)?;
        body.extend(percent_encode(value.as_bytes(), RESERVED));
    }
    Ok(Zeroizing::new(std::mem::take(&mut *body).into_bytes()))
}

fn fill_texts(document: &mut Value, holes: &Holes<'_>) -> Result<()> {
    match document {
        Value::String(text) => *text = std::mem::take(&mut *fill(text, holes, Writing::AsIs)?),
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_texts(item, holes))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill_texts(field, holes))?,
        _ => {}
    }
    Ok(())
}

fn any_text(document: &Value, is_in: &dyn Fn(&str) -> bool) -> bool {
    match document {
        Value::String(text) => is_in(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is_in)),
        Value::Object(fields) => fields.values().any(|field| any_text(field, is_in)),
        _ => false,
    }
}
