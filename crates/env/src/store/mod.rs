//! A `.env` file as a store.

mod dotenv_store;
mod file;
mod index;
mod mark;
pub(crate) mod paging;

pub use dotenv_store::DotenvStore;
