//! `kill -9` at random moments: never a lost or half value, never a damaged file.
//!
//! 200 rounds by default; `KEYFOB_TEST_ROUNDS` asks for more, `KEYFOB_TEST_SEED` repeats a run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use keyfob_core::{GetOptions, SecretName, SecretStore as _};
use keyfob_integration_tests::sandbox::{Sandbox, said};
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

const IMPORTED: usize = 20;

/// Stands for a duration that is not known yet.
const NOT_KILLED: Duration = Duration::ZERO;

struct Run {
    sandbox: Sandbox,
    random: Random,
    /// The key file that opens the store, and the one to change to.
    keys: [&'static str; 2],
    /// How long each kind of command takes when nobody kills it.
    durations: [Duration; 4],
}

#[test]
fn killed_at_random_points_nothing_is_lost_or_damaged() {
    let rounds: usize = std::env::var("KEYFOB_TEST_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("KEYFOB_TEST_SEED").map_or_else(
        |_| {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                .into()
        },
        |seed| seed.parse().unwrap(),
    );
    println!("{rounds} rounds with KEYFOB_TEST_SEED={seed}");
    let mut run = Run::new(seed);
    let (mut killed, mut finished) = ([0; 4], [0; 4]);
    for round in 1..=rounds {
        let kind = round % 4;
        let was_killed = match kind {
            0 => run.set(round),
            1 => run.import(round),
            2 => run.key_rotate(round),
            _ => run.resolve(round),
        };
        if was_killed {
            killed[kind] += 1;
        } else {
            finished[kind] += 1;
        }
        run.check_store(round);
    }
    println!("killed [set, import, key rotate, resolve]: {killed:?}, finished first: {finished:?}");
    // A test whose kills all come too late would prove nothing.
    assert!(
        killed.iter().all(|count| count * 8 >= rounds / 4),
        "too few were killed: {killed:?}"
    );
}

impl Run {
    fn new(seed: u64) -> Self {
        let sandbox = Sandbox::new();
        let keys = ["key-a", "key-b"];
        // Round 0 of each is not killed and says how long they take.
        let mut run = Self {
            sandbox,
            random: Random(seed | 1),
            keys,
            durations: [NOT_KILLED; 4],
        };
        let init = run.command(&["init", "--no-project"]).output().unwrap();
        assert!(init.status.success(), "{}", said(&init));
        let mut durations = [Duration::ZERO; 4];
        for (kind, duration) in durations.iter_mut().enumerate() {
            let start = Instant::now();
            let killed = match kind {
                0 => run.set(0),
                1 => run.import(0),
                2 => run.key_rotate(0),
                _ => run.resolve(0),
            };
            *duration = start.elapsed();
            assert!(!killed, "round 0 was killed");
        }
        run.durations = durations;
        run
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let store = format!("sqlite:{}?key-file={}", self.path("secrets.db"), self.path(self.keys[0]));
        let mut command = self.sandbox.keyfob(["--store", &store, "--quiet"]);
        command.args(arguments);
        command
    }

    fn path(&self, name: &str) -> String {
        self.sandbox.work().join(name).display().to_string()
    }

    /// Starts the command and kills it at a random moment; whether the kill came before its end.
    fn killed(&mut self, kind: usize, arguments: &[&str], input: Option<&str>) -> bool {
        let mut command = self.command(arguments);
        let input = input.map(|text| {
            self.sandbox.write("input", text);
            std::fs::File::open(self.path("input")).unwrap()
        });
        command
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let micros = u64::try_from(self.durations[kind].as_micros()).unwrap();
        let wait = Duration::from_micros(self.random.below(micros * 11 / 10 + 1));
        let mut child = command.spawn().unwrap();
        if self.durations[kind] != NOT_KILLED {
            std::thread::sleep(wait);
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let killed = output.status.code().is_none();
        assert!(killed || output.status.success(), "{arguments:?}: {}", said(&output));
        killed
    }

    fn set(&mut self, round: usize) -> bool {
        let before = if round == 0 { None } else { Some(self.value("counter")) };
        let new = value("counter", round);
        let killed = self.killed(0, &["set", "counter"], Some(&new));
        let now = self.value("counter");
        assert!(
            now == new || killed && Some(&now) == before.as_ref(),
            "round {round}: `set` left neither the old nor the new value"
        );
        killed
    }

    fn import(&mut self, round: usize) -> bool {
        let before: Vec<Option<String>> = (0..IMPORTED)
            .map(|index| (round != 0).then(|| self.value(&format!("IMPORTED_{index}"))))
            .collect();
        let mut file = String::new();
        for index in 0..IMPORTED {
            writeln!(file, "IMPORTED_{index}={}", value(&format!("IMPORTED_{index}"), round)).unwrap();
        }
        self.sandbox.write("import.env", &file);
        let killed = self.killed(1, &["import", "import.env", "--overwrite"], None);
        for (index, before) in before.iter().enumerate() {
            let name = format!("IMPORTED_{index}");
            let now = self.value(&name);
            let whole = now == value(&name, round) || killed && Some(&now) == before.as_ref();
            assert!(
                whole,
                "round {round}: `import` left neither the old nor the new value of {name}"
            );
        }
        killed
    }

    fn key_rotate(&mut self, round: usize) -> bool {
        let target = self.path(self.keys[1]);
        let killed = self.killed(2, &["key", "rotate", "--to-key-file", &target], None);
        let old_opens = self.opens(self.keys[0]);
        let new_opens = self.opens(self.keys[1]);
        if killed {
            assert!(old_opens || new_opens, "round {round}: neither key opens the store");
        } else {
            assert!(
                new_opens && !old_opens,
                "round {round}: after a key change only the new key opens the store"
            );
        }
        if old_opens {
            // Going on is the same command again.
            let output = self.command(&["key", "rotate", "--to-key-file", &target]).output().unwrap();
            assert!(
                output.status.success(),
                "round {round}: the change can't go on: {}",
                said(&output)
            );
        }
        assert!(self.opens(self.keys[1]) && !self.opens(self.keys[0]), "round {round}");
        self.keys.swap(0, 1);
        // The old key is not to be used again: the next change makes a new one.
        std::fs::remove_file(self.path(self.keys[1])).unwrap();
        killed
    }

    fn resolve(&mut self, round: usize) -> bool {
        let before = std::fs::read_to_string(self.path("out.yaml")).ok();
        let padding = "# padding\n".repeat(2000);
        self.sandbox.write(
            "app.yaml",
            format!("round: {round}\n{padding}value: ${{secret:counter}}\nlast: ${{secret:IMPORTED_1}}\n"),
        );
        let target = self.path("out.yaml");
        let killed = self.killed(3, &["resolve", "app.yaml", "--output", &target], None);
        let now = std::fs::read_to_string(self.path("out.yaml")).ok();
        let expected = format!(
            "round: {round}\n{padding}value: \"{}\"\nlast: \"{}\"\n",
            self.value("counter"),
            self.value("IMPORTED_1")
        );
        assert!(
            now.as_ref() == Some(&expected) || killed && now == before,
            "round {round}: the output is neither old nor new"
        );
        for entry in std::fs::read_dir(self.sandbox.work()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.contains("out.yaml") {
                let mode = entry.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "round {round}: {name} can be read by others");
            }
        }
        killed
    }

    fn config(&self, key: &str) -> SqlConfig {
        SqlConfig::new(self.path("secrets.db"), KeyConfig::File(self.path(key).into()))
            .with_state_dir(self.sandbox.path().join(".local/state/keyfob"))
    }

    fn opens(&self, key: &str) -> bool {
        block_on(async { SqlStore::open(self.config(key)).await.is_ok() })
    }

    fn value(&self, name: &str) -> String {
        block_on(async {
            let store = SqlStore::open(self.config(self.keys[0])).await.unwrap();
            let secret = store
                .get(&SecretName::new(name).unwrap(), &GetOptions::default())
                .await
                .unwrap();
            secret.value.expose_str().unwrap().to_owned()
        })
    }

    fn check_store(&self, round: usize) {
        block_on(async {
            let store = SqlStore::open(self.config(self.keys[0])).await.unwrap();
            store
                .verify()
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        });
    }
}

/// Long enough that half of it would show.
fn value(name: &str, round: usize) -> String {
    format!("{name}-{round}-{}-end", "x".repeat(3000))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// xorshift64: repeatable, and good enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
