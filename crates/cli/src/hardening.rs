//! What is done before anything else, so that no value leaves the process by accident.

use std::io::Write as _;

/// Makes the process write no core dump and closes its memory to other processes of the user.
///
/// Nothing of this is inherited: a program that is executed is dumpable again, and no resource limit is touched. The
/// process still opens its own `/dev/stdin` and `/dev/fd/N`.
pub(crate) fn protect_this_process() {
    // Where the kernel says no (an old one, a filter), keyfob works all the same; there is nobody to tell.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A panic says where it happened and not what: the message of a foreign crate could quote a value.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let _ = writeln!(
            std::io::stderr(),
            "error: keyfob stopped because of a mistake of its own{}\nhint: please report it with this line",
            place.unwrap_or_default()
        );
    }));
}
