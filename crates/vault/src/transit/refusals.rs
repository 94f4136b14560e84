//! What the transit engine's refusals mean.

use keyfob_core::ErrorKind;

use crate::error::Refusal;

/// The engine says everything with status 400, a missing key too. The more special text stands first.
pub(super) const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 400,
        // Of encryption, decryption, signing and verification: each says which key.
        text: "key not found",
        ..MISSING
    },
    Refusal {
        status: 400,
        text: "no existing key named",
        ..MISSING
    },
    Refusal {
        status: 400,
        text: "message authentication failed",
        ..CHANGED
    },
    Refusal {
        status: 400,
        text: "invalid ciphertext",
        ..CHANGED
    },
    Refusal {
        status: 400,
        text: "missing ciphertext",
        ..CHANGED
    },
    Refusal {
        status: 400,
        // `... is invalid`, `... contains extra data`
        text: "supplied signature",
        kind: ErrorKind::Corrupt,
        message: "the signature has not the form of one",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "disallowed by policy",
        kind: ErrorKind::PermissionDenied,
        message: "the transit key does not allow the version with which this was made any more",
        hint: "lower `min_decryption_version` of the key for as long as it takes to rewrap with the newest version",
    },
    Refusal {
        status: 400,
        text: "for non-AEAD cipher suite",
        kind: ErrorKind::Unsupported,
        message: "a transit key of this type can't bind associated data",
        hint: "use a key of the type `aes256-gcm96` or `chacha20-poly1305`",
    },
    Refusal {
        status: 400,
        text: "does not support",
        ..UNFIT
    },
    Refusal {
        status: 400,
        text: "not supported for key type",
        ..UNFIT
    },
];

const MISSING: Refusal = Refusal {
    status: 400,
    text: "",
    kind: ErrorKind::NotFound,
    message: "there is no such transit key",
    hint: "`vault write -f transit/keys/NAME` makes one",
};

const CHANGED: Refusal = Refusal {
    status: 400,
    text: "",
    kind: ErrorKind::Corrupt,
    message: "the ciphertext was changed, or is of another key or for other associated data",
    hint: "",
};

const UNFIT: Refusal = Refusal {
    status: 400,
    text: "",
    kind: ErrorKind::Unsupported,
    message: "a transit key of this type can't do that",
    hint: "",
};
