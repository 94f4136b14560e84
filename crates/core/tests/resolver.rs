//! The resolver: one round, one report.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use keyfob_core::{
    AllowedSchemes, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, Intent, ListOptions, Location, MemoryStore,
    Metadata, Occurrence, Page, PageRequest, PieceKind, PutRequest, Reference, Resolved, Result, Secret, SecretName, SecretStore,
    StoreInfo, Stores, VersionInfo, async_trait, resolve, scan,
};

/// A memory store that writes down every batch.
#[derive(Debug, Default)]
struct Recorder {
    inner: MemoryStore,
    batches: Mutex<Vec<usize>>,
}

#[async_trait]
impl SecretStore for Recorder {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    async fn get(&self, _: &SecretName, _: &GetOptions) -> Result<Secret> {
        panic!("the resolver asks with get_many");
    }
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.batches.lock().unwrap().push(requests.len());
        self.inner.get_many(requests).await
    }
    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.inner.put(name, request).await
    }
    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.inner.delete(name, options).await
    }
    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.inner.restore(name).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.inner.list(options).await
    }
    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }
    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}

/// `secret` and `a` mean the same store, `broken` can't be opened.
struct Two(Arc<Recorder>, Arc<Recorder>);

#[async_trait]
impl Stores for Two {
    fn has_scheme(&self, scheme: &str) -> bool {
        matches!(scheme, "secret" | "a" | "b" | "broken" | "file")
    }
    async fn open(&self, scheme: &str, _: &Intent) -> Result<Arc<dyn SecretStore>> {
        match scheme {
            "b" => Ok(self.1.clone()),
            "broken" => Err(Error::new(ErrorKind::Unauthenticated, "no credentials")),
            _ => Ok(self.0.clone()),
        }
    }
}

fn occurrences(text: &str, stores: &Two) -> Vec<Occurrence> {
    let pieces = scan(text, |scheme| stores.has_scheme(scheme)).into_iter();
    pieces
        .filter_map(|piece| match piece.kind {
            PieceKind::Reference(reference) => Some(Occurrence {
                written: text[piece.span.clone()].to_owned(),
                reference,
                location: Location::new("app.yaml", 1, piece.span.start + 1),
                directory: None,
            }),
            PieceKind::Escape => None,
        })
        .collect()
}

async fn stores(secrets: &[(&str, &str)]) -> Two {
    let two = Two(Arc::default(), Arc::default());
    for (name, value) in secrets {
        let name = SecretName::new(name).unwrap();
        two.0.put(&name, PutRequest::new(*value)).await.unwrap();
        two.1
            .put(&name, PutRequest::new(format!("b-{value}").as_str()))
            .await
            .unwrap();
    }
    two
}

fn value(resolved: &Resolved, body: &str) -> String {
    let answer = resolved.answer(&Reference::parse(body).unwrap(), None).unwrap();
    answer.value.expose_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_store_is_asked_once_for_what_is_different() {
    let stores = stores(&[("x", r#"{"user":"jo","port":1}"#), ("y", "why")]).await;
    let text =
        "${secret:x#user} ${secret:x#port} ${a:x} ${secret:y} ${secret:y} ${b:y} ${a:y@current} ${secret:z:-none} ${secret:z?}";
    let resolved = resolve(&stores, &AllowedSchemes::All, &occurrences(text, &stores))
        .await
        .unwrap();
    assert_eq!(*stores.0.batches.lock().unwrap(), [3]);
    assert_eq!(*stores.1.batches.lock().unwrap(), [1]);
    for (body, expected) in [
        ("secret:x#user", "jo"),
        ("secret:x#port", "1"),
        ("b:y", "b-why"),
        ("secret:z:-none", "none"),
        ("secret:z?", ""),
    ] {
        assert_eq!(value(&resolved, body), expected);
    }
}

#[tokio::test]
async fn one_report_names_every_failure_and_what_exists() {
    let stores = stores(&[("db/password", "hunter2"), ("doc", r#"{"user":"hunter2"}"#)]).await;
    stores
        .0
        .put(&SecretName::new("raw").unwrap(), PutRequest::new(vec![0xFF]))
        .await
        .unwrap();
    let text = "${secret:db/pasword} ${secret:doc#usr} ${broken:x:-default} ${secret:a b} ${secret:raw} \
                ${file:/nonexistent/file} ${secret:db/pasword} ${b:gone@7} ${secret:db/password#x}";
    let report = resolve(&stores, &AllowedSchemes::All, &occurrences(text, &stores))
        .await
        .unwrap_err();
    let kinds: Vec<_> = report.failures.iter().map(|failure| failure.error.kind()).collect();
    use ErrorKind::{InvalidInput, NotFound, NotText, Unauthenticated};
    assert_eq!(
        kinds,
        [
            NotFound,
            NotFound,
            Unauthenticated,
            InvalidInput,
            NotText,
            NotFound,
            NotFound,
            InvalidInput
        ]
    );
    assert_eq!(report.failures[0].locations.len(), 2);
    assert_eq!(report.failures[0].nearest, ["db/password"]);
    assert_eq!(report.references, 8);
    let text = report.to_string();
    assert!(text.contains("fields `user`") && text.contains("app.yaml:1:1"), "{text}");
    assert!(!format!("{report} {report:?}").contains("hunter2"));
}

#[tokio::test]
async fn schemes_can_be_refused_before_anything_is_asked() {
    let stores = stores(&[("x", "1")]).await;
    let allowed = AllowedSchemes::Only(["secret".to_owned()].into());
    let report = resolve(
        &stores,
        &allowed,
        &occurrences("${file:/etc/hostname} ${file:/etc/hostname} ${b:x}", &stores),
    )
    .await;
    let failures = report.unwrap_err().failures;
    assert_eq!(failures.len(), 2);
    assert!(
        failures
            .iter()
            .all(|failure| failure.error.kind() == ErrorKind::PermissionDenied)
    );
    assert!(stores.1.batches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_fallback_does_not_hide_other_failures() {
    let stores = stores(&[]).await;
    let report = resolve(&stores, &AllowedSchemes::All, &occurrences("${broken:x?}", &stores))
        .await
        .unwrap_err();
    assert_eq!(report.failures[0].error.kind(), ErrorKind::Unauthenticated);
}
