//! Everything goes around, killed five times on the way, and ends as it began.

use std::fs;
use std::time::Instant;

use keyfob_integration_tests::servers::Provider;

use crate::world::{World, assert_same, clear, contents, fill, finish, kill_in_the_middle, names_of, secrets};

/// How many secrets go around in CI. Ten thousand are the same in all but the time.
const SECRETS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_go_around_killed_five_times_and_end_as_they_began() {
    around("secrets_go_around_killed_five_times_and_end_as_they_began", SECRETS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: ten thousand secrets, of which a part is enough for every change"]
async fn ten_thousand_secrets_go_around_killed_five_times_and_end_as_they_began() {
    around(
        "ten_thousand_secrets_go_around_killed_five_times_and_end_as_they_began",
        10_000,
    )
    .await;
}

/// SQLite → OpenBao → LocalStack → Kubernetes → SQLite.
async fn around(test: &str, count: usize) {
    let mut world = World::new();
    let (Some(openbao), Some(aws), Some(kubernetes)) = (
        world.server(test, Provider::Vault),
        world.server(test, Provider::Aws),
        world.server(test, Provider::Kubernetes),
    ) else {
        return;
    };
    let start = world.sqlite("start");
    let end = world.sqlite("end");
    let expected = secrets(count, false);
    fill(&world.open(&start).await, &expected).await;

    // How many are written before each kill, in parts of all.
    let legs: [(&_, &_, &[usize]); 4] = [
        (&start, &openbao, &[3]),
        (&openbao, &aws, &[5, 3]),
        (&aws, &kubernetes, &[2]),
        (&kubernetes, &end, &[4]),
    ];
    let mut kills = 0;
    for (number, (from, to, parts)) in legs.into_iter().enumerate() {
        let begun = Instant::now();
        let report = format!("leg-{number}.jsonl");
        let path = world.report(&report);
        for part in parts {
            kill_in_the_middle(world.migrate(from, to, &report), &path, count / part);
            kills += 1;
        }
        let answer = finish(|| world.migrate(from, to, &report));
        assert_eq!(names_of(&answer, "created") + names_of(&answer, "unchanged"), count);
        assert!(
            names_of(&answer, "unchanged") > 0,
            "a run goes on where the one before was killed"
        );
        assert!(
            !fs::read_to_string(&path).unwrap().contains("kfcanary"),
            "the report has a value"
        );
        assert_same(&contents(&world.open(to).await).await, &expected, &to.url);
        keyfob_testkit::tell(&format!(
            "migration: {count} secrets {} -> {}, killed {} times: {:.1} s",
            from.url,
            to.url,
            parts.len(),
            begun.elapsed().as_secs_f64()
        ));
    }
    assert_eq!(kills, 5);

    // What all runs of a leg wrote can be taken back.
    let back = world
        .keyfob(&["migrate", "rollback", "--json", "leg-3.jsonl"], [&kubernetes, &end])
        .output()
        .unwrap();
    let answer = crate::world::answer(&back);
    assert_eq!(
        (
            names_of(&answer, "deleted"),
            names_of(&answer, "failed"),
            names_of(&answer, "left")
        ),
        (count, 0, 0)
    );
    assert!(contents(&world.open(&end).await).await.is_empty());
    for place in [&openbao, &aws, &kubernetes] {
        clear(&world.open(place).await).await;
    }
}

/// OpenBao keeps text only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_go_around_past_the_stores_that_keep_only_text() {
    let test = "bytes_that_are_no_text_go_around_past_the_stores_that_keep_only_text";
    let mut world = World::new();
    let (Some(openbao), Some(aws), Some(kubernetes)) = (
        world.server(test, Provider::Vault),
        world.server(test, Provider::Aws),
        world.server(test, Provider::Kubernetes),
    ) else {
        return;
    };
    let (start, end) = (world.sqlite("start"), world.sqlite("end"));
    let expected = secrets(40, true);
    fill(&world.open(&start).await, &expected).await;

    let refused = world.migrate(&start, &openbao, "refused.jsonl").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let answer = crate::world::answer(&refused);
    assert_eq!((names_of(&answer, "failed"), names_of(&answer, "created")), (40, 0));
    assert!(
        answer["failed"]
            .as_array()
            .unwrap()
            .iter()
            .all(|failed| failed["kind"] == "not_text")
    );

    for (from, to) in [(&start, &aws), (&aws, &kubernetes), (&kubernetes, &end)] {
        let answer = finish(|| {
            world.migrate(
                from,
                to,
                &format!("{}.jsonl", to.url.trim_end_matches(':').replace([':', '.'], "-")),
            )
        });
        assert_eq!(names_of(&answer, "created") + names_of(&answer, "unchanged"), 40);
        assert_same(&contents(&world.open(to).await).await, &expected, &to.url);
    }
    for place in [&aws, &kubernetes] {
        clear(&world.open(place).await).await;
    }
}
