//! Kubernetes Secrets as a secret store.
