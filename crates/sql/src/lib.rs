//! keyfob's own encrypted secret store in a SQL database.
