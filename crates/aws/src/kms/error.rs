//! What KMS refuses, as a key source says it.
//!
//! AWS: "Errors" of Encrypt, Decrypt and DescribeKey, <https://docs.aws.amazon.com/kms/latest/APIReference/>.

use std::error::Error as StdError;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use keyfob_core::{Error, ErrorKind};

/// What the request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Something new.
    OfRequest,
    /// A ciphertext that may be of another key.
    OfCiphertext,
}

/// Maps what the SDK says of a request, about the key `shown`.
pub(super) fn failed<E>(error: SdkError<E, HttpResponse>, shown: &str, meaning: Meaning) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let failed = crate::error::failed(error);
    let code = failed.code().to_owned();
    let below = failed.into_error();
    let Some((kind, message, hint)) = words(&code, below.kind(), meaning) else {
        return below.with("key_source", shown);
    };
    let error = Error::new(kind, message).with("key_source", shown).with_hint(hint);
    // The status, the code and the request id.
    let facts = below.context().filter(|(name, _)| *name != "store");
    facts.fold(error, |error, (name, value)| error.with(name, value))
}

fn words(code: &str, kind: ErrorKind, meaning: Meaning) -> Option<(ErrorKind, &'static str, &'static str)> {
    Some(match code {
        // KMS says the same of a changed ciphertext, another context, and a key that was made anew.
        "InvalidCiphertextException" | "IncorrectKeyException" if meaning == Meaning::OfCiphertext => (
            ErrorKind::Unauthenticated,
            "the KMS key does not open the key slot",
            "use the key that the store was made with or that it was last changed to; if it is this one, the slot was changed",
        ),
        "NotFoundException" => (
            ErrorKind::InvalidConfig,
            "there is no such KMS key",
            "check the key, the account and the region: a key of another one is named by its ARN",
        ),
        "InvalidArnException" | "InvalidKeyUsageException" => (
            ErrorKind::InvalidConfig,
            "this KMS key can't protect a store",
            "a symmetric key for encryption is needed: `SYMMETRIC_DEFAULT`, `ENCRYPT_DECRYPT`",
        ),
        // Until somebody does something: but nothing is wrong with the store or with who asks.
        "DisabledException" => (
            ErrorKind::Unavailable,
            "the KMS key is disabled",
            "enable it: `aws kms enable-key --key-id KEY`",
        ),
        "KMSInvalidStateException" => (
            ErrorKind::Unavailable,
            "the KMS key is in a state in which it can't be used",
            "if it is scheduled for deletion: `aws kms cancel-key-deletion` and `enable-key`, or nothing opens the store any more",
        ),
        "KeyUnavailableException" | "DependencyTimeoutException" | "KMSInternalException" => {
            (ErrorKind::Unavailable, "KMS can't use the key now", "try again later")
        }
        _ => match kind {
            ErrorKind::Unauthenticated => (
                ErrorKind::PermissionDenied,
                "AWS does not accept the credentials for the KMS key",
                "check them with `aws sts get-caller-identity`",
            ),
            ErrorKind::PermissionDenied => (
                ErrorKind::PermissionDenied,
                "the credentials may not use the KMS key",
                "`kms:Decrypt` is needed to open a store, `kms:Encrypt` too to make it and to change its key, `kms:DescribeKey` unless the key is named by its ARN",
            ),
            ErrorKind::NotFound => (
                ErrorKind::InvalidConfig,
                "there is no such KMS key",
                "check the key, the account and the region",
            ),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_does_not_fit_is_unauthenticated() {
        let kind = |code, below, meaning| words(code, below, meaning).map(|(kind, ..)| kind);
        let expected = Some(ErrorKind::Unauthenticated);
        for code in ["InvalidCiphertextException", "IncorrectKeyException"] {
            assert_eq!(kind(code, ErrorKind::Other, Meaning::OfCiphertext), expected, "{code}");
            assert_eq!(kind(code, ErrorKind::Other, Meaning::OfRequest), None, "{code}");
        }
        for (code, below, expected) in [
            (
                "ExpiredTokenException",
                ErrorKind::Unauthenticated,
                Some(ErrorKind::PermissionDenied),
            ),
            (
                "UnrecognizedClientException",
                ErrorKind::Unauthenticated,
                Some(ErrorKind::PermissionDenied),
            ),
            (
                "AccessDeniedException",
                ErrorKind::PermissionDenied,
                Some(ErrorKind::PermissionDenied),
            ),
            ("NotFoundException", ErrorKind::Other, Some(ErrorKind::InvalidConfig)),
            ("DisabledException", ErrorKind::Other, Some(ErrorKind::Unavailable)),
            ("KMSInvalidStateException", ErrorKind::Other, Some(ErrorKind::Unavailable)),
            ("ThrottlingException", ErrorKind::RateLimited, None),
            ("", ErrorKind::Timeout, None),
        ] {
            assert_eq!(kind(code, below, Meaning::OfCiphertext), expected, "{code}");
        }
    }
}
