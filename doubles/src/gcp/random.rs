//! What nobody can guess.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 128 bits, as text that fits everywhere.
pub(super) fn token() -> String {
    let mut bytes = [0; 16];
    // The system's source fails only when there is none, and then nothing of this process is to be trusted.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}
