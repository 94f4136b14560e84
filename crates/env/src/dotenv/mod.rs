#![doc = include_str!("../../DIALECT.md")]

mod document;
mod parse;
mod position;
mod quote;

pub use document::{Document, Entry};
pub use parse::{Quoting, SyntaxError};
pub use position::Position;
pub use quote::quote;
