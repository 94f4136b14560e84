//! One API for every secret store: detection, SecretManager, references in configuration.
