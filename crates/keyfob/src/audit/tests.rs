use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use keyfob_core::{
    AuditFilter, AuditOutcome, AuditedStore, DeleteOptions, Environment, ErrorKind, Freshness, ListOptions, PageRequest,
    PutRequest, Reason, with_reason,
};
use tempfile::TempDir;

use crate::format::Format;
use crate::{SecretManager, SelectOptions, Selection, Template};

const CANARY: &str = "kfcanary-audit77aa";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A directory with a `.env` file whose secret `TOKEN` is the canary, and the variables that make it the store.
fn place() -> (TempDir, keyfob_core::FakeEnvironment) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), format!("TOKEN={CANARY}\n")).unwrap();
    let fake = Environment::fake()
        .host_files()
        .current_dir(directory.path())
        .home(directory.path())
        .var("SECRET_PROVIDER", "dotenv:.env")
        .var("KEYFOB_CONFIG", "none");
    (directory, fake)
}

fn with_memory(fake: keyfob_core::FakeEnvironment) -> SecretManager {
    let environment = fake.var("SECRET_AUDIT_MEMORY", "100").build();
    SecretManager::builder().environment(environment).build_lazily().unwrap()
}

fn records(manager: &SecretManager) -> Vec<Arc<keyfob_core::AuditRecord>> {
    manager.audit_records(&AuditFilter::default())
}

#[test]
fn found_missing_and_cached_accesses_are_recorded_without_values() {
    block_on(async {
        let (_directory, fake) = place();
        let manager = with_memory(fake);
        manager.get("TOKEN").await.unwrap();
        manager.get("TOKEN").await.unwrap();
        manager.get("MISSING").await.unwrap_err();
        let told: Vec<_> = records(&manager)
            .iter()
            .map(|record| (record.name.clone().unwrap().to_string(), record.outcome, record.freshness))
            .collect();
        let expected = [
            ("TOKEN", AuditOutcome::Ok, Some(Freshness::Store)),
            ("TOKEN", AuditOutcome::Ok, Some(Freshness::Cache)),
            ("MISSING", AuditOutcome::Failed, None),
        ];
        assert_eq!(told, expected.map(|(name, outcome, from)| (name.to_owned(), outcome, from)));
        assert!(!format!("{:?}", records(&manager)).contains(CANARY));
    });
}

#[test]
fn a_list_of_stores_records_the_one_that_answered() {
    block_on(async {
        let (_directory, fake) = place();
        let fake = fake
            .var("SECRET_PROVIDER", "env,dotenv:.env")
            .var("SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH", "true");
        let manager = with_memory(fake);
        manager.get("TOKEN").await.unwrap();
        assert_eq!(records(&manager)[0].store.name, "dotenv");
    });
}

#[test]
fn two_stores_of_a_kind_are_told_apart() {
    block_on(async {
        let (directory, _) = place();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("dev.env"), "TOKEN=kfcanary-audit0011\n").unwrap();
        let toml = format!(
            "default = \"prod\"\n[stores.prod]\nurl = \"dotenv:{}\"\n[stores.dev]\nurl = \"dotenv:{}\"\n\
             [stores.odd]\nurl = \"dotenv:{}?nope=1\"\n",
            path(".env"),
            path("dev.env"),
            path("odd.env"),
        );
        std::fs::write(path("keyfob.toml"), toml).unwrap();
        let fake = Environment::fake().host_files();
        let manager = with_memory(fake.current_dir(directory.path()).home(directory.path()));
        for reference in ["TOKEN", "${dev:TOKEN}", "${dotenv:TOKEN}"] {
            manager.get(reference).await.unwrap();
        }
        manager.get("${odd:TOKEN}").await.unwrap_err();
        let stores: Vec<_> = records(&manager).iter().map(|record| record.store.as_ref().clone()).collect();
        let expected = [
            AuditedStore::new("prod", "dotenv", path(".env")),
            AuditedStore::new("dev", "dotenv", path("dev.env")),
        ];
        assert_eq!(stores[..2], expected);
        // It could not be opened.
        assert_eq!((&*stores[3].name, &*stores[3].scheme), ("odd", "dotenv"), "{stores:?}");
        assert!(stores[3].location.contains("odd.env"), "{stores:?}");
        let mut of_dev = AuditFilter::default();
        of_dev.require("store=dev").unwrap();
        assert_eq!(manager.audit_records(&of_dev).len(), 1);
    });
}

/// What each record says: verb, name, version, outcome, kind of the error.
fn told(manager: &SecretManager) -> Vec<String> {
    let records = records(manager);
    let told = records.iter().map(|record| {
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
        let error = record.error.map_or("-", ErrorKind::as_str);
        let (name, version) = (text(&record.name), text(&record.version));
        format!(
            "{} {name} {version} {} {error}",
            record.verb.as_str(),
            record.outcome.as_str()
        )
    });
    told.collect()
}

/// One of each access that a manager offers, with what has to be recorded of it but for what came of it.
async fn each_access(manager: &SecretManager) -> Vec<(&'static str, ErrorKind)> {
    let mut refused = Vec::new();
    let mut note = |line: &'static str, error: keyfob_core::Error| refused.push((line, error.kind()));
    note("get TOKEN -", manager.get("TOKEN").await.unwrap_err());
    note("get TOKEN previous", manager.get("TOKEN@previous").await.unwrap_err());
    note("put TOKEN -", manager.put("TOKEN", PutRequest::new("x")).await.unwrap_err());
    note(
        "delete TOKEN -",
        manager.delete("TOKEN", &DeleteOptions::default()).await.unwrap_err(),
    );
    note("restore TOKEN -", manager.restore("TOKEN").await.unwrap_err());
    note(
        "versions TOKEN -",
        manager.versions("TOKEN", &PageRequest::default()).await.unwrap_err(),
    );
    note("list - -", manager.list(&ListOptions::default()).await.unwrap_err());
    let prefixed = ListOptions {
        prefix: "db/".into(),
        ..ListOptions::default()
    };
    note("list db/ -", manager.list(&prefixed).await.unwrap_err());
    note("get OTHER -", manager.watch("OTHER").await.err().unwrap());
    for error in manager
        .cache()
        .warm(["A", "B"])
        .await
        .into_iter()
        .zip(["get_many A -", "get_many B -"])
    {
        note(error.1, error.0.unwrap_err());
    }
    let template = manager.template_of("${secret:A} ${secret:B?} ${secret:A#x}").unwrap();
    let report = manager.resolve(&template.occurrences()).await.unwrap_err();
    assert_eq!(report.failures.len(), 3, "{report}");
    let kind = report.failures[0].error.kind();
    refused.extend([("get_many A -", kind), ("get_many B -", kind)]);
    // Nothing was said of what the store is for.
    refused.push(("health - -", manager.store().await.unwrap_err().kind()));
    refused
}

impl SecretManager {
    fn template_of(&self, text: &str) -> keyfob_core::Result<Template> {
        let text = zeroize::Zeroizing::new(text.to_owned());
        Template::parse("text", None, Format::Text, text, |scheme| self.is_reference_scheme(scheme))
    }
}

#[test]
fn each_access_to_a_store_that_can_not_be_opened_is_recorded_as_what_it_was() {
    block_on(async {
        let (_directory, fake) = place();
        let manager = with_memory(fake.var("SECRET_PROVIDER", "dotenv:.env?nope=1"));
        let expected: Vec<String> = each_access(&manager)
            .await
            .iter()
            .map(|(line, kind)| format!("{line} failed {}", kind.as_str()))
            .collect();
        assert_eq!(told(&manager), expected);
        assert!(told(&manager)[0].ends_with("failed invalid_config"));
        assert!(records(&manager).iter().all(|record| record.store.scheme == "dotenv"));
    });
}

#[test]
fn each_access_that_is_refused_is_recorded_as_what_it_was() {
    block_on(async {
        let (_directory, fake) = place();
        let manager = with_memory(fake.var("SECRET_AUDIT_REASON_REQUIRED", "true"));
        let expected: Vec<String> = each_access(&manager)
            .await
            .iter()
            .map(|(line, _)| format!("{line} failed invalid_input"))
            .collect();
        assert_eq!(told(&manager), expected);
    });
}

#[test]
fn who_waits_for_a_store_that_can_not_be_opened_has_a_record_too() {
    block_on(async {
        let (_directory, fake) = place();
        let manager = with_memory(fake.var("SECRET_PROVIDER", "dotenv:.env?nope=1"));
        let names = ["A", "B", "C"];
        for answer in join_all(names.iter().map(|name| manager.get(name))).await {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
        let mut told = told(&manager);
        told.sort();
        assert_eq!(told, names.map(|name| format!("get {name} - failed invalid_config")));
    });
}

#[test]
fn without_a_reason_nothing_is_accessed_where_one_is_required() {
    block_on(async {
        let (_directory, fake) = place();
        let fake = fake.var("SECRET_AUDIT_REASON_REQUIRED", "true");
        let manager = with_memory(fake.clone());
        for refused in [
            manager.get("TOKEN").await.err(),
            manager.put("TOKEN", PutRequest::new("x")).await.err(),
        ] {
            let error = refused.unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.hint().unwrap().contains("--reason"), "{error}");
        }
        let reason = || Reason::new("ticket 42").unwrap();
        with_reason(reason(), manager.get("TOKEN")).await.unwrap();
        let reasons: Vec<_> = records(&manager).iter().map(|record| record.reason.clone()).collect();
        assert_eq!(reasons, [None, None, Some(reason())]);
        assert_eq!(
            told(&manager)[..2],
            ["get TOKEN - failed invalid_input", "put TOKEN - failed invalid_input"]
        );
        // The store is open now, and still nothing is handed out.
        assert_eq!(manager.get("TOKEN").await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(records(&manager)[3].name.as_deref(), Some("TOKEN"));

        let builder = SecretManager::builder().environment(fake.build());
        let manager = builder.reason(reason()).build().await.unwrap();
        manager.get("TOKEN").await.unwrap();
    });
}

#[test]
fn a_variable_can_not_change_what_the_project_says() {
    let toml = "[audit]\nmemory = 5\nreason_required = true\n";
    let select = |name: &str, value: &str| {
        let fake = Environment::fake().file("keyfob.toml", toml).var(name, value);
        Selection::of(&fake.build(), &SelectOptions::default())
    };
    for (name, value) in [("SECRET_AUDIT_REASON_REQUIRED", "false"), ("SECRET_AUDIT_MEMORY", "0")] {
        let error = select(name, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(name), "{error}");
    }
    select("SECRET_AUDIT_REASON_REQUIRED", "yes").unwrap();
    let selection = select("SECRET_AUDIT_STANDARD_ERROR", "true").unwrap();
    assert!(selection.layers.audit.standard_error && selection.layers.audit.reason_required);
}

#[test]
fn a_variable_can_not_shorten_how_long_the_log_of_a_project_is_kept() {
    let select = |toml: &str, name: &str, value: &str| {
        let fake = Environment::fake().file("keyfob.toml", toml).var(name, value);
        Selection::of(&fake.build(), &SelectOptions::default())
    };
    for (name, value) in [("SECRET_AUDIT_KEEP_YEARS", "1"), ("SECRET_AUDIT_MAX_AGE", "60000")] {
        let error = select("[audit]\ndirectory = \"audit\"\n", name, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(
            error.message().contains(name) && error.hint().unwrap().contains("[audit]"),
            "{error:?}"
        );
    }
    select(
        "[audit]\nkeep_years = 7\ndirectory = \"audit\"\n",
        "SECRET_AUDIT_KEEP_YEARS",
        "7",
    )
    .unwrap();
}

#[test]
fn paths_of_the_project_stand_below_it() {
    let toml = "[audit]\ndirectory = \"log/audit\"\nname_key_file = \"~/names.key\"\n";
    let fake = Environment::fake()
        .file("/srv/app/keyfob.toml", toml)
        .current_dir("/srv/app/deep/down");
    let audit = Selection::of(&fake.build(), &SelectOptions::default()).unwrap().layers.audit;
    assert_eq!(audit.directory.as_deref(), Some(Path::new("/srv/app/log/audit")));
    assert_eq!(audit.name_key_file.as_deref(), Some(Path::new("~/names.key")));
    for wrong in [
        "directory = \"\"",
        "directory = 5",
        "memory = \"5\"",
        "durable = true",
        "directroy = \"a\"",
    ] {
        let fake = Environment::fake().file("keyfob.toml", format!("[audit]\n{wrong}\n"));
        let error = Selection::of(&fake.build(), &SelectOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong}");
        let key = wrong.split(' ').next().unwrap();
        assert!(error.to_string().contains(key), "{error}");
    }
}

/// What needs the crate of the log.
#[cfg(feature = "audit")]
mod log {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::AuditSettings;
    use super::*;
    use crate::LayerSettings;

    #[test]
    fn the_log_of_a_manager_verifies_and_holds_no_value() {
        block_on(async {
            let (directory, fake) = place();
            let (log, key_file) = (directory.path().join("audit"), directory.path().join("audit.key"));
            let key = keyfob_audit::SigningKey::create_file(&key_file).unwrap();
            let names = keyfob_audit::NameKey::create_file(directory.path().join("names.key")).unwrap();
            let mut layers = LayerSettings::default();
            layers.audit.directory = Some("audit".into());
            layers.audit.durable = true;
            layers.audit.name_key_file = Some("names.key".into());
            let builder = SecretManager::builder().environment(fake.build()).layers(layers);
            let manager = builder.build().await.unwrap();
            manager.get("TOKEN").await.unwrap();
            manager.get("MISSING").await.unwrap_err();
            manager.close_audit().unwrap();
            let error = manager.get("TOKEN").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);

            let seen = keyfob_audit::verify(&log, &[key.public_key()], &[]).unwrap();
            assert!(seen.is_intact(), "{seen:?}");
            assert_eq!((seen.accesses, seen.unsigned), (2, 0));
            let text = std::fs::read_to_string(log.join("audit-00000001.jsonl")).unwrap();
            assert!(!text.contains(CANARY) && !text.contains("TOKEN"), "{text}");
            assert!(text.contains(&names.mask("TOKEN")) && text.contains(&names.mask("MISSING")));
        });
    }

    #[test]
    fn a_log_that_can_not_be_written_is_an_error_that_names_the_setting() {
        block_on(async {
            let (directory, fake) = place();
            let with = |set: fn(&mut AuditSettings)| {
                let mut layers = LayerSettings::default();
                set(&mut layers.audit);
                let builder = SecretManager::builder().environment(fake.clone().build()).layers(layers);
                async move { builder.build().await.unwrap_err() }
            };
            let told = |error: &keyfob_core::Error| format!("{error} {}", error.hint().unwrap_or_default());
            let error = with(|audit| audit.directory = Some("audit".into())).await;
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(
                told(&error).contains("audit.key_file") && told(&error).contains("keyfob audit init"),
                "{error:?}"
            );
            let error = with(|audit| {
                audit.memory = 1;
                audit.name_key_file = Some(".env".into());
            })
            .await;
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(told(&error).contains("audit.name_key_file"), "{error:?}");
            keyfob_audit::SigningKey::create_file(directory.path().join("audit.key")).unwrap();
            let log = directory.path().join("audit");
            std::fs::create_dir(&log).unwrap();
            std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o777)).unwrap();
            let error = with(|audit| audit.directory = Some("audit".into())).await;
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(told(&error).contains("audit.directory"), "{error:?}");
        });
    }
}
