//! What happens to files.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use keyfob_core::ErrorKind;
use tempfile::TempDir;

use crate::files::Place;
use crate::verb::Verb;

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the store is opened.
    Closed,
    /// Beneath a store that is open and has read.
    Open,
}

/// Ends a fault.
pub(crate) type Mend = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) inflict: Arc<dyn Fn(&Place) -> Mend + Send + Sync>,
    pub(crate) moments: &'static [Moment],
    /// The kinds that a verb that reads may fail with.
    pub(crate) reads: &'static [ErrorKind],
    /// The same of one that writes.
    writes: &'static [ErrorKind],
    pub(crate) reads_succeed: bool,
    pub(crate) writes_succeed: bool,
    /// What is no fault of the store: it can't tell that it is not as it should be.
    pub(crate) unseen: &'static [&'static str],
    /// Whether the file's bytes are others: what has read them need not go on when they are put back.
    pub(crate) damages: bool,
}

impl Fault {
    pub(crate) fn new(
        name: impl Into<String>,
        kinds: &'static [ErrorKind],
        inflict: impl Fn(&Place) -> Mend + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            inflict: Arc::new(inflict),
            moments: &[Moment::Closed, Moment::Open],
            reads: kinds,
            writes: kinds,
            reads_succeed: false,
            writes_succeed: false,
            unseen: &[],
            damages: false,
        }
    }

    /// Other bytes in the same file.
    pub(crate) fn bytes(
        name: impl Into<String>,
        kinds: &'static [ErrorKind],
        change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let mut fault = Self::new(name, kinds, move |place| {
            let file = place.file();
            let before = fs::read(&file).unwrap();
            let mut bytes = before.clone();
            change(&mut bytes);
            fs::write(&file, bytes).unwrap();
            Box::new(move || fs::write(file, before).unwrap())
        });
        fault.damages = true;
        fault
    }

    /// Something else in the place of the file, which comes back.
    pub(crate) fn instead(
        name: impl Into<String>,
        kinds: &'static [ErrorKind],
        put: impl Fn(&Place, &Path) + Send + Sync + 'static,
    ) -> Self {
        Self::new(name, kinds, move |place| {
            let (file, aside) = (place.file(), place.path("aside"));
            fs::rename(&file, &aside).unwrap();
            put(place, &file);
            Box::new(move || {
                match fs::symlink_metadata(&file) {
                    Ok(status) if status.is_dir() => fs::remove_dir(&file).unwrap(),
                    Ok(_) => fs::remove_file(&file).unwrap(),
                    Err(_) => {}
                }
                fs::rename(aside, file).unwrap();
            })
        })
    }

    pub(crate) fn at(mut self, moments: &'static [Moment]) -> Self {
        self.moments = moments;
        self
    }

    pub(crate) fn kinds(mut self, kinds: &'static [ErrorKind]) -> Self {
        self.reads = kinds;
        self.writes(kinds)
    }

    pub(crate) fn writes(mut self, kinds: &'static [ErrorKind]) -> Self {
        self.writes = kinds;
        self
    }

    pub(crate) fn reads_succeed(mut self) -> Self {
        self.reads_succeed = true;
        self
    }

    pub(crate) fn may_succeed(mut self) -> Self {
        self.writes_succeed = true;
        self.reads_succeed()
    }

    pub(crate) fn unseen(mut self, unseen: &'static [&'static str]) -> Self {
        self.unseen = unseen;
        self
    }

    pub(crate) fn allowed(&self, verb: Verb) -> &'static [ErrorKind] {
        if verb.reads() { self.reads } else { self.writes }
    }
}

/// What can be in the place of any file, and is none.
pub(crate) fn no_file(wrong: &'static [ErrorKind]) -> Vec<Fault> {
    vec![
        Fault::instead("a directory in its place", wrong, |_, file| fs::create_dir(file).unwrap()),
        Fault::instead("a pipe in its place", wrong, |_, file| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, file, mode).unwrap();
        }),
        Fault::instead("a link to a full device in its place", wrong, |_, file| {
            symlink("/dev/full", file).unwrap();
        }),
        Fault::new("a file in the place of its directory", wrong, |place| {
            let (directory, aside) = (place.directory(), place.path("aside"));
            fs::rename(&directory, &aside).unwrap();
            fs::write(&directory, "x").unwrap();
            Box::new(move || {
                fs::remove_file(&directory).unwrap();
                fs::rename(aside, directory).unwrap();
            })
        }),
    ]
}

pub(crate) fn link_to_itself(kinds: &'static [ErrorKind]) -> Fault {
    Fault::instead("a link to itself in its place", kinds, |_, file| symlink(file, file).unwrap())
}

pub(crate) fn directory_away(kinds: &'static [ErrorKind]) -> Fault {
    Fault::new("its directory moved away", kinds, |place| {
        let (directory, aside) = (place.directory(), place.path("aside"));
        fs::rename(&directory, &aside).unwrap();
        Box::new(move || fs::rename(aside, directory).unwrap())
    })
}

pub(crate) fn file_away(kinds: &'static [ErrorKind]) -> Fault {
    Fault::instead("the file moved away", kinds, |_, _| {})
}

pub(crate) fn dangling_link(kinds: &'static [ErrorKind]) -> Fault {
    Fault::instead("a link to nowhere in its place", kinds, |place, file| {
        symlink(place.path("nowhere/file"), file).unwrap();
    })
}

/// A lock of another process on a file, `how` [`hold_a_lock`] knows.
pub(crate) fn locked(name: &str, how: &'static str, path: fn(&Place) -> PathBuf, kinds: &'static [ErrorKind]) -> Fault {
    Fault::new(name, kinds, move |place| {
        let holder = Holder::start(how, &path(place));
        Box::new(move || drop(holder))
    })
}

/// No file may grow beyond so many bytes: of this whole process, in which one case runs at a time.
pub(crate) fn size_limit(bytes: u64, kinds: &'static [ErrorKind]) -> Fault {
    use rustix::process::{Resource, getrlimit, setrlimit};
    Fault::new(format!("no file beyond {bytes} bytes"), kinds, move |_| {
        let before = getrlimit(Resource::Fsize);
        let mut now = before;
        now.current = Some(bytes);
        setrlimit(Resource::Fsize, now).unwrap();
        Box::new(move || setrlimit(Resource::Fsize, before).unwrap())
    })
}

/// A file system of 16 MiB, which goes with this process.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// In a process that [`on_a_small_disk`] started.
    pub(crate) fn mount() -> Self {
        let directory = TempDir::new().unwrap();
        mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], directory.path());
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Nothing may be written to it, whoever asks.
    pub(crate) fn read_only(&self, kinds: &'static [ErrorKind]) -> Fault {
        let disk = self.path().to_owned();
        Fault::new("read-only file system", kinds, move |_| {
            mount(&["-o", "remount,ro"], &disk);
            let disk = disk.clone();
            Box::new(move || mount(&["-o", "remount,rw"], &disk))
        })
    }

    /// So many bytes are left on it.
    pub(crate) fn full(&self, left: u64, kinds: &'static [ErrorKind]) -> Fault {
        let filler = self.path().join("filler");
        Fault::new(format!("disk full but for {left} bytes"), kinds, move |_| {
            let mut file = fs::File::create(&filler).unwrap();
            let full = loop {
                if let Err(error) = io::Write::write_all(&mut file, &[0; 4096]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            let size = file.metadata().unwrap().len();
            file.set_len(size - left).unwrap();
            let filler = filler.clone();
            Box::new(move || fs::remove_file(filler).unwrap())
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn mount(options: &[&str], directory: &Path) {
    let status = Command::new("mount").args(options).arg(directory).status().unwrap();
    assert!(status.success(), "mount {options:?}: {status}");
}

/// Runs a test that mounts a [`SmallDisk`]: in a process that has its own table of mounts, in which it may mount.
pub(crate) fn on_a_small_disk(test: &str) {
    let own_mounts = "unshare --user --map-root-user --mount";
    let probe = Command::new("sh")
        .arg("-c")
        .arg(format!("{own_mounts} true"))
        .output()
        .unwrap();
    if !probe.status.success() {
        return keyfob_testkit::skip(test, "no user of this machine may have mounts of their own");
    }
    in_a_process_of_its_own(test, &format!("exec {own_mounts}"));
}

const HOLD: &str = "KEYFOB_TEST_HOLD";
const HOLD_PATH: &str = "KEYFOB_TEST_HOLD_PATH";
const HELD: &str = "the lock is held";

struct Holder(Child);

impl Holder {
    fn start(how: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "harm::hold_a_lock", "--ignored", "--nocapture"])
            .env(HOLD, how)
            .env(HOLD_PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_held = lines.map_while(io::Result::ok).any(|line| line.contains(HELD));
        assert!(is_held, "the other process holds no lock");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn hold_a_lock() {
    let path = PathBuf::from(std::env::var_os(HOLD_PATH).unwrap());
    let how = std::env::var(HOLD).unwrap();
    // Kept until this process is ended.
    let (mut file, mut database) = (None, None);
    if how == "flock" {
        let opened = fs::File::options().read(true).write(true).open(path).unwrap();
        opened.lock().unwrap();
        file = Some(opened);
    } else {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch(&how).unwrap();
        database = Some(connection);
    }
    println!("\n{HELD}");
    let _ = io::stdin().read_line(&mut String::new());
    drop((file, database));
}

/// Runs a test of this program that is ignored by itself, through `sh`: what `before` says comes before its command line.
pub(crate) fn in_a_process_of_its_own(test: &str, before: &str) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{before} \"$0\" --exact {test} --ignored --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = keyfob_integration_tests::sandbox::said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
