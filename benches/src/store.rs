//! The embedded store: reading all of it, durable writes, several processes.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use keyfob_core::{GetRequest, ListOptions, PageRequest, PutRequest, SecretName, SecretStore};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

use crate::Outcome;
use crate::report::{Goal, Report, shown};
use crate::sample::{Effort, pairs};

/// A value's size: about that of a password or a connection string.
const VALUE_BYTES: usize = 100;
const PUTS: usize = 1000;
const PROCESSES: usize = 8;

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Outcome {
    reading_all(report, effort)?;
    durable_puts(report, effort)?;
    processes_writing(report, effort)
}

pub(crate) fn name_of(index: usize) -> String {
    format!("team-{}/service-{}/secret-{index}", index % 10, index % 100)
}

fn value_of(index: usize) -> String {
    format!("{index:0VALUE_BYTES$}")
}

/// A store at the default places of a home directory, with this many secrets.
pub(crate) fn filled(home: &Path, secrets: usize) -> Outcome {
    block_on(async {
        let store = SqlStore::create(config(home)?).await?;
        for index in 0..secrets {
            store
                .put(&SecretName::new(name_of(index))?, PutRequest::new(value_of(index).as_str()))
                .await?;
        }
        Ok(())
    })
}

fn config(home: &Path) -> Outcome<SqlConfig> {
    let key = home.join(".config/keyfob/key");
    if !key.exists() {
        RawKey::create_file(&key)?;
    }
    let path = home.join(".local/share/keyfob/secrets.db");
    Ok(SqlConfig::new(path, KeyConfig::File(key)).with_state_dir(home.join(".local/state/keyfob")))
}

fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Opens the store and reads every secret by its name; beside it, the same values decrypted from memory with the bare
/// cipher: two AES-256-GCM operations each, with a key of its own, as the format needs. Then the same with the names
/// listed first, page by page.
fn reading_all(report: &mut Report, effort: Effort) -> Outcome {
    let secrets = if effort == Effort::Quick { 1000 } else { 10_000 };
    let directory = tempfile::tempdir()?;
    filled(directory.path(), secrets)?;
    let requests: Vec<GetRequest> = (0..secrets)
        .map(|index| Ok(GetRequest::new(SecretName::new(name_of(index))?)))
        .collect::<Outcome<_>>()?;
    let by_name = || {
        block_on(async {
            let store = SqlStore::open(config(directory.path())?).await?;
            for answer in store.get_many(&requests).await {
                black_box(answer?.value.expose_secret());
            }
            Ok(())
        })
    };
    let listed = || {
        block_on(async {
            let store = SqlStore::open(config(directory.path())?).await?;
            let values = read_all(&store).await?;
            if values == secrets {
                Ok(())
            } else {
                Err(format!("{values} of {secrets} values").into())
            }
        })
    };
    let sealed = (0..secrets).map(BareSecret::seal).collect::<Outcome<Vec<_>>>()?;
    let kek = cipher(0);
    let bare = || sealed.iter().try_for_each(|secret| secret.open(&kek));
    let beside = "bare AES-256-GCM of the same values";
    let (ours, theirs) = pairs(effort.samples(21), by_name, bare)?;
    let title = format!("open a store of {secrets} secrets of {VALUE_BYTES} bytes, read all by name");
    report.ratio(&title, beside, &ours, &theirs, Goal::Ratio(10.0));
    let (ours, theirs) = pairs(effort.samples(21), listed, bare)?;
    let title = format!("the same, names and metadata of all {secrets} listed first");
    report.ratio(&title, beside, &ours, &theirs, Goal::Ratio(10.0));
    Ok(())
}

async fn read_all(store: &SqlStore) -> Outcome<usize> {
    let mut read = 0;
    let mut token = None;
    loop {
        let page = store
            .list(&ListOptions {
                page: PageRequest { limit: None, token },
                ..ListOptions::default()
            })
            .await?;
        let requests: Vec<GetRequest> = page.items.into_iter().map(|item| GetRequest::new(item.name)).collect();
        for answer in store.get_many(&requests).await {
            black_box(answer?.value.expose_secret());
            read += 1;
        }
        token = page.next;
        if token.is_none() {
            return Ok(read);
        }
    }
}

struct BareSecret {
    wrapped_key: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl BareSecret {
    fn seal(index: usize) -> Outcome<Self> {
        let key = [u8::try_from(index % 251)?; 32];
        let mut wrapped_key = key.to_vec();
        encrypt(&cipher(0), &mut wrapped_key)?;
        let mut ciphertext = value_of(index).into_bytes();
        encrypt(&Aes256Gcm::new(&Key::<Aes256Gcm>::from(key)), &mut ciphertext)?;
        Ok(Self { wrapped_key, ciphertext })
    }

    fn open(&self, kek: &Aes256Gcm) -> Outcome {
        let mut key = self.wrapped_key.clone();
        decrypt(kek, &mut key)?;
        let key: [u8; 32] = key.as_slice().try_into()?;
        let mut value = self.ciphertext.clone();
        decrypt(&Aes256Gcm::new(&Key::<Aes256Gcm>::from(key)), &mut value)?;
        black_box(value);
        Ok(())
    }
}

fn cipher(byte: u8) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from([byte; 32]))
}

fn encrypt(cipher: &Aes256Gcm, buffer: &mut Vec<u8>) -> Outcome {
    cipher
        .encrypt_in_place(&Nonce::default(), b"", buffer)
        .map_err(|_| "encryption failed".into())
}

fn decrypt(cipher: &Aes256Gcm, buffer: &mut Vec<u8>) -> Outcome {
    cipher
        .decrypt_in_place(&Nonce::default(), b"", buffer)
        .map_err(|_| "decryption failed".into())
}

fn durable_puts(report: &mut Report, effort: Effort) -> Outcome {
    let directory = tempfile::tempdir()?;
    let puts = if effort == Effort::Quick { 50 } else { PUTS };
    let start = Instant::now();
    filled(directory.path(), puts)?;
    let each = start.elapsed() / u32::try_from(puts)?;
    report.figure(
        &format!("{puts} durable puts, one after the other"),
        format!("{} in all, {} each", shown(start.elapsed()), shown(each)),
    );
    Ok(())
}

/// Eight processes write at once, each its own names and one name that all share; then everything is counted.
fn processes_writing(report: &mut Report, effort: Effort) -> Outcome {
    let directory = tempfile::tempdir()?;
    filled(directory.path(), 0)?;
    let each = puts_each(effort);
    let start = Instant::now();
    let mut children = Vec::new();
    for writer in 0..PROCESSES {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--writer")
            .arg(directory.path())
            .arg(writer.to_string())
            .env("KEYFOB_BENCH_PUTS", each.to_string());
        children.push(command.stdin(Stdio::null()).spawn()?);
    }
    for mut child in children {
        if !child.wait()?.success() {
            return Err("a writer failed".into());
        }
    }
    let elapsed = start.elapsed();
    let (found, shared) = block_on(async {
        let store = SqlStore::open(config(directory.path())?).await?;
        let found = read_all(&store).await?;
        let shared = store
            .get(&SecretName::new("shared")?, &keyfob_core::GetOptions::default())
            .await?;
        Ok((
            found,
            shared.metadata.version.as_ref().map(ToString::to_string).unwrap_or_default(),
        ))
    })?;
    let (expected, versions) = (PROCESSES * each + 1, PROCESSES * each);
    if found != expected || shared != versions.to_string() {
        return Err(format!("lost writes: {found} of {expected} names, version {shared} of {versions}").into());
    }
    let rate = 2.0 * versions as f64 / elapsed.as_secs_f64();
    let title = format!(
        "{PROCESSES} processes, {} durable puts each, half of them on one shared name",
        2 * each
    );
    report.figure(
        &title,
        format!("{} in all, {rate:.0} puts a second, none lost", shown(elapsed)),
    );
    Ok(())
}

fn puts_each(effort: Effort) -> usize {
    if effort == Effort::Quick { 5 } else { 100 }
}

/// One of the writing processes.
pub(crate) fn writer(home: &Path, writer: usize) -> Outcome {
    let puts: usize = std::env::var("KEYFOB_BENCH_PUTS")?.parse()?;
    block_on(async {
        let store = SqlStore::open(config(home)?).await?;
        for index in 0..puts {
            store
                .put(
                    &SecretName::new(format!("writer-{writer}/{index}"))?,
                    PutRequest::new(value_of(index).as_str()),
                )
                .await?;
            store
                .put(&SecretName::new("shared")?, PutRequest::new(value_of(writer).as_str()))
                .await?;
        }
        Ok(())
    })
}
