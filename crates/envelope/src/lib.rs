//! Authenticated envelope encryption and key sources for keyfob.
