use std::path::PathBuf;

use keyfob_core::FakeEnvironment;
use tempfile::TempDir;

use crate::SecretManager;

use super::*;

/// A directory with `near.env`, which has `TOKEN` and `A`, and `far.env`, which has `TOKEN` and `B`.
struct Bed {
    _directory: TempDir,
    path: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        std::fs::write(path.join("near.env"), "TOKEN=kfcanary-near1111\nA=1\n").unwrap();
        std::fs::write(path.join("far.env"), "TOKEN=kfcanary-far22222\nB=2\n").unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    fn fake(&self, stores: &str) -> FakeEnvironment {
        let fake = Environment::fake().host_files().current_dir(&self.path).home(&self.path);
        fake.var("KEYFOB_CONFIG", "none").var("SECRET_PROVIDER", stores)
    }

    fn manager(&self, stores: &str) -> SecretManager {
        lazily(self.fake(stores))
    }
}

fn lazily(fake: FakeEnvironment) -> SecretManager {
    SecretManager::builder().environment(fake.build()).build_lazily().unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_a_later_store_is_told_when_it_is_asked() {
    let bed = Bed::new();
    let falls_through = |stores| {
        let fake = bed.fake(stores);
        lazily(fake.var("SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH", "true"))
    };
    let manager = falls_through("dotenv:near.env,dotenv:far.env?nope=1");
    manager.get("TOKEN").await.unwrap();
    let error = manager.get("B").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("unknown parameter `nope`"), "{error}");
    // Who looks at all of them, `keyfob doctor`, sees it without asking for anything.
    let health = manager.health().await.unwrap();
    assert!(health.warnings.iter().any(|warning| warning.contains("`nope`")), "{health:?}");

    let manager = falls_through("dotenv:near.env,dotenv:far.env");
    manager.get("B").await.unwrap();
    let warnings = manager.health().await.unwrap().warnings;
    assert!(
        !warnings.iter().any(|warning| warning.contains("can't serve")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_backend_that_this_build_lacks_is_told_at_once() {
    let bed = Bed::new();
    let absent = ["gcp", "aws", "azure"].into_iter().find(|name| backends::find(name).is_err());
    if let Some(absent) = absent {
        let manager = bed.manager(&format!("dotenv:near.env,{absent}"));
        assert_eq!(manager.get("TOKEN").await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[tokio::test]
async fn a_store_that_is_not_open_yet_is_said_to_be_where_it_is() {
    let bed = Bed::new();
    let list = bed.manager("dotenv:near.env,dotenv:far.env,env").store().await.unwrap();
    let mut said = Vec::new();
    for alone in ["dotenv:near.env", "dotenv:far.env", "env"] {
        let store = bed.manager(alone).store().await.unwrap();
        said.push((store.info().scheme.clone(), store.info().location.clone()));
    }
    let members = &list.info().members;
    let of_members = members.iter().map(|info| (info.scheme.clone(), info.location.clone()));
    assert_eq!(of_members.collect::<Vec<_>>(), said);
}

#[tokio::test]
async fn what_can_be_written_to_all_is_known_before_anything_is_written() {
    let bed = Bed::new();
    let manager = lazily(bed.fake("dotenv:near.env,env").var("SECRET_FAILOVER_REPLICATE", "true"));
    let error = manager.put("NEW", PutRequest::new("kfcanary-new33333")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let near = std::fs::read_to_string(bed.path.join("near.env")).unwrap();
    assert!(!near.contains("NEW"), "it was written to the first store");
}

/// With something on 127.0.0.1 that accepts and says nothing, in virtual time: it passes only where somebody waits.
#[cfg(feature = "postgres")]
mod silence {
    use std::net::TcpListener;
    use std::time::Duration;

    use keyfob_core::AuditFilter;
    use tokio::time::Instant;

    use super::*;

    const READ: Duration = Duration::from_millis(700);
    const DEADLINE: Duration = Duration::from_millis(1500);

    struct Silence(TcpListener, String);

    impl Silence {
        fn new() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let url = format!("postgres://u@{}/db", listener.local_addr().unwrap());
            Self(listener, url)
        }

        fn was_asked(&self) -> bool {
            self.0.accept().is_ok()
        }
    }

    fn manager(bed: &Bed, stores: &str) -> SecretManager {
        let fake = bed
            .fake(stores)
            .var("KEYFOB_KEY", "ab".repeat(32))
            .var("SECRET_AUDIT_MEMORY", "9");
        let fake = fake
            .var("SECRET_FAILOVER_READ_TIMEOUT", "700")
            .var("SECRET_RETRY_DEADLINE", "1500");
        lazily(fake.var("SECRET_CACHE_TTL", "0"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_store_is_not_opened_before_it_is_asked() {
        let (bed, silence) = (Bed::new(), Silence::new());
        let manager = manager(&bed, &format!("dotenv:near.env,{}", silence.1));
        let start = Instant::now();
        manager.get("TOKEN").await.unwrap();
        assert!(start.elapsed().is_zero() && !silence.was_asked());

        let list = manager.store().await.unwrap();
        let location = &list.info().members[1].location;
        assert!(
            location.starts_with("127.0.0.1:") && location.ends_with("/db?schema=keyfob"),
            "{location}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn opening_a_store_of_a_list_counts_into_the_time_of_a_read() {
        let (bed, silence) = (Bed::new(), Silence::new());
        let manager = manager(&bed, &format!("{},dotenv:far.env", silence.1));
        let start = Instant::now();
        let secret = manager.get("TOKEN").await.unwrap();
        assert_eq!((&*secret.metadata.origin.store, start.elapsed()), ("dotenv", READ));
        assert_eq!(secret.metadata.origin.passed_over[0].kind, ErrorKind::Unavailable);
        assert!(silence.was_asked());

        // It is left alone for as long as was waited for it, then asked again.
        manager.get("TOKEN").await.unwrap();
        assert_eq!(start.elapsed(), READ);
        tokio::time::sleep(READ).await;
        manager.get("TOKEN").await.unwrap();
        assert_eq!(start.elapsed(), 3 * READ);
    }

    #[tokio::test(start_paused = true)]
    async fn opening_stores_counts_into_the_deadline() {
        let (bed, silence) = (Bed::new(), Silence::new());
        let start = Instant::now();
        let alone = manager(&bed, &silence.1);
        let error = alone.get("TOKEN").await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::Unavailable, DEADLINE));
        assert!(
            error.to_string().contains("within 1.5s (store `postgres://***@127.0.0.1:"),
            "{error}"
        );
        let record = &alone.audit_records(&AuditFilter::default())[0];
        assert!(record.name.as_deref() == Some("TOKEN"));

        let start = Instant::now();
        let urls: Vec<String> = (1..=4).map(|number| format!("{}{number}", silence.1)).collect();
        let many = manager(&bed, &urls.join(","));
        assert_eq!(many.get("TOKEN").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(start.elapsed(), DEADLINE);
    }
}
