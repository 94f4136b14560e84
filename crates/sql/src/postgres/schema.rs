//! The tables, and how they come into being.

use tokio_postgres::types::ToSql;

/// The newest layout of the tables. Each step of [`MIGRATIONS`] leads to the next.
pub(super) const VERSION: i32 = 1;

/// `SCHEMA` stands for the quoted name of the schema. All steps that a store lacks run in one transaction, that of `create` or
/// that of `upgrade`, which nobody writes beside. A step that was released is never edited: what has to change is another step.
///
/// `COLLATE "C"`: the order of names is that of their bytes, whatever the database's locale.
pub(super) const MIGRATIONS: &[&str] = &[r#"
    CREATE TABLE SCHEMA.store (
        id smallint PRIMARY KEY CHECK (id = 1),
        schema_version integer NOT NULL,
        format bigint NOT NULL,
        store_id bytea NOT NULL,
        kek bytea NOT NULL,
        generation bigint NOT NULL,
        mac bytea NOT NULL
    );
    CREATE TABLE SCHEMA.key_slot (
        kek bytea NOT NULL,
        source text COLLATE "C" NOT NULL,
        wrapped bytea NOT NULL,
        PRIMARY KEY (kek, source)
    );
    CREATE TABLE SCHEMA.bucket (
        id smallint PRIMARY KEY,
        generation bigint NOT NULL,
        digest bytea NOT NULL,
        kek bytea NOT NULL,
        mac bytea NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE SCHEMA.secret (
        bucket smallint NOT NULL,
        name text COLLATE "C" NOT NULL,
        last bigint NOT NULL,
        deleted_at bigint,
        purge_at bigint,
        digest bytea NOT NULL,
        history bytea NOT NULL,
        PRIMARY KEY (bucket, name)
    );
    CREATE TABLE SCHEMA.version (
        bucket smallint NOT NULL,
        name text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        created bigint NOT NULL,
        updated bigint NOT NULL,
        expires_at bigint,
        description text,
        tags text NOT NULL,
        ciphertext_digest bytea NOT NULL,
        wrapped_key bytea NOT NULL,
        ciphertext bytea NOT NULL,
        PRIMARY KEY (bucket, name, number)
    );
"#];

/// The steps of `all` that a store of layout `version` lacks.
pub(super) fn missing<'a>(all: &'a [&'a str], version: i32) -> &'a [&'a str] {
    let done = usize::try_from(version).unwrap_or(0);
    all.get(done..).unwrap_or_default()
}

/// The layout that all of these steps lead to.
pub(super) fn layout_after(steps: &[&str]) -> i32 {
    i32::try_from(steps.len()).unwrap_or(i32::MAX)
}

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_has_the_step_that_leads_to_it() {
        assert_eq!(layout_after(MIGRATIONS), VERSION);
        assert_eq!(missing(MIGRATIONS, 0).len(), MIGRATIONS.len());
        assert!(missing(MIGRATIONS, VERSION).is_empty() && missing(MIGRATIONS, VERSION + 1).is_empty());
    }
}
