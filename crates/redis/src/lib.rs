#![doc = include_str!("../README.md")]

mod cache;
mod config;
mod entry;
mod link;
mod problem;
mod scripts;

pub use cache::{RedisCache, RedisCounts};
pub use config::RedisConfig;
