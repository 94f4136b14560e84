//! Eight processes write at once.

use crate::World;

const PROCESSES: usize = 8;
const EACH: usize = 5;

#[test]
fn eight_shells_write_at_once_and_nothing_is_lost() {
    let world = World::new();
    // All versions are kept, not only the newest.
    world
        .sh("printf 'default = \"all\"\\n[stores.all]\\nurl = \"sqlite:?versions=1000\"\\n' > keyfob.toml")
        .ok();
    let one = format!(
        "for round in $(seq {EACH}); do \
           echo $shell-$round | keyfob set -q own/$shell/$round && echo $shell-$round | keyfob set -q shared || exit 1; \
         done"
    );
    let line = format!(
        "pids=; for shell in $(seq {PROCESSES}); do ({one}) & pids=\"$pids $!\"; done; for pid in $pids; do wait $pid || exit 1; done"
    );
    world.sh(&line).ok();
    for shell in 1..=PROCESSES {
        let names: Vec<String> = (1..=EACH).map(|round| format!("own/{shell}/{round}")).collect();
        for name in &names {
            assert_eq!(world.sh(&format!("keyfob get {name}")).ok(), name[4..].replace('/', "-"));
        }
    }
    let versions = world.sh("keyfob versions shared --json | jq -r '.[].version'").ok();
    let mut versions: Vec<&str> = versions.lines().collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(
        versions.len(),
        PROCESSES * EACH,
        "every write of the shared name is a version of its own"
    );
    let mut values: Vec<String> = versions
        .iter()
        .map(|version| world.sh(&format!("keyfob get shared@{version}")).ok())
        .collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), PROCESSES * EACH, "no value was lost");
    world.sh("keyfob doctor").ok();
    assert_eq!(
        world
            .sh("keyfob doctor --json | jq -c '[.checks[] | select(.status != \"ok\")]'")
            .ok(),
        "[]\n"
    );
}
