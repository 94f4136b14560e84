//! A run that stood still for longer than its lease, and was taken over, changes nothing when it wakes up.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use keyfob_integration_tests::sandbox::said;
use rustix::process::{Pid, Signal, kill_process};

use crate::at_once::{prepare, until};
use crate::bed::{Bed, Place, refused};
use crate::{LEASE_IS_OVER, Random, seed};

/// A process that stands still, and is killed if the test fails before it may go on.
struct Paused(Option<Child>);

impl Paused {
    fn new(child: Child) -> Self {
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        Self(Some(child))
    }

    /// Wakes it up, and waits for its end.
    fn woken(mut self) -> Output {
        let child = self.0.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// It is paused while its program is asked for one step, whose answer comes before it wakes up.
fn taken_over_in(bed: &Bed, step: &str) {
    prepare(bed);
    bed.set("app/token", "kfcanary-before00");
    let mut rotate = bed.keyfob(&["rotate", "app/token"]);
    let running = rotate.env("WAIT", step).env("MARK", "paused00").spawn().unwrap();
    until("the first run has begun", || bed.has("started"));
    let paused = Paused::new(running);
    std::thread::sleep(LEASE_IS_OVER);
    let next = bed.keyfob(&["rotate", "app/token"]).env("MARK", "next0000").output().unwrap();
    assert!(next.status.success(), "{step}: {}", said(&next));
    let (value, everything) = (bed.value("app/token"), bed.everything("app/token"));
    bed.is_at_rest("app/token");
    bed.write("go", "");
    std::thread::sleep(Duration::from_millis(200));
    let said = refused(&paused.woken());
    let is_told = [
        "the lease of this rotation is over",
        "another run has taken over the rotation",
    ];
    assert!(is_told.iter().any(|told| said.contains(told)), "{step}: {said}");
    assert!(
        bed.value("app/token") == value && bed.everything("app/token") == everything,
        "{step}: it changed something"
    );
    bed.forget("app/token");
}

/// It is paused at a random moment, in the middle of a request too.
fn taken_over_at_random_moments(test: &str, place: Place) {
    const PAUSES: usize = 4;
    const WORKERS: usize = 8;
    // Each has a store of its own: who stands still within a transaction keeps a file locked.
    let beds: Option<Vec<Bed>> = (0..WORKERS).map(|_| Bed::new(test, place)).collect();
    let Some(beds) = beds else { return };
    let seed = seed();
    println!("{test}: {} pauses with KEYFOB_TEST_SEED={seed}", PAUSES * WORKERS);
    let ends: Vec<End> = std::thread::scope(|scope| {
        let pause = |(worker, bed)| scope.spawn(move || paused_again_and_again(bed, &mut Random::of(seed, worker), PAUSES));
        let workers: Vec<_> = beds.iter().enumerate().map(pause).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let count = |wanted: End| ends.iter().filter(|end| **end == wanted).count();
    let (lost, kept, ended) = (count(End::Lost), count(End::NotTakenOver), count(End::Ended));
    println!("{test}: {lost} had lost their lease when they woke up, {kept} were not taken over, {ended} had no lease");
    // Who stood still within a transaction had it too.
    assert!(
        (lost + kept) * 8 >= ends.len(),
        "too few were paused while they had the lease"
    );
}

/// What became of one that was paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was taken over, and said so.
    Lost,
    /// It stood still within a transaction of a file, which nobody else could write meanwhile.
    NotTakenOver,
    /// It had not begun, or was over.
    Ended,
}

fn paused_again_and_again(bed: &Bed, random: &mut Random, pauses: usize) -> Vec<End> {
    let name = "app/session";
    let rotate = ["rotate", name, "--make", "uuid", "--grace", "0s"];
    bed.set(name, "kfcanary-before00");
    bed.succeed(&rotate);
    let begun = Instant::now();
    bed.succeed(&rotate);
    let usual = begun.elapsed();
    let pause = |_| {
        let running = bed.keyfob(&rotate).spawn().unwrap();
        std::thread::sleep(usual.mul_f64(random.share()));
        let paused = Paused::new(running);
        std::thread::sleep(LEASE_IS_OVER);
        // A file that is locked is not waited for as long as usual.
        let next = bed.keyfob(&rotate).env("SECRET_RETRY_DEADLINE", "4000").output().unwrap();
        let end = match next.status.success() {
            true => woken_after_another(bed, name, paused),
            false => {
                let said = refused(&next);
                assert!(bed.place == Place::Sqlite && said.contains("within 4s"), "{said}");
                let _ = paused.woken();
                bed.succeed(&rotate);
                End::NotTakenOver
            }
        };
        bed.is_at_rest(name);
        end
    };
    (0..pauses).map(pause).collect()
}

/// It wakes up after another run has come to its end.
fn woken_after_another(bed: &Bed, name: &str, paused: Paused) -> End {
    let (before, fence) = (bed.everything(name), bed.status(name).fence());
    let woken = paused.woken();
    if woken.status.success() {
        // It is a rotation like any other, before that run or after it.
        let now = bed.status(name).fence();
        assert!(now == fence + 1 || bed.everything(name) == before, "{}", said(&woken));
        return End::Ended;
    }
    let said = refused(&woken);
    let is_told = [
        "the lease of this rotation is over",
        "another run has taken over the rotation",
        "another run came first",
    ];
    assert!(is_told.iter().any(|told| said.contains(told)), "{said}");
    assert_eq!(bed.everything(name), before, "it changed something");
    End::Lost
}

#[test]
fn in_each_step_of_a_rotation_of_a_file() {
    for step in ["create", "set", "test", "finish", "revoke"] {
        let bed = Bed::new("paused rotations of a file", Place::Sqlite).unwrap();
        taken_over_in(&bed, step);
    }
}

#[test]
fn in_each_step_of_a_rotation_of_a_server() {
    for step in ["create", "set", "test", "finish", "revoke"] {
        if let Some(bed) = Bed::new("paused rotations of OpenBao", Place::OpenBao) {
            taken_over_in(&bed, step);
        }
    }
}

#[test]
fn at_random_moments_of_a_rotation_of_a_file() {
    taken_over_at_random_moments("paused rotations of a file", Place::Sqlite);
}

#[test]
fn at_random_moments_of_a_rotation_of_a_server() {
    taken_over_at_random_moments("paused rotations of OpenBao", Place::OpenBao);
}
