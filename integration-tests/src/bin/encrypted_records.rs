//! An application that keeps encrypted records, and encrypts them anew when its key is rotated.
//!
//! - `encrypted_records DIRECTORY add COUNT`: encrypts so many records with the primary key of the keyring on standard input.
//! - `encrypted_records DIRECTORY check`: decrypts every record with that keyring and says how many there are under each key.
//! - `encrypted_records DIRECTORY`: answers a question of a rotation, as `reencrypt` of a policy. `PORTION` says how many records are
//!   looked at for one question (100), and `PAUSE_MS` how many milliseconds each of them takes (0).
//!
//! A record is a file, replaced by renaming another one over it: whoever reads it sees the old or the new one, and can decrypt either.

#![expect(clippy::print_stdout, reason = "this is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use keyfob_core::SecretValue;
use keyfob_rotation::{DataKey, Keyring};
use serde::Deserialize;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The fields of a question that matter here.
#[derive(Deserialize)]
struct Question {
    step: String,
    new: Option<SecretValue>,
    #[serde(default)]
    progress: Progress,
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Progress {
    cursor: Option<String>,
    done: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let input = SecretValue::from(input);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [directory, "add", count] => Records::at(directory)?.add(&Keyring::parse(&input)?, count.parse()?),
        [directory, "check"] => {
            for (key, count) in Records::at(directory)?.check(&Keyring::parse(&input)?)? {
                println!("{count} records under {key}");
            }
            Ok(())
        }
        [directory] => {
            // The parser's message could quote a key.
            let question = serde_json::from_slice(input.expose_secret()).map_err(|_| "this is no question")?;
            println!("{}", Records::at(directory)?.answer(question)?);
            Ok(())
        }
        _ => Err("usage: encrypted_records DIRECTORY [add COUNT|check]".into()),
    }
}

struct Records(PathBuf);

impl Records {
    fn at(directory: &str) -> Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self(directory.into()))
    }

    fn add(&self, keyring: &Keyring, count: usize) -> Result<()> {
        let first = self.names()?.len();
        for number in first..first + count {
            let name = format!("{number:06}");
            self.write(&name, format!("record {name}").as_bytes(), primary(keyring)?)?;
        }
        Ok(())
    }

    /// How many records there are under each key, every one of which was decrypted.
    fn check(&self, keyring: &Keyring) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for name in self.names()? {
            let (id, text) = self.read(&name, keyring)?;
            if text != format!("record {name}").as_bytes() {
                return Err(format!("record {name} says something else").into());
            }
            *counts.entry(id).or_default() += 1;
        }
        Ok(counts)
    }

    fn answer(&self, question: Question) -> Result<serde_json::Value> {
        let keyring = Keyring::parse(&question.new.ok_or("there is no keyring")?)?;
        Ok(match question.step.as_str() {
            "reencrypt" => self.reencrypt(&keyring, question.progress)?,
            "unused" => {
                let used = self.check(&keyring)?;
                let unused: Vec<String> = question.keys.into_iter().filter(|id| !used.contains_key(id)).collect();
                serde_json::json!({ "unused": unused })
            }
            other => return Err(format!("what is `{other}`?").into()),
        })
    }

    /// One portion: the records behind the cursor.
    fn reencrypt(&self, keyring: &Keyring, progress: Progress) -> Result<serde_json::Value> {
        let number = |variable, default| env::var(variable).ok().map_or(Ok(default), |text| text.parse());
        let (portion, pause) = (number("PORTION", 100)?, Duration::from_millis(number("PAUSE_MS", 0)?));
        let key = primary(keyring)?;
        let names = self.names()?;
        let (total, after) = (names.len(), progress.cursor.unwrap_or_default());
        let rest: Vec<String> = names.into_iter().filter(|name| *name > after).collect();
        let portion = &rest[..rest.len().min(usize::try_from(portion)?)];
        for name in portion {
            let (id, text) = self.read(name, keyring)?;
            if id != key.id {
                self.write(name, &text, key)?;
            }
            thread::sleep(pause);
        }
        let done = progress.done + portion.len() as u64;
        Ok(serde_json::json!({
            "progress": { "cursor": portion.last().unwrap_or(&after), "done": done, "total": total },
            "complete": portion.len() == rest.len(),
        }))
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name().into_string().map_err(|_| "a strange file")?;
            // What a process that was killed left behind is no record.
            if !name.contains('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The key's id, a line's end, the nonce, and what is encrypted.
    fn write(&self, name: &str, text: &[u8], key: &DataKey) -> Result<()> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.secret.expose_secret())?;
        let mut sealed = text.to_vec();
        let nonce = cipher.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)?;
        let record = [key.id.as_bytes(), b"\n", nonce.as_ref(), &sealed].concat();
        let new = self.0.join(format!("{name}.{}", process::id()));
        fs::write(&new, record)?;
        Ok(fs::rename(new, self.path(name))?)
    }

    /// The id of the record's key, and what it says.
    fn read(&self, name: &str, keyring: &Keyring) -> Result<(String, Vec<u8>)> {
        let record = fs::read(self.path(name))?;
        let end = record.iter().position(|byte| *byte == b'\n').ok_or("no record")?;
        let (id, rest) = (std::str::from_utf8(&record[..end])?, &record[end + 1..]);
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or("no record")?;
        let key = keyring
            .key(id)
            .ok_or_else(|| format!("record {name} needs the key {id}, which is not there"))?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.secret.expose_secret())?;
        let mut text = sealed.to_vec();
        let opened = cipher.open_in_place(
            Nonce::try_assume_unique_for_key(nonce)?,
            Aad::from(name.as_bytes()),
            &mut text,
        );
        let text = opened.map_err(|_| format!("record {name} can't be decrypted"))?.to_vec();
        Ok((id.to_owned(), text))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }
}

fn primary(keyring: &Keyring) -> Result<&DataKey> {
    keyring
        .primary()
        .ok_or_else(|| "the keyring has no key yet: rotate it".into())
}
