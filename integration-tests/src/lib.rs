//! What the end-to-end tests and the fuzz targets of keyfob share.

#[cfg(feature = "servers")]
pub mod fault_proxy;
pub mod fuzzing;
#[cfg(feature = "servers")]
pub mod sandbox;
#[cfg(feature = "servers")]
pub mod servers;

/// The Rust code of the documentation is compiled and run as documentation tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/src/library.md")]
    struct Library;
}
