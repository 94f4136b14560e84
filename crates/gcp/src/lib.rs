//! Google Cloud Secret Manager as a secret store.
