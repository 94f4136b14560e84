//! Expiry: kept, carried over, and enforced on every read. Times are whole seconds, as some stores keep them.

use std::time::{Duration, SystemTime};

use keyfob_core::{Change, ErrorKind, Expired, GetOptions, GetRequest, Metadata, PutRequest, SecretName, VersionSelector};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, refused, same_value};

cases! { "expiry":
    future_expiry_is_kept [Expiry],
    is_carried_over [Expiry],
    is_cleared [Expiry],
    passed_expiry_is_refused [Expiry],
    passed_expiry_is_refused_in_a_batch [Expiry],
    passed_expiry_is_handed_out_when_asked [Expiry],
    expired_secret_can_be_renewed [Expiry],
    belongs_to_the_version [Expiry, Versions],
}

/// A secret with an expiry to come is read, and says when.
pub async fn future_expiry_is_kept(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let written = put(context, &name, "a", Change::Set(to_come())).await?;
    ensure!(
        written.expires_at == Some(to_come()),
        "`put` returned the expiry {:?}",
        written.expires_at
    );
    let read = current_is(context, &name, &context.value("a"), "get before the expiry").await?;
    ensure!(
        read.metadata.expires_at == Some(to_come()),
        "the expiry {:?} came back as {:?}",
        to_come(),
        read.metadata.expires_at
    );
    Ok(())
}

/// `Keep` carries an expiry over to a new version.
pub async fn is_carried_over(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "one", Change::Set(to_come())).await?;
    put(context, &name, "two", Change::Keep).await?;
    let read = current_is(context, &name, &context.value("two"), "get").await?;
    ensure!(
        read.metadata.expires_at == Some(to_come()),
        "a new version has the expiry {:?}",
        read.metadata.expires_at
    );
    Ok(())
}

/// `Clear` takes an expiry away.
pub async fn is_cleared(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "one", Change::Set(to_come())).await?;
    put(context, &name, "two", Change::Clear).await?;
    let read = current_is(context, &name, &context.value("two"), "get").await?;
    ensure!(
        read.metadata.expires_at.is_none(),
        "the expiry {:?} was cleared",
        read.metadata.expires_at
    );
    Ok(())
}

/// The expiry has passed: `Expired`.
pub async fn passed_expiry_is_refused(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "a", Change::Set(passed())).await?;
    refused(
        context.store().get(&name, &GetOptions::default()).await,
        ErrorKind::Expired,
        "get of an expired secret",
    )?;
    Ok(())
}

/// The same in a batch, and the others are answered.
pub async fn passed_expiry_is_refused_in_a_batch(context: &Context) -> CaseResult {
    let (expired, good) = (context.name("expired")?, context.name("good")?);
    put(context, &expired, "expired", Change::Set(passed())).await?;
    put(context, &good, "good", Change::Set(to_come())).await?;
    let mut answers = context
        .store()
        .get_many(&[GetRequest::new(expired), GetRequest::new(good)])
        .await
        .into_iter();
    let (Some(first), Some(second), None) = (answers.next(), answers.next(), answers.next()) else {
        return Err(crate::Stop::Failed("get_many of two: not two answers".to_owned()));
    };
    refused(first, ErrorKind::Expired, "get_many of an expired secret")?;
    let second = done(second, "get_many beside an expired secret")?;
    same_value(&second.value, &context.value("good"), "get_many beside an expired secret")
}

/// `Expired::Allow` hands it out, and the metadata says that it is expired.
pub async fn passed_expiry_is_handed_out_when_asked(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "a", Change::Set(passed())).await?;
    let options = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    let secret = done(context.store().get(&name, &options).await, "get with `Expired::Allow`")?;
    same_value(&secret.value, &context.value("a"), "get with `Expired::Allow`")?;
    ensure!(
        secret.metadata.is_expired(SystemTime::now()),
        "the metadata doesn't say that it is expired"
    );
    Ok(())
}

/// An expired secret can be written to: with a new value and a new expiry it is read again.
pub async fn expired_secret_can_be_renewed(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "old", Change::Set(passed())).await?;
    put(context, &name, "new", Change::Set(to_come())).await?;
    current_is(context, &name, &context.value("new"), "get after renewal").await?;
    Ok(())
}

/// What counts is the expiry of the version that was asked for.
pub async fn belongs_to_the_version(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, "old", Change::Set(passed())).await?;
    put(context, &name, "new", Change::Clear).await?;
    current_is(context, &name, &context.value("new"), "get of a version without expiry").await?;
    refused(
        context
            .store()
            .get(&name, &GetOptions::version(VersionSelector::Previous))
            .await,
        ErrorKind::Expired,
        "get of `@previous`, which is expired",
    )?;
    Ok(())
}

async fn put(context: &Context, name: &SecretName, label: &str, expires_at: Change<SystemTime>) -> CaseResult<Metadata> {
    let request = PutRequest {
        expires_at,
        ..PutRequest::new(context.value(label))
    };
    done(context.store().put(name, request).await, "put with an expiry")
}

/// 2100-01-01, so that it is the same moment in the whole case.
fn to_come() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)
}

/// 2020-01-01.
fn passed() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800)
}
