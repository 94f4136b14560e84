//! The target dies in the middle.

use keyfob_integration_tests::fault_proxy::FaultProxy;
use keyfob_integration_tests::sandbox::said;
use keyfob_integration_tests::servers::Provider;

use crate::world::{World, answer, assert_same, clear, contents, fill, finish, names_of, secrets};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_in_the_middle_is_told_and_the_next_run_goes_on() {
    const SECRETS: usize = 60;
    let test = "a_target_that_dies_in_the_middle_is_told_and_the_next_run_goes_on";
    let mut world = World::new();
    let Some(openbao) = world.server(test, Provider::Vault) else {
        return;
    };
    let start = world.sqlite("start");
    let expected = secrets(SECRETS, false);
    fill(&world.open(&start).await, &expected).await;

    let proxy = FaultProxy::to(openbao.variable("VAULT_ADDR")).unwrap().start().unwrap();
    let through = openbao.clone().with("VAULT_ADDR", proxy.url());
    let mut command = world.migrate(&start, &through, "report.jsonl");
    command.args(["--rate", "30"]);
    let report = world.report("report.jsonl");
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while std::fs::read_to_string(&report)
        .unwrap_or_default()
        .matches("\"ended\"")
        .count()
        < 20
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    proxy.refuse();
    proxy.cut();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let first = answer(&output);
    let (created, failed) = (names_of(&first, "created"), names_of(&first, "failed"));
    assert!(
        created >= 20 && failed > 0 && created + failed == SECRETS,
        "{created} created, {failed} failed"
    );
    let text = std::fs::read_to_string(&report).unwrap();
    assert!(text.contains("\"finished\"") && !text.contains("kfcanary"));

    proxy.accept();
    let second = finish(|| world.migrate(&start, &through, "report.jsonl"));
    assert_eq!(names_of(&second, "created") + names_of(&second, "unchanged"), SECRETS);
    assert_same(&contents(&world.open(&openbao).await).await, &expected, "OpenBao");

    let back = world
        .keyfob(&["migrate", "rollback", "--json", "report.jsonl"], [&start, &through])
        .output()
        .unwrap();
    assert!(back.status.success(), "{}", said(&back));
    assert_eq!(names_of(&answer(&back), "deleted"), SECRETS);
    clear(&world.open(&openbao).await).await;
}
