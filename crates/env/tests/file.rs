//! What happens to the file: names, marks, versions, modes, links, several writers.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use keyfob_core::{
    DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, Metadata, PutMode, PutRequest, Result, SecretName, SecretStore,
};
use keyfob_env::dotenv::Document;
use keyfob_env::{DotenvConfig, DotenvStore};

struct Bed {
    directory: tempfile::TempDir,
    store: DotenvStore,
}

impl Bed {
    fn new(text: &str) -> Self {
        let bed = Self::without_file();
        fs::write(bed.path(), text).unwrap();
        bed
    }

    fn without_file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = DotenvStore::new(&DotenvConfig::new(directory.path().join(".env"))).unwrap();
        Self { directory, store }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(".env")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn get(&self, name: &str) -> Result<(String, Metadata)> {
        let secret = block_on(self.store.get(&named(name), &GetOptions::default()))?;
        Ok((secret.value.expose_str()?.to_owned(), secret.metadata.as_ref().clone()))
    }

    fn value(&self, name: &str) -> Result<String> {
        self.get(name).map(|(value, _)| value)
    }

    fn put(&self, name: &str, value: &str, mode: PutMode) -> Result<Metadata> {
        block_on(self.store.put(&named(name), PutRequest::new(value).mode(mode)))
    }

    fn delete(&self, name: &str) -> Result<()> {
        block_on(self.store.delete(&named(name), &DeleteOptions::default()))
    }

    fn names(&self) -> Vec<String> {
        let page = block_on(self.store.list(&ListOptions::default())).unwrap();
        page.items.into_iter().map(|item| item.name.to_string()).collect()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count()
    }
}

fn named(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_secret_has_its_exact_name_above_it() {
    let bed = Bed::new("# mine\nOTHER=1");
    bed.put("db/password", "s3cr3t", PutMode::Create).unwrap();
    let text = bed.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["# mine", "OTHER=1"]);
    assert!(lines[2].starts_with("# keyfob:name=db/password rev="), "{text}");
    assert_eq!(lines[3..], ["DB_PASSWORD='s3cr3t'"]);
    assert_eq!(bed.value("db/password").unwrap(), "s3cr3t");
    assert_eq!(bed.names(), ["OTHER", "db/password"]);
}

#[test]
fn what_keyfob_wrote_answers_only_to_its_name() {
    for (name, others) in [
        ("db/password", ["DB_PASSWORD", "db-password", "DB/password"]),
        ("DB_PASSWORD", ["db/password", "db-password", "db_password"]),
    ] {
        let bed = Bed::without_file();
        bed.put(name, "1", PutMode::Upsert).unwrap();
        for other in others {
            assert_eq!(kind(bed.get(other)), ErrorKind::NotFound, "{name} {other}");
            assert_eq!(kind(bed.delete(other)), ErrorKind::NotFound);
            let put = bed.put(other, "2", PutMode::Upsert);
            if other == "db_password" {
                put.unwrap();
            } else {
                assert_eq!(kind(put), ErrorKind::Conflict, "{name} {other}");
            }
        }
        assert_eq!(bed.value(name).unwrap(), "1");
    }
}

#[test]
fn what_was_written_by_hand_can_be_read_under_every_spelling_and_written_under_its_own() {
    let bed = Bed::new("DB_PASSWORD=hand # why\n");
    for alias in ["db/password", "db-password", "Db.Password", "db_password"] {
        let (value, metadata) = bed.get(alias).unwrap();
        assert_eq!((value.as_str(), metadata.name.as_str()), ("hand", alias));
        assert_eq!(kind(bed.put(alias, "x", PutMode::Upsert)), ErrorKind::Conflict);
        assert_eq!(kind(bed.put(alias, "x", PutMode::Create)), ErrorKind::AlreadyExists);
        assert_eq!(kind(bed.delete(alias)), ErrorKind::Conflict);
    }
    assert_eq!(bed.names(), ["DB_PASSWORD"]);
    bed.put("DB_PASSWORD", "new", PutMode::Upsert).unwrap();
    assert_eq!(bed.text(), "DB_PASSWORD=new # why\n");
    assert_eq!(bed.value("db/password").unwrap(), "new");
}

#[test]
fn a_name_can_be_pinned_by_hand() {
    let bed = Bed::new("# keyfob:name=db/password\nDB_PASSWORD=x\n");
    assert_eq!(bed.names(), ["db/password"]);
    assert_eq!(bed.value("db/password").unwrap(), "x");
    assert_eq!(kind(bed.get("DB_PASSWORD")), ErrorKind::NotFound);
    let (_, metadata) = bed.get("db/password").unwrap();
    bed.put("db/password", "y", PutMode::Match(metadata.version.unwrap()))
        .unwrap();
    assert!(bed.text().starts_with("# keyfob:name=db/password rev="));
}

#[test]
fn a_mark_above_a_renamed_variable_is_a_comment() {
    let bed = Bed::new("# keyfob:name=db/password rev=000102030405060708090a0b\nRENAMED=x\n");
    assert_eq!(bed.names(), ["RENAMED"]);
    assert_eq!(kind(bed.get("db/password")), ErrorKind::NotFound);
    assert_eq!(bed.value("RENAMED").unwrap(), "x");
}

#[test]
fn a_delete_takes_the_mark_and_every_older_line_and_leaves_other_comments() {
    let bed = Bed::new("# a comment\nA_B=old\nC=1\n");
    bed.put("x/y", "1", PutMode::Upsert).unwrap();
    bed.delete("x/y").unwrap();
    assert_eq!(bed.text(), "# a comment\nA_B=old\nC=1\n");
    fs::write(bed.path(), "# a comment\nA_B=old\nC=1\nA_B=new\n").unwrap();
    bed.delete("A_B").unwrap();
    assert_eq!(bed.text(), "# a comment\nC=1\n");
    assert_eq!(kind(bed.delete("A_B")), ErrorKind::NotFound);
}

#[test]
fn a_version_follows_its_own_value() {
    let bed = Bed::without_file();
    let first = bed.put("a/b", "same", PutMode::Create).unwrap().version.unwrap();
    bed.put("other", "x", PutMode::Create).unwrap();
    assert_eq!(bed.get("a/b").unwrap().1.version.as_ref(), Some(&first));
    let second = bed
        .put("a/b", "same", PutMode::Match(first.clone()))
        .unwrap()
        .version
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(kind(bed.put("a/b", "late", PutMode::Match(first))), ErrorKind::Conflict);
    // By hand, with the number left as it was.
    fs::write(bed.path(), bed.text().replace("'same'", "'hand'")).unwrap();
    assert_eq!(
        kind(bed.put("a/b", "late", PutMode::Match(second.clone()))),
        ErrorKind::Conflict
    );
    assert_eq!(kind(bed.put("gone", "x", PutMode::Match(second))), ErrorKind::NotFound);
}

#[test]
fn versions_of_what_was_written_by_hand_follow_the_file() {
    let bed = Bed::new("A=1\n");
    let mut seen = std::collections::HashSet::new();
    let mut version = bed.get("A").unwrap().1.version.unwrap();
    // Same length, as fast as can be: clock ticks and inode numbers come again, versions don't.
    for round in 0..200 {
        assert!(seen.insert(version.clone()), "round {round}");
        let value = (round % 10).to_string();
        version = bed.put("A", &value, PutMode::Match(version)).unwrap().version.unwrap();
        assert_eq!(bed.get("A").unwrap().1.version.as_ref(), Some(&version));
    }
}

#[test]
fn a_version_is_no_digest_of_the_value_alone() {
    let versions: std::collections::HashSet<_> = (0..20)
        .map(|_| {
            Bed::without_file()
                .put("a", "1234", PutMode::Create)
                .unwrap()
                .version
                .unwrap()
        })
        .collect();
    assert_eq!(versions.len(), 20);
}

#[test]
fn a_missing_file_has_no_secrets_and_a_put_makes_it_for_its_owner() {
    let bed = Bed::without_file();
    let error = bed.get("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(".env"), "{error}");
    assert!(error.hint().unwrap().contains("no such file"));
    assert!(bed.names().is_empty());
    assert_eq!(kind(bed.delete("a")), ErrorKind::NotFound);
    let health = block_on(bed.store.health()).unwrap();
    assert!(health.warnings[0].contains("no file"), "{health:?}");
    assert_eq!(bed.files(), 0);
    bed.put("a", "1", PutMode::Upsert).unwrap();
    assert_eq!((mode(&bed.path()), bed.files()), (0o600, 1));
}

#[test]
fn a_write_that_is_refused_leaves_no_file() {
    let bed = Bed::without_file();
    let error = bed.put("a", "HUNTER\0", PutMode::Upsert).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!format!("{error:?}").contains("HUNTER"));
    let binary = PutRequest::new(vec![0xff]);
    assert_eq!(kind(block_on(bed.store.put(&named("a"), binary))), ErrorKind::NotText);
    assert_eq!(kind(bed.put("a b", "1", PutMode::Upsert)), ErrorKind::Unsupported);
    assert_eq!(bed.files(), 0);
    let lost = DotenvStore::new(&DotenvConfig::new(bed.directory.path().join("no/.env"))).unwrap();
    assert_eq!(
        kind(block_on(lost.put(&named("a"), PutRequest::new("1")))),
        ErrorKind::InvalidConfig
    );
}

#[test]
fn a_replaced_file_keeps_its_mode_and_others_who_can_read_are_warned_about() {
    let bed = Bed::new("A=1\n");
    fs::set_permissions(bed.path(), fs::Permissions::from_mode(0o640)).unwrap();
    bed.put("A", "2", PutMode::Upsert).unwrap();
    assert_eq!(mode(&bed.path()), 0o640);
    let health = block_on(bed.store.health()).unwrap();
    assert!(health.warnings[0].contains("mode 0640"), "{health:?}");
    fs::set_permissions(bed.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(block_on(bed.store.health()).unwrap().warnings.is_empty());
}

#[test]
fn a_link_stays_a_link() {
    let bed = Bed::without_file();
    let target = bed.directory.path().join("shared.env");
    symlink("shared.env", bed.path()).unwrap();
    bed.put("A", "1", PutMode::Create).unwrap();
    let inode = fs::metadata(&target).unwrap().ino();
    bed.put("A", "2", PutMode::Upsert).unwrap();
    assert!(fs::symlink_metadata(bed.path()).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().ends_with("A='2'\n"));
    assert_ne!(fs::metadata(&target).unwrap().ino(), inode);
    assert_eq!(bed.files(), 2);
}

#[test]
fn what_is_no_dotenv_file_is_refused_without_its_content() {
    let bed = Bed::new("A=1\nHUNTER2 is my password\n");
    let before = bed.text();
    for error in [
        bed.get("A").unwrap_err(),
        bed.put("A", "2", PutMode::Upsert).unwrap_err(),
        bed.delete("A").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("line `2`, column `9`"), "{error}");
        assert!(!format!("{error:?}").contains("HUNTER2"));
    }
    assert_eq!(bed.text(), before);
    fs::write(bed.path(), b"A=1\nB=\xff\n").unwrap();
    assert!(bed.get("A").unwrap_err().to_string().contains("line `2`"));
    fs::File::create(bed.path()).unwrap().set_len((16 << 20) + 1).unwrap();
    assert_eq!(kind(bed.get("A")), ErrorKind::InvalidConfig);
    let directory = DotenvStore::new(&DotenvConfig::new(bed.directory.path())).unwrap();
    assert_eq!(kind(block_on(directory.health())), ErrorKind::InvalidConfig);
    assert_eq!(kind(DotenvStore::new(&DotenvConfig::new(""))), ErrorKind::InvalidConfig);
}

#[test]
fn a_batch_is_answered_in_order_and_one_by_one() {
    let bed = Bed::new("A=1\nB=2\n");
    let requests = ["B", "a b", "none", "A", "B"].map(|name| GetRequest::new(named(name)));
    let answers: Vec<_> = block_on(bed.store.get_many(&requests))
        .into_iter()
        .map(|answer| {
            answer
                .map(|secret| secret.value.expose_str().unwrap().to_owned())
                .map_err(|error| error.kind())
        })
        .collect();
    let expected = [
        Ok("2".to_owned()),
        Err(ErrorKind::Unsupported),
        Err(ErrorKind::NotFound),
        Ok("1".to_owned()),
        Ok("2".to_owned()),
    ];
    assert_eq!(answers, expected);
}

#[test]
fn names_are_listed_in_byte_order_by_prefix_and_as_they_are_read() {
    let bed = Bed::new("# keyfob:name=a.b\nA_B=marked\na.b=exact\nZ=1\nA_1=1\nAX1=1\n");
    assert_eq!(bed.names(), ["AX1", "A_1", "Z", "a.b"]);
    assert_eq!(bed.value("a.b").unwrap(), "exact");
    let options = ListOptions {
        prefix: "A_".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(block_on(bed.store.list(&options)).unwrap().items.len(), 1);
}

#[test]
fn it_works_without_a_runtime() {
    let bed = Bed::new("A=1\n");
    let name = named("A");
    let options = GetOptions::default();
    let mut future = bed.store.get(&name, &options);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(future.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(_))));
}

const WRITER_PATH: &str = "KEYFOB_TEST_WRITER_PATH";
const WRITER_NUMBER: &str = "KEYFOB_TEST_WRITER_NUMBER";
const ROUNDS: usize = 25;

#[test]
#[ignore = "one of the processes that `eight_processes_lose_nothing` starts"]
fn writer_process() {
    let (path, number) = (std::env::var(WRITER_PATH).unwrap(), std::env::var(WRITER_NUMBER).unwrap());
    let store = DotenvStore::new(&DotenvConfig::new(path)).unwrap();
    block_on(async {
        for round in 0..ROUNDS {
            let own = named(&format!("writer-{number}/value-{round}"));
            store.put(&own, PutRequest::new("x").mode(PutMode::Create)).await.unwrap();
            loop {
                let counter = named("counter");
                let secret = store.get(&counter, &GetOptions::default()).await.unwrap();
                let next = secret.value.expose_str().unwrap().parse::<usize>().unwrap() + 1;
                let request = PutRequest::new(next.to_string()).mode(PutMode::Match(secret.metadata.version.clone().unwrap()));
                match store.put(&counter, request).await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                }
            }
        }
    });
}

#[test]
fn eight_processes_lose_nothing() {
    let bed = Bed::without_file();
    bed.put("counter", "0", PutMode::Create).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|number| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "writer_process", "--ignored"])
                .env(WRITER_PATH, bed.path())
                .env(WRITER_NUMBER, number.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(bed.value("counter").unwrap(), (8 * ROUNDS).to_string());
    let text = bed.text();
    assert_eq!(Document::parse(&text).unwrap().entries().len(), 8 * ROUNDS + 1);
    assert_eq!(bed.files(), 1);
}
