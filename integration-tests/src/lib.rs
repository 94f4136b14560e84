//! What the end-to-end tests and the fuzz targets of keyfob share.

pub mod fuzzing;
pub mod sandbox;
