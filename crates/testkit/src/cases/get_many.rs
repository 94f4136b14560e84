//! `get_many`: reads many secrets, one answer per request.

use keyfob_core::{ErrorKind, GetOptions, GetRequest, Result, Secret, SecretName, VersionSelector};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{done, ensure, refused, same_value, version_of};

cases! { "get_many":
    empty_batch_is_an_empty_answer [],
    all_missing_are_not_found [],
    seeded_secrets_are_read [Seeds],
    keeps_the_order_asked_for [Put],
    answers_twice_what_is_asked_twice [Put],
    one_failure_does_not_touch_the_others [Put],
    takes_more_than_a_service_does_at_once [Put],
    answers_versions_as_get_does [Put, Versions],
}

/// An empty batch is an empty answer.
pub async fn empty_batch_is_an_empty_answer(context: &Context) -> CaseResult {
    let answers = context.store().get_many(&[]).await;
    ensure!(answers.is_empty(), "{} answers to no request", answers.len());
    Ok(())
}

/// A batch of missing names is as many `NotFound`.
pub async fn all_missing_are_not_found(context: &Context) -> CaseResult {
    let requests = requests(&[context.name("a")?, context.name("b")?, context.name("c")?]);
    for answer in answers(context, &requests).await? {
        refused(answer, ErrorKind::NotFound, "get_many of a missing name")?;
    }
    Ok(())
}

/// What somebody else put there can be read, in the order asked for.
pub async fn seeded_secrets_are_read(context: &Context) -> CaseResult {
    let names: Vec<SecretName> = context.seeds().iter().rev().map(|(name, _)| name.clone()).collect();
    let answers = answers(context, &requests(&names)).await?;
    for ((name, value), answer) in context.seeds().iter().rev().zip(answers) {
        let what = format!("get_many of the seeded `{name}`");
        same_value(&done(answer, &what)?.value, value, &what)?;
    }
    Ok(())
}

/// One answer per request, in the order of the requests, whatever the order of names.
pub async fn keeps_the_order_asked_for(context: &Context) -> CaseResult {
    let labels = ["m", "c", "z", "a", "k", "b"];
    let mut names = Vec::new();
    for label in labels {
        let name = context.name(label)?;
        context.put(&name, label).await?;
        names.push(name);
    }
    for (answer, (label, name)) in answers(context, &requests(&names))
        .await?
        .into_iter()
        .zip(labels.iter().zip(&names))
    {
        is(context, answer, name, label)?;
    }
    Ok(())
}

/// A request that stands there twice is answered twice.
pub async fn answers_twice_what_is_asked_twice(context: &Context) -> CaseResult {
    let (a, b) = (context.name("a")?, context.name("b")?);
    let missing = context.name("missing")?;
    context.put(&a, "a").await?;
    context.put(&b, "b").await?;
    let asked = [
        a.clone(),
        b.clone(),
        a.clone(),
        missing.clone(),
        a.clone(),
        missing.clone(),
        b.clone(),
    ];
    for (answer, name) in answers(context, &requests(&asked)).await?.into_iter().zip(&asked) {
        if *name == missing {
            refused(answer, ErrorKind::NotFound, "get_many of a missing name")?;
        } else {
            is(context, answer, name, if *name == a { "a" } else { "b" })?;
        }
    }
    Ok(())
}

/// One request's failure does not touch the others: a missing name, a name that the store can't have, an impossible
/// version.
pub async fn one_failure_does_not_touch_the_others(context: &Context) -> CaseResult {
    let there = context.name("there")?;
    context.put(&there, "there").await?;
    let mut asked = vec![
        (GetRequest::new(context.name("missing")?), ErrorKind::NotFound),
        (
            GetRequest {
                name: there.clone(),
                options: GetOptions::version(VersionSelector::Previous),
            },
            if context.capabilities().versions {
                ErrorKind::NotFound
            } else {
                ErrorKind::Unsupported
            },
        ),
    ];
    let unusual = context.name("a b!c@d")?;
    if context.capabilities().check_name(&unusual).is_err() {
        asked.push((GetRequest::new(unusual), ErrorKind::Unsupported));
    }
    let mut batch = Vec::new();
    for (request, _) in &asked {
        batch.extend([
            GetRequest::new(there.clone()),
            request.clone(),
            GetRequest::new(there.clone()),
        ]);
    }
    let mut answers = answers(context, &batch).await?.into_iter();
    for (request, kind) in asked {
        is(context, next(&mut answers)?, &there, "there")?;
        refused(next(&mut answers)?, kind, &format!("get_many of `{}`", request.name))?;
        is(context, next(&mut answers)?, &there, "there")?;
    }
    Ok(())
}

/// A batch may be larger than what a service takes at once (AWS takes 20): 50 names, every tenth of them missing.
pub async fn takes_more_than_a_service_does_at_once(context: &Context) -> CaseResult {
    let mut names = Vec::new();
    for index in 0..50 {
        let name = context.name(&format!("many-{index}"))?;
        if index % 10 != 3 {
            context.put(&name, &index.to_string()).await?;
        }
        names.push(name);
    }
    names.reverse();
    let answers = answers(context, &requests(&names)).await?;
    for ((index, name), answer) in (0..50).rev().zip(&names).zip(answers) {
        if index % 10 == 3 {
            refused(answer, ErrorKind::NotFound, "get_many of a missing name among 50")?;
        } else {
            is(context, answer, name, &index.to_string())?;
        }
    }
    Ok(())
}

/// Each answer is as `get` would give it: versions of one secret side by side.
pub async fn answers_versions_as_get_does(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let first = version_of(&context.put(&name, "one").await?, "put")?;
    context.put(&name, "two").await?;
    context.put(&name, "three").await?;
    let asked = [
        (VersionSelector::Previous, "two"),
        (VersionSelector::Current, "three"),
        (VersionSelector::Exact(first), "one"),
        (VersionSelector::Previous, "two"),
    ];
    let requests: Vec<GetRequest> = asked
        .iter()
        .map(|(version, _)| GetRequest {
            name: name.clone(),
            options: GetOptions::version(version.clone()),
        })
        .collect();
    for (answer, (version, label)) in answers(context, &requests).await?.into_iter().zip(asked) {
        let what = format!("get_many of version `{version}`");
        same_value(&done(answer, &what)?.value, &context.value(label), &what)?;
    }
    Ok(())
}

fn requests(names: &[SecretName]) -> Vec<GetRequest> {
    names.iter().cloned().map(GetRequest::new).collect()
}

/// As many answers as requests.
async fn answers(context: &Context, requests: &[GetRequest]) -> CaseResult<Vec<Result<Secret>>> {
    let answers = context.store().get_many(requests).await;
    ensure!(
        answers.len() == requests.len(),
        "{} answers to {} requests",
        answers.len(),
        requests.len()
    );
    Ok(answers)
}

fn next(answers: &mut impl Iterator<Item = Result<Secret>>) -> CaseResult<Result<Secret>> {
    answers
        .next()
        .ok_or_else(|| crate::Stop::Failed("an answer is missing".to_owned()))
}

/// The answer is this secret with the value of this label.
fn is(context: &Context, answer: Result<Secret>, name: &SecretName, label: &str) -> CaseResult {
    let what = format!("get_many of `{name}`");
    let secret = done(answer, &what)?;
    ensure!(
        secret.metadata.name == *name,
        "{what}: the answer is called `{}`",
        secret.metadata.name
    );
    same_value(&secret.value, &context.value(label), &what)
}
