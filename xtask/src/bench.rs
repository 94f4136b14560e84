//! `cargo xtask bench`: the measurements of benches/, in release mode.

use crate::process::{Result, cargo, run};

pub(crate) fn main(arguments: &[String]) -> Result {
    // The command itself is measured too, so it is built beside the measurements.
    run(&mut cargo([
        "build",
        "--release",
        "--package",
        "keyfob-cli",
        "--package",
        "keyfob-benches",
    ]))?;
    run(cargo(["run", "--quiet", "--release", "--package", "keyfob-benches", "--"]).args(arguments))
}
