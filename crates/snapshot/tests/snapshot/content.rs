//! What a snapshot holds, what it shows, and what it hides.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use keyfob_core::{
    Change, Clock as _, DeleteOptions, ErrorKind, Expired, GetOptions, ListOptions, PageRequest, PutRequest, SecretStore as _,
    SystemClock, VersionSelector,
};
use keyfob_envelope::{Passphrase, PassphraseCost, RawKey};
use keyfob_snapshot::{ChangeKind, CreateOptions, Parent};

use crate::world::{World, canary, name};

const SMALL: [&str; 5] = ["api/key", "bytes", "db/password", "empty", "expired"];

#[tokio::test]
async fn a_snapshot_has_what_the_store_has() {
    let world = World::small().await;
    let before = SystemClock::new().system_now();
    let manifest = world.snapshot().await;
    let snapshot = world.open(&manifest).await;
    world.expect_same(&snapshot, &SMALL).await;
    assert_eq!(*snapshot.manifest(), manifest);
    assert_eq!(
        world.directory.manifest(manifest.summary.id).await.unwrap(),
        manifest,
        "also without the key"
    );
    let summary = &manifest.summary;
    assert!(summary.begun >= before && summary.finished >= summary.begun);
    assert_eq!((summary.secrets, summary.own, summary.bases.len()), (5, 5, 0));
    assert_eq!((summary.store.as_str(), summary.whole), ("memory", true));
    let verified = snapshot.verify().await.unwrap();
    assert_eq!((verified.secrets, verified.files, verified.bytes), (5, 1, summary.bytes));
}

#[tokio::test]
async fn an_empty_store_gives_an_empty_snapshot() {
    let world = World::empty();
    let snapshot = world.open(&world.snapshot().await).await;
    world.expect_same(&snapshot, &[]).await;
    assert_eq!(snapshot.verify().await.unwrap().secrets, 0);
}

#[tokio::test]
async fn only_what_is_under_the_prefix_or_named_and_not_left_out_is_in_it() {
    let world = World::small().await;
    world.put("db/password.keyfob-rotation", canary("journal")).await;
    world.put("db/password.old", canary("old")).await;
    let mut options = CreateOptions::default();
    options.prefix = "db/".to_owned();
    let snapshot = world.open(&world.create(&options).await).await;
    world.expect_same(&snapshot, &["db/password", "db/password.old"]).await;

    options.exclude = vec!["db/password.".to_owned(), "no/such".to_owned()];
    let snapshot = world.open(&world.create(&options).await).await;
    world.expect_same(&snapshot, &["db/password"]).await;

    options.prefix.clear();
    options.names = Some(["bytes", "no/such", "db/password.old"].map(name).into());
    let manifest = world.create(&options).await;
    assert!(!manifest.summary.whole);
    world.expect_same(&world.open(&manifest).await, &["bytes"]).await;
}

#[tokio::test]
async fn the_file_is_its_owners_and_shows_no_value_description_or_tag() {
    let world = World::small().await;
    for compress in [true, false] {
        let mut options = CreateOptions::default();
        options.compress = compress;
        options.parent = Parent::None;
        let manifest = world.create(&options).await;
        let path = world.path(&manifest);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        for hidden in ["kfcanary-snapshot", "of the shop", "payments"] {
            let shows = bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes());
            assert!(!shows, "a hidden text stands in the file");
            assert!(
                !format!("{manifest:?}").contains(hidden),
                "a hidden text stands in the manifest"
            );
        }
    }
    assert_eq!(world.directory.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn the_length_of_a_short_value_does_not_show() {
    let lengths = async |value: String| {
        let world = World::empty();
        world.put("a", value).await;
        let manifest = world.snapshot().await;
        // Dates are written with as many digits as they have.
        let mut dates = 0;
        for date in [manifest.summary.begun, manifest.summary.finished] {
            dates += date
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                .to_string()
                .len();
        }
        (std::fs::metadata(world.path(&manifest)).unwrap().len() / 4096, dates)
    };
    assert_eq!(lengths(canary("a")).await.0, lengths(canary("a").repeat(30)).await.0);
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let world = World::small().await;
    let manifest = world.snapshot().await;
    let other = RawKey::new(&[8; 32]);
    let refused = world.directory.open_snapshot(manifest.summary.id, &other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_passphrase_is_a_key_too() {
    let world = World::small().await;
    let passphrase = |text: &str| Passphrase::with_cost(text, PassphraseCost::new(19 * 1024, 2, 1).unwrap()).unwrap();
    let options = CreateOptions::default();
    let made = world
        .directory
        .create(&*world.store, &passphrase("correct horse battery"), &options, |_| {})
        .await;
    let id = made.unwrap().summary.id;
    let opened = world
        .directory
        .open_snapshot(id, &passphrase("correct horse battery"))
        .await
        .unwrap();
    world.expect_same(&opened, &SMALL).await;
    let refused = world.directory.open_snapshot(id, &passphrase("correct horse batterie")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn ten_thousand_secrets_go_in_and_come_out() {
    let world = World::empty();
    for number in 0..10_000 {
        world
            .put(format!("team/{:02}/secret-{number:05}", number % 50), canary(number))
            .await;
    }
    // One that needs a block of its own.
    world.put("team/25/large", canary("large").repeat(20_000)).await;
    let mut options = CreateOptions::default();
    options.compress = false;
    let mut told = 0;
    let made = world.directory.create(&*world.store, &world.key, &options, |count| {
        assert_eq!(count, told + 1);
        told = count;
    });
    let manifest = made.await.unwrap();
    assert_eq!((told, manifest.secrets.len()), (10_001, 10_001));
    let snapshot = world.open(&manifest).await;
    assert_eq!(snapshot.verify().await.unwrap().secrets, 10_001);
    for number in [0, 1, 4999, 9999] {
        let read = snapshot
            .secret(&name(format!("team/{:02}/secret-{number:05}", number % 50)))
            .await
            .unwrap();
        assert!(read.value.expose_str().unwrap() == canary(number));
    }
    assert_eq!(
        snapshot.secret(&name("team/25/large")).await.unwrap().value.len(),
        canary("large").len() * 20_000
    );
    let listed = world.directory.manifest(manifest.summary.id).await.unwrap();
    assert_eq!(listed.secrets.len(), 10_001);
}

#[tokio::test]
async fn a_snapshot_can_be_read_as_a_store() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    let clock = Arc::new(SystemClock::new());
    let store = snapshot.store(None, clock.clone()).unwrap();
    let mut options = ListOptions {
        page: PageRequest {
            limit: Some(2),
            token: None,
        },
        ..ListOptions::default()
    };
    let mut names = Vec::new();
    loop {
        let page = store.list(&options).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().map(|metadata| metadata.name.as_str().to_owned()));
        options.page.token = page.next;
        if options.page.token.is_none() {
            break;
        }
    }
    assert_eq!(names, SMALL);
    let prefixed = ListOptions {
        prefix: "e".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(store.list(&prefixed).await.unwrap().items.len(), 2);

    let get = async |secret: &str, options: GetOptions| store.get(&name(secret), &options).await.map_err(|error| error.kind());
    assert!(get("db/password", GetOptions::default()).await.is_ok());
    assert_eq!(get("expired", GetOptions::default()).await.unwrap_err(), ErrorKind::Expired);
    let expired = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    assert!(get("expired", expired).await.is_ok());
    let previous = GetOptions::version(VersionSelector::Previous);
    assert_eq!(get("db/password", previous).await.unwrap_err(), ErrorKind::Unsupported);
    let refused = store.put(&name("db/password"), PutRequest::new("x")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let refused = store
        .delete(&name("db/password"), &DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);

    let some = BTreeSet::from([name("bytes")]);
    let store = snapshot.store(Some(&some), clock.clone()).unwrap();
    assert_eq!(store.list(&ListOptions::default()).await.unwrap().items.len(), 1);
    let hidden = store.get(&name("db/password"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(hidden.kind(), ErrorKind::NotFound);
    let missing = snapshot.store(Some(&BTreeSet::from([name("no/such")])), clock).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn two_snapshots_differ_in_what_was_changed() {
    let world = World::small().await;
    let before = world.open(&world.snapshot().await).await;
    // Written again as it is: no change.
    world.put("bytes-2", canary("new")).await;
    let empty = world.read(&name("empty")).await.value;
    world.store.put(&name("empty"), PutRequest::new(empty)).await.unwrap();
    world.put("db/password", canary("third")).await;
    let metadata = PutRequest {
        description: Change::Set("of another shop".to_owned()),
        ..PutRequest::default()
    };
    world.store.put(&name("api/key"), metadata).await.unwrap();
    let expiry = PutRequest {
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    world.store.put(&name("expired"), expiry).await.unwrap();
    world.store.delete(&name("bytes"), &DeleteOptions::default()).await.unwrap();
    let after = world.open(&world.snapshot().await).await;

    let changes = before.diff(&after).await.unwrap();
    let changes: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.kind)).collect();
    assert_eq!(
        changes,
        [
            ("api/key", ChangeKind::Metadata),
            ("bytes", ChangeKind::Removed),
            ("bytes-2", ChangeKind::Added),
            ("db/password", ChangeKind::Value),
            ("expired", ChangeKind::Metadata),
        ]
    );
    assert_eq!(before.diff(&before).await.unwrap(), []);
    let back = after.diff(&before).await.unwrap();
    assert_eq!((back.len(), back[1].kind), (5, ChangeKind::Added));
}

#[tokio::test]
async fn a_snapshot_and_its_store_differ_in_what_was_changed_since() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    let (mut compared, excluded) = (0, ["kept/".to_owned()]);
    let changes = snapshot.diff_store(&*world.store, &excluded, |count| compared = count).await;
    assert_eq!((changes.unwrap(), compared), (Vec::new(), 5));
    world.put("db/password", canary("third")).await;
    world.put("new", canary("new")).await;
    world.put("kept/elsewhere", canary("kept")).await;
    world.put("new.keyfob-rotation", "journal".to_owned()).await;
    // Again the same, with another version: no change.
    world
        .store
        .put(&name("bytes"), PutRequest::new(vec![0, 255, 128]))
        .await
        .unwrap();
    world.store.delete(&name("empty"), &DeleteOptions::default()).await.unwrap();
    let request = PutRequest {
        value: None,
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    world.store.put(&name("api/key"), request).await.unwrap();
    let changes = snapshot.diff_store(&*world.store, &excluded, |_| {}).await.unwrap();
    let changes: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.kind)).collect();
    let expected = [
        ("api/key", ChangeKind::Metadata),
        ("db/password", ChangeKind::Value),
        ("empty", ChangeKind::Removed),
        ("new", ChangeKind::Added),
    ];
    assert_eq!(changes, expected);

    // One of chosen names says nothing of others.
    let mut options = CreateOptions::default();
    options.names = Some([name("bytes")].into());
    let chosen = world.open(&world.create(&options).await).await;
    assert_eq!(chosen.diff_store(&*world.store, &[], |_| {}).await.unwrap(), []);
}
