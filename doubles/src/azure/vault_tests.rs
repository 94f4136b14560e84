use super::*;

const RULES: Rules = Rules {
    settle: 300,
    purge_protection: false,
    recoverable_days: 90,
};

const EVERYTHING: Span<'static> = Span { after: None, length: 25 };

fn vault() -> Vault {
    Vault::new(RULES)
}

fn set(vault: &mut Vault, name: &str, version: &str, now: i64) -> Result<Snapshot, Refusal> {
    vault.set(
        name,
        version.to_owned(),
        format!("kfcanary-{version}"),
        Properties::default(),
        now,
    )
}

fn names(page: &Page) -> Vec<&str> {
    page.items.iter().map(|item| item.name.as_str()).collect()
}

#[test]
fn the_version_that_was_written_last_is_the_current_one() {
    let mut vault = vault();
    set(&mut vault, "a", "ff", 1000).unwrap();
    set(&mut vault, "a", "00", 1000).unwrap();
    assert_eq!(vault.get("a", None, 1000).unwrap().version.id, "00");
    assert_eq!(vault.get("a", Some("ff"), 1000).unwrap().version.value, "kfcanary-ff");
    assert_eq!(
        vault.get("a", Some("01"), 1000).unwrap_err(),
        Refusal::NotFound("a/01".to_owned())
    );
    assert_eq!(vault.get("b", None, 1000).unwrap_err(), Refusal::NotFound("b".to_owned()));
}

#[test]
fn names_differ_in_more_than_case_and_keep_that_of_the_first_time() {
    let mut vault = vault();
    set(&mut vault, "First", "00", 0).unwrap();
    let second = set(&mut vault, "FIRST", "01", 0).unwrap();
    assert_eq!(second.name, "First");
    assert_eq!(vault.get("fIRST", None, 0).unwrap().version.id, "01");
    assert_eq!(names(&vault.list(EVERYTHING, 0)), ["First"]);
}

#[test]
fn a_deletion_takes_its_time_and_meanwhile_nothing_works() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    let deleted = vault.delete("a", 1_000_000).unwrap();
    let deletion = Deletion {
        deleted: 1000,
        scheduled_purge: 1000 + 90 * 86_400,
    };
    assert_eq!(deleted.deletion, Some(deletion));
    let during = 1_000_299;
    let not_found = Refusal::NotFound("a".to_owned());
    let deleted_not_found = Refusal::DeletedNotFound("a".to_owned());
    assert_eq!(vault.get("a", None, during).unwrap_err(), not_found);
    assert_eq!(vault.delete("a", during).unwrap_err(), not_found);
    assert_eq!(vault.get_deleted("a", during).unwrap_err(), deleted_not_found);
    assert_eq!(vault.recover("a", during).unwrap_err(), Refusal::BeingDeleted);
    assert_eq!(vault.purge("a", during).unwrap_err(), Refusal::BeingDeleted);
    assert_eq!(
        set(&mut vault, "A", "01", during).unwrap_err(),
        Refusal::NameBeingDeleted("A".to_owned())
    );
    assert_eq!(names(&vault.list(EVERYTHING, during)), [""; 0]);
    assert_eq!(names(&vault.list_deleted(EVERYTHING, during)), [""; 0]);

    let later = 1_000_300;
    assert_eq!(vault.get_deleted("a", later).unwrap().deletion, Some(deletion));
    assert_eq!(names(&vault.list_deleted(EVERYTHING, later)), ["a"]);
    assert_eq!(
        set(&mut vault, "a", "01", later).unwrap_err(),
        Refusal::NameDeleted("a".to_owned())
    );
}

#[test]
fn a_recovery_takes_its_time_and_brings_every_version_back() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    set(&mut vault, "a", "01", 0).unwrap();
    vault.delete("a", 0).unwrap();
    let recovered = vault.recover("a", 300).unwrap();
    assert_eq!((recovered.version.id.as_str(), recovered.deletion), ("01", None));
    let during = 599;
    assert_eq!(vault.get("a", None, during).unwrap_err(), Refusal::NotFound("a".to_owned()));
    assert_eq!(vault.recover("a", during).unwrap_err(), Refusal::BeingRecovered);
    assert_eq!(vault.purge("a", during).unwrap_err(), Refusal::BeingRecovered);
    assert_eq!(
        set(&mut vault, "a", "02", during).unwrap_err(),
        Refusal::NameBeingRecovered("a".to_owned())
    );
    assert_eq!(vault.get("a", Some("00"), 600).unwrap().version.value, "kfcanary-00");
    assert_eq!(vault.recover("a", 600).unwrap_err(), Refusal::DeletedNotFound("a".to_owned()));
}

#[test]
fn a_purge_takes_its_time_and_then_the_name_is_free_in_another_case() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    vault.delete("a", 0).unwrap();
    vault.purge("a", 300).unwrap();
    let during = 599;
    let gone = Refusal::DeletedNotFound("a".to_owned());
    assert_eq!(vault.get_deleted("a", during).unwrap_err(), gone);
    assert_eq!(vault.purge("a", during).unwrap_err(), gone);
    assert_eq!(
        set(&mut vault, "a", "01", during).unwrap_err(),
        Refusal::NameBeingDeleted("a".to_owned())
    );
    assert_eq!(set(&mut vault, "A", "01", 600).unwrap().name, "A");
    assert!(vault.get("a", Some("00"), 600).is_err());
}

#[test]
fn what_is_deleted_long_enough_is_gone() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    vault.delete("a", 0).unwrap();
    let end = 90 * 86_400 * 1000;
    assert!(vault.get_deleted("a", end - 1).is_ok());
    assert!(vault.get_deleted("a", end).is_err());
    assert!(set(&mut vault, "a", "01", end).is_ok());
}

#[test]
fn purge_protection_refuses_a_purge_and_shows_in_the_recovery_level() {
    let mut vault = Vault::new(Rules {
        purge_protection: true,
        recoverable_days: 7,
        ..RULES
    });
    let secret = set(&mut vault, "a", "00", 0).unwrap();
    assert_eq!((secret.recovery.level, secret.recovery.days), ("CustomizedRecoverable", 7));
    vault.delete("a", 0).unwrap();
    assert_eq!(vault.purge("a", 300).unwrap_err(), Refusal::PurgeProtected);
    assert!(vault.recover("a", 300).is_ok());
}

#[test]
fn a_disabled_version_gives_nothing_but_its_properties() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    let disabled = Properties {
        enabled: Some(false),
        ..Properties::default()
    };
    vault.update("a", None, disabled, 5000).unwrap();
    assert_eq!(vault.get("a", None, 5000).unwrap_err(), Refusal::Disabled);
    let listed = vault.list(EVERYTHING, 5000).items.remove(0);
    assert!(!listed.version.enabled());
    assert_eq!((listed.version.created, listed.version.updated), (0, 5));
    set(&mut vault, "a", "01", 5000).unwrap();
    assert!(vault.get("a", None, 5000).is_ok());
    assert_eq!(vault.get("a", Some("00"), 5000).unwrap_err(), Refusal::Disabled);
}

#[test]
fn a_deleted_secret_that_is_disabled_is_not_shown() {
    let mut vault = vault();
    let disabled = Properties {
        enabled: Some(false),
        ..Properties::default()
    };
    vault.set("a", "00".to_owned(), String::new(), disabled, 0).unwrap();
    vault.delete("a", 0).unwrap();
    assert_eq!(vault.get_deleted("a", 300).unwrap_err(), Refusal::Disabled);
    assert!(vault.purge("a", 300).is_ok());
}

#[test]
fn a_secret_that_backs_a_certificate_belongs_to_the_certificate() {
    let mut vault = vault();
    let version = Version::new("00".to_owned(), String::new(), Properties::default(), 0);
    vault.add_managed("certificate", version);
    assert!(vault.get("certificate", None, 0).unwrap().managed);
    assert_eq!(vault.delete("certificate", 0).unwrap_err(), Refusal::Managed("delete"));
    assert_eq!(set(&mut vault, "Certificate", "01", 0).unwrap_err(), Refusal::Managed("set"));
    assert_eq!(
        vault.update("certificate", None, Properties::default(), 0).unwrap_err(),
        Refusal::Managed("update")
    );
}

#[test]
fn a_list_goes_on_after_its_last_name_and_counts_what_is_deleted() {
    let mut vault = vault();
    for number in 0..7 {
        set(&mut vault, &format!("n{number}"), "00", 0).unwrap();
    }
    for name in ["n0", "n1", "n4"] {
        vault.delete(name, 0).unwrap();
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let span = Span {
            after: after.as_deref(),
            length: 2,
        };
        let page = vault.list(span, 300);
        pages.push(names(&page).join(" "));
        after = page.last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["", "n2 n3", "n5", "n6"]);
    assert_eq!(names(&vault.list_deleted(EVERYTHING, 300)), ["n0", "n1", "n4"]);
}

#[test]
fn a_full_last_page_is_the_last() {
    let mut vault = vault();
    set(&mut vault, "a", "00", 0).unwrap();
    set(&mut vault, "b", "00", 0).unwrap();
    let page = vault.list(Span { after: None, length: 2 }, 0);
    assert_eq!((page.items.len(), page.last), (2, None));
}

#[test]
fn versions_are_listed_by_their_id_and_not_by_their_age() {
    let mut vault = vault();
    for version in ["cc", "aa", "bb"] {
        set(&mut vault, "a", version, 0).unwrap();
    }
    let ids = |page: &Page| -> Vec<String> { page.items.iter().map(|item| item.version.id.clone()).collect() };
    let first = vault.list_versions("a", Span { after: None, length: 2 }, 0).unwrap();
    assert_eq!(ids(&first), ["aa", "bb"]);
    let span = Span {
        after: first.last.as_deref(),
        length: 2,
    };
    let second = vault.list_versions("a", span, 0).unwrap();
    assert_eq!((ids(&second), second.last), (vec!["cc".to_owned()], None));
    assert!(vault.list_versions("b", EVERYTHING, 0).is_err());
}
