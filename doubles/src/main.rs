//! Servers for tests.

fn main() {}
