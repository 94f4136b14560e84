#![doc = include_str!("../README.md")]

mod backend;
mod config;
pub mod dotenv;
mod error;
mod names;
mod process;
mod store;

pub use backend::{BACKEND_DOTENV, BACKEND_ENV};
pub use config::DotenvConfig;
pub use names::{is_variable_name, variable_for};
pub use process::ProcessEnv;
pub use store::DotenvStore;
