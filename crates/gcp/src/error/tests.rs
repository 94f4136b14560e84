use std::time::Duration;

use reqwest::header::RETRY_AFTER;

use super::answer::MOST_WAIT;
use super::*;

fn of(status: u16, body: &str) -> Error {
    refused(status, &HeaderMap::new(), body.as_bytes(), Permission::GetSecret).into_error()
}

#[test]
fn the_facts_are_told_and_the_message_is_not() {
    let error = of(
        403,
        r#"{"error": {"code": 403, "message": "kfcanary-message01", "status": "PERMISSION_DENIED", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
             "metadata": {"consumer": "kfcanary-metadata1"}},
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "abc-123"},
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []}]}}"#,
    );
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let facts: Vec<_> = error.context().collect();
    for fact in [
        ("status", "403"),
        ("code", "PERMISSION_DENIED"),
        ("reason", "SERVICE_DISABLED"),
        ("request_id", "abc-123"),
    ] {
        assert!(facts.contains(&fact), "{fact:?} in {error:?}");
    }
    assert!(error.hint().unwrap().contains("gcloud services enable"));
    assert!(!format!("{error:?}").contains("kfcanary"));
}

#[test]
fn the_time_to_wait_is_told() {
    let body = |delay: &str| {
        format!(
            r#"{{"error": {{"status": "RESOURCE_EXHAUSTED", "details": [
                {{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "{delay}"}}]}}}}"#
        )
    };
    let wait = |delay: &str| of(429, &body(delay)).retry_after();
    assert_eq!(wait("7s"), Some(Duration::from_secs(7)));
    assert_eq!(wait("0.250s"), Some(Duration::from_millis(250)));
    assert_eq!(wait("99999999999s"), Some(MOST_WAIT));
    for nonsense in ["7", "-3s", "NaNs", "s", "kfcanary-notadelay"] {
        assert_eq!(wait(nonsense), None, "{nonsense}");
    }
    let headers = HeaderMap::from_iter([(RETRY_AFTER, "11".parse().unwrap())]);
    let error = refused(429, &headers, b"", Permission::GetSecret).into_error();
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::RateLimited, Some(Duration::from_secs(11)))
    );
}

#[test]
fn what_google_did_not_say_is_not_taken_for_its_word() {
    // A missing page is not a missing secret.
    assert_eq!(of(404, "<html>kfcanary-apage0001</html>").kind(), ErrorKind::Other);
    assert_eq!(of(404, r#"{"error": "kfcanary-notstatus"}"#).kind(), ErrorKind::Other);
    let odd = of(400, r#"{"error": {"status": "kfcanary-oddstatus"}}"#);
    assert_eq!(odd.kind(), ErrorKind::Other);
    assert!(!format!("{odd:?}").contains("kfcanary"));
    assert_eq!(of(404, r#"{"error": {"status": "NOT_FOUND"}}"#).kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_without_an_answer_says_what_to_do() {
    assert!(too_late(true).into_error().hint().is_some());
    assert!(too_late(false).into_error().hint().is_none());
}

#[test]
fn who_lacks_a_permission_is_told_which() {
    let body = |reason: &str| {
        format!(
            r#"{{"error": {{"status": "PERMISSION_DENIED", "details": [
                {{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "{reason}"}}]}}}}"#
        )
    };
    let hint = |body: &str, permission| {
        let error = refused(403, &HeaderMap::new(), body.as_bytes(), permission).into_error();
        error.hint().unwrap().to_owned()
    };
    for permission in [Permission::AccessVersion, Permission::AddVersion, Permission::DeleteSecret] {
        for body in [
            body("IAM_PERMISSION_DENIED"),
            r#"{"error": {"status": "PERMISSION_DENIED"}}"#.to_owned(),
        ] {
            let hint = hint(&body, permission);
            assert!(hint.contains(&format!("`{}`", permission.name())), "{hint}");
        }
        // It is not the permission that lacks.
        assert!(!hint(&body("BILLING_DISABLED"), permission).contains("secretmanager."));
    }
}

#[test]
fn a_failure_while_a_write_ran_leaves_open_whether_it_was_done() {
    for (status, code) in [
        (500, "INTERNAL"),
        (500, "UNKNOWN"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (502, ""),
    ] {
        let body = match code {
            "" => "<html>".to_owned(),
            code => format!(r#"{{"error": {{"status": "{code}"}}}}"#),
        };
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "3".parse().unwrap())]);
        let of = |permission| refused(status, &headers, body.as_bytes(), permission).into_error();
        let (write, read) = (of(Permission::AddVersion), of(Permission::AccessVersion));
        assert_eq!(write.kind(), ErrorKind::Timeout, "{write:?}");
        assert!(write.message().ends_with("the write may have happened"), "{write:?}");
        assert!(write.hint().unwrap().contains("read the secret"), "{write:?}");
        assert_eq!(write.retry_after(), Some(Duration::from_secs(3)));
        assert!(
            write.context().any(|fact| fact == ("status", &status.to_string())),
            "{write:?}"
        );
        let expected = if status == 504 {
            ErrorKind::Timeout
        } else {
            ErrorKind::Unavailable
        };
        assert_eq!(read.kind(), expected, "{read:?}");
        assert!(!read.message().contains("written"), "{read:?}");
    }
}
