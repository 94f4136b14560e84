//! `keyfob migrate --rewrite`

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::json;

use crate::{World, assert_has};

/// A project whose files hold the value of the store's `db/password`.
fn project() -> World {
    let world = World::new();
    let canary = &world.canary;
    world.write(
        "app.yaml",
        &format!("# the shop\ndb:\n  password: {canary}  # secret\n  port: 5432\n  url: postgres://shop:{canary}@db/shop\n"),
    );
    world.write("prod.env", &format!("export DB_PASSWORD='{canary}'\nDEBUG=1\n"));
    world.write(
        "app.json",
        &format!("{{\n  \"password\": \"{canary}\",\n  \"note\": \"is {canary}\"\n}}\n"),
    );
    world.write("app.toml", &format!("[db]\npassword = \"{canary}\" # c\n"));
    world
}

fn read(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.sandbox.work().join(name)).unwrap()
}

#[test]
fn values_become_references_and_what_is_resolved_is_as_before() {
    let world = project();
    let before = world.sh("cat app.yaml prod.env app.json app.toml").ok();
    let answer = world.sh("keyfob migrate --rewrite app.yaml prod.env app.json app.toml --yes");
    assert!(!answer.out.contains(&world.canary), "{}", answer.out);
    assert_has(
        &answer.out,
        &[
            "--- app.yaml",
            "@@ line 3, column 13: db.password",
            "-  password: **** …",
            "+  password: \"${secret:db/password}\" …",
        ],
    );
    assert_has(
        &answer.err,
        &[
            "app.json:3:15: the value of `db/password` is left: it is only a part of the value",
            "replaced 2 values in `app.yaml`; what it held is in ",
            "keep them out of version control",
        ],
    );
    assert_eq!(answer.code, Some(0));
    assert_eq!(
        read(&world, "app.yaml"),
        "# the shop\ndb:\n  password: \"${secret:db/password}\"  # secret\n  port: 5432\n  url: \"postgres://shop:${secret:db/password}@db/shop\"\n"
    );
    assert_eq!(
        read(&world, "prod.env"),
        "export DB_PASSWORD='${secret:db/password}'\nDEBUG=1\n"
    );
    assert_eq!(read(&world, "app.toml"), "[db]\npassword = \"${secret:db/password}\" # c\n");
    assert_eq!(
        world.sh("cat app.yaml.bak prod.env.bak app.json.bak app.toml.bak").ok(),
        before
    );
    assert_eq!(world.mode("app.yaml.bak"), 0o600);
    let resolved = world
        .sh("keyfob resolve app.json --output out.json && keyfob resolve app.toml --output out.toml && cat out.json out.toml")
        .ok();
    assert_eq!(resolved, world.sh("cat app.json.bak app.toml.bak").ok());
    // Whoever runs it again has nothing left to do, and the copies are not touched.
    let again = world.sh("rm app.json.bak && keyfob migrate --rewrite app.json --yes");
    assert_has(&again.err, &["there is nothing to replace"]);
    assert!(!world.exists("app.json.bak"));
}

#[test]
fn nothing_is_written_without_a_yes() {
    let world = project();
    let old = read(&world, "app.yaml");
    let answer = world.sh("keyfob migrate --rewrite app.yaml");
    assert_eq!(answer.code, Some(2));
    assert_has(&answer.out, &["+++ app.yaml"]);
    assert_has(&answer.err, &["there is nobody to ask", "add `--yes`"]);
    let plan = world.sh("keyfob migrate --rewrite app.yaml --dry-run");
    assert_eq!(plan.code, Some(0));
    assert_has(&plan.err, &["would rewrite 1 file"]);
    assert_eq!(read(&world, "app.yaml"), old);
    assert!(!world.exists("app.yaml.bak"));
}

#[test]
fn the_document_says_what_was_replaced_and_what_was_left() {
    let world = project();
    let answer = world.sh("keyfob migrate --rewrite app.json app.toml --yes --json");
    let document = answer.json();
    assert!(!answer.out.contains(&world.canary));
    assert_eq!(document["dry_run"], false);
    assert_eq!(document["unread"], json!([]));
    let file = &document["files"][0];
    assert_eq!(file["file"], "app.json");
    assert!(file["backup"].as_str().unwrap().ends_with("app.json.bak"));
    assert_eq!(
        file["replaced"],
        json!([{"line": 2, "column": 16, "key": "password", "name": "db/password", "part": false}])
    );
    assert_eq!(
        file["left"],
        json!([{"line": 3, "column": 15, "key": "note", "names": ["db/password"], "why": "part"}])
    );
    let world = project();
    let parts = world.sh("keyfob migrate --rewrite app.json --parts --plan --json").json();
    assert_eq!(parts["files"][0]["replaced"][1]["part"], true);
    assert_eq!(parts["files"][0]["backup"], json!(null));
}

#[test]
fn a_link_stays_one_and_permissions_stay() {
    let world = project();
    let work = world.sandbox.work();
    std::fs::set_permissions(work.join("app.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("app.toml", work.join("link.toml")).unwrap();
    world.sh("keyfob migrate --rewrite link.toml --yes").ok();
    assert!(std::fs::symlink_metadata(work.join("link.toml")).unwrap().is_symlink());
    assert_eq!((world.mode("app.toml"), world.mode("app.toml.bak")), (0o640, 0o600));
    let twice = world.sh("rm app.toml.bak; keyfob migrate --rewrite link.toml app.toml --yes");
    assert_has(&twice.fails(2), &["`app.toml` is named twice"]);
}

#[test]
fn a_copy_that_is_there_and_a_broken_file_stop_everything() {
    let world = project();
    let old = read(&world, "prod.env");
    world.write("app.yaml.bak", "mine");
    let there = world.sh("keyfob migrate --rewrite prod.env app.yaml --yes");
    assert_has(
        &there.fails(1),
        &["the copy of the old text is there already", "app.yaml.bak"],
    );
    let canary = &world.canary;
    world.write("broken.yaml", &format!("a: [{canary}\n"));
    let broken = world.sh("keyfob migrate --rewrite prod.env broken.yaml --yes");
    assert_has(&broken.fails(1), &["not a valid yaml document", "broken.yaml:"]);
    assert_eq!(read(&world, "prod.env"), old);
    assert!(!world.exists("prod.env.bak"));
}

#[test]
fn the_file_that_is_the_store_is_not_rewritten_and_the_environment_is_none() {
    let world = project();
    let own = world.sh("keyfob --store dotenv:prod.env migrate --rewrite prod.env --yes");
    assert_has(&own.fails(1), &["the file is the store"]);
    let env = world.sh("keyfob --store env: migrate --rewrite app.yaml --yes");
    assert_has(&env.fails(1), &["variables of the environment keep no secrets"]);
    assert!(!world.exists("prod.env.bak") && !world.exists("app.yaml.bak"));
}

#[test]
fn a_migration_turns_the_project_over_in_one_go() {
    let world = World::empty();
    world.sh("keyfob init -q").ok();
    let canary = &world.canary;
    world.write(".env", &format!("# keys\nDB_PASSWORD={canary}-db\nDB_PORT=5432 # local\n"));
    world.write(
        "app.yaml",
        &format!("database:\n  password: '{canary}-db'\n  port: \"5432\"\n"),
    );
    let plan = world.sh("keyfob migrate --from .env --to sqlite: --rewrite .env app.yaml --plan");
    assert_has(&plan.out, &["DB_PASSWORD  create", "+DB_PASSWORD='${secret:DB_PASSWORD}'"]);
    assert!(!world.exists(".env.bak"));
    let answer = world.sh("keyfob migrate --from .env --to sqlite: --rewrite .env app.yaml --yes --json");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let document = answer.json();
    assert_eq!(document["created"], json!(["DB_PASSWORD", "DB_PORT"]));
    assert_eq!(document["rewrite"]["files"][0]["replaced"].as_array().unwrap().len(), 2);
    assert_eq!(
        read(&world, ".env"),
        "# keys\nDB_PASSWORD='${secret:DB_PASSWORD}'\nDB_PORT='${secret:DB_PORT}' # local\n"
    );
    assert_eq!(
        read(&world, "app.yaml"),
        "database:\n  password: '${secret:DB_PASSWORD}'\n  port: \"5432\"\n"
    );
    let run = world
        .sh("keyfob run --env-file .env -- bash -c 'printf \"%s %s\" \"${DB_PASSWORD#*-*-}\" \"$DB_PORT\"'")
        .ok();
    assert_eq!(run, "db 5432");

    // The file refers to the secrets now: what stands there never takes their place.
    for again in [
        "keyfob migrate --from .env --to sqlite: --overwrite",
        "keyfob sync .env sqlite: --prune --confirm-prune 0",
        "keyfob copy --from .env --to sqlite: --overwrite",
    ] {
        let again = world.sh(again);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_has(&again.err, &["left `DB_PORT`: the source refers to a secret", "0 changed"]);
        assert!(!again.err.contains("--overwrite"), "{again:?}");
    }
    assert_has(&world.sh("keyfob import .env --overwrite").err, &["2 kept"]);
    assert_eq!(world.sh("keyfob get DB_PORT").ok(), "5432");
    // And what it needs is not taken back unseen.
    let rollback = world.sh("keyfob migrate rollback keyfob-migration.jsonl");
    assert_eq!(rollback.code, Some(1), "{rollback:?}");
    assert_has(
        &rollback.err,
        &["refers to what would be taken back, or can't be read", ".env.bak", "--force"],
    );
    assert_eq!(world.sh("keyfob get DB_PORT").ok(), "5432");
    world.sh("mv .env.bak .env && mv app.yaml.bak app.yaml").ok();
    world.sh("keyfob migrate rollback keyfob-migration.jsonl").ok();
    assert_has(&world.sh("keyfob get DB_PORT").err, &["no such secret"]);
}

#[test]
fn files_wait_until_everything_is_migrated() {
    let world = World::empty();
    world
        .sh("keyfob init -q --no-project && keyfob init -q --no-project --store sqlite:b.db")
        .ok();
    let canary = &world.canary;
    world
        .sh(&format!("printf %s {canary} | keyfob --store sqlite: set -q old --expires 2001-01-01; printf %s {canary}x | keyfob --store sqlite: set -q new"))
        .ok();
    world.write("app.yaml", &format!("a: {canary}x\n"));
    let answer = world.sh("keyfob migrate --from sqlite: --to sqlite:b.db --rewrite app.yaml --yes");
    assert_eq!(answer.code, Some(1));
    assert_has(
        &answer.err,
        &["no file is rewritten, because something could not be migrated"],
    );
    assert!(!world.exists("app.yaml.bak"));
    // Where the references lead is told when it is not where they lead to by default.
    let alone = world.sh("keyfob migrate --to sqlite:b.db --rewrite app.yaml --yes");
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert_has(&alone.err, &["references mean the default store", "SECRET_PROVIDER=sqlite:"]);
}
