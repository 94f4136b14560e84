//! That the servers for people with a container engine are described in a way that the engine understands.

use std::path::Path;
use std::process::{Command, Output};

/// The answer of the first that is installed.
fn compose(arguments: &[&str]) -> Option<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ways: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    ways.iter().find_map(|way| {
        let (program, first) = way.split_first()?;
        let run = |arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(first).args(arguments).current_dir(&root).output().ok()
        };
        run(&["version"]).filter(|version| version.status.success())?;
        run(arguments)
    })
}

#[test]
fn docker_compose_understands_the_file() {
    let Some(checked) = compose(&["config", "--quiet"]) else {
        keyfob_testkit::skip(
            "docker_compose_understands_the_file",
            "there is no `docker compose` (on Debian: `apt-get install docker-compose`)",
        );
        return;
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
