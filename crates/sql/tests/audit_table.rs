//! An audit log in SQLite and in PostgreSQL.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use keyfob_audit::{AuditReader, Durability, SigningKey, TableAudit, TableAuditOptions, checkpoint_of_table, verify_table};
use keyfob_core::{
    Actor, AuditFilter, AuditReceipt, AuditRecord, AuditSink, AuditedStore, Environment, ErrorKind, StoreUrl, Verb,
};
use keyfob_sql::{audit_table, audit_table_to_read};
use tempfile::TempDir;

struct Bed {
    place: TempDir,
    url: StoreUrl,
    environment: Environment,
}

impl Bed {
    fn sqlite() -> Self {
        let place = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", place.path().join("audit.db").display());
        Self::at(place, &url)
    }

    fn at(place: TempDir, url: &str) -> Self {
        SigningKey::create_file(place.path().join("key")).unwrap();
        Self {
            place,
            url: StoreUrl::parse(url).unwrap(),
            environment: Environment::fake().host_files().var("KEYFOB_KEY_FILE", "/nowhere").build(),
        }
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_file(self.place.path().join("key")).unwrap()
    }

    fn table(&self) -> Box<dyn keyfob_audit::LineTable> {
        audit_table(&self.url, &self.environment).unwrap()
    }

    fn log(&self, durability: Durability) -> TableAudit {
        TableAudit::open(TableAuditOptions::new(self.table(), self.key()).durability(durability)).unwrap()
    }

    fn accesses(&self) -> u64 {
        let seen = verify_table(&mut *self.table(), &[self.key().public_key()], &[]).unwrap();
        assert!(seen.is_intact(), "{seen:?}");
        assert_eq!(seen.lost, 0);
        seen.accesses
    }

    /// Many writers, one chain; a record is there when its receipt is; the reader gives all of it back.
    fn keeps_a_log(&self) {
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || {
                    for round in 0..3 {
                        let log = self.log(Durability::BestEffort);
                        for number in 0..20 {
                            let _ = log.record(record(&format!("db/{writer}/{round}/{number}")));
                        }
                        log.close().unwrap();
                    }
                });
            }
        });
        assert_eq!(self.accesses(), 240);
        let log = self.log(Durability::Durable);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for number in 0..5 {
            let AuditReceipt::Pending(receipt) = log.record(record("täglich/ü")) else {
                panic!("nothing to wait for")
            };
            runtime.block_on(receipt).unwrap();
            assert_eq!(self.accesses(), 241 + number);
        }
        log.close().unwrap();
        checkpoint_of_table(&mut *self.table(), &[self.key().public_key()]).unwrap();
        let mut filter = AuditFilter::default();
        filter.name = Some("täglich/ü".to_owned());
        let mut reader = AuditReader::of_table(self.table(), filter).unwrap();
        assert_eq!(std::iter::from_fn(|| reader.next().unwrap()).count(), 5);
    }
}

fn record(name: &str) -> AuditRecord {
    let actor = Arc::new(Actor::default());
    let store = AuditedStore::new("prod", "vault", "https://vault.example:8200");
    let mut record = AuditRecord::new(std::time::SystemTime::now(), actor, Verb::Get, Arc::new(store));
    record.name = Some(name.into());
    record
}

#[test]
fn a_log_in_sqlite_is_one_chain_and_its_owners_alone() {
    let bed = Bed::sqlite();
    bed.keeps_a_log();
    let file = bed.place.path().join("audit.db");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Whoever can write the file is found out.
    let database = rusqlite_of(&file);
    database
        .execute(
            "UPDATE audit_line SET line = replace(line, 'vault', 'vaulT') WHERE seq = 7",
            [],
        )
        .unwrap();
    let seen = verify_table(&mut *bed.table(), &[bed.key().public_key()], &[]).unwrap();
    assert_eq!(seen.finding.unwrap().seq, 7);
    database.execute("DELETE FROM audit_line WHERE seq = 5", []).unwrap();
    let seen = verify_table(&mut *bed.table(), &[bed.key().public_key()], &[]).unwrap();
    assert_eq!(seen.finding.unwrap().seq, 5);
}

#[test]
fn to_read_a_log_makes_nothing_and_to_write_one_waits_for_nobody() {
    let bed = Bed::sqlite();
    let file = bed.place.path().join("audit.db");
    let read = || audit_table_to_read(&bed.url, &bed.environment).unwrap();
    assert_eq!(read().last().unwrap(), 0);
    let error = AuditReader::of_table(read(), AuditFilter::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(read().add(1, &["x"]).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(!file.exists());

    // An empty file is an empty log, whoever made it.
    let mut writer = bed.table();
    assert_eq!((read().last().unwrap(), writer.last().unwrap()), (0, 0));
    // Somebody is at it.
    let other = rusqlite_of(&file);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = std::time::Instant::now();
    bed.table();
    let bed = Bed {
        url: StoreUrl::parse(&format!("{}?busy-timeout=0", bed.url)).unwrap(),
        ..bed
    };
    let options = TableAuditOptions::new(bed.table(), bed.key());
    let log = TableAudit::start(options).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    drop(log);
    other.execute_batch("ROLLBACK").unwrap();
    writer.add(1, &["x"]).unwrap();
    assert_eq!(audit_table_to_read(&bed.url, &bed.environment).unwrap().last().unwrap(), 1);
}

fn rusqlite_of(file: &std::path::Path) -> rusqlite::Connection {
    rusqlite::Connection::open(file).unwrap()
}

#[test]
fn what_is_no_audit_log_is_refused() {
    let bed = Bed::sqlite();
    let refused = |url: &str| {
        let url = StoreUrl::parse(url).unwrap();
        audit_table(&url, &bed.environment).err().unwrap().kind()
    };
    let file = bed.place.path().join("other.db");
    rusqlite_of(&file).execute("CREATE TABLE t (a)", []).unwrap();
    assert_eq!(refused(&format!("sqlite:{}", file.display())), ErrorKind::InvalidConfig);
    assert_eq!(refused("sqlite:"), ErrorKind::InvalidConfig);
    assert_eq!(refused(&format!("{}?busy=1", bed.url)), ErrorKind::InvalidConfig);
    assert_eq!(refused("env:"), ErrorKind::Unsupported);
    bed.table();
    let file = bed.place.path().join("audit.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(refused(&bed.url.to_string()), ErrorKind::PermissionDenied);
}

#[cfg(feature = "postgres")]
#[test]
fn a_log_in_postgresql_is_one_chain() {
    let test = "a_log_in_postgresql_is_one_chain";
    let Some(server) = keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_URL") else {
        return;
    };
    let schema = format!("kf_audit_{}", std::process::id());
    let separator = if server.contains('?') { '&' } else { '?' };
    let bed = Bed::at(tempfile::tempdir().unwrap(), &format!("{server}{separator}schema={schema}"));
    bed.keeps_a_log();
    let drop_it = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop_it.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
        drop(client);
        let _ = connection.await;
    });
}
