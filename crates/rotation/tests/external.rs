//! Rotators that are commands: real programs, started, limited and killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfob_core::{Environment, Error, ErrorKind, GetOptions, MemoryStore, PutRequest, SecretName, SecretStore, SecretValue};
use keyfob_rotation::{Drain, ExternalRotator, Outcome, Phase, Rotation, RotationCommand, RotationOptions, Rotator, StepContext};
use rustix::process::{Pid, test_kill_process};

const OLD: &str = "kfcanary-old0000001";
const NEW: &str = "kfcanary-new0000001";

fn name() -> SecretName {
    SecretName::new("service/key").unwrap()
}

fn shell(script: &str) -> RotationCommand {
    let environment = Environment::fake()
        .var("PATH", std::env::var("PATH").unwrap())
        .var("HOME", "/")
        .var("SPECIAL", "handed on")
        .var("AWS_SECRET_ACCESS_KEY", "kfcanary-other00001");
    RotationCommand::new("sh")
        .arguments(["-c", script])
        .environment(environment.build())
}

fn step(new: Option<&str>) -> StepContext<'static> {
    let value = |text: &str| SecretValue::from(text);
    StepContext::detached(name(), "the-id", Some(value(OLD)), new.map(value))
}

async fn error_of(script: &str) -> Error {
    let rotator = ExternalRotator::command(shell(script));
    let error = rotator.set(&step(Some(NEW))).await.unwrap_err();
    assert!(!format!("{error:?}").contains("kfcanary"));
    error
}

fn said(error: &Error) -> Option<&str> {
    error.context().find(|(key, _)| *key == "said").map(|(_, said)| said)
}

#[tokio::test]
async fn the_question_has_what_the_step_knows() {
    let directory = tempfile::tempdir().unwrap();
    let command =
        shell("cat > question; printf '{\"value\":\"kfcanary-made000001\",\"notes\":{\"a\":\"b\"}}'").directory(directory.path());
    let rotator = ExternalRotator::command(command);
    let context = step(None);
    let made = rotator.create(&context).await.unwrap();
    assert!(made.expose_str().unwrap() == "kfcanary-made000001");
    let asked = |directory: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(directory.join("question")).unwrap()).unwrap()
    };
    let expected = serde_json::json!({
        "protocol": "keyfob-rotation/1", "step": "create", "name": "service/key", "id": "the-id", "fence": 1, "reversal": false,
        "old": OLD, "notes": {},
    });
    assert!(asked(directory.path()) == expected);
    rotator.create(&context).await.unwrap();
    assert!(asked(directory.path())["notes"] == serde_json::json!({"a": "b"}));
    // Bytes that are no text.
    let bytes = Some(SecretValue::new(vec![0xff, 0]));
    let context = StepContext::detached(name(), "the-id", bytes.clone(), bytes);
    let command = shell("cat > question; echo '{\"value_base64\":\"/wE=\"}'").directory(directory.path());
    let rest = ExternalRotator::command(command).revoke(&context).await.unwrap().unwrap();
    assert!(rest.expose_secret() == [0xff, 1]);
    let asked = asked(directory.path());
    assert!(asked["old_base64"] == "/wA=" && asked["new_base64"] == "/wA=" && asked.get("old").is_none());
}

#[tokio::test]
async fn the_environment_has_only_what_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let look = |command: RotationCommand| async {
        ExternalRotator::command(command.directory(directory.path()))
            .test(&step(Some(NEW)))
            .await
            .unwrap();
        let text = std::fs::read_to_string(directory.path().join("env")).unwrap();
        // What the shell makes itself.
        let is_own = |name: &&str| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name);
        let names = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .filter(is_own);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(look(shell("env > env")).await, ["HOME", "PATH"]);
    assert_eq!(
        look(shell("env > env").allow("SPECIAL").allow("UNSET")).await,
        ["HOME", "PATH", "SPECIAL"]
    );
}

#[tokio::test]
async fn how_a_command_ends_says_what_comes_next() {
    for (script, kind) in [
        ("exit 1", ErrorKind::Other),
        ("exit 75", ErrorKind::Unavailable),
        ("kill -9 $$", ErrorKind::Unavailable),
        (
            "echo '{\"error\":\"busy\",\"kind\":\"rate_limited\"}'; exit 3",
            ErrorKind::RateLimited,
        ),
        ("echo '{\"error\":\"no\",\"kind\":\"no such kind\"}'", ErrorKind::Other),
        ("echo '{\"error\":\"\"}'", ErrorKind::Other),
        ("echo not json", ErrorKind::InvalidInput),
        ("echo '[]'", ErrorKind::InvalidInput),
        ("echo '{\"valeu\":\"x\"}'", ErrorKind::InvalidInput),
        ("echo '{\"value\":\"x\"}'", ErrorKind::InvalidInput),
        ("echo '{\"value\":1}'", ErrorKind::InvalidInput),
        ("echo '{} {}'", ErrorKind::InvalidInput),
    ] {
        let error = error_of(script).await;
        assert_eq!(error.kind(), kind, "{script}: {error:?}");
        assert!(error.context().any(|pair| pair == ("step", "set")), "{error:?}");
    }
    let ok = ExternalRotator::command(shell("exit 0"));
    ok.set(&step(Some(NEW))).await.unwrap();
    let error = ok.create(&step(None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let both = ExternalRotator::command(shell("echo '{\"value\":\"a\",\"value_base64\":\"YQ==\"}'"));
    assert_eq!(both.create(&step(None)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let more = ExternalRotator::command(shell("echo '{\"value\":\"a\",\"again\":true}'"));
    assert_eq!(more.create(&step(None)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    for missing in ["/no/such/program", "no-such-program-anywhere", "/etc/passwd", "/"] {
        let error = ExternalRotator::command(RotationCommand::new(missing))
            .set(&step(Some(NEW)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    }
}

#[tokio::test]
async fn what_is_said_is_shown_without_values() {
    let error = error_of("echo 'disk full' >&2; exit 1").await;
    assert_eq!(said(&error), Some("disk full"), "{error:?}");
    for script in [
        "cat >&2; exit 1",
        "cat | base64 >&2; exit 1",
        "echo kfcanary-new0000001 >&2; exit 1",
        "printf kfcanary-old0000001 | od -An -tx1 >&2; exit 1",
        // The value is cut in two where the rest is forgotten.
        "printf 'kfcanary-new0000001%4090s' x >&2; exit 1",
    ] {
        let error = error_of(script).await;
        let said = said(&error);
        assert!(said.is_none_or(|said| said.starts_with("withheld")), "{script}");
    }
    let error = error_of("echo '{\"error\":\"bad kfcanary-new0000001\"}'").await;
    assert!(error.message().contains("withheld"), "{error:?}");
    // In `create` nobody knows what would be a value.
    let rotator = ExternalRotator::command(shell("echo made kfcanary-fresh0001 >&2; exit 1"));
    let error = rotator.create(&step(None)).await.unwrap_err();
    assert!(said(&error).is_none() && !format!("{error:?}").contains("kfcanary"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_and_endless_complaints_are_forgotten() {
    let since = Instant::now();
    let error = error_of("yes").await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    let error = error_of("yes not so | head -c 5000000 >&2; exit 1").await;
    assert!(said(&error).unwrap().len() <= 300);
    assert!(since.elapsed() < Duration::from_secs(30), "it waited for the limit");
    // Who doesn't read a long question is not waited for either.
    let long = SecretValue::from("kfcanary-".repeat(100_000));
    let context = StepContext::detached(name(), "id", Some(long.clone()), Some(long));
    ExternalRotator::command(shell("exit 0")).set(&context).await.unwrap();
}

/// Whether a process is there and not only waited for.
fn is_alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_dead = state
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'));
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok() && !is_dead
}

async fn pids(directory: &Path) -> Vec<i32> {
    for _ in 0..500 {
        let text = std::fs::read_to_string(directory.join("pids")).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.len() == 2 {
            return pids;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the command never started its child");
}

async fn are_gone(pids: &[i32]) {
    for _ in 0..500 {
        if !pids.iter().any(|pid| is_alive(*pid)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a process is left");
}

const LINGERING: &str = "sleep 1000 & printf '%s\\n%s\\n' $$ $! > pids; wait";

#[tokio::test]
async fn at_the_limit_the_command_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    // The second ends by itself and leaves a child that holds its output.
    for script in [LINGERING, "sleep 1000 & printf '%s\\n%s\\n' $$ $! > pids"] {
        let command = shell(script).directory(directory.path()).limit(Duration::from_secs(2));
        let error = ExternalRotator::command(command).set(&step(Some(NEW))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        are_gone(&pids(directory.path()).await).await;
        std::fs::remove_file(directory.path().join("pids")).unwrap();
    }
}

#[tokio::test]
async fn a_step_that_is_dropped_kills_the_command_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let rotator = ExternalRotator::command(shell(LINGERING).directory(directory.path()));
    let context = step(Some(NEW));
    let pids = tokio::select! {
        _ = rotator.set(&context) => panic!("it ended"),
        pids = pids(directory.path()) => pids,
    };
    are_gone(&pids).await;
}

/// A service whose accepted keys are files, and which hangs after a step as often as there are lines in `hangs`.
const SERVICE: &str = r#"
question=$(cat)
field() { printf '%s' "$question" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
step=$(field step)
case $step in
  create)
    [ -e "made-$(field id)" ] || { printf 'kfcanary-key%s' "$(ls | wc -l)0000000" > "made-$(field id)"; }
    touch "key-$(cat "made-$(field id)")"; value=$(cat "made-$(field id)") ;;
  set) touch "key-$(field new)" ;;
  test) [ -e "key-$(field new)" ] || { printf '{"error":"not accepted","kind":"unauthenticated"}'; exit 1; } ;;
  revoke) rm -f "key-$(field old)" ;;
  rollback) new=$(field new); [ -n "$new" ] || new=$(cat "made-$(field id)"); rm -f "key-$new" ;;
  finish) done=$(field done); done=$((${done:-0} + 1)); echo "$done" >> portions
    [ "$done" -ge 3 ] || { printf '{"again":true,"notes":{"done":"%s"}}' "$done"; exit 0; } ;;
esac
if [ -e "hang-$step" ]; then rm "hang-$step"; sleep 1000; fi
[ -z "${value:-}" ] || printf '{"value":"%s"}' "$value"
"#;

#[tokio::test]
async fn a_rotation_goes_on_after_a_hang_in_every_step() {
    let all = ["", "create", "set", "test", "finish", "revoke"].map(goes_on_after_a_hang_in);
    futures_util::future::join_all(all).await;
}

async fn goes_on_after_a_hang_in(hang: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path(&format!("key-{OLD}")), "").unwrap();
    std::fs::write(path(&format!("hang-{hang}")), "").unwrap();
    let command = shell(SERVICE).directory(directory.path()).limit(Duration::from_secs(5));
    let rotator = ExternalRotator::command(command);
    let store = Arc::new(MemoryStore::new());
    store.put(&name(), PutRequest::new(OLD)).await.unwrap();
    let rotation = Rotation::new(Arc::clone(&store) as Arc<dyn SecretStore>).options(RotationOptions {
        grace: Duration::ZERO,
        ..RotationOptions::default()
    });
    let mut outcome = rotation.rotate(&name(), &rotator).await;
    if !hang.is_empty() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout, "{hang}");
        let status = rotation.status(&name()).await.unwrap();
        assert!(
            status
                .under_way
                .is_some_and(|under_way| under_way.phase != Phase::RollingBack),
            "{hang}"
        );
        outcome = rotation.resume(&name(), &rotator).await;
    }
    assert!(matches!(outcome.unwrap(), Outcome::Completed { .. }), "{hang}");
    let secret = store.get(&name(), &GetOptions::default()).await.unwrap();
    let current = secret.value.expose_str().unwrap().to_owned();
    let keys: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("key-"))
        .collect();
    assert!(keys == [format!("key-{current}")], "{hang}");
    // The portions that were done before the hang are not done again.
    let portions = std::fs::read_to_string(path("portions")).unwrap();
    let expected = if hang == "finish" { "1\n2\n3\n3\n" } else { "1\n2\n3\n" };
    assert_eq!(portions, expected, "{hang}");
}

#[tokio::test]
async fn a_value_that_is_not_accepted_is_taken_back_also_when_its_answer_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path(&format!("key-{OLD}")), "").unwrap();
    std::fs::write(path("hang-create"), "").unwrap();
    let store = Arc::new(MemoryStore::new());
    store.put(&name(), PutRequest::new(OLD)).await.unwrap();
    let rotation = Rotation::new(Arc::clone(&store) as Arc<dyn SecretStore>);
    let command = shell(SERVICE).directory(directory.path()).limit(Duration::from_secs(5));
    let rotator = ExternalRotator::command(command);
    rotation.rotate(&name(), &rotator).await.unwrap_err();
    let outcome = rotation.rollback(&name(), &rotator).await.unwrap();
    assert_eq!(outcome, Outcome::RolledBack);
    let keys = std::fs::read_dir(directory.path()).unwrap();
    let keys = keys.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("key-"));
    assert_eq!(keys.count(), 1);
}

#[tokio::test]
async fn only_a_clear_word_ends_a_grace_period() {
    for (script, drained) in [
        ("echo '{\"drained\": true}'", Some(true)),
        ("echo '{\"drained\": false}'", Some(false)),
        ("true", None),
        ("echo '{\"complete\": true}'", None),
        ("echo '{\"drained\": true}'; exit 1", None),
        ("grep -q '\"step\":\"drain\"' && echo '{\"drained\": true}'", Some(true)),
    ] {
        let answer = ExternalRotator::command(shell(script)).is_drained(&step(Some(NEW))).await;
        assert_eq!(answer.as_ref().ok().copied(), drained, "{script}: {answer:?}");
    }
}
