//! What an audit log says of a rotation.

use std::sync::Arc;

use keyfob_core::{
    Actor, AuditFilter, AuditLayer, Layer, MemoryAudit, MemoryStore, PutRequest, Reason, SecretName, SecretStore, Verb,
};
use keyfob_rotation::{Generator, Recipe, Rotation, RotationOptions};

/// The steps that the log shows, in order: the entries in the journal and the write of the secret.
fn steps(audit: &MemoryAudit) -> Vec<String> {
    let records = audit.records(&AuditFilter::default());
    records
        .iter()
        .filter(|record| record.verb == Verb::Put)
        .filter(|record| {
            let name = record.name.as_deref().unwrap();
            name == "web/session" || name.ends_with(".keyfob-rotation")
        })
        .map(|record| format!("{}: {}", record.name.as_deref().unwrap(), record.reason.as_ref().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_access_has_a_reason_and_every_step_an_entry_of_its_own() {
    let audit = Arc::new(MemoryAudit::new(1000));
    let layer = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&audit) as _)
        .require_reason();
    let memory = Arc::new(MemoryStore::new());
    let name = SecretName::new("web/session").unwrap();
    memory.put(&name, PutRequest::new("kfcanary-session01")).await.unwrap();
    let rotation = Rotation::new(layer.layer(memory)).options(RotationOptions {
        grace: std::time::Duration::ZERO,
        reason: Some(Reason::new("ticket 42").unwrap()),
        ..RotationOptions::default()
    });
    let rotator = Generator::new(Recipe::base64_url(32).unwrap());
    rotation.rotate(&name, &rotator).await.unwrap();
    let journal = |step: &str| format!("web/session.keyfob-rotation: ticket 42; rotation: {step}");
    assert_eq!(
        steps(&audit),
        [
            journal("begin"),
            journal("setting #1"),
            journal("testing #1"),
            journal("switching #1"),
            "web/session: ticket 42; rotation: switching #1".to_owned(),
            journal("finishing #1"),
            journal("revoking #1"),
            journal("revoking #1"),
        ]
    );
    rotation.resume(&name, &rotator).await.unwrap();
    rotation.rollback(&name, &rotator).await.unwrap();
    let records = audit.records(&AuditFilter::default());
    assert!(
        records
            .iter()
            .all(|record| record.error.is_none_or(|kind| kind.as_str() == "not_found"))
    );
}

#[tokio::test(start_paused = true)]
async fn looking_has_a_reason_too() {
    let audit = Arc::new(MemoryAudit::new(1000));
    let layer = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&audit) as _)
        .require_reason();
    let memory = Arc::new(MemoryStore::new());
    let name = SecretName::new("web/session").unwrap();
    memory.put(&name, PutRequest::new("kfcanary-session01")).await.unwrap();
    let rotation = Rotation::new(layer.layer(memory));
    let rotator = Generator::new(Recipe::uuid());
    rotation.rotate(&name, &rotator).await.unwrap();
    rotation.status(&name).await.unwrap();
    rotation.previous(&name).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_reason_leaves_room_for_the_step() {
    let audit = Arc::new(MemoryAudit::new(1000));
    let layer = AuditLayer::new(Actor::default()).sink(Arc::clone(&audit) as _);
    let memory = Arc::new(MemoryStore::new());
    let name = SecretName::new("web/session").unwrap();
    memory.put(&name, PutRequest::new("kfcanary-session01")).await.unwrap();
    let rotation = Rotation::new(layer.layer(memory)).options(RotationOptions {
        reason: Some(Reason::new(&"é".repeat(256)).unwrap()),
        ..RotationOptions::default()
    });
    rotation.rotate(&name, &Generator::new(Recipe::uuid())).await.unwrap();
    assert!(steps(&audit).iter().all(|step| step.contains("; rotation: ")));
}
