//! Every statement, with the schema's name in it. Each is prepared once on each connection.

pub(super) struct Statements {
    pub(super) head: String,
    pub(super) slots: String,
    pub(super) buckets: String,
    pub(super) lock_buckets: String,
    pub(super) all_buckets: String,
    pub(super) secrets: String,
    pub(super) all_secrets: String,
    pub(super) facts: String,
    pub(super) all_facts_of: String,
    pub(super) versions: String,
    pub(super) all_versions: String,
    pub(super) due: String,
    pub(super) wrapped_keys: String,
    pub(super) count_by_bucket: String,
    pub(super) set_bucket: String,
    pub(super) set_secret: String,
    pub(super) remove_secret: String,
    pub(super) remove_versions: String,
    pub(super) add_version: String,
    pub(super) remove_version: String,
    pub(super) insert_head: String,
    pub(super) insert_buckets: String,
    pub(super) set_head: String,
    pub(super) clear_slots: String,
    pub(super) insert_slots: String,
    pub(super) rewrap: String,
    pub(super) reseal: String,
    pub(super) health: String,
}

/// Taken by whoever writes rows, shared; by whoever changes the keys or the tables, alone. Unlike a lock of the head's row
/// it writes nothing, and a writer needs no right to change the head.
pub(super) const LOCK_SHARED: &str = "SELECT pg_advisory_xact_lock_shared($1)";
pub(super) const LOCK_ALONE: &str = "SELECT pg_advisory_xact_lock($1)";

impl Statements {
    pub(super) fn new(schema: &str) -> Self {
        let s = format!("\"{schema}\"");
        let bucket = format!("SELECT id, generation, digest, kek, mac FROM {s}.bucket");
        let secret = format!("SELECT bucket, name, last, deleted_at, purge_at, digest, history FROM {s}.secret");
        let facts = "v.bucket, v.name, v.number, v.created, v.updated, v.expires_at, v.description, v.tags, v.ciphertext_digest";
        // The newest version of a secret but `skip`, or the one with the number.
        let places = format!(
            "FROM unnest($1::int2[], $2::text[], $3::int8[], $4::int8[]) AS wanted (bucket, name, number, skip) \
             CROSS JOIN LATERAL (SELECT * FROM {s}.version AS each \
             WHERE each.bucket = wanted.bucket AND each.name = wanted.name AND (wanted.number = 0 OR each.number = wanted.number) \
             ORDER BY each.number DESC OFFSET wanted.skip LIMIT 1) AS v"
        );
        Self {
            // And the server's clock, and whether a policy may hide values from this role.
            head: format!(
                "SELECT schema_version, format, store_id, kek, generation, mac, \
                 (extract(epoch FROM clock_timestamp()) * 1000000)::int8, row_security_active('{s}.version') \
                 FROM {s}.store WHERE id = 1"
            ),
            slots: format!("SELECT kek, source, wrapped FROM {s}.key_slot"),
            buckets: format!("{bucket} WHERE id = ANY($1::int2[])"),
            // In one order, so that two never wait for each other.
            lock_buckets: format!("{bucket} WHERE id = ANY($1::int2[]) ORDER BY id FOR UPDATE"),
            all_buckets: bucket,
            secrets: format!("{secret} WHERE bucket = ANY($1::int2[])"),
            all_secrets: secret,
            facts: format!("SELECT {facts} {places}"),
            all_facts_of: format!("SELECT {facts} FROM {s}.version AS v WHERE v.bucket = $1 AND v.name = $2"),
            versions: format!("SELECT {facts}, v.wrapped_key, v.ciphertext {places}"),
            all_versions: format!("SELECT {facts}, v.wrapped_key, v.ciphertext FROM {s}.version AS v"),
            due: format!(
                "SELECT DISTINCT bucket FROM {s}.secret WHERE purge_at <= $1 \
                 AND purge_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ORDER BY bucket"
            ),
            wrapped_keys: format!("SELECT bucket, name, number, wrapped_key FROM {s}.version WHERE bucket = ANY($1::int2[])"),
            count_by_bucket: format!("SELECT bucket, count(*) FROM {s}.version GROUP BY bucket"),
            set_bucket: format!(
                "UPDATE {s}.bucket SET generation = $2, digest = $3, mac = $4 WHERE id = $1 AND generation = $2::int8 - 1"
            ),
            set_secret: format!(
                "INSERT INTO {s}.secret (bucket, name, last, deleted_at, purge_at, digest, history) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (bucket, name) DO UPDATE SET last = EXCLUDED.last, \
                 deleted_at = EXCLUDED.deleted_at, purge_at = EXCLUDED.purge_at, digest = EXCLUDED.digest, \
                 history = EXCLUDED.history"
            ),
            remove_secret: format!("DELETE FROM {s}.secret WHERE bucket = $1 AND name = $2"),
            remove_versions: format!("DELETE FROM {s}.version WHERE bucket = $1 AND name = $2"),
            add_version: format!(
                "INSERT INTO {s}.version (bucket, name, number, created, updated, expires_at, description, tags, \
                 ciphertext_digest, wrapped_key, ciphertext) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
            ),
            remove_version: format!("DELETE FROM {s}.version WHERE bucket = $1 AND name = $2 AND number = $3"),
            insert_head: format!(
                "INSERT INTO {s}.store (id, schema_version, format, store_id, kek, generation, mac) VALUES (1, $1, $2, $3, $4, $5, $6)"
            ),
            insert_buckets: format!(
                "INSERT INTO {s}.bucket (id, generation, digest, kek, mac) \
                 SELECT made.id, 0, $3, $4, made.mac FROM unnest($1::int2[], $2::bytea[]) AS made (id, mac)"
            ),
            set_head: format!("UPDATE {s}.store SET kek = $1, generation = $2, mac = $3 WHERE id = 1"),
            clear_slots: format!("DELETE FROM {s}.key_slot"),
            insert_slots: format!(
                "INSERT INTO {s}.key_slot (kek, source, wrapped) SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[])"
            ),
            rewrap: format!(
                "UPDATE {s}.version AS v SET wrapped_key = new.wrapped_key \
                 FROM unnest($1::int2[], $2::text[], $3::int8[], $4::bytea[]) AS new (bucket, name, number, wrapped_key) \
                 WHERE v.bucket = new.bucket AND v.name = new.name AND v.number = new.number"
            ),
            reseal: format!(
                "UPDATE {s}.bucket AS b SET kek = $3, mac = new.mac FROM unnest($1::int2[], $2::bytea[]) AS new (id, mac) \
                 WHERE b.id = new.id"
            ),
            health: format!(
                "SELECT current_setting('server_version'), pg_is_in_recovery(), \
                 current_setting('fsync') = 'off' OR current_setting('synchronous_commit') = 'off', \
                 has_table_privilege('{s}.bucket', 'UPDATE'), (SELECT sum(generation)::int8 FROM {s}.bucket)"
            ),
        }
    }
}
