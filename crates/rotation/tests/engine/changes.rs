//! Others who write to the secret while it is rotated, and journals that are not what they should be.

use std::sync::Arc;

use keyfob_core::{Change, ErrorKind, GetOptions, PutRequest, SecretName, SecretStore};
use keyfob_rotation::{Ended, Generator, Outcome, Phase, Recipe};

use crate::runner::{Fault, Runner};
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

const THEIRS: &str = "kfcanary-theirs0001";

/// A run that dies at every call in turn; then somebody else writes, and another run comes.
#[tokio::test(start_paused = true)]
async fn what_somebody_else_writes_in_the_middle_is_never_written_over() {
    for kind in Kind::ALL {
        let (mut rolled_back, mut completed) = (0, 0);
        // From the entry on that begins it.
        for number in 5.. {
            let world = World::new(kind, SystemKind::Keys);
            let dying = Runner::new([(number, Fault::DieBefore)]);
            let (rotation, rotator) = (world.rotation(&dying, "dying", grace(0)), world.rotator(&dying));
            if dying.live(rotation.rotate(&name(), &rotator)).await.is_some() {
                break;
            }
            let status = rotation_status(&world).await;
            let phase = status.under_way.map(|under_way| under_way.phase);
            world.system.also_accepts(THEIRS);
            world.memory.put(&name(), PutRequest::new(THEIRS)).await.unwrap();
            world.pass(120).await;
            let next = Runner::new([]);
            let answer = world
                .rotation(&next, "next", grace(0))
                .resume(&name(), &world.rotator(&next))
                .await;
            world.moments().unwrap();
            if phase == Some(Phase::Creating) && !kind.has_versions() && answer.is_ok() {
                // It came before the rotation had looked at the value: as if it had come before the rotation.
                assert!(rotation_status(&world).await.last.unwrap().ended == Ended::Completed);
                continue;
            }
            assert!(world.value() == THEIRS, "{kind:?} at {number} in {phase:?}: {answer:?}");
            match phase.unwrap() {
                Phase::Creating | Phase::Setting | Phase::Testing | Phase::Switching => {
                    let error = answer.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    rolled_back += 1;
                }
                _ => {
                    assert!(matches!(answer, Ok(Outcome::Completed { .. })), "{answer:?}");
                    completed += 1;
                }
            }
            world.quiet().unwrap();
        }
        assert!(rolled_back > 5 && completed > 5, "{kind:?}: {rolled_back} {completed}");
    }
}

async fn rotation_status(world: &World) -> keyfob_rotation::Status {
    let runner = Runner::new([]);
    world.rotation(&runner, "who asks", grace(0)).status(&name()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_old_value_is_not_revoked_when_somebody_made_it_current_again() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        let first = world.value();
        rotation.rotate(&name(), &rotator).await.unwrap();
        world.memory.put(&name(), PutRequest::new(&*first)).await.unwrap();
        world.pass(600).await;
        let outcome = rotation.resume(&name(), &rotator).await.unwrap();
        assert_eq!(outcome, Outcome::Superseded, "{kind:?}");
        assert!(world.system.accepts(&first));
        assert_eq!(rotation.status(&name()).await.unwrap().last.unwrap().ended, Ended::Superseded);
        world.quiet().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_gone_or_was_never_there_is_not_rotated() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([(11, Fault::DieAfter)]);
    let (rotation, rotator) = (world.rotation(&runner, "me", grace(0)), world.rotator(&runner));
    let missing = SecretName::new("db/other").unwrap();
    assert_eq!(
        rotation.rotate(&missing, &rotator).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(rotation.status(&missing).await.unwrap().last.is_none());
    assert_eq!(
        rotation.rollback(&missing, &rotator).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        rotation.rollback(&name(), &rotator).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // Deleted in the middle: what was made is withdrawn.
    assert!(runner.live(rotation.rotate(&name(), &rotator)).await.is_none());
    world.delete();
    world.pass(120).await;
    let next = Runner::new([]);
    let error = world
        .rotation(&next, "next", grace(0))
        .resume(&name(), &world.rotator(&next))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.quiet().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rotation_of_another_kind_is_left_alone() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([]);
    let rotation = world.rotation(&runner, "me", grace(600));
    rotation.rotate(&name(), &world.rotator(&runner)).await.unwrap();
    let before = world.snapshot();
    let other = Generator::new(Recipe::uuid());
    for answer in [
        rotation.rotate(&name(), &other).await,
        rotation.resume(&name(), &other).await,
        rotation.rollback(&name(), &other).await,
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(
            error.to_string().contains("double") && error.to_string().contains("random"),
            "{error}"
        );
    }
    assert!(world.snapshot() == before);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_journal_is_reported_and_left_as_it_is() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([]);
    let (rotation, rotator) = (world.rotation(&runner, "me", grace(0)), world.rotator(&runner));
    let journal = SecretName::new("db/password.keyfob-rotation").unwrap();
    world
        .memory
        .put(&journal, PutRequest::new("{\"keyfob_rotation\":1}"))
        .await
        .unwrap();
    let before = world.snapshot();
    for answer in [
        rotation.rotate(&name(), &rotator).await,
        rotation.resume(&name(), &rotator).await,
        rotation.rollback(&name(), &rotator).await,
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(rotation.status(&name()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(world.snapshot() == before);
    rotation.forget(&name()).await.unwrap();
    rotation.rotate(&name(), &rotator).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn forgetting_leaves_the_secret_alone() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        rotation.rotate(&name(), &rotator).await.unwrap();
        assert_eq!(rotation.forget(&name()).await.unwrap_err().kind(), ErrorKind::Conflict);
        world.pass(600).await;
        rotation.resume(&name(), &rotator).await.unwrap();
        let value = world.value();
        rotation.forget(&name()).await.unwrap();
        rotation.forget(&name()).await.unwrap();
        assert!(world.value() == value);
        for memory in [&world.memory, &world.journals] {
            let page = memory.list(&keyfob_core::ListOptions::default()).await.unwrap();
            assert!(page.items.iter().all(|item| !item.name.is_reserved()), "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_kept_or_moved_and_never_makes_the_new_value_unreadable() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([]);
    let rotator = world.rotator(&runner);
    let expiry = |world: &World| {
        let store = Arc::clone(&world.memory);
        async move {
            let options = GetOptions {
                expired: keyfob_core::Expired::Allow,
                ..GetOptions::default()
            };
            store.get(&name(), &options).await.unwrap().metadata.expires_at
        }
    };
    let now = || keyfob_core::Clock::system_now(&world.clock);
    let set = |at| PutRequest {
        expires_at: Change::Set(at),
        ..PutRequest::default()
    };
    let soon = now() + std::time::Duration::from_secs(7000);
    world.memory.put(&name(), set(soon)).await.unwrap();
    world
        .rotation(&runner, "me", grace(0))
        .rotate(&name(), &rotator)
        .await
        .unwrap();
    assert_eq!(expiry(&world).await, Some(soon));

    let mut options = grace(0);
    options.expires_after = Some(std::time::Duration::from_secs(9000));
    world
        .rotation(&runner, "me", options)
        .rotate(&name(), &rotator)
        .await
        .unwrap();
    assert!(expiry(&world).await.unwrap() >= now() + std::time::Duration::from_secs(8990));

    world.pass(10_000).await;
    let error = world
        .rotation(&runner, "me", grace(0))
        .rotate(&name(), &rotator)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_nobody_can_end_is_abandoned_where_it_is() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        rotation.rotate(&name(), &rotator).await.unwrap();
        let value = world.value();
        let under_way = rotation.abandon(&name()).await.unwrap().unwrap();
        assert_eq!(under_way.phase, Phase::Grace);
        assert!(world.value() == value);
        for memory in [&world.memory, &world.journals] {
            let page = memory.list(&keyfob_core::ListOptions::default()).await.unwrap();
            assert!(page.items.iter().all(|item| !item.name.is_reserved()), "{kind:?}");
        }
        assert!(rotation.abandon(&name()).await.unwrap().is_none());
        rotation.rotate(&name(), &rotator).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_secret_that_is_gone_everything_can_be_forgotten() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        rotation.rotate(&name(), &rotator).await.unwrap();
        world
            .memory
            .delete(&name(), &keyfob_core::DeleteOptions::default())
            .await
            .unwrap();
        rotation.forget(&name()).await.unwrap();
        for memory in [&world.memory, &world.journals] {
            let page = memory.list(&keyfob_core::ListOptions::default()).await.unwrap();
            assert!(page.items.is_empty(), "{kind:?}: {:?}", page.items);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_never_taken_back_by_another_one() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        let before = world.value();
        rotation.rotate(&name(), &rotator).await.unwrap();
        for _ in 0..2 {
            rotation.rollback(&name(), &rotator).await.unwrap();
            assert!(world.value() == before, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_wrote_since_is_not_lost_by_a_rollback() {
    for ended in [false, true] {
        let world = World::new(Kind::Full, SystemKind::Keys);
        let runner = Runner::new([]);
        let (rotation, rotator) = (world.rotation(&runner, "me", grace(600)), world.rotator(&runner));
        rotation.rotate(&name(), &rotator).await.unwrap();
        if ended {
            world.pass(600).await;
            rotation.resume(&name(), &rotator).await.unwrap();
        }
        world
            .memory
            .put(&name(), PutRequest::new("kfcanary-bysomebody"))
            .await
            .unwrap();
        let error = rotation.rollback(&name(), &rotator).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("somebody has written"), "{error}");
    }
}
