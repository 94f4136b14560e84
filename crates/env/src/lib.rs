//! Process environment and .env files as secret stores.
