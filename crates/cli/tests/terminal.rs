//! What a person at a terminal sees, with a real pseudo-terminal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sandbox;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use sandbox::{BINARY, Sandbox, ignore};

/// A command whose standard streams and controlling terminal are a pseudo-terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// `None`, told, where `setsid` is missing: it gives the command its controlling terminal.
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Option<Self> {
        if !Command::new("setsid")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            ignore("there is no `setsid` of util-linux");
            return None;
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let no_controlling_terminal = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let open = || {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .custom_flags(no_controlling_terminal)
                .open(&name)
                .unwrap()
        };
        let mut command = sandbox.command("setsid");
        command
            .args(["--ctty", "--wait", BINARY])
            .args(arguments)
            .env("TERM", "xterm");
        let stream = || Stdio::from(OwnedFd::from(open()));
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        drop(command);
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last reader's end shows as an error.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Self {
            child,
            keyboard,
            screen: receive,
            seen: String::new(),
        })
    }

    /// Waits until the screen shows `text` after what was waited for before.
    #[track_caller]
    fn expect(&mut self, text: &str) -> &mut Self {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{text}` did not appear in {:?}", self.seen),
            }
        }
        self
    }

    fn enter(&mut self, line: &str) -> &mut Self {
        self.seen.clear();
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
        self
    }

    /// The exit status, and what the screen showed since the last line that was entered.
    fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(300)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code().unwrap_or(-1), self.seen)
    }
}

#[test]
fn get_prints_to_a_terminal_only_with_show() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("canary-51c7", &["set", "a"]).succeeds();
    let Some(refused) = Terminal::start(&sandbox, &["get", "a"]) else {
        return;
    };
    let (code, seen) = refused.end();
    assert_eq!(code, 2);
    assert!(
        seen.contains("a value is printed to a terminal only with `--show`"),
        "{seen:?}"
    );
    assert!(!seen.contains("canary"));
    let (code, seen) = Terminal::start(&sandbox, &["get", "a", "--show"]).unwrap().end();
    assert_eq!((code, seen.as_str()), (0, "canary-51c7\r\n"));
    let (code, seen) = Terminal::start(&sandbox, &["get", "a", "--json"]).unwrap().end();
    assert_eq!(code, 0);
    assert!(seen.contains("\"version\": \"1\"") && !seen.contains("canary"), "{seen:?}");
}

#[test]
fn a_watched_command_has_the_terminal_as_if_it_were_alone() {
    let sandbox = Sandbox::with_store();
    let script = r#"trap 'count=$((count+1))' INT; echo ready; read line; echo "read $line"
        while [ -z "$count" ]; do sleep 0.05; done; sleep 0.5; echo "INT came $count time"; exit 9"#;
    let Some(mut terminal) = Terminal::start(&sandbox, &["run", "--watch", "--", "sh", "-c", script]) else {
        return;
    };
    terminal.expect("ready");
    terminal.enter("a line").expect("read a line");
    // Ctrl-C.
    terminal.keyboard.write_all(&[3]).unwrap();
    let (code, seen) = terminal.end();
    assert_eq!(code, 9);
    assert!(seen.contains("INT came 1 time"), "{seen:?}");
}

#[test]
fn a_watched_command_and_its_keeper_are_one_job() {
    let sandbox = Sandbox::with_store();
    let Some(mut terminal) = Terminal::start(&sandbox, &["run", "--", "bash", "--norc", "--noprofile", "-i"]) else {
        return;
    };
    terminal.enter("PS1='go> '").expect("go> ");
    let script = r#"echo "ready"; while read line; do echo "read: $line"; done"#;
    terminal
        .enter(&format!("{BINARY} run --watch -- sh -c '{script}'"))
        .expect("ready\r\n");
    // Ctrl-Z: the shell has its prompt again.
    terminal.seen.clear();
    terminal.keyboard.write_all(&[26]).unwrap();
    terminal.expect("Stopped").expect("go> ");
    // In the background it may not read the terminal, and the shell sees that both pause.
    terminal
        .enter("bg; until jobs -l | grep -q 'tty input'; do sleep 0.05; done; jobs -l")
        .expect("Stopped (tty input)");
    terminal.enter("fg").expect("run --watch");
    terminal.enter("a line").expect("read: a line");
    // Its end is the end of the job.
    terminal.seen.clear();
    terminal.keyboard.write_all(&[4]).unwrap();
    terminal.expect("go> ").enter("echo \"it was $?\"; exit 5").expect("it was 0");
    assert_eq!(terminal.end().0, 5);
}

#[test]
fn set_asks_twice_without_echo() {
    let sandbox = Sandbox::with_store();
    let Some(mut terminal) = Terminal::start(&sandbox, &["set", "a"]) else {
        return;
    };
    let mut seen = terminal.expect("value of `a`: ").seen.clone();
    seen += &terminal.enter("canary-9b02").expect("the same again: ").seen.clone();
    let (code, rest) = {
        terminal.enter("canary-9b02");
        terminal.end()
    };
    seen += &rest;
    assert_eq!(code, 0, "{seen:?}");
    assert!(seen.contains("wrote `a`, version 1") && !seen.contains("canary"), "{seen:?}");
    assert_eq!(sandbox.run(&["get", "a"]).out, "canary-9b02");
}

#[test]
fn what_is_pasted_ahead_is_not_echoed() {
    let sandbox = Sandbox::with_store();
    let long = "canary".repeat(1000);
    let Some(mut terminal) = Terminal::start(&sandbox, &["set", "a"]) else {
        return;
    };
    terminal.expect("value of `a`: ").enter(&format!("x\x7f{long}\n{long}"));
    let (code, seen) = terminal.end();
    assert!(code == 0 && !seen.contains("canary"), "{seen:?}");
    assert_eq!(sandbox.run(&["get", "a"]).out, long);
}

#[test]
fn ctrl_c_ends_it_and_leaves_a_terminal_that_echoes() {
    let sandbox = Sandbox::with_store();
    let Some(mut terminal) = Terminal::start(&sandbox, &["set", "a"]) else {
        return;
    };
    let modes = |terminal: &Terminal| tcgetattr(&terminal.keyboard).unwrap().local_modes;
    terminal.expect("value of `a`: ");
    assert!(!modes(&terminal).contains(LocalModes::ECHO));
    terminal.keyboard.write_all(b"half\x03").unwrap();
    let status = terminal.child.wait().unwrap();
    assert!(!status.success());
    assert!(modes(&terminal).contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    assert_eq!(sandbox.run(&["get", "a"]).code, 1);
}

#[test]
fn a_key_that_makes_no_character_never_becomes_part_of_a_value() {
    let sandbox = Sandbox::with_store();
    let Some(mut terminal) = Terminal::start(&sandbox, &["set", "a"]) else {
        return;
    };
    terminal.expect("value of `a`: ").enter("half\x1b[A");
    let (code, seen) = terminal.end();
    assert_eq!(code, 1);
    assert!(seen.contains("a key was pressed that makes no character"), "{seen:?}");
}

#[test]
fn two_different_entries_write_nothing() {
    let sandbox = Sandbox::with_store();
    let Some(mut terminal) = Terminal::start(&sandbox, &["set", "a"]) else {
        return;
    };
    terminal
        .expect("value of `a`: ")
        .enter("one")
        .expect("the same again: ")
        .enter("other");
    let (code, seen) = terminal.end();
    assert_eq!(code, 1);
    assert!(seen.contains("the two entries differ, nothing was written"), "{seen:?}");
    assert_eq!(sandbox.run(&["get", "a"]).code, 1);
}

#[test]
fn metadata_alone_asks_for_nothing() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    let Some(terminal) = Terminal::start(&sandbox, &["set", "a", "--tag", "k=v"]) else {
        return;
    };
    let (code, seen) = terminal.end();
    assert_eq!(code, 0);
    assert!(seen.contains("changed the metadata of `a`, the value stays"), "{seen:?}");
}

#[test]
fn what_is_final_is_asked_for() {
    let sandbox = Sandbox::with_store();
    sandbox.pipe("v", &["set", "a"]).succeeds();
    let Some(mut terminal) = Terminal::start(&sandbox, &["delete", "a", "--permanent"]) else {
        return;
    };
    terminal.expect("for good?").enter("n");
    assert_eq!(terminal.end().0, 1);
    assert_eq!(sandbox.run(&["get", "a"]).out, "v");
    let mut terminal = Terminal::start(&sandbox, &["delete", "a", "--permanent"]).unwrap();
    terminal.expect("for good?").enter("y");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(sandbox.run(&["get", "a"]).code, 1);
}

#[test]
fn a_passphrase_is_asked_for_when_the_store_is_made_and_opened() {
    let sandbox = Sandbox::new();
    let Some(mut terminal) = Terminal::start(&sandbox, &["init", "--passphrase"]) else {
        return;
    };
    terminal
        .expect("passphrase: ")
        .enter("canary horse")
        .expect("the same again: ")
        .enter("canary horse");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen:?}");
    let mut terminal = Terminal::start(&sandbox, &["set", "a", "--generate"]).unwrap();
    terminal.expect("passphrase of `").enter("canary horse");
    let (code, seen) = terminal.end();
    assert!(code == 0 && !seen.contains("canary"), "{seen:?}");
    let mut terminal = Terminal::start(&sandbox, &["get", "a", "--show"]).unwrap();
    terminal.expect("passphrase of `").enter("wrong");
    assert_eq!(terminal.end().0, 1);
}
