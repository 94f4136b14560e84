//! Measurements of keyfob.
