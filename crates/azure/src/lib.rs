//! Azure Key Vault as a secret store.
