//! `cargo xtask bench`: the measurements of benches/, in release mode, one after the other.

use crate::process::{Failure, Result, cargo, run, stems, target_dir};

pub(crate) fn main(arguments: &[String]) -> Result {
    let known = stems("benches/src/bin")?;
    let chosen = match arguments {
        [] => known,
        [name] if known.contains(name) => vec![name.clone()],
        [name] => {
            let known = known.join("`, `");
            return Err(Failure::Usage(format!("there is no measurement `{name}`, only `{known}`")));
        }
        _ => return Err(Failure::Usage("`bench` takes one name or none".to_owned())),
    };
    run(&mut cargo([
        "build",
        "--release",
        "--package",
        "keyfob-cli",
        "--package",
        "keyfob-benches",
    ]))?;
    let binary = target_dir()?
        .join("release")
        .join(format!("keyfob{}", std::env::consts::EXE_SUFFIX));
    for name in chosen {
        println!("\n== {name}");
        let mut command = cargo(["run", "--quiet", "--release", "--package", "keyfob-benches", "--bin", &name]);
        run(command.env("KEYFOB_BENCH_BINARY", &binary))?;
    }
    Ok(())
}
