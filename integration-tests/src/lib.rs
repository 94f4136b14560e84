//! End-to-end tests of keyfob.
