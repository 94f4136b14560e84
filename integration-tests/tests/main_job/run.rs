//! `keyfob run`

use std::os::unix::process::ExitStatusExt as _;

use crate::{World, assert_has};

#[test]
fn the_exit_status_says_who_failed() {
    let world = World::new();
    world.write("plain", "no program");
    for (line, code) in [
        ("keyfob run -- true", 0),
        ("keyfob run -- sh -c 'exit 1'", 1),
        ("keyfob run -- sh -c 'exit 77'", 77),
        ("keyfob run -- ./plain", 126),
        ("keyfob run -- /", 126),
        ("keyfob run -- no-such-command", 127),
        ("A='${secret:no}' keyfob run -- true", 125),
        ("keyfob run --env-file none.env -- true", 125),
        ("keyfob run --config none.yaml:out -- true", 125),
        ("A='${secret:a}' keyfob --store nonsense://x run -- true", 125),
        ("keyfob run", 2),
        ("keyfob run --config none.yaml -- true", 2),
        ("keyfob run --nonsense -- true", 2),
    ] {
        assert_eq!(world.sh(line).code, Some(code), "{line}");
    }
    assert_has(
        &world.sh("A='${secret:no}' keyfob run -- true").err,
        &["the command was not started"],
    );
}

#[test]
fn the_command_takes_the_place_of_keyfob() {
    let world = World::new();
    // `$$` of the command is the process that the shell started.
    world
        .sh("keyfob run -- bash -c 'echo $$' > child & echo $! > parent; wait")
        .ok();
    assert_eq!(world.sandbox.read("child"), world.sandbox.read("parent"));

    // A signal ends the command itself, and whoever waits sees it.
    let mut child = world
        .sandbox
        .keyfob(["run", "--", "bash", "-c", "kill -TERM $$; sleep 30"])
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    let trapped = world.sh(
        "keyfob run -- bash -c 'trap \"exit 42\" TERM; touch ready; while :; do sleep 0.02; done' & \
         while [ ! -e ready ]; do sleep 0.02; done; kill -TERM $!; wait $!",
    );
    assert_eq!(trapped.code, Some(42));
    // A broken pipe ends the command as it would end without keyfob.
    assert_eq!(
        world.sh("keyfob run -- yes | head -n 1; echo ${PIPESTATUS[0]}").ok(),
        "y\n141\n"
    );
}

#[test]
fn standard_input_and_arguments_are_the_commands_own() {
    let world = World::new();
    assert_eq!(world.sh("printf 'a\\nb' | keyfob run -- cat").ok(), "a\nb");
    assert_eq!(
        world
            .sh("keyfob run -- printf '%s|' --store x '${secret:db/password}' ''")
            .ok(),
        "--store|x|${secret:db/password}||"
    );
}

#[test]
fn of_env_files_the_later_one_counts_and_both_come_before_variables() {
    let world = World::new();
    world.write("one.env", "A=one\nB=one\nC='${secret:db/password}'\nD='${secret:missing}'\n");
    world.write("two.env", "B=two\nD=two\n");
    let line = "A=own B=own E='${env:A}' keyfob run --env-file one.env --env-file two.env -- sh -c 'echo $A $B $D $E $C'";
    assert_eq!(world.sh(line).ok(), format!("one two two own {}\n", world.canary));
    world
        .sh("keyfob run --env-file two.env --env-file one.env -- true")
        .fails(125);
}

#[test]
fn odd_values_reach_the_command_byte_for_byte() {
    let world = World::new();
    let values = [
        "it's \"quoted\" \\n \\",
        "lines\n two\r\n\tthree",
        "$HOME ${HOME} $(id) `id` ${secret:db/password}",
        "ünï ✓ 𝄞 \u{1}",
        " # = : , ",
    ];
    for (index, value) in values.iter().enumerate() {
        world.write("value", value);
        world
            .sh(&format!("keyfob set -q odd/{index} --keep-newline --from-file value"))
            .ok();
        world.write("odd.env", &format!("FILE='<${{secret:odd/{index}}}>'\n"));
        let line = format!("OWN='<${{secret:odd/{index}}}>' keyfob run --env-file odd.env -- printenv -0 OWN FILE");
        assert_eq!(world.sh(&line).ok(), format!("<{value}>\0<{value}>\0"));
    }
}

#[test]
fn configuration_files_are_written_for_the_owner_or_not_at_all() {
    let world = World::new();
    world.write("a.yaml", "a: ${secret:db/password}\n");
    world.write("b.yaml", "b: ${secret:missing}\n");
    world.write("out/kept", "");
    let both = "keyfob run --config a.yaml:out/a --config b.yaml:out/b -- touch started";
    world.sh(both).fails(125);
    assert_eq!(world.names("out"), ["kept"]);
    // All resolved, and the second can't be written.
    world.write("b.yaml", "b: fine\n");
    world.write("out/b/file", "");
    world.sh(both).fails(125);
    assert_eq!(world.names("out"), ["b", "kept"]);
    world
        .sh("keyfob run --config a.yaml:out/a --config b.yaml:no/such/b -- touch started")
        .fails(125);
    assert_eq!(world.names("out"), ["b", "kept"]);
    world
        .sh("keyfob run --config a.yaml:out/a --config b.yaml:out/a -- touch started")
        .fails(2);
    assert!(!world.exists("started"));

    let line = "umask 0; keyfob run --config a.yaml:out/a -- cat out/a";
    assert_eq!(world.sh(line).ok(), format!("a: \"{}\"\n", world.canary));
    assert_eq!(world.mode("out/a"), 0o600);
}

#[test]
fn no_argument_of_a_process_ever_holds_a_value() {
    let world = World::new();
    world.write("a.env", "PASSWORD='${secret:db/password}'\n");
    // What `ps` shows of the command, whose variable does hold the value.
    let line = "keyfob run --env-file a.env -- bash -c 'tr \"\\0\" \" \" < /proc/$$/cmdline; test -n \"$PASSWORD\"'";
    let arguments = world.sh(line).ok();
    assert_has(&arguments, &["bash -c"]);
    assert!(!arguments.contains(&world.canary));
    // A value as an argument is not taken.
    world.sh("keyfob set a/b value").fails(2);
}
