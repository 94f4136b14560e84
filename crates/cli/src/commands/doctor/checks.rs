//! Everything that is looked at.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use keyfob::detect::Strength;
use keyfob::{
    DEFAULT_SCHEME, Environment, Error, ErrorKind, FileKind, Health, MemberHealth, Result, RetryOptions, SecretManager,
    Selection, StoreUrl,
};
use keyfob_sql::KeyConfig;

use super::check::{Check, Status};
use crate::commands::audit::AuditJson;
use crate::context::Context;
use crate::embedded::{self, OwnConfig};

/// Looks at everything, in the order in which one thing depends on another.
pub(super) async fn all(context: &Context) -> Vec<Check> {
    let selection = match context.selection() {
        Ok(selection) => selection,
        // Without it nobody can say which stores there are.
        Err(error) => return vec![Check::failed("configuration", "", &error)],
    };
    let mut checks = vec![project(&selection), chosen(&selection)];
    checks.extend(detected(&selection));
    let manager = match context.manager() {
        Ok(manager) => manager,
        Err(error) => {
            checks.push(Check::failed("configuration", "", &error));
            return checks;
        }
    };
    checks.extend(audit(&selection, &manager).await);
    match manager.health_of_members(DEFAULT_SCHEME).await {
        Ok(members) => checks.extend(list(context, members).await),
        // It has been said above.
        Err(_) => return checks,
    }
    for (scheme, url) in stores(&selection) {
        if embedded::is_own(&url) {
            checks.extend(files(context.environment(), &url));
        }
        let is_healthy = store(&manager, &scheme, &url, &mut checks).await;
        if is_healthy && embedded::is_own(&url) {
            checks.push(content(context, &url).await);
        }
    }
    checks
}

/// Whether accesses can be recorded where they are to be.
async fn audit(selection: &Selection, manager: &SecretManager) -> Option<Check> {
    let sentence = AuditJson::of(selection)?.sentence();
    Some(match manager.open_audit().await {
        Ok(()) => Check::ok("audit", "", sentence),
        Err(error) => Check::failed("audit", "", &error),
    })
}

fn project(selection: &Selection) -> Check {
    match &selection.project {
        None => Check::ok("project", "", "there is no `keyfob.toml`"),
        Some(project) => {
            let check = Check::ok("project", project.path().display().to_string(), "found and believed");
            match &selection.environment.value {
                Some(name) => check.detail("environment", format!("{name} ({} decides)", selection.environment.source)),
                None => check,
            }
        }
    }
}

fn chosen(selection: &Selection) -> Check {
    match &selection.store {
        Ok(choice) => Check::ok(
            "selection",
            choice.url.to_string(),
            format!("{} decides: {}", choice.source, choice.reason),
        ),
        Err(error) => Check::failed("selection", "", error),
    }
}

/// Evidence that did not decide is worth knowing.
fn detected(selection: &Selection) -> Option<Check> {
    let evidence = &selection.detection.evidence;
    if evidence.is_empty() {
        return None;
    }
    let mut check = Check::ok("detection", "", "there is evidence of where keyfob runs");
    for found in evidence {
        let strength = match found.strength {
            Strength::Strong => "strong",
            Strength::Weak => "weak",
            Strength::Mention => "for information",
        };
        let text = format!("{strength}: {found}");
        let joined = match check.details.get(found.provider) {
            Some(before) => format!("{before}; {text}"),
            None => text,
        };
        check = check.detail(found.provider, joined);
    }
    Some(check)
}

/// The default store, unless it is a list, and the project's others that are not in that list, each once.
fn stores(selection: &Selection) -> Vec<(String, StoreUrl)> {
    let mut stores = Vec::new();
    let mut named = BTreeSet::new();
    if let Ok(choice) = &selection.store {
        if choice.fallbacks.is_empty() {
            stores.push((DEFAULT_SCHEME.to_owned(), choice.url.clone()));
        }
        let listed = choice.fallbacks.iter().map(|store| &store.name);
        named.extend(std::iter::once(&choice.name).chain(listed).flatten());
    }
    let others = selection.settings.stores.iter().filter(|(name, _)| !named.contains(name));
    stores.extend(others.map(|(name, url)| (name.clone(), url.clone())));
    stores
}

/// The stores of a failover list, each by itself.
async fn list(context: &Context, members: Vec<MemberHealth>) -> Vec<Check> {
    let is_served = members.iter().any(|member| member.health.is_ok());
    let mut checks = Vec::new();
    for member in members {
        let MemberHealth { url, health, .. } = member;
        let is_own = embedded::is_own(&url);
        if is_own {
            checks.extend(files(context.environment(), &url));
        }
        let subject = match member.label == url.scheme() {
            true => url.to_string(),
            false => format!("{} = {url}", member.label),
        };
        let is_healthy = health.is_ok();
        // That is what the others are there for.
        let is_stood_in_for = health.as_ref().is_err_and(|error| error.kind().is_retryable()) && is_served;
        let mut found = served(&subject, health.map_err(embedded::hint_at_init), member.took, member.identity);
        if let Some(check) = found.first_mut().filter(|_| is_stood_in_for) {
            check.status = Status::Warning;
            check
                .message
                .insert_str(0, "can't serve, and another store of the list stands in: ");
        }
        checks.extend(found);
        if is_healthy && is_own {
            checks.push(content(context, &url).await);
        }
    }
    checks
}

/// Whether a store can serve, with its warnings; returns whether it can.
async fn store(manager: &SecretManager, scheme: &str, url: &StoreUrl, checks: &mut Vec<Check>) -> bool {
    let subject = match scheme {
        DEFAULT_SCHEME => url.to_string(),
        name => format!("{name} = {url}"),
    };
    // What is wrong with it is told when the store is opened.
    let identity = manager.identity_of(scheme).ok().flatten();
    let begin = Instant::now();
    let health = match manager.store_of(scheme).await {
        Ok(store) => store.health().await,
        Err(error) => Err(embedded::hint_at_init(error)),
    };
    let is_healthy = health.is_ok();
    checks.extend(served(&subject, health, begin.elapsed(), identity));
    is_healthy
}

/// What a store says of itself, then each of its warnings.
fn served(subject: &str, health: Result<Health>, took: Duration, identity: Option<String>) -> Vec<Check> {
    let (mut check, warnings) = match health {
        Ok(health) => {
            let message = match health.warnings.as_slice() {
                [] => "can serve",
                _ => "answers, but see below",
            };
            let check = health
                .details
                .into_iter()
                .fold(Check::ok("store", subject, message), |check, (name, value)| {
                    check.detail(name, value)
                });
            (check, health.warnings)
        }
        Err(error) => (Check::failed("store", subject, &error), Vec::new()),
    };
    check = check.took(took);
    if let Some(identity) = identity {
        check = check.detail("as", identity);
    }
    let warnings = warnings.into_iter().map(|warning| Check::warning("store", subject, warning));
    std::iter::once(check).chain(warnings).collect()
}

/// Every row and every value of an own store.
async fn content(context: &Context, url: &StoreUrl) -> Check {
    let begin = Instant::now();
    let deadline = context.selection().map_or_else(
        |_| RetryOptions::default().deadline,
        |selection| selection.layers.retry.deadline,
    );
    let verified = async {
        let environment = embedded::ask_for_missing_passphrase(context.environment(), url)?;
        let config = OwnConfig::from_url(url, &environment)?;
        let opening = tokio::time::timeout(deadline, config.open(&environment)).await;
        let opened = opening.map_err(|_| {
            Error::new(
                ErrorKind::Timeout,
                format!("the store could not be opened within {deadline:?}"),
            )
        })?;
        opened?.verify().await
    };
    let subject = url.to_string();
    match verified.await {
        Err(error) => Check::failed("content", subject, &error).since(begin),
        Ok(report) => {
            let check = match report.problems.as_slice() {
                [] => Check::ok("content", subject, "every row is genuine and every value opens"),
                [problem, others @ ..] => {
                    let mut check = Check::failed("content", subject, problem);
                    for (index, other) in others.iter().enumerate() {
                        check = check.detail(format!("problem {}", index + 2), other.to_string());
                    }
                    check
                }
            };
            check
                .since(begin)
                .detail("secrets", report.secrets.to_string())
                .detail("deleted", report.deleted.to_string())
                .detail("versions", report.versions.to_string())
        }
    }
}

/// Who may read and write what an own store is made of. What makes it unusable is told by the store itself.
fn files(environment: &Environment, url: &StoreUrl) -> Vec<Check> {
    let Ok(config) = OwnConfig::from_url(url, environment) else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    if let OwnConfig::File(config) = &config {
        checks.push(file(environment, &config.path, "the store"));
    }
    if let KeyConfig::Named(source) = config.key() {
        checks.push(Check::ok("key", source.to_string(), "a service keeps the key"));
    }
    if let KeyConfig::File(key) = config.key() {
        checks.push(file(environment, key, "the key"));
        if let Ok(real) = environment.real_path(key)
            && let Some(directory) = real.parent()
            && let Ok(status) = environment.status(directory)
            && status.mode & 0o022 != 0
            && status.mode & 0o1000 == 0
        {
            let subject = directory.display().to_string();
            let hint = format!("`chmod go-w {subject}`");
            checks.push(Check::warning("file", subject, "others may exchange the key in this directory").hint(hint));
        }
    }
    checks.into_iter().collect()
}

fn file(environment: &Environment, path: &Path, what: &str) -> Check {
    let subject = path.display().to_string();
    match environment.status(path) {
        Err(error) => Check::warning("file", subject, format!("{what}: {}", error.kind())),
        Ok(status) => {
            let check = match status.kind {
                FileKind::File if status.mode & 0o077 != 0 => {
                    let hint = format!("`chmod 600 {subject}`");
                    Check::warning("file", subject, format!("{what}: other users may access it")).hint(hint)
                }
                FileKind::File => Check::ok("file", subject, format!("{what}: only its owner may access it")),
                FileKind::Link(_) => Check::ok("file", subject, format!("{what}: a symbolic link")),
                _ => Check::warning("file", subject, format!("{what}: not a file")),
            };
            check
                .detail("mode", format!("{:04o}", status.mode))
                .detail("owner", status.owner.to_string())
        }
    }
}
