//! How much memory a migration needs.

use std::process::Stdio;

use keyfob_integration_tests::sandbox::said;

use crate::world::{Contents, World, fill, names_of, secrets};

/// The values of all secrets are many times what the process may need more for larger ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_all_the_values_of_a_migration() {
    const SECRETS: usize = 1000;
    const LARGE: usize = 60_000;
    /// A second of each value that is on its way, and what the allocator keeps.
    const MORE_KIB: u64 = 24 << 10;

    let mut peaks = Vec::new();
    for bytes in [100, LARGE] {
        let world = World::new();
        let (from, to) = (world.sqlite("from"), world.sqlite("to"));
        let mut large: Contents = secrets(SECRETS, false);
        for kept in large.values_mut() {
            kept.value = [b"kfcanary-memory01".as_slice(), &vec![b'x'; bytes]].concat();
        }
        fill(&world.open(&from).await, &large).await;
        drop(large);
        let mut command = world.migrate(&from, &to, "report.jsonl");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let peak = std::thread::spawn(move || peak_of(pid));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(names_of(&crate::world::answer(&output), "created"), SECRETS);
        peaks.push(peak.join().unwrap());
    }
    let all = (SECRETS * LARGE / 1024) as u64;
    keyfob_testkit::tell(&format!(
        "migration: peak of {} KiB with values of 100 bytes, {} KiB with {all} KiB of values",
        peaks[0], peaks[1]
    ));
    assert!(all > 2 * MORE_KIB);
    assert!(peaks[1] < peaks[0] + MORE_KIB, "{peaks:?} KiB");
}

/// The most memory that a process had, in KiB, asked until it ends.
fn peak_of(pid: rustix::process::Pid) -> u64 {
    let mut peak = 0;
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())) {
        let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else {
            break;
        };
        let number = line.trim().trim_end_matches(" kB").trim().parse();
        peak = peak.max(number.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(peak > 0, "the memory of the process could not be seen");
    peak
}
