//! What the end-to-end tests and the fuzz targets of keyfob share.

pub mod fault_proxy;
pub mod fuzzing;
pub mod sandbox;
pub mod servers;

/// The Rust code of the documentation is compiled and run as documentation tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/src/library.md")]
    struct Library;
}
