//! What each call does to what is stored.

use super::super::names::{Target, route};
use super::super::secret;
use super::*;

const START: &str = "2026-01-01T00:00:00Z";

struct World {
    store: Store,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::new(100, 7),
            now: START.parse().unwrap(),
        }
    }

    fn create(&mut self, path: &str, fields: Value) -> Result<Value, Status> {
        let name = name(path);
        let fields = Fields::read(fields)?;
        self.store.create(&name.place, &name.id, fields, self.now)
    }

    fn with_versions(count: usize) -> (Self, SecretName) {
        let mut world = Self::new();
        world.create("projects/1/secrets/s", automatic()).unwrap();
        let name = name("projects/1/secrets/s");
        for index in 1..=count {
            world.add(&name, format!("value {index}").as_bytes()).unwrap();
        }
        (world, name)
    }

    fn add(&mut self, name: &SecretName, data: &[u8]) -> Result<Value, Status> {
        self.store.add(name, data.to_vec(), None, self.now, false)
    }

    fn change(&mut self, name: &SecretName, number: u64, change: Change, etag: &str) -> Result<Value, Status> {
        let id = VersionId::Number(number);
        self.store.change(name, &id, change, etag, self.now, false)
    }

    fn update(&mut self, name: &SecretName, mask: &str, fields: Value) -> Result<Value, Status> {
        let parts = secret::mask(mask)?;
        self.store.update(name, Fields::read(fields)?, &parts, self.now)
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        self.store.settle(self.now);
    }
}

fn name(path: &str) -> SecretName {
    match route(path).unwrap().unwrap() {
        (Target::Secret(name), None) => name,
        other => panic!("{other:?}"),
    }
}

fn automatic() -> Value {
    json!({ "replication": { "automatic": {} } })
}

fn code(result: Result<Value, Status>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_global_secret_has_a_replication_and_a_regional_one_has_none() {
    let mut world = World::new();
    assert_eq!(code(world.create("projects/1/secrets/s", json!({}))), Code::InvalidArgument);
    let regional = "projects/1/locations/europe-west3/secrets/s";
    assert_eq!(code(world.create(regional, automatic())), Code::InvalidArgument);
    let made = world.create("projects/1/secrets/s", automatic()).unwrap();
    assert_eq!(
        made,
        json!({
            "name": "projects/1/secrets/s",
            "replication": { "automatic": {} },
            "createTime": START,
            "etag": made["etag"],
        })
    );
    // They don't meet.
    assert_eq!(world.create(regional, json!({})).unwrap()["name"], regional);
    let again = world.create("projects/1/secrets/s", automatic()).unwrap_err();
    assert_eq!(
        (again.code, again.message.as_str()),
        (Code::AlreadyExists, "Secret [projects/1/secrets/s] already exists.")
    );
}

#[test]
fn a_version_has_its_number_its_value_and_its_checksum() {
    let (mut world, name) = World::with_versions(0);
    let missing = world.store.access(&name, &VersionId::Latest).unwrap_err();
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (Code::NotFound, "Secret [projects/1/secrets/s] not found or has no versions.")
    );
    world
        .store
        .add(&name, b"123456789".to_vec(), Some(0xE306_9283), world.now, false)
        .unwrap();
    let added = world.store.add(&name, b"b".to_vec(), None, world.now, true).unwrap();
    assert_eq!(
        added,
        json!({
            "name": "projects/1/secrets/s/versions/2",
            "createTime": START,
            "state": 1,
            "replicationStatus": { "automatic": {} },
            "etag": added["etag"],
        })
    );
    let first = world.store.version(&name, &VersionId::Number(1), false).unwrap();
    assert_eq!(
        (&first["clientSpecifiedPayloadChecksum"], &first["state"]),
        (&json!(true), &json!("ENABLED"))
    );
    assert_eq!(
        world.store.access(&name, &VersionId::Number(1)).unwrap(),
        json!({
            "name": "projects/1/secrets/s/versions/1",
            "payload": { "data": "MTIzNDU2Nzg5", "dataCrc32c": "3808858755" },
        })
    );
    let missing = world.store.access(&name, &VersionId::Number(3)).unwrap_err();
    assert_eq!(missing.message, "Secret Version [projects/1/secrets/s/versions/3] not found.");
}

#[test]
fn payloads_have_limits_and_are_checked() {
    let (mut world, name) = World::with_versions(0);
    assert_eq!(code(world.add(&name, b"")), Code::InvalidArgument);
    assert_eq!(code(world.add(&name, &[0; 65_537])), Code::InvalidArgument);
    for checksum in [0, -1, i64::MAX] {
        let wrong = world.store.add(&name, b"a".to_vec(), Some(checksum), world.now, false);
        assert_eq!(code(wrong), Code::InvalidArgument);
    }
    // Nothing of that left a version behind.
    let added = world.add(&name, &[0; 65_536]).unwrap();
    assert_eq!(added["name"], "projects/1/secrets/s/versions/1");
}

#[test]
fn latest_is_the_newest_whatever_its_state() {
    let (mut world, name) = World::with_versions(2);
    let access = |world: &World| world.store.access(&name, &VersionId::Latest);
    assert_eq!(access(&world).unwrap()["name"], "projects/1/secrets/s/versions/2");
    world.change(&name, 2, Change::Disable, "").unwrap();
    let disabled = access(&world).unwrap_err();
    assert_eq!(
        (disabled.code, disabled.message.as_str()),
        (
            Code::FailedPrecondition,
            "Secret Version [projects/1/secrets/s/versions/2] is in DISABLED state."
        )
    );
    world.change(&name, 2, Change::Destroy, "").unwrap();
    assert!(access(&world).unwrap_err().message.ends_with("is in DESTROYED state."));
    let id = VersionId::Latest;
    let by_alias = world.store.change(&name, &id, Change::Enable, "", world.now, false);
    assert_eq!(code(by_alias), Code::InvalidArgument);
}

#[test]
fn what_is_destroyed_stays_so_and_keeps_its_number() {
    let (mut world, name) = World::with_versions(1);
    world.pass(10);
    let destroyed = world.change(&name, 1, Change::Destroy, "").unwrap();
    assert_eq!(
        (&destroyed["state"], &destroyed["destroyTime"]),
        (&json!("DESTROYED"), &json!("2026-01-01T00:00:10Z"))
    );
    for change in [Change::Enable, Change::Disable, Change::Destroy] {
        assert_eq!(code(world.change(&name, 1, change, "")), Code::FailedPrecondition);
    }
    assert_eq!(world.add(&name, b"b").unwrap()["name"], "projects/1/secrets/s/versions/2");
}

#[test]
fn an_etag_is_of_one_resource_and_changes_with_each_change_of_it() {
    let (mut world, name) = World::with_versions(1);
    let of = |value: &Value| value["etag"].as_str().unwrap().to_owned();
    let secret = of(&world.store.secret(&name).unwrap());
    assert!(secret.starts_with('"') && secret.ends_with('"'));
    let first = of(&world.store.version(&name, &VersionId::Number(1), false).unwrap());
    // Enabling what is enabled changes nothing but the etag.
    let second = of(&world.change(&name, 1, Change::Enable, &first).unwrap());
    assert_ne!(first, second);
    assert_eq!(
        code(world.change(&name, 1, Change::Disable, &first)),
        Code::FailedPrecondition
    );
    world.change(&name, 1, Change::Disable, &second).unwrap();
    world.add(&name, b"b").unwrap();
    assert_eq!(of(&world.store.secret(&name).unwrap()), secret);

    let labels = json!({ "labels": { "a": "b" }, "etag": secret });
    let changed = of(&world.update(&name, "labels", labels.clone()).unwrap());
    assert_eq!(code(world.update(&name, "labels", labels)), Code::FailedPrecondition);
    assert_eq!(code(world.store.delete(&name, &secret)), Code::FailedPrecondition);
    world.store.delete(&name, &changed).unwrap();
    assert_eq!(code(world.store.secret(&name)), Code::NotFound);
}

#[test]
fn an_update_changes_what_the_mask_names_and_nothing_else() {
    let (mut world, name) = World::with_versions(2);
    let fields = json!({
        "labels": { "a": "b" },
        "annotations": { "A": "B" },
        "versionAliases": { "stable": "1" },
        "ttl": "60s",
    });
    let changed = world.update(&name, "annotations,version_aliases", fields).unwrap();
    assert_eq!((changed.get("labels"), &changed["annotations"]), (None, &json!({ "A": "B" })));
    assert_eq!(
        (changed.get("expireTime"), &changed["versionAliases"]),
        (None, &json!({ "stable": "1" }))
    );
    let by_alias = world.store.access(&name, &VersionId::Alias("stable".to_owned())).unwrap();
    assert_eq!(by_alias["name"], "projects/1/secrets/s/versions/1");
    assert_eq!(
        code(world.store.access(&name, &VersionId::Alias("other".to_owned()))),
        Code::NotFound
    );
    // What the mask names and the message does not have is cleared.
    let cleared = world
        .update(&name, "annotations,labels", json!({ "labels": { "c": "" } }))
        .unwrap();
    assert_eq!((cleared.get("annotations"), &cleared["labels"]), (None, &json!({ "c": "" })));
    assert_eq!(cleared["versionAliases"], json!({ "stable": "1" }));
    let nowhere = json!({ "versionAliases": { "stable": "3" }, "labels": {} });
    assert_eq!(
        code(world.update(&name, "labels,version_aliases", nowhere)),
        Code::InvalidArgument
    );
    assert_eq!(world.store.secret(&name).unwrap()["labels"], json!({ "c": "" }));
}

#[test]
fn a_secret_that_expires_is_gone_with_its_versions() {
    let (mut world, name) = World::with_versions(1);
    let changed = world.update(&name, "ttl", json!({ "ttl": "90s" })).unwrap();
    assert_eq!(changed["expireTime"], "2026-01-01T00:01:30Z");
    world.pass(89);
    world.store.access(&name, &VersionId::Number(1)).unwrap();
    world.pass(1);
    assert_eq!(code(world.store.access(&name, &VersionId::Number(1))), Code::NotFound);
    // The name is free, and numbers start anew.
    world.create("projects/1/secrets/s", automatic()).unwrap();
    assert_eq!(world.add(&name, b"b").unwrap()["name"], "projects/1/secrets/s/versions/1");
}

#[test]
fn a_destruction_that_waits_can_be_taken_back() {
    let (mut world, name) = World::with_versions(2);
    let fields = json!({ "versionDestroyTtl": "86400s" });
    world.update(&name, "version_destroy_ttl", fields).unwrap();
    for number in [1, 2] {
        let waiting = world.change(&name, number, Change::Destroy, "").unwrap();
        assert_eq!(
            (
                &waiting["state"],
                &waiting["scheduledDestroyTime"],
                waiting.get("destroyTime")
            ),
            (&json!("DISABLED"), &json!("2026-01-02T00:00:00Z"), None)
        );
    }
    let back = world.change(&name, 1, Change::Enable, "").unwrap();
    assert_eq!((&back["state"], back.get("scheduledDestroyTime")), (&json!("ENABLED"), None));
    world.pass(86_400);
    world.store.access(&name, &VersionId::Number(1)).unwrap();
    let gone = world.store.version(&name, &VersionId::Number(2), false).unwrap();
    assert_eq!(
        (&gone["state"], &gone["destroyTime"]),
        (&json!("DESTROYED"), &json!("2026-01-02T00:00:00Z"))
    );
}

#[test]
fn lists_come_newest_first_in_pages_and_filtered() {
    let mut world = World::new();
    for id in ["b", "a", "c"] {
        let mut fields = automatic();
        fields["labels"] = json!({ "id": id });
        world.create(&format!("projects/1/secrets/{id}"), fields).unwrap();
    }
    world.create("projects/2/secrets/d", automatic()).unwrap();
    world.create("projects/1/locations/us-east1/secrets/e", json!({})).unwrap();
    let place = name("projects/1/secrets/x").place;
    let ids = |body: &Value| -> Vec<String> {
        let secrets = body["secrets"].as_array().cloned().unwrap_or_default();
        secrets
            .iter()
            .map(|secret| secret["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    let mut wanted = Wanted {
        size: 2,
        ..Wanted::default()
    };
    let first = world.store.secrets(&place, &wanted).unwrap();
    assert_eq!(
        (ids(&first), &first["totalSize"]),
        (vec!["c".to_owned(), "a".to_owned()], &json!(3))
    );
    wanted.token = first["nextPageToken"].as_str().unwrap().to_owned();
    // What was made meanwhile is not in the pages that follow, and what is gone is missing there.
    world.create("projects/1/secrets/f", automatic()).unwrap();
    assert_eq!(ids(&world.store.secrets(&place, &wanted).unwrap()), ["b"]);
    world.store.delete(&name("projects/1/secrets/b"), "").unwrap();
    assert_eq!(world.store.secrets(&place, &wanted).unwrap(), json!({ "totalSize": 3 }));

    let filtered = Wanted {
        filter: "labels.id=a OR name:secrets/f".to_owned(),
        ..Wanted::default()
    };
    let found = world.store.secrets(&place, &filtered).unwrap();
    assert_eq!(
        (ids(&found), found.get("totalSize")),
        (vec!["f".to_owned(), "a".to_owned()], None)
    );
    let unknown = Wanted {
        filter: "state:ENABLED".to_owned(),
        ..Wanted::default()
    };
    for place in [place, name("projects/9/secrets/x").place] {
        assert_eq!(code(world.store.secrets(&place, &unknown)), Code::InvalidArgument);
    }
}

#[test]
fn versions_are_listed_newest_first_by_their_state() {
    let (mut world, name) = World::with_versions(3);
    world.change(&name, 2, Change::Disable, "").unwrap();
    let wanted = Wanted {
        filter: "state:ENABLED".to_owned(),
        ..Wanted::default()
    };
    let body = world.store.versions(&name, &wanted, false).unwrap();
    let names: Vec<&str> = body["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["projects/1/secrets/s/versions/3", "projects/1/secrets/s/versions/1"]);
    let none = World::with_versions(0);
    let (mut world, name) = none;
    assert_eq!(world.store.versions(&name, &Wanted::default(), false).unwrap(), json!({}));
}
