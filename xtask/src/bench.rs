//! `cargo xtask bench`: the measurements of benches/, in release mode, with the servers, the programs and the caches beside
//! which keyfob is measured.

use std::path::PathBuf;
use std::process::Command;

use crate::peers;
use crate::process::{Result, build, build_keyfob, cargo, in_ci, root, run, target_dir};
use crate::testbed::Session;

/// The measurements need the servers that the tests of these packages need.
const SERVERS_OF: [&str; 6] = [
    "keyfob-aws",
    "keyfob-azure",
    "keyfob-gcp",
    "keyfob-kubernetes",
    "keyfob-sql",
    "keyfob-vault",
];

/// The programs that measure.
const PROGRAM: &str = "keyfob-bench";
const LAYERS: &str = "keyfob-bench-layers";
const ROTATION: &str = "keyfob-bench-rotation";

pub(crate) fn main(arguments: &[String]) -> Result {
    let plan = Plan::parse(arguments);
    if plan.layers {
        layers(&plan)?;
    }
    if plan.rotation {
        rotation(&plan)?;
    }
    if plan.others { others(&plan) } else { Ok(()) }
}

/// Rotations, in OpenBao.
fn rotation(plan: &Plan) -> Result {
    let program = alone(plan, ROTATION)?;
    let servers = Session::start(&["keyfob-vault".to_owned()])?;
    for missing in &servers.missing {
        eprintln!("{}: {missing}", if in_ci() { "error" } else { "warning" });
    }
    let variables = servers.variables.iter().map(|(name, value)| (name, value));
    run(Command::new(program)
        .current_dir(root())
        .args(&plan.arguments)
        .envs(variables))
}

/// A program that is built without anything else.
fn alone(plan: &Plan, program: &str) -> Result<PathBuf> {
    if plan.quick {
        return build(program);
    }
    run(&mut cargo(["build", "--release", "--package", program]))?;
    Ok(target_dir()?.join("release").join(program))
}

/// What needs no server: the layers, beside other people's caches.
fn layers(plan: &Plan) -> Result {
    let program = if plan.peers {
        peers::caches().or_else(|failure| {
            eprintln!("warning: other people's caches can't be measured: {failure}");
            alone(plan, LAYERS)
        })?
    } else {
        alone(plan, LAYERS)?
    };
    run(Command::new(program).current_dir(root()).args(&plan.arguments))
}

fn others(plan: &Plan) -> Result {
    // The command itself is measured too, so it is built beside the measurements.
    let program = if plan.quick {
        build_keyfob()?;
        build(PROGRAM)?
    } else {
        run(&mut cargo([
            "build",
            "--release",
            "--package",
            "keyfob-cli",
            "--package",
            "keyfob-benches",
        ]))?;
        target_dir()?.join("release").join(PROGRAM)
    };
    let servers = Session::start(&SERVERS_OF.map(str::to_owned))?;
    for missing in &servers.missing {
        eprintln!("{}: {missing}", if in_ci() { "error" } else { "warning" });
    }
    let mut bench = Command::new(program);
    bench
        .current_dir(root())
        .args(&plan.arguments)
        .envs(servers.variables.iter().map(|(name, value)| (name, value)));
    if plan.peers {
        bench.env("KEYFOB_BENCH_PEERS", peers::prepare());
    }
    run(&mut bench)
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Whether the programs of other people are installed and measured, which takes long: by default in a full run.
    peers: bool,
    quick: bool,
    /// Whether the layers are measured, whether rotations are, and whether everything else is.
    layers: bool,
    rotation: bool,
    others: bool,
    /// What is left for the measurements themselves.
    arguments: Vec<String>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Self {
        let is_given = |switch: &str| arguments.iter().any(|argument| argument == switch);
        // The figures of a quick run mean nothing: it shows that the measurements run.
        let quick = is_given("--quick");
        let is_of_servers = is_given("--only-clouds") || is_given("--only-migration");
        let (only_layers, only_rotation) = (is_given("--only-layers"), is_given("--only-rotation"));
        let is_switch = |argument: &String| matches!(argument.as_str(), "--peers" | "--no-peers");
        let (switches, arguments): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(is_switch);
        Self {
            peers: switches
                .last()
                .map_or(!quick && !is_given("--only-migration") && !only_rotation, |switch| {
                    switch == "--peers"
                }),
            quick,
            layers: !is_of_servers && !only_rotation,
            rotation: !is_of_servers && !only_layers,
            others: !only_layers && !only_rotation,
            arguments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        Plan::parse(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn peers_are_for_the_full_run_unless_they_are_asked_for() {
        assert!(plan(&["--write"]).peers);
        assert!(!plan(&["--quick"]).peers);
        assert!(plan(&["--quick", "--peers"]).peers);
        let without = plan(&["--write", "--no-peers"]);
        assert!(!without.peers);
        assert_eq!(without.arguments, ["--write"]);
    }

    #[test]
    fn each_part_can_be_measured_alone() {
        for (arguments, expected) in [
            (&["--write"][..], (true, true, true)),
            (&["--only-layers", "--write"], (true, false, false)),
            (&["--only-rotation"], (false, true, false)),
            (&["--only-clouds"], (false, false, true)),
            (&["--only-migration"], (false, false, true)),
        ] {
            let plan = plan(arguments);
            assert_eq!((plan.layers, plan.rotation, plan.others), expected, "{arguments:?}");
        }
    }

    #[test]
    fn only_a_quick_run_does_without_optimisation() {
        assert!(!plan(&["--write"]).quick);
        assert!(plan(&["--quick"]).quick);
    }
}
