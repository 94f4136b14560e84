//! Every environment variable that keyfob reads. The reference page is made from this table.

use std::fmt::Write as _;

use crate::backends;

/// An environment variable that keyfob reads.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What reads it.
    pub scope: Scope,
    /// What it means, as a sentence in Markdown.
    pub meaning: &'static str,
    /// What holds when it is not set, in Markdown.
    pub default: &'static str,
    /// Whether its value is a secret, which keyfob then never shows.
    pub secret: bool,
}

impl Variable {
    /// Whether this build acts on it. Variables of a store that is not built in only count as evidence when keyfob
    /// finds out where it runs.
    #[must_use]
    pub fn is_effective(&self) -> bool {
        self.scope.provider().is_none_or(|provider| backends::find(provider).is_ok())
    }
}

/// What reads a [`Variable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// The choice of the store, and keyfob as a whole.
    Global,
    /// keyfob's own encrypted store.
    Sqlite,
    /// keyfob's own encrypted store in PostgreSQL.
    Postgres,
    /// AWS Secrets Manager.
    Aws,
    /// Google Cloud Secret Manager.
    Gcp,
    /// Azure Key Vault.
    Azure,
    /// HashiCorp Vault and OpenBao.
    Vault,
    /// Kubernetes Secrets.
    Kubernetes,
}

impl Scope {
    /// Every scope, in the order of the reference page.
    pub const ALL: [Self; 8] = [
        Self::Global,
        Self::Sqlite,
        Self::Postgres,
        Self::Aws,
        Self::Gcp,
        Self::Azure,
        Self::Vault,
        Self::Kubernetes,
    ];

    /// The provider that reads it, if it is only one.
    #[must_use]
    pub const fn provider(self) -> Option<&'static str> {
        match self {
            Self::Global => None,
            Self::Sqlite => Some("sqlite"),
            Self::Postgres => Some("postgres"),
            Self::Aws => Some("aws"),
            Self::Gcp => Some("gcp"),
            Self::Azure => Some("azure"),
            Self::Vault => Some("vault"),
            Self::Kubernetes => Some("k8s"),
        }
    }

    /// The heading on the reference page.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Global => "keyfob as a whole",
            Self::Sqlite => "The encrypted store",
            Self::Postgres => "The encrypted store in PostgreSQL",
            Self::Aws => "AWS Secrets Manager",
            Self::Gcp => "Google Cloud Secret Manager",
            Self::Azure => "Azure Key Vault",
            Self::Vault => "HashiCorp Vault and OpenBao",
            Self::Kubernetes => "Kubernetes Secrets",
        }
    }
}

/// The reference page of all variables, in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Environment variables\n\n\
         An empty variable counts as unset. A setting is taken from the command line, else from the environment, else \
         from `keyfob.toml`, else from what keyfob detects, else from the default.\n",
    );
    for scope in Scope::ALL {
        let rows: Vec<&Variable> = ALL.iter().filter(|variable| variable.scope == scope).collect();
        let effective = rows.iter().all(|variable| variable.is_effective());
        let _ = write!(page, "\n## {}\n\n", scope.title());
        if !effective {
            page.push_str(
                "This build has no such store yet: the variables count as evidence of where keyfob runs, as far as the \
                 table says so, and have no other effect.\n\n",
            );
        }
        page.push_str("| variable | meaning | default |\n|---|---|---|\n");
        for Variable {
            name,
            meaning,
            default,
            secret,
            ..
        } in rows
        {
            let secret = if *secret { " **Secret.**" } else { "" };
            let _ = writeln!(page, "| `{name}` | {meaning}{secret} | {default} |");
        }
    }
    page
}

macro_rules! variables {
    ($($name:ident: $scope:ident, $secret:literal, $meaning:literal, $default:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Variable = Variable {
                name: stringify!($name),
                scope: Scope::$scope,
                meaning: $meaning,
                default: $default,
                secret: $secret,
            };
        )*

        /// Every variable, by scope.
        pub const ALL: &[Variable] = &[$($name),*];
    };
}

// name: scope, whether it is a secret, meaning, default
variables! {
    SECRET_PROVIDER: Global, false, "Which store: a provider (`aws`, `gcp`, `azure`, `vault`, `k8s`, `env`, `dotenv`, `sqlite`, `postgres`), a store of `keyfob.toml`, or a store URL; several with commas between them are a failover list.", "`default` of `keyfob.toml`, else detection";
    ENABLE_SECRET_MANAGER: Global, false, "`false` means: use the process environment (`env`), whatever `SECRET_PROVIDER` says.", "`true`";
    SECRET_CACHE_TTL: Global, false, "How long a value may be served from the cache, in milliseconds; `0` turns the cache off.", "`ttl` under `[cache]` of `keyfob.toml`, else `300000` (5 minutes)";
    SECRET_CACHE_MAX_AGE: Global, false, "The hard maximum age of a cached value, in milliseconds: up to it the cache answers for a store that is unavailable, too slow or asks for fewer requests.", "`max_age` under `[cache]`, else `3600000` (1 hour)";
    SECRET_CACHE_STALE_WHILE_REVALIDATE: Global, false, "For how many milliseconds after `SECRET_CACHE_TTL` a read is answered from the cache at once while the store is asked behind it.", "`stale_while_revalidate` under `[cache]`, else `0`";
    SECRET_CACHE_NEGATIVE_TTL: Global, false, "For how many milliseconds the cache remembers that there is no such secret.", "`negative_ttl` under `[cache]`, else `1000`";
    SECRET_CACHE_JITTER: Global, false, "Which share of the time to live is shortened at random, 0 to 1.", "`jitter` under `[cache]`, else `0.1`";
    SECRET_CACHE_REFRESH_AHEAD: Global, false, "After which share of the time to live a value that is used is read again in the background, 0 to 1; `1` turns it off.", "`refresh_ahead` under `[cache]`, else `0.8`";
    SECRET_CACHE_MAX_ENTRIES: Global, false, "How many values the cache of a store keeps.", "`max_entries` under `[cache]`, else `10000`";
    SECRET_CACHE_MAX_BYTES: Global, false, "How many bytes the cache of a store keeps.", "`max_bytes` under `[cache]`, else `67108864` (64 MiB)";
    SECRET_CACHE_WARM: Global, false, "What an application reads into the cache when it starts: references with commas between them, such as `db/password,vault:db/password`. The command `keyfob` has no cache and warms nothing.", "`warm` under `[cache]`, else nothing";
    SECRET_CACHE_REDIS: Global, false, "A Redis that the caches of a fleet share as their second level: `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS. Without a password.", "`redis` under `[cache]`, else none";
    SECRET_CACHE_REDIS_KEY: Global, true, "The key that encrypts what is in Redis, the same on every machine: 32 random bytes as 64 hexadecimal digits or 44 characters of base64.", "what `SECRET_CACHE_REDIS_KEY_FILE` holds";
    SECRET_CACHE_REDIS_KEY_FILE: Global, false, "The path of the file that holds that key.", "`redis_key_file` under `[cache]`, else none";
    SECRET_CACHE_REDIS_PASSWORD: Global, true, "The password for Redis; a user's name is in the URL.", "none";
    SECRET_CACHE_REDIS_CA_FILE: Global, false, "The path of the authorities (PEM) that the certificate of Redis is checked against.", "`redis_ca_file` under `[cache]`, else those of the machine";
    SECRET_CACHE_REDIS_PREFIX: Global, false, "What all keys in Redis begin with.", "`redis_prefix` under `[cache]`, else `keyfob`";
    SECRET_CACHE_REDIS_TIMEOUT: Global, false, "How long a call waits for Redis at most, each time it asks, in milliseconds.", "`redis_timeout` under `[cache]`, else `100`";
    SECRET_RETRY_ATTEMPTS: Global, false, "How often a request is sent at most, the first time included.", "`attempts` under `[retry]`, else `4`";
    SECRET_RETRY_BASE: Global, false, "The longest pause before the second attempt, in milliseconds; it doubles with each further one.", "`base` under `[retry]`, else `100`";
    SECRET_RETRY_CAP: Global, false, "The longest pause before any attempt, in milliseconds, unless the store asks for more.", "`cap` under `[retry]`, else `5000`";
    SECRET_RETRY_DEADLINE: Global, false, "How long a call may take in all, in milliseconds, pauses included.", "`deadline` under `[retry]`, else `30000`";
    SECRET_RETRY_BUDGET: Global, false, "How many retries each call pays for, 0 to 1: `0.1` allows one to ten calls.", "`budget` under `[retry]`, else `0.1`";
    SECRET_RETRY_BUDGET_PER_SECOND: Global, false, "How many retries each second pays for beside, 0 to 1000, so that who calls seldom can retry too.", "`budget_per_second` under `[retry]`, else `1`";
    SECRET_RETRY_HEDGE: Global, false, "`true` sends a read that takes longer than 95 % of those before it a second time.", "`hedge` under `[retry]`, else `false`";
    SECRET_LIMIT_FIRST: Global, false, "How many calls a store gets at once at first; the limit adapts to what it can take.", "`first` under `[limit]`, else `16`";
    SECRET_LIMIT_LEAST: Global, false, "How far that limit falls at most.", "`least` under `[limit]`, else `1`";
    SECRET_LIMIT_MOST: Global, false, "How far that limit grows at most.", "`most` under `[limit]`, else `256`";
    SECRET_FAILOVER_READ_TIMEOUT: Global, false, "How long one store of a failover list has for a read before the next one is asked, in milliseconds; at most its share of `SECRET_RETRY_DEADLINE`.", "`read_timeout` under `[failover]`, else `5000`";
    SECRET_FAILOVER_WRITE_TIMEOUT: Global, false, "How long one store of a failover list has for a write, in milliseconds; then its outcome is unknown.", "`write_timeout` under `[failover]`, else `15000`";
    SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH: Global, false, "`true` asks the next store also when one says that there is no such secret.", "`not_found_falls_through` under `[failover]`, else `false`";
    SECRET_FAILOVER_BELIEVE_NOT_FOUND: Global, false, "`true` believes one store that there is no such secret although another could not be asked.", "`believe_not_found` under `[failover]`, else `false`";
    SECRET_FAILOVER_REPLICATE: Global, false, "`true` writes to every store of a failover list, `false` to the first.", "`replicate` under `[failover]`, else `false`";
    SECRET_FAILOVER_FAILURES: Global, false, "After how many failures in a row a store of a failover list is left alone.", "`failures` under `[failover]`, else `5`";
    SECRET_FAILOVER_SHARE: Global, false, "Or when this share of its last `SECRET_FAILOVER_WINDOW` calls failed, more than 0, at most 1.", "`share` under `[failover]`, else `0.5`";
    SECRET_FAILOVER_WINDOW: Global, false, "How many calls that share is of, at most 64; it is not looked at before there were so many. `0` never looks at it.", "`window` under `[failover]`, else `20`";
    SECRET_FAILOVER_FIRST_OPEN: Global, false, "For how many milliseconds it is left alone at first; twice as long after each attempt that fails.", "`first_open` under `[failover]`, else `1000`";
    SECRET_FAILOVER_LONGEST_OPEN: Global, false, "For how many milliseconds it is left alone at most.", "`longest_open` under `[failover]`, else `60000`";
    SECRET_WATCH_INTERVAL: Global, false, "How often a watched secret is read, in milliseconds, where the store does not tell of changes.", "`interval` under `[watch]`, else `60000` (1 minute)";
    SECRET_ROTATION_JOURNALS: Global, false, "The store that keeps journals and leases of rotations: a store of `keyfob.toml` or a provider.", "`journals` under `[rotation]`, else the store whose secrets are rotated";
    SECRET_ROTATION_JOURNALS_PREFIX: Global, false, "What the names of journals begin with in that store.", "`journals_prefix` under `[rotation]`";
    SECRET_ROTATION_SOLE_RUNNER: Global, false, "`true` promises that nobody else rotates the same secrets at the same time, for a store that can't compare and set.", "`sole_runner` under `[rotation]`, else `false`";
    SECRET_ROTATION_LEASE: Global, false, "How long the lease of a rotation lasts after each renewal, in milliseconds, at least 1000: after a crash nobody can go on before it is over.", "`lease` under `[rotation]`, else `60000` (1 minute)";
    SECRET_ROTATION_CLOCK_SKEW: Global, false, "By how many milliseconds the clocks of those who rotate may differ: a lease is taken over only so long after its end.", "`clock_skew` under `[rotation]`, else `5000`";
    SECRET_SNAPSHOTS_DIRECTORY: Global, false, "The directory that snapshots are kept in.", "`directory` under `[snapshots]`, else `keyfob/snapshots` below `$XDG_DATA_HOME`";
    SECRET_SNAPSHOTS_KEY_FILE: Global, false, "The path of the file with the key that opens snapshots.", "`key_file` under `[snapshots]`, else the key of the encrypted store: `KEYFOB_KEY` and its like, else `keyfob/key` below `$XDG_CONFIG_HOME`";
    SECRET_SNAPSHOTS_KEY_SOURCE: Global, false, "The key in a service that opens snapshots, instead of a key file: `vault-transit:KEY@MOUNT` or `aws-kms:KEY`.", "`key_source` under `[snapshots]`, else none";
    SECRET_SNAPSHOTS_STORE: Global, false, "A store that keeps a copy of every snapshot: a store of `keyfob.toml` or a provider.", "`store` under `[snapshots]`, else none";
    SECRET_SNAPSHOTS_STORE_PREFIX: Global, false, "What the names of these copies begin with.", "`store_prefix` under `[snapshots]`, else `keyfob-snapshots`";
    SECRET_AUDIT_DIRECTORY: Global, false, "The directory of the audit log, in which every access is recorded. What `keyfob.toml` says below `[audit]`, a variable can't change.", "`directory` under `[audit]`, else no log";
    SECRET_AUDIT_STORE: Global, false, "The database that keeps the audit log: `sqlite:FILE`, or `postgres://USER@HOST/DATABASE` with the parameters and variables of a store.", "`store` under `[audit]`, else no log in a database";
    SECRET_AUDIT_KEY_FILE: Global, false, "The key with which the audit log is signed, made by `keyfob audit init`.", "`key_file` under `[audit]`, else the name of the log's directory with `.key` behind it";
    SECRET_AUDIT_DURABLE: Global, false, "`true` hands out a value only when its record is on the disk; `false` never waits, and counts the records that it loses.", "`durable` under `[audit]`, else `false`";
    SECRET_AUDIT_MAX_BYTES: Global, false, "After how many bytes the audit log begins a new file.", "`max_bytes` under `[audit]`, else `67108864` (64 MiB)";
    SECRET_AUDIT_MAX_AGE: Global, false, "After how many milliseconds the audit log begins a new file.", "`max_age` under `[audit]`, else `2678400000` (31 days)";
    SECRET_AUDIT_KEEP_YEARS: Global, false, "For how many years the files of the audit log are kept.", "`keep_years` under `[audit]`, else for ever";
    SECRET_AUDIT_STANDARD_ERROR: Global, false, "`true` writes every access to standard error, as a line of JSON.", "`standard_error` under `[audit]`, else `false`";
    SECRET_AUDIT_MEMORY: Global, false, "How many records of accesses an application keeps in memory.", "`memory` under `[audit]`, else `0`";
    SECRET_AUDIT_REASON_REQUIRED: Global, false, "`true` refuses every access for which no reason is given.", "`reason_required` under `[audit]`, else `false`";
    SECRET_AUDIT_NAME_KEY_FILE: Global, false, "The key whose HMAC stands in the place of names in records, made by `keyfob audit init --mask-names`.", "`name_key_file` under `[audit]`, else names are recorded";
    KEYFOB_REASON: Global, false, "What the accesses of the command `keyfob` are for, as `--reason`.", "none";
    KEYFOB_CONFIG: Global, false, "The path of `keyfob.toml`, or `none` to go without one.", "found by walking up from the current directory";
    KEYFOB_ENV: Global, false, "Which environment of `keyfob.toml` applies, for example `production` for `[env.production]`.", "none";
    KEYFOB_STATE_DIR: Global, false, "Where keyfob remembers things outside the stores, such as the newest generation of an encrypted store and the last signature of an audit log.", "`keyfob` below `$XDG_STATE_HOME`";
    XDG_CONFIG_HOME: Global, false, "The directory for programs' configuration, by the XDG base directory specification.", "`~/.config`";
    XDG_DATA_HOME: Global, false, "The directory for programs' data, by the XDG base directory specification: `sqlite:` without a file is `keyfob/secrets.db` below it.", "`~/.local/share`";
    XDG_STATE_HOME: Global, false, "The directory for programs' state, by the XDG base directory specification.", "`~/.local/state`";
    NO_COLOR: Global, false, "Anything but empty turns colours off.", "colours on a terminal";

    KEYFOB_KEY: Sqlite, true, "The key of the encrypted store: 32 bytes as 64 hexadecimal digits or 44 characters of base64. The first of it, `KEYFOB_KEY_FILE`, `KEYFOB_PASSPHRASE` and `KEYFOB_PASSPHRASE_FILE` that is set holds; `key-file` in the URL comes before them.", "none";
    KEYFOB_KEY_FILE: Sqlite, false, "The path of the key file of the encrypted store.", "`keyfob/key` below `$XDG_CONFIG_HOME`";
    KEYFOB_PASSPHRASE: Sqlite, true, "The passphrase of the encrypted store.", "none";
    KEYFOB_PASSPHRASE_FILE: Sqlite, false, "The path of a file that holds the passphrase.", "none";
    KEYFOB_KEY_SOURCE: Sqlite, false, "The key in a service that protects the encrypted store, when none of the variables above is set: `vault-transit:KEY@MOUNT` or `aws-kms:KEY`. `key-source` in the URL comes before all of them.", "none";

    POSTGRES_URL: Postgres, true, "What `postgres` without an address means: `postgres://USER@HOST/DATABASE`, with the parameters of a store URL.", "the server that `PGHOST` names";
    PGHOST: Postgres, false, "The server, when neither the store's URL nor `POSTGRES_URL` names one: a name or an address, no directory of sockets.", "none";
    PGPORT: Postgres, false, "The port, when the URL names none.", "`5432`";
    PGDATABASE: Postgres, false, "The database, when the URL names none.", "the one with the name of the role";
    PGSSLMODE: Postgres, false, "As `sslmode` in the URL, when the URL has neither that nor `sslrootcert`. `prefer` and `allow` ask for less than the default and change nothing.", "`disable` on this machine, else `verify-full`";
    PGSSLROOTCERT: Postgres, false, "As `sslrootcert` in the URL, when that has none and the connection uses TLS.", "the authorities of the machine";
    PGUSER: Postgres, false, "The role, when the URL names none.", "none";
    PGPASSWORD: Postgres, true, "The password, when the URL has none.", "what the password file says";
    PGPASSFILE: Postgres, false, "The password file of PostgreSQL's own tools, which only its owner may read.", "`~/.pgpass`";

    AWS_SECRET_MANAGER_REGION: Aws, false, "The region of the secrets. Strong evidence for `aws`.", "the region of the SDK";
    AWS_SECRET_PREFIX: Aws, false, "What stands before every name in the store, for example `app/`.", "nothing";
    AWS_ENDPOINT_URL: Aws, false, "Another endpoint than AWS's own, for example a local test server.", "the endpoint of the region";
    AWS_ENDPOINT_URL_SECRETS_MANAGER: Aws, false, "Another endpoint for Secrets Manager only.", "`AWS_ENDPOINT_URL`";
    AWS_ENDPOINT_URL_KMS: Aws, false, "Another endpoint for KMS only.", "`AWS_ENDPOINT_URL`";
    AWS_ENDPOINT_URL_STS: Aws, false, "Another endpoint for STS only.", "`AWS_ENDPOINT_URL`";
    AWS_REGION: Aws, false, "The region, as the SDK reads it.", "the profile's";
    AWS_DEFAULT_REGION: Aws, false, "The region, where `AWS_REGION` is not set.", "the profile's";
    AWS_USE_FIPS_ENDPOINT: Aws, false, "`true` means the endpoints that are validated by FIPS 140.", "`false`";
    AWS_USE_DUALSTACK_ENDPOINT: Aws, false, "`true` means the endpoints that have IPv6 too.", "`false`";
    AWS_PROFILE: Aws, false, "The profile of the SDK's configuration. Strong evidence for `aws`.", "`default`";
    AWS_CONFIG_FILE: Aws, false, "The SDK's configuration file, which is weak evidence for `aws`.", "`~/.aws/config`";
    AWS_SHARED_CREDENTIALS_FILE: Aws, false, "The SDK's credentials file, which is weak evidence for `aws`.", "`~/.aws/credentials`";
    AWS_ACCESS_KEY_ID: Aws, false, "The access key. Strong evidence for `aws`.", "the SDK's credential chain";
    AWS_SECRET_ACCESS_KEY: Aws, true, "The secret of the access key.", "the SDK's credential chain";
    AWS_SESSION_TOKEN: Aws, true, "The token of temporary credentials.", "none";
    AWS_ROLE_ARN: Aws, false, "The role to assume with a web identity. Strong evidence for `aws`.", "none";
    AWS_ROLE_SESSION_NAME: Aws, false, "The name of the session of an assumed role, which AWS's audit log shows.", "made by the SDK";
    AWS_WEB_IDENTITY_TOKEN_FILE: Aws, false, "The token file of a web identity (EKS, CI). Strong evidence for `aws`.", "none";
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: Aws, false, "Set in ECS containers. Strong evidence for `aws`.", "none";
    AWS_CONTAINER_CREDENTIALS_FULL_URI: Aws, false, "Set in EKS pods with a pod identity. Strong evidence for `aws`.", "none";
    AWS_LAMBDA_FUNCTION_NAME: Aws, false, "Set in Lambda functions. Strong evidence for `aws`.", "none";
    AWS_EXECUTION_ENV: Aws, false, "Set by AWS's compute services. Strong evidence for `aws`.", "none";

    GCP_PROJECT_ID: Gcp, false, "The project of the secrets. Strong evidence for `gcp`.", "`GOOGLE_CLOUD_PROJECT`";
    GOOGLE_CLOUD_PROJECT: Gcp, false, "The project, as Google's tools read it. Strong evidence for `gcp`.", "none";
    GCP_SECRET_PREFIX: Gcp, false, "What stands before every name in the store.", "nothing";
    GOOGLE_APPLICATION_CREDENTIALS: Gcp, false, "The path of the application's credentials. Strong evidence for `gcp`.", "the application default credentials";
    CLOUDSDK_CONFIG: Gcp, false, "The directory of the application default credentials file, which is weak evidence for `gcp`.", "`~/.config/gcloud`";
    GOOGLE_CLOUD_QUOTA_PROJECT: Gcp, false, "The project that requests are counted for.", "the one that the credentials name, else the secrets'";
    GOOGLE_CLOUD_UNIVERSE_DOMAIN: Gcp, false, "The domain of a sovereign cloud, which must be that of the credentials.", "the credentials', else `googleapis.com`";
    GCE_METADATA_HOST: Gcp, false, "Where the machine's metadata service is.", "`metadata.google.internal`";
    K_SERVICE: Gcp, false, "Set in Cloud Run services. Strong evidence for `gcp` where `KUBERNETES_SERVICE_HOST` is not set (Knative).", "none";
    CLOUD_RUN_JOB: Gcp, false, "Set in Cloud Run jobs. Strong evidence for `gcp`.", "none";
    FUNCTION_TARGET: Gcp, false, "Set in Cloud Functions. Strong evidence for `gcp`.", "none";
    GAE_ENV: Gcp, false, "Set in App Engine. Strong evidence for `gcp`.", "none";

    AZURE_KEYVAULT_URL: Azure, false, "The URL of the vault. Strong evidence for `azure`.", "none: it is needed";
    AZURE_TENANT_ID: Azure, false, "The tenant to log in to.", "the identity's";
    AZURE_CLIENT_ID: Azure, false, "The application or managed identity to log in as. Weak evidence for `azure`.", "the machine's identity";
    AZURE_CLIENT_SECRET: Azure, true, "The secret of the application.", "none";
    AZURE_CLIENT_CERTIFICATE_PATH: Azure, false, "A PEM file with the certificate and the key of the application.", "none";
    AZURE_CLIENT_CERTIFICATE_PASSWORD: Azure, true, "Refused: keyfob reads a key without a password.", "none";
    AZURE_AUTHORITY_HOST: Azure, false, "Where to log in.", "that of the vault's cloud";
    AZURE_FEDERATED_TOKEN_FILE: Azure, false, "The token file of a workload identity (AKS). Weak evidence for `azure`.", "none";
    IDENTITY_ENDPOINT: Azure, false, "Set in App Service and Azure Functions. Weak evidence for `azure`.", "none";
    IDENTITY_HEADER: Azure, true, "Set together with `IDENTITY_ENDPOINT`.", "none";
    AZURE_POD_IDENTITY_AUTHORITY_HOST: Azure, false, "Where the machine's metadata service is.", "`http://169.254.169.254`";
    AZURE_CONFIG_DIR: Azure, false, "The directory of the Azure CLI.", "`~/.azure`";
    HTTPS_PROXY: Azure, true, "The proxy for the vault and the log-in. `ALL_PROXY` too, and `NO_PROXY` says for which hosts not.", "none";
    AZURE_SECRET_PREFIX: Azure, false, "What stands before every name in the store.", "nothing";

    VAULT_ADDR: Vault, false, "The address of the server. Strong evidence for `vault`.", "`BAO_ADDR`";
    BAO_ADDR: Vault, false, "The address of the server, as OpenBao's tools read it. Strong evidence for `vault`.", "none";
    VAULT_TOKEN: Vault, true, "The token to log in with. Weak evidence for `vault`.", "`~/.vault-token`";
    BAO_TOKEN: Vault, true, "The token to log in with, as OpenBao's tools read it. Weak evidence for `vault`.", "none";
    VAULT_TOKEN_FILE: Vault, false, "The path of a file that holds the token; read again when the token is dead.", "`~/.vault-token`, when nothing else is set";
    VAULT_ROLE_ID: Vault, false, "The role id of an AppRole login.", "none";
    VAULT_SECRET_ID: Vault, true, "The secret id of an AppRole login.", "none";
    VAULT_SECRET_ID_FILE: Vault, false, "The path of a file that holds the secret id.", "none";
    VAULT_WRAPPED_SECRET_ID: Vault, true, "A wrapping token, which is exchanged once for the secret id.", "none";
    VAULT_JWT: Vault, true, "The token of a JWT login.", "none";
    VAULT_JWT_FILE: Vault, false, "The path of a file that holds the token of a JWT login.", "none";
    VAULT_ROLE: Vault, false, "The role of a JWT login.", "the mount's default role";
    VAULT_K8S_ROLE: Vault, false, "The role of a Kubernetes login with the pod's service account.", "none";
    VAULT_AUTH_MOUNT: Vault, false, "Where the login method is mounted.", "`approle`, `jwt` or `kubernetes`";
    VAULT_NAMESPACE: Vault, false, "The namespace of the mount. `BAO_NAMESPACE` too.", "none";
    VAULT_PATH: Vault, false, "The path of the mount.", "`secret`";
    VAULT_KV_VERSION: Vault, false, "The version of the KV engine, `1` or `2`.", "asked of the server";
    VAULT_PREFIX: Vault, false, "What stands before every name in the store.", "nothing";
    VAULT_CACERT: Vault, false, "The path of the certificate authority of the server, the only one that is trusted then. `BAO_CACERT` too.", "the system's";
    VAULT_CACERT_BYTES: Vault, false, "The certificate authority itself, in PEM. `BAO_CACERT_BYTES` too.", "none";
    VAULT_CLIENT_CERT: Vault, false, "The path of the client's certificate. `BAO_CLIENT_CERT` too.", "none";
    VAULT_CLIENT_KEY: Vault, false, "The path of the key of the client's certificate. `BAO_CLIENT_KEY` too.", "none";
    VAULT_CLIENT_TIMEOUT: Vault, false, "The time for a request in all, in seconds, 1 to 600. `BAO_CLIENT_TIMEOUT` too.", "`10`";
    VAULT_SKIP_VERIFY: Vault, false, "`true` is refused: a store's URL has to say `tls=unverified`. `BAO_SKIP_VERIFY` too.", "`false`";

    K8S_SECRET_NAMESPACE: Kubernetes, false, "The namespace of the secrets. Strong evidence for `k8s`.", "the pod's, else that of the kubeconfig";
    K8S_SECRET_NAME: Kubernetes, false, "The Secret object whose keys are the secrets. Strong evidence for `k8s`.", "each secret is an object of its own";
    KUBECONFIG: Kubernetes, false, "The kubeconfig file, or several with `:` between them.", "the pod's service account, else `~/.kube/config`";
    KUBERNETES_SERVICE_PORT: Kubernetes, false, "Set in pods together with `KUBERNETES_SERVICE_HOST`.", "`443`";
    KUBERNETES_SERVICE_HOST: Kubernetes, false, "Set in pods. With the service account's token it is weak evidence for `k8s`.", "none";
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::Environment;

    #[test]
    fn a_variable_is_listed_once_and_the_page_has_it() {
        let page = reference_page();
        for (index, variable) in ALL.iter().enumerate() {
            assert!(
                ALL[..index].iter().all(|other| other.name != variable.name),
                "{}",
                variable.name
            );
            assert_eq!(
                page.matches(&format!("\n| `{}` |", variable.name)).count(),
                1,
                "{}",
                variable.name
            );
            assert!(
                !variable.meaning.contains('|') && variable.meaning.ends_with('.'),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn exactly_the_secret_ones_are_refused_as_plain_text() {
        let fake = ALL
            .iter()
            .fold(Environment::fake(), |fake, variable| fake.var(variable.name, "x"));
        let env = fake.build();
        for variable in ALL {
            assert_eq!(env.var(variable.name).is_err(), variable.secret, "{}", variable.name);
        }
    }
}
