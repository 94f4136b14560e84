//! Which store answers, and that nothing said about it holds a value.

use crate::{World, assert_has};

#[test]
fn variables_choose_the_store() {
    let world = World::new();
    assert_eq!(
        world
            .sh("SECRET_PROVIDER=env DB_PASSWORD=variable keyfob get db/password")
            .ok(),
        "variable"
    );
    let line =
        "ENABLE_SECRET_MANAGER=false SECRET_PROVIDER=sqlite DB_PASSWORD=variable keyfob resolve <<< '${secret:db/password}'";
    assert_eq!(world.sh(line).ok(), "variable\n");
    world.sh("SECRET_PROVIDER=nonsense keyfob get db/password").fails(1);
    assert_has(&world.sh("SECRET_PROVIDER=gcp keyfob get x").fails(1), &["GCP_PROJECT_ID"]);
}

#[test]
fn a_project_names_stores_and_what_references_may_use() {
    let world = World::new();
    world.write("old.env", "TOKEN=legacy\n");
    world.write(
        "keyfob.toml",
        "default = \"local\"\n[stores.local]\nurl = \"sqlite:\"\n[stores.old]\nurl = \"dotenv:old.env\"\n\
         [references]\nallow = [\"secret\", \"old\"]\n[env.test]\ndefault = \"old\"\n",
    );
    world.write("a.yaml", "a: ${secret:db/password}\nb: ${old:TOKEN}\n");
    assert_eq!(
        world.sh("keyfob resolve a.yaml").ok(),
        format!("a: \"{}\"\nb: \"legacy\"\n", world.canary)
    );
    assert_eq!(
        world
            .sh("cd / && keyfob --project ~/work/keyfob.toml get TOKEN --store old")
            .ok(),
        "legacy"
    );
    assert_eq!(world.sh("keyfob --env test get TOKEN").ok(), "legacy");
    let err = world.sh("keyfob resolve <<< '${env:HOME} ${file:/etc/hostname}'").fails(1);
    assert_has(&err, &["2 of 2", "allowed schemes: `old`, `secret`"]);
    assert_has(
        &world.sh("keyfob resolve <<< '${old:TOKEM}'").fails(1),
        &["did you mean `TOKEN`?", "asked: dotenv ("],
    );
}

#[test]
fn explain_says_who_decides_and_keeps_its_shape() {
    let world = World::new();
    world.write("a.yaml", "a: ${secret:db/password:-x}\nb: ${file:/none}\n");
    let json = world
        .sh("SECRET_PROVIDER=sqlite keyfob explain --json a.yaml '${env:X}'")
        .json();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&json),
        [
            "store",
            "error",
            "considered",
            "environment",
            "allowed_schemes",
            "audit",
            "references"
        ]
    );
    assert_eq!(
        keys(&json["store"]),
        [
            "url",
            "location",
            "name",
            "fallbacks",
            "replicates",
            "decided_by",
            "reason",
            "identity"
        ]
    );
    assert_eq!(json["store"]["decided_by"], "the variable `SECRET_PROVIDER`");
    assert_eq!(keys(&json["considered"][0]), ["source", "decided", "outcome"]);
    assert_eq!(json["references"].as_array().unwrap().len(), 3);
    assert_eq!(
        keys(&json["references"][0]),
        ["reference", "location", "store", "error", "answer"]
    );
    assert_eq!(json["references"][0]["location"], "a.yaml:1:4 (a)");
    assert_eq!(json["references"][1]["store"], "the file system");
    // It connects to nothing: a store that isn't there can be explained.
    let empty = World::empty();
    assert_has(
        &empty.sh("SECRET_PROVIDER=sqlite keyfob explain '${secret:x}'").ok(),
        &["sqlite", "SECRET_PROVIDER"],
    );
    assert_eq!(empty.sh("keyfob explain '${secret:x'").code, Some(1));
    assert_eq!(empty.sh("keyfob explain '${secret:a b}'").code, Some(2));
    assert_has(
        &empty.sh("VAULT_ADDR=https://v keyfob explain").ok(),
        &["vault", "but it can't be asked: "],
    );
    let as_whom = empty
        .sh("VAULT_ADDR=https://v VAULT_TOKEN=kfcanary-explain01 keyfob explain")
        .ok();
    assert_has(&as_whom, &["as the token that was given"]);
    let json = empty.sh("VAULT_ADDR=https://v VAULT_ROLE_ID=web VAULT_SECRET_ID=kfcanary-explain02 keyfob explain --json");
    assert_eq!(json.json()["store"]["identity"], "the AppRole `web` (log-in at `approle`)");
    assert_has(
        &empty.sh("AZURE_KEYVAULT_URL=https://v.vault.azure.net keyfob explain").ok(),
        &["asks azure:", "  as "],
    );
}

#[test]
fn nothing_that_is_said_holds_a_value() {
    let world = World::new();
    world.write(
        "a.yaml",
        "a: ${secret:db/password}\nb: ${env:CANARY}\nc: ${secret:none:-CANARY}\nd: ${secret:db/password#field}\n",
    );
    let template = world.sandbox.read("a.yaml").replace("-CANARY", &format!("-{}", world.canary));
    world.write("a.yaml", &template);
    world.write("a.env", &format!("PLAIN={}\nA='${{secret:db/password}}'\n", world.canary));
    let environment = format!("CANARY={0} KEYFOB_PASSPHRASE= SECRET_CACHE_TTL=10", world.canary);
    for command in [
        "explain a.yaml",
        "explain --json a.yaml",
        "check a.yaml",
        "check --json a.yaml",
        "doctor",
        "doctor --json",
        "resolve a.yaml",
        "list --json",
        "versions db/password",
        "import --dry-run a.env",
        "import --json a.env",
        "run --env-file a.env -- true",
        "export --format json -o out.json",
        "resolve a.env -o out.env",
    ] {
        // Standard error is looked at by every command of these tests.
        let answer = world.sh(&format!("{environment} keyfob -vv {command}"));
        assert!(!answer.out.contains(&world.canary), "{command}: {}", answer.out);
    }
}
