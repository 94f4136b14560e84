//! Help, usage errors, exit statuses, completions, manual pages, generated documentation.

mod sandbox;

use std::fs;

use sandbox::Sandbox;

const COMMANDS: [&str; 18] = [
    "resolve",
    "check",
    "run",
    "import",
    "export",
    "explain",
    "init",
    "get",
    "set",
    "list",
    "versions",
    "delete",
    "restore",
    "doctor",
    "key",
    "backup",
    "completions",
    "man",
];

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    let root = sandbox.run(&["--help"]).succeeds();
    assert_eq!(root.err, "");
    for command in COMMANDS {
        assert!(root.out.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let help = sandbox.run(&[command, "--help"]).succeeds();
        assert!(
            help.out.contains("\nExamples:\n") && help.out.contains("\n  keyfob "),
            "{command}"
        );
        assert!(
            help.out.lines().all(|line| line.chars().count() <= 100),
            "{command}: {}",
            help.out
        );
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_on_standard_error() {
    let sandbox = Sandbox::new();
    for (arguments, says) in [
        (&["lits"][..], "a similar subcommand exists: 'list'"),
        (&["list", "--josn"], "a similar argument exists: '--json'"),
        (&["set"], "required arguments were not provided"),
        (&["set", "a", "value"], "unexpected argument 'value'"),
        (&["set", "a", "--generate", "0"], "0 is not in 1..=4096"),
        (&["set", "a", "--generate", "--prompt"], "cannot be used with"),
        (&["set", "a", "--tag", "novalue"], "a tag is `KEY=VALUE`"),
        (&["set", "a", "--expires", "soon"], "give a time from now"),
        (
            &["set", "a/../b", "--generate"],
            "invalid secret name: it has the segment `..`",
        ),
        (&["get", "a#"], "invalid field: it is empty"),
        (&["key", "rotate"], "required arguments were not provided"),
        (&["--color", "pink", "list"], "possible values: auto, always, never"),
        (&["-q", "-v", "list"], "cannot be used with"),
    ] {
        let answer = sandbox.run(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(says), "{arguments:?}: {answer:?}");
    }
    assert_eq!(sandbox.run(&[]).code, 2);
}

#[test]
fn what_is_too_long_is_not_printed_back_whole() {
    let sandbox = Sandbox::new();
    let long = "lang".repeat(5000);
    for arguments in [
        &["get", "a", "--reason", &long][..],
        &[&long],
        &["run", "--watch", "--stop-signal", &long, "--", "true"],
    ] {
        let answer = sandbox.run(arguments);
        assert_eq!(answer.code, 2);
        assert!(
            answer.err.contains("langlang") && answer.err.len() < 600,
            "{}",
            answer.err.len()
        );
    }
    let answer = sandbox.run(&["get", "a", "--reason", &long]);
    assert!(answer.err.contains("it is longer than 512 bytes"), "{answer:?}");
}

#[test]
fn colours_are_for_terminals_unless_wanted() {
    let sandbox = Sandbox::with_store();
    let plain = sandbox.run(&["get", "no"]);
    assert!(plain.err.starts_with("error: ") && !plain.err.contains('\x1b'));
    let colored = sandbox.run(&["get", "no", "--color", "always"]);
    assert!(colored.err.starts_with("\x1b[1m\x1b[31merror"), "{colored:?}");
    assert!(sandbox.run(&["--color=always", "nonsense"]).err.contains('\x1b'));
}

#[test]
fn quiet_leaves_answers_and_errors() {
    let sandbox = Sandbox::with_store();
    assert_eq!(sandbox.pipe("v", &["-q", "set", "a"]).succeeds().err, "");
    assert_eq!(sandbox.run(&["-q", "get", "a"]).out, "v");
    assert!(sandbox.run(&["-q", "get", "b"]).err.starts_with("error: "));
}

#[test]
fn what_goes_wrong_beside_a_command_is_told_as_a_warning() {
    let sandbox = Sandbox::with_store();
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let redis = format!("SECRET_CACHE_REDIS=redis://127.0.0.1:1 SECRET_CACHE_REDIS_KEY={key}");
    let answer = sandbox.shell(&format!("printf v | {redis} $K -q set a")).succeeds();
    assert!(
        answer.err.starts_with("warning: the shared cache in Redis is skipped") && answer.err.lines().count() == 1,
        "{}",
        answer.err
    );
    assert_eq!(sandbox.run(&["get", "a"]).out, "v");
}

#[test]
fn verbose_tells_no_value() {
    let sandbox = Sandbox::with_store();
    for arguments in [
        &["set", "a", "-vv"][..],
        &["get", "a", "-vv", "--output", "out"],
        &["list", "-vv"],
        &["doctor", "-vv"],
    ] {
        let answer = sandbox.pipe("kfcanary-5d1e5d1e", arguments).succeeds();
        let shows_value = answer.err.contains("canary") || answer.out.contains("canary");
        assert!(!shows_value, "{arguments:?} shows the value");
        assert!(
            answer.err.contains("DEBUG keyfob") && answer.err.contains("store=\"local\""),
            "{arguments:?} tells nothing"
        );
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(sandbox.run(&["completions", shell]).succeeds().out.contains("keyfob"));
    }
    assert!(sandbox.run(&["man"]).succeeds().out.contains(".TH keyfob 1"));
    fs::create_dir(sandbox.work().join("man1")).unwrap();
    sandbox.run(&["man", "man1"]).succeeds();
    for page in ["keyfob.1", "keyfob-get.1", "keyfob-key-rotate.1"] {
        assert!(sandbox.work().join("man1").join(page).exists(), "{page}");
    }
    assert_eq!(sandbox.run(&["man", "no/such"]).code, 1);
}

#[test]
fn the_generated_pages_are_whole() {
    let sandbox = Sandbox::new();
    let page = sandbox.run(&["generate-docs", "cli"]).succeeds().out;
    for command in COMMANDS {
        assert!(page.contains(&format!("\n## `keyfob {command}`\n")), "{command}");
    }
    assert!(page.contains("\n### `keyfob key rotate`\n"));
    assert!(page.matches("```").count().is_multiple_of(2));
    assert!(
        sandbox
            .run(&["generate-docs", "variables"])
            .succeeds()
            .out
            .contains("`SECRET_PROVIDER`")
    );
}

#[test]
fn arguments_that_are_not_utf_8_are_a_wrong_command_line() {
    let sandbox = Sandbox::new();
    for line in [
        r#"$K get "$(printf '\377')""#,
        r#"$K list "$(printf '\377')""#,
        r#"$K --store "$(printf '\377')" list"#,
    ] {
        let answer = sandbox.shell(line);
        assert!(answer.code == 2 && answer.err.contains("invalid UTF-8"), "{answer:?}");
    }
}

#[test]
fn a_command_never_sees_a_reference_in_a_variable_that_is_not_utf_8() {
    let sandbox = Sandbox::with_store();
    let answer = sandbox.shell(r#"X="$(printf '\377${secret:nope}')" $K run -- echo started"#);
    assert!(answer.code == 125 && answer.err.contains("not UTF-8"), "{answer:?}");
    assert!(!answer.out.contains("started"), "{answer:?}");
    // Without a reference it is nobody's business.
    sandbox.shell(r#"X="$(printf '\377${HOME}')" $K run -- true"#).succeeds();
}

#[test]
fn allow_takes_no_scheme_that_means_nothing() {
    let sandbox = Sandbox::with_store();
    let line = "printf 'x: 1' | $K resolve --format yaml --allow secert,env";
    let answer = sandbox.shell(line);
    assert!(
        answer.code == 2 && answer.err.contains("did you mean `secret`?"),
        "{answer:?}"
    );
}

#[test]
fn explain_says_what_the_environment_adds_to_a_url() {
    let sandbox = Sandbox::new();
    for (store, variable, expected) in [
        (
            "gcp:",
            ("GCP_PROJECT_ID", "web-4711"),
            "project `web-4711` (the variable `GCP_PROJECT_ID`)",
        ),
        (
            "azure:",
            ("AZURE_KEYVAULT_URL", "https://team.vault.azure.net"),
            "vault `https://team.vault.azure.net` (the variable `AZURE_KEYVAULT_URL`)",
        ),
        (
            "k8s:",
            ("K8S_SECRET_NAMESPACE", "prod"),
            "namespace `prod` (the variable `K8S_SECRET_NAMESPACE`)",
        ),
    ] {
        let expected = format!("{store} ({expected})");
        let told = sandbox.run_with(variable, &["--store", store, "explain", "${secret:a}"]);
        assert!(told.out.contains(&format!("asks {expected}\n")), "{told:?}");
        assert!(
            told.out.contains(&format!("secret:a asks {expected}")) || told.out.contains(&format!("}} asks {expected}")),
            "{told:?}"
        );
        let json = sandbox.run_with(variable, &["--store", store, "explain", "--json"]).json();
        assert_eq!(json["store"]["location"], expected.as_str(), "{json}");
        assert_eq!(json["store"]["url"], store, "{json}");
    }
}
