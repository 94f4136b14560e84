//! A run is killed at a random moment: a valid value can be read, and after one more run nothing is left of the first.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;

use crate::bed::{Bed, Place};
use crate::database::{Database, Roles};
use crate::{LEASE_IS_OVER, Random, seed};

/// They wait for each other's leases, not one after the other.
const WORKERS: usize = 10;

/// How many runs are not killed, to know how long one takes.
const MEASURED: usize = 3;

/// A secret that one worker rotates.
struct Rotated<'a> {
    /// Of its own: many processes that write one file at once would wait for each other.
    bed: Bed,
    name: String,
    roles: Option<(&'a Database, Roles)>,
}

impl Rotated<'_> {
    fn rotate(&self) -> Vec<&str> {
        match self.roles {
            Some(_) => vec!["rotate", &self.name],
            None => vec!["rotate", &self.name, "--make", "uuid", "--grace", "0s"],
        }
    }

    /// The current value can be read, and is one that was made for this secret.
    fn is_valid(&self) {
        let value = self.bed.value(&self.name);
        match self.roles {
            Some((database, _)) => database.accepts(&value),
            None => assert_eq!(value.len(), 36, "this is no value of this secret"),
        }
    }

    fn is_at_rest(&self) {
        self.is_valid();
        self.bed.is_at_rest(&self.name);
        if let Some((database, roles)) = &self.roles {
            assert_eq!(database.passwords(roles), 1, "an old password is still there");
        }
    }

    /// How many values there were, where the store counts them.
    fn count(&self) -> Option<u64> {
        let versions = self.bed.versions(&self.name);
        let current = versions.iter().find(|version| version["current"] == true).unwrap();
        current["version"].as_str().unwrap().parse().ok()
    }

    /// Starts a run and kills it after a time; the phase that it left, or `None` if it ended before.
    fn killed_after(&self, time: Duration) -> Option<String> {
        let before = self.count();
        let mut child = self.bed.keyfob(&self.rotate()).spawn().unwrap();
        std::thread::sleep(time);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let was_killed = output.status.signal() == Some(9);
        assert!(was_killed || output.status.success(), "{}", said(&output));
        self.is_valid();
        let status = self.bed.status(&self.name);
        if was_killed {
            if status.is_held() {
                std::thread::sleep(LEASE_IS_OVER);
            }
            self.bed.succeed(&self.rotate());
        }
        self.is_at_rest();
        // That of the killed run, and that of the one more: none is made twice.
        if let (Some(before), Some(now)) = (before, self.count()) {
            let made = 1..=1 + u64::from(was_killed);
            assert!(made.contains(&(now - before)), "{} values were made", now - before);
        }
        let phase = match (status.phase(), status.is_held()) {
            (Some(phase), _) => phase,
            (None, true) => "held",
            (None, false) => "before or after",
        };
        was_killed.then(|| phase.to_owned())
    }

    /// Kills so many runs; the phases that they left.
    fn killed(&self, kills: usize, random: &mut Random) -> Vec<String> {
        let mut times: Vec<Duration> = (0..MEASURED)
            .map(|_| {
                let begun = Instant::now();
                self.bed.succeed(&self.rotate());
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        let mut usual = times[MEASURED / 2];
        let begun = Instant::now();
        let _ = self.bed.value(&self.name);
        // Half of what a process takes that does next to nothing: few are killed before they have begun.
        let mut start = begun.elapsed() / 2;
        let mut phases = Vec::new();
        for _ in 0..kills * 10 {
            if phases.len() == kills {
                break;
            }
            let time = start + usual.saturating_sub(start).mul_f64(random.share());
            match self.killed_after(time) {
                Some(phase) => phases.push(phase),
                // It took less than that, when the machine had less to do.
                None => (start, usual) = (start.min(time / 2), (usual + time) / 2),
            }
        }
        self.bed.succeed(&self.rotate());
        self.bed.has_no_marks(&self.name);
        phases
    }
}

fn killed_at_random_moments(test: &str, place: Place, database: Option<&Database>) {
    let beds: Option<Vec<Bed>> = (0..WORKERS).map(|_| Bed::new(test, place)).collect();
    let Some(beds) = beds else { return };
    let (seed, begun) = (seed(), Instant::now());
    let kills: usize = std::env::var("KEYFOB_TEST_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    println!("{test}: {kills} kills with KEYFOB_TEST_SEED={seed}");
    let prepared = |(worker, bed): (usize, Bed)| {
        let name = format!("worker{worker}");
        let roles = database.map(|database| {
            let (roles, value) = database.make_roles(&format!("kf_killed_{seed}_{}_{worker}", std::process::id()));
            bed.set("admin", &database.password);
            bed.set(&name, &value);
            bed.write("rotation.yaml", &format!("policies:\n{}", database.policy(&name, &roles)));
            (database, roles)
        });
        if roles.is_none() {
            bed.set(&name, "kfcanary-thatis-36-characters-long-00");
        }
        Rotated { bed, name, roles }
    };
    let secrets: Vec<Rotated<'_>> = beds.into_iter().enumerate().map(prepared).collect();
    let phases: Vec<String> = std::thread::scope(|scope| {
        let start = |(worker, secret)| {
            let secret: &Rotated<'_> = secret;
            scope.spawn(move || secret.killed(kills.div_ceil(WORKERS), &mut Random::of(seed, worker)))
        };
        let workers: Vec<_> = secrets.iter().enumerate().map(start).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    for secret in &secrets {
        secret.bed.forget(&secret.name);
        if let Some((database, roles)) = &secret.roles {
            database.remove(roles);
        }
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for phase in &phases {
        *left.entry(phase).or_default() += 1;
    }
    println!("{test}: {} killed in {:?}, who left {left:?}", phases.len(), begun.elapsed());
    assert!(phases.len() >= kills, "too few were killed: {}", phases.len());
    // A test whose kills all come before or after a rotation would prove nothing.
    let inside = phases.len() - left.get("before or after").copied().unwrap_or_default();
    assert!(inside * 10 >= kills, "too few were killed within a rotation: {left:?}");
}

#[test]
fn of_the_embedded_store() {
    killed_at_random_moments("killed rotations of the embedded store", Place::Sqlite, None);
}

#[test]
fn of_openbao() {
    killed_at_random_moments("killed rotations of OpenBao", Place::OpenBao, None);
}

#[test]
fn of_localstack() {
    killed_at_random_moments("killed rotations of LocalStack", Place::LocalStack, None);
}

#[test]
fn of_a_role_of_postgresql() {
    let test = "killed rotations of a role of PostgreSQL";
    if let Some(database) = Database::of(test) {
        killed_at_random_moments(test, Place::Sqlite, Some(&database));
    }
}
