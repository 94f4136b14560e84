use proptest::prelude::*;

use super::*;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn azure(text: &str) -> AzureName {
    AzureName::parse(text).unwrap()
}

#[test]
fn nothing_that_leaves_its_place_in_a_url_is_a_name_or_a_version() {
    let long = "a".repeat(128);
    for text in [
        "",
        "a/b",
        "../deletedsecrets/x",
        "a?b",
        "a#b",
        "a%2fb",
        "a.b",
        "é",
        "a b",
        &long,
    ] {
        assert_eq!(AzureName::parse(text), None, "{text}");
    }
    let version = "0123456789abcdef0123456789abcdef";
    assert!(VersionId::parse(version).is_some());
    for text in [
        "",
        "current",
        &version.to_uppercase(),
        &version[1..],
        "../../0123456789abcdef01234567/x",
    ] {
        assert_eq!(VersionId::parse(text), None, "{text}");
    }
}

#[test]
fn what_another_tool_made_is_reached_by_its_own_name() {
    let names = Names::new("").unwrap();
    for listed in [
        "DbPassword",
        "db-password",
        "Logging--LogLevel--Default",
        "a--b",
        "x---y",
        "UPPER",
    ] {
        let places = names.places(&name(listed)).unwrap();
        let reached = places.foreign.as_ref().unwrap_or(&places.own);
        assert_eq!(reached.as_str(), listed);
    }
}

#[test]
fn a_listing_gives_a_name_that_reaches_the_secret() {
    let names = Names::new("app/").unwrap();
    assert_eq!(names.name(&azure("app--db"), None), Some(name("db")));
    assert_eq!(names.name(&azure("app--db"), Some("app/db")), Some(name("db")));
    assert_eq!(names.name(&azure("other--db"), None), None);
    assert_eq!(names.name(&azure("app"), None), None);
    let all = Names::new("").unwrap();
    assert_eq!(all.name(&azure("App--Db"), None), Some(name("App--Db")));
    assert_eq!(all.name(&azure("app--db"), Some("app--db")), Some(name("app--db")));
    assert_eq!(
        all.name(&azure("app--db"), Some("elsewhere")),
        None,
        "a record that was moved"
    );
    assert_eq!(all.name(&azure("app--"), None), Some(name("app--")), "`app/` is no name");
}

#[test]
fn a_prefix_leaves_room_for_names() {
    assert!(Names::new(&"p".repeat(65)).is_none());
    assert!(Names::new(&"_".repeat(17)).is_none());
    assert!(Names::new(" a").is_none());
    let names = Names::new(&"p".repeat(64)).unwrap();
    let NameRule::Custom(rule) = names.rule() else {
        panic!("no rule")
    };
    assert_eq!(rule(&name(&"n".repeat(59))), Ok(()));
    assert!(rule(&name(&"n".repeat(64))).is_err());
}

/// Names of every alphabet that is told apart somewhere.
fn any_name() -> impl Strategy<Value = SecretName> {
    "[a-cA-C0-2._/ é-]{1,20}".prop_filter_map("no name", |text| SecretName::new(text).ok())
}

proptest! {
    #[test]
    fn two_names_never_have_the_same_own_place(one in any_name(), other in any_name()) {
        let names = Names::new("p/").unwrap();
        let (Some(at), Some(other_at)) = (names.places(&one), names.places(&other)) else { return Ok(()) };
        prop_assert_eq!(at.own.is(&other_at.own), one == other);
    }

    #[test]
    fn what_the_rule_takes_has_a_place_and_a_way_back(prefix in "[a-cA-C0-1_/-]{0,8}", name in any_name()) {
        let Some(names) = Names::new(&prefix) else { return Ok(()) };
        let NameRule::Custom(rule) = names.rule() else { panic!("no rule") };
        if rule(&name).is_ok() {
            let places = names.places(&name).unwrap();
            prop_assert_eq!(names.name(&places.own, Some(&names.full(&name))), Some(name.clone()));
            prop_assert_eq!(names.name(&places.own, None), Some(name));
        }
    }

    #[test]
    fn every_name_of_a_vault_is_listed_and_reached(listed in "[a-cA-C0-7-]{1,24}") {
        let names = Names::new("").unwrap();
        let listed = azure(&listed);
        let name = names.name(&listed, None).unwrap();
        let places = names.places(&name).unwrap();
        prop_assert!(places.own == listed || places.foreign.is_some_and(|foreign| foreign == listed));
        let itself = names.places(&SecretName::new(listed.as_str()).unwrap()).unwrap();
        prop_assert!(itself.own == listed || itself.foreign.is_some_and(|foreign| foreign == listed));
    }
}
