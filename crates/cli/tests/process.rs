//! The process itself: pipes, terminals, what others can see of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sandbox;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox::{BINARY, Sandbox, ignore};

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe(vec![b'x'; 300_000], &["set", "big"]).succeeds();
    for command in [
        "get big",
        "get big --json",
        "completions bash",
        "--help",
        "generate-docs cli",
        "man",
    ] {
        let answer = sandbox.shell(&format!(
            r#"set -o pipefail; "$K" {command} | true; echo "${{PIPESTATUS[0]}}""#
        ));
        assert_eq!((answer.out.as_str(), answer.err.as_str()), ("0\n", ""), "{command}");
    }
    let full = sandbox.shell(r#""$K" get big > /dev/full"#);
    assert_eq!(full.code, 1);
    assert!(
        full.err.starts_with("error: can't write to standard output\n  caused by: "),
        "{full:?}"
    );
}

/// Runs a line of shell as a user without rights, who can't write anywhere but in the sandbox.
fn as_nobody(sandbox: &Sandbox, line: &str) -> Option<sandbox::Answer> {
    if !rustix::process::geteuid().is_root() {
        return Some(sandbox.shell(line));
    }
    if !Command::new("setpriv")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        ignore("there is no `setpriv`");
        return None;
    }
    // The target directory may be closed to others. Another process copies: what a thread of this one had open for
    // writing could not be run while other threads' children still hold it.
    let binary = sandbox.home().join("keyfob");
    assert!(Command::new("cp").arg(BINARY).arg(&binary).status().unwrap().success());
    fs::set_permissions(sandbox.home(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [sandbox.home().to_owned(), sandbox.work()] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let mut command = sandbox.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "bash", "-c", line]);
    let output = command
        .env("K", binary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    Some(sandbox::Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[test]
fn open_files_can_be_named_although_the_process_is_not_dumpable() {
    let sandbox = Sandbox::new();
    let line = r#"
        set -e
        "$K" -q init
        printf one | "$K" -q set a --from-file /dev/stdin; "$K" get a; echo
        printf two | "$K" -q set a --from-file /dev/fd/0; "$K" get a; echo
        "$K" -q set a --from-file <(printf three); "$K" get a; echo
        "$K" -q get a --output /dev/stdout | cat; echo
        "$K" -q get a --output /dev/fd/7 7>file; cat file; echo
    "#;
    let Some(answer) = as_nobody(&sandbox, line) else { return };
    assert_eq!(
        (answer.out.as_str(), answer.err.as_str()),
        ("one\ntwo\nthree\nthree\nthree\n", "")
    );
}

/// Linux shows the files in `/proc` of a process that is not dumpable as root's.
#[cfg(target_os = "linux")]
#[test]
fn other_processes_of_the_user_cannot_look_into_it() {
    let sandbox = Sandbox::new();
    let line = r#"
        "$K" -q init
        mkfifo nothing
        exec 9<>nothing
        "$K" set a --from-file - <&9 & keyfob=$!
        for i in $(seq 100); do
            stat -c %u /proc/$keyfob/environ 2>/dev/null | grep -qx 0 && { echo closed; break; }
            sleep 0.02
        done
        kill $keyfob
    "#;
    let Some(answer) = as_nobody(&sandbox, line) else { return };
    assert_eq!(answer.out, "closed\n", "{answer:?}");
}

#[test]
fn a_kill_while_a_value_is_awaited_leaves_nothing() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("old", &["set", "a"]).succeeds();
    let mut command = sandbox.command(BINARY);
    let mut child = command.args(["set", "a"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"half").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(sandbox.run(&["get", "a"]).out, "old");
}
