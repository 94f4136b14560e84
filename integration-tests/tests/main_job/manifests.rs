//! `keyfob manifests`: the objects are what a real API server takes, their roles allow what they should, and the names in
//! them are those under which the stores have the secrets.

use keyfob_integration_tests::servers::cluster::{Applied, Cluster};
use keyfob_integration_tests::servers::{self, Provider};
use serde_json::{Value, json};

use super::{World, assert_has};

const CONFIGURATION: &str = "\
# Of the shop.
motto: \"{{ this }} is no template of ours\"
database:
  url: postgres://${secret:db/login#user}:${secret:db/password}@db.shop/app
  password: '${secret:db/password}'
token: ${secret:api-token?}
";
const VARIABLES: &str = "DB_PASSWORD=${secret:db/password}\nDB_USER=${secret:db/login#/a/user}\nPORT=80\n";

/// A store and how to log in to it; each as far as the command line has to say it.
const AWS: &str = "--store 'aws://eu-west-1?prefix=app/' --identity arn:aws:iam::123456789012:role/shop";
const POD_IDENTITY: &str = "--store aws://eu-west-1 --auth pod-identity";
const GCP: &str = "--store 'gcp://my-project?prefix=app/' --identity shop@my-project.iam.gserviceaccount.com";
const GKE: &str = "--store gcp://my-project/europe-west4 --gke my-project/europe-west4/main";
const AZURE: &str =
    "--store azure://team-vault --identity 11111111-1111-1111-1111-111111111111 --tenant 22222222-2222-2222-2222-222222222222";
const VAULT: &str =
    "--store 'vault://vault.example/secret?prefix=app/&namespace=team' --identity shop --audience vault --ca vault-ca/ca.crt";
const APPROLE: &str =
    "--store 'vault://vault.example/kv?kv=1' --auth approle --identity 0f3e6c1a-2222 --secret-id vault-approle/secret-id";
const STORES: [&str; 7] = [AWS, POD_IDENTITY, GCP, GKE, AZURE, VAULT, APPROLE];

const IMAGE: &str = "--image registry.example/keyfob:0.1.0";

fn shop() -> World {
    let world = World::empty();
    world.write("app.yaml", CONFIGURATION);
    world.write(".env", VARIABLES);
    world
}

impl World {
    /// The objects for a store, one text each.
    #[track_caller]
    fn objects(&self, namespace: &str, rest: &str) -> Vec<String> {
        self.made(&format!("keyfob manifests external-secrets --namespace {namespace} {rest}"))
    }

    /// The objects of a job that rotates.
    #[track_caller]
    fn job(&self, namespace: &str, rest: &str) -> Vec<String> {
        self.made(&format!("keyfob manifests cronjob --namespace {namespace} {IMAGE} {rest}"))
    }

    #[track_caller]
    fn made(&self, line: &str) -> Vec<String> {
        let text = self.sh(line).ok();
        text.split("---\n").map(str::to_owned).collect()
    }
}

#[track_caller]
fn the<'o>(objects: &'o [String], kind: &str) -> &'o str {
    let found = objects.iter().find(|object| object.contains(&format!("\nkind: {kind}\n")));
    found.unwrap_or_else(|| panic!("no {kind} in {objects:?}"))
}

#[test]
fn an_api_server_takes_every_object_with_strict_validation() {
    let Some(cluster) = Cluster::new("objects of External Secrets") else {
        return;
    };
    let world = shop();
    let mut kinds: Vec<String> = Vec::new();
    for store in STORES {
        for keys in [
            "--refs app.yaml",
            "--refs .env --name shop",
            "--refs app.yaml --keys names",
            "--refs app.yaml --refs .env --keys variables",
        ] {
            for kind in ["", "--cluster --reader web --label team=shop --refresh 5m --secret other"] {
                let objects = world.objects(cluster.namespace(), &format!("{store} {keys} {kind}"));
                let applied = objects.iter().map(|object| {
                    let applied = cluster.apply(object);
                    applied.unwrap_or_else(|refusal| panic!("{store} {keys} {kind}: {refusal}\n{object}"))
                });
                let applied: Vec<Applied> = applied.collect();
                for object in applied.iter().filter(|object| object.kind == "ClusterSecretStore") {
                    cluster.remove(object);
                }
                kinds.extend(applied.into_iter().map(|object| object.kind));
            }
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "ClusterSecretStore",
            "ExternalSecret",
            "Role",
            "RoleBinding",
            "SecretStore",
            "ServiceAccount"
        ]
    );
}

/// Otherwise the test above would prove nothing.
#[test]
fn an_api_server_refuses_an_object_with_a_wrong_field() {
    let Some(cluster) = Cluster::new("wrong objects of External Secrets") else {
        return;
    };
    let objects = shop().objects(cluster.namespace(), &format!("{VAULT} --refs app.yaml"));
    for (kind, right, wrong, said) in [
        (
            "ServiceAccount",
            "automountServiceAccountToken",
            "automountToken",
            "field not declared in schema",
        ),
        ("Role", "resourceNames:", "resourceName:", "field not declared in schema"),
        ("SecretStore", "mountPath:", "mount_path:", "field not declared in schema"),
        ("SecretStore", "version: v2", "version: v9", "Unsupported value"),
        (
            "ExternalSecret",
            "refreshInterval:",
            "refreshIntervall:",
            "field not declared in schema",
        ),
        ("ExternalSecret", "secretKey:", "key:", "field not declared in schema"),
        ("ExternalSecret", "  target:\n", "  data: []\n  target:\n", "already set"),
    ] {
        let object = the(&objects, kind);
        assert!(object.contains(right), "{object}");
        let refusal = cluster.apply(&object.replacen(right, wrong, 1)).unwrap_err();
        assert!(refusal.contains(said), "{wrong}: {refusal}");
    }
}

#[test]
fn the_roles_allow_what_is_needed_and_nothing_else() {
    let Some(cluster) = Cluster::new("roles of External Secrets") else {
        return;
    };
    let objects = shop().objects(
        cluster.namespace(),
        &format!("{AWS} --refs app.yaml --reader web --controller eso/operator"),
    );
    for object in &objects {
        drop(cluster.apply(object).unwrap());
    }
    let controller = "eso:operator";
    assert!(cluster.may(controller, "create", "", "serviceaccounts/token", "app-secrets"));
    assert!(cluster.may(controller, "get", "", "serviceaccounts", "app-secrets"));
    assert!(!cluster.may(controller, "create", "", "serviceaccounts/token", "default"));
    assert!(!cluster.may(controller, "get", "", "secrets", "app"));
    let web = format!("{}:web", cluster.namespace());
    assert!(cluster.may(&web, "get", "", "secrets", "app"));
    assert!(!cluster.may(&web, "get", "", "secrets", "other"));
    assert!(!cluster.may(&web, "list", "", "secrets", ""));
    assert!(!cluster.may(&web, "update", "", "secrets", "app"));
}

#[test]
fn a_lone_reference_needs_no_template_and_everything_else_is_one() {
    let world = shop();
    let objects = world.objects("shop", &format!("{AWS} --refs .env --name shop"));
    let secret = the(&objects, "ExternalSecret");
    assert!(!secret.contains("template:"), "{secret}");
    assert_has(
        secret,
        &[
            "secretKey: DB_PASSWORD\n      remoteRef:\n        key: app/db/password\n",
            "property: a.user\n",
            "deletionPolicy: Retain",
        ],
    );
    let objects = world.objects("shop", &format!("{AWS} --refs app.yaml"));
    assert_has(
        the(&objects, "ExternalSecret"),
        &[
            "        app.yaml: |\n          # Of the shop.\n",
            r#"motto: "{{ "{{" }} this }} is no template of ours""#,
            r#"url: {{ print "postgres://" .db_login_user ":" .db_password "@db.shop/app" | toRawJson }}"#,
            "password: {{ .db_password | toRawJson }}\n",
            r#"token: {{ (index . "api_token") | toRawJson }}"#,
            // What may be absent must not stop the rest.
            "deletionPolicy: Merge",
        ],
    );
    let objects = world.objects("shop", &format!("{AWS} --refs app.yaml --keys names"));
    assert_has(
        the(&objects, "ExternalSecret"),
        &[
            "secretKey: keyfob.db.password\n      remoteRef:\n        key: app/db/password\n",
            "secretKey: api-token\n",
        ],
    );
}

#[test]
fn every_form_of_a_reference_is_what_it_is_in_each_store() {
    let world = World::empty();
    let entry = |store: &str, reference: &str| {
        world.write(".env", &format!("X={reference}\n"));
        let objects = world.objects("shop", &format!("{store} --refs .env --name shop --write-defaults"));
        let (_, entry) = the(&objects, "ExternalSecret").split_once("remoteRef:\n").unwrap();
        entry.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let id = "0f3e6c1a-2222-4444-8888-000000000000";
    for (store, reference, expected) in [
        (AWS, "${secret:db}", "key: app/db"),
        (AWS, "$<secret:db>", "key: app/db"),
        (AWS, "${secret:db@current}", "key: app/db"),
        (AWS, "${secret:db@previous}", "key: app/db version: AWSPREVIOUS"),
        (AWS, "${secret:db@blue}", "key: app/db version: blue"),
        (
            AWS,
            &format!("${{secret:db@{id}#a.b}}"),
            &format!("key: app/db property: \"a\\\\.b\" version: uuid/{id}"),
        ),
        (
            AWS,
            "${secret:rds!cluster-1#password}",
            "key: \"rds!cluster-1\" property: password",
        ),
        (
            GCP,
            "${secret:db/url.old@7#/a/0}",
            "key: app_x2Fdb_x2Furl_x2Eold property: a.0 version: \"7\"",
        ),
        (AZURE, "${secret:db/Url}", "key: db-----url"),
        (VAULT, "${secret:db@3}", "key: app/db property: value version: \"3\""),
        (VAULT, "${secret:db#user}", "key: app/db property: user"),
        (APPROLE, "${secret:kv/db}", "key: kv/kv/db property: value"),
    ] {
        assert_eq!(entry(store, reference), expected, "{store} {reference}");
    }
    let text = format!("{VAULT} --vault-documents text");
    assert_eq!(
        entry(&text, "${secret:db#user}"),
        "key: app/db property: \"value|@fromstr|user\""
    );
}

#[test]
fn what_cannot_be_expressed_is_told_with_its_place_and_reason() {
    let world = World::empty();
    let refused = |store: &str, content: &str, options: &str, parts: &[&str]| {
        world.write("app.yaml", content);
        let line = format!("keyfob manifests external-secrets --namespace shop --refs app.yaml {store} {options}");
        assert_has(&world.sh(&line).fails(1), parts);
    };
    refused(GCP, "a: ${secret:x@previous}\n", "", &["app.yaml:1:4: `@previous` moves"]);
    refused(APPROLE, "a: ${secret:x@1}\n", "", &["keeps no versions"]);
    refused(VAULT, "a: ${secret:x@blue}\n", "", &["`blue` is none"]);
    refused(
        AWS,
        "a: ${env:HOME}\nb: ${file:x}\n",
        "",
        &[
            "2 things: app.yaml:1:4: `${env:HOME}` is not of the store",
            "app.yaml:2:4: `${file:…}`",
        ],
    );
    refused(
        AWS,
        "a: ${secret:x:-kfcanary-default1}\n",
        "",
        &["app.yaml:1:4: a default would stand in the object", "--write-defaults"],
    );
    refused(AWS, "a: ${secret:x#f?}\n", "", &["a field that may be missing"]);
    refused(AWS, "a: ${secret:a b}\n", "", &["app.yaml:1:4: ", "%20"]);
    refused(AWS, "a: ${secret:x#/a//b}\n", "", &["an empty key on its way"]);
    refused(
        GCP,
        "a: ${secret:ключ}\n",
        "",
        &["this store can't have a secret of that name"],
    );
    refused(AWS, "a: ${secret:x@1}\n", "--keys names", &["has no versions"]);
    refused(AWS, "a: 1\n", "", &["refer to no secret"]);
    refused(
        AWS,
        "a: {b: '${secret:x}'}\na.b: '${secret:y}'\n",
        "--keys variables",
        &["would become the variable `A_B`"],
    );
    refused(
        "--store sqlite:secrets.db",
        "a: ${secret:x}\n",
        "",
        &["no store that a cluster could read"],
    );
    refused(
        "--store dotenv:.env",
        "a: ${secret:x}\n",
        "",
        &["no store that a cluster could read"],
    );
    refused(
        "--store postgres://db.example/x",
        "a: ${secret:x}\n",
        "",
        &["no provider for keyfob's encrypted store"],
    );
    refused("--store k8s://shop", "a: ${secret:x}\n", "", &["in the cluster already"]);
    refused(
        "--store 'aws://eu-west-1?endpoint=http://localhost:1'",
        "a: ${secret:x}\n",
        "",
        &["no place for the address"],
    );
    refused(
        "--store 'vault://v.example?tls=unverified' --identity x",
        "a: ${secret:x}\n",
        "",
        &["always checks"],
    );

    world.write(".env", "A=${secret:x}\n");
    let line = format!("keyfob manifests external-secrets --namespace shop --refs .env --name x --keys file {AWS}");
    assert_has(&world.sh(&line).fails(1), &["--keys variables"]);
    let missing = world.sh("keyfob manifests external-secrets --namespace shop --refs .env --name x --store aws://eu-west-1");
    assert_has(&missing.fails(2), &["the role of IAM", "--identity arn:"]);
}

#[test]
fn the_same_is_the_same_and_a_directory_is_kept_up_to_date() {
    let world = shop();
    let line = format!("keyfob manifests external-secrets --namespace shop --refs app.yaml {AWS}");
    assert_eq!(world.sh(&line).ok(), world.sh(&line).ok());
    let line = format!("{line} --output deploy/shop");
    assert_has(
        &world.sh(&line).err,
        &["5 objects in `deploy/shop`, 5 of them new or changed"],
    );
    assert_eq!(
        world.names("deploy/shop"),
        [
            "externalsecret-app.yaml",
            "role-app-external-secrets.yaml",
            "rolebinding-app-external-secrets.yaml",
            "secretstore-app.yaml",
            "serviceaccount-app-secrets.yaml"
        ]
    );
    assert_has(&world.sh(&line).err, &["0 of them new or changed"]);
    let other = world.sh(&line.replace("app.yaml", "app.yaml --cluster"));
    assert_has(&other.err, &["`deploy/shop/secretstore-app.yaml` is of an earlier run"]);
    world.write("deploy/shop/externalsecret-app.yaml", "kind: ExternalSecret\n");
    assert_has(
        &world.sh(&line).fails(1),
        &["a file that keyfob has not made", "externalsecret-app.yaml"],
    );
    assert_eq!(
        world.sandbox.read("deploy/shop/externalsecret-app.yaml"),
        "kind: ExternalSecret\n"
    );
}

#[test]
fn a_policy_of_aws_names_the_secrets_and_nothing_else() {
    let policy = shop().sh(&format!(
        "keyfob manifests external-secrets --namespace shop --refs app.yaml {AWS} --policy"
    ));
    let arn = |name: &str| format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/{name}-??????");
    let names = ["api-token", "db/login", "db/password"];
    assert_eq!(
        policy.json(),
        json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "ReadSecrets", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue",
            "Resource": names.map(arn),
        }]})
    );
}

/// What keyfob writes to Vault is found where the objects say, with a token that has only the policy.
#[test]
fn a_real_vault_has_the_value_where_the_objects_say_and_the_policy_opens_nothing_else() {
    let Some(variables) = servers::variables("objects for Vault", Provider::Vault) else {
        return;
    };
    let value = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
    let (address, token, prefix) = (value("VAULT_ADDR"), value("VAULT_TOKEN"), value("VAULT_PREFIX"));
    let world = World::empty();
    world.write(".env", "A=${secret:db/Pass%20word}\n");
    let settings = format!("VAULT_ADDR={address} VAULT_TOKEN={token} VAULT_PREFIX={prefix}/");
    for name in ["db/Pass word", "db/other"] {
        let put = format!(
            "printf %s '{}' | {settings} keyfob set -q --store vault:secret '{name}'",
            world.canary
        );
        world.sh(&put).ok();
    }
    let line = format!(
        "VAULT_ADDR={address} VAULT_PREFIX={prefix}/ keyfob manifests external-secrets --namespace shop --store vault:secret \
         --identity shop --refs .env --name shop"
    );
    let objects: Vec<String> = world.sh(&line).ok().split("---\n").map(str::to_owned).collect();
    let secret = the(&objects, "ExternalSecret");
    let path = format!("{prefix}/db/Pass word");
    assert_has(secret, &[&format!("key: \"{path}\""), "property: value"]);
    assert_has(the(&objects, "SecretStore"), &["path: secret\n", "version: v2\n"]);

    let root = [("X-Vault-Token", token.as_str())];
    let policy = json!({"policy": world.sh(&format!("{line} --policy")).ok()}).to_string();
    let _ = servers::send("PUT", &format!("{address}/v1/sys/policies/acl/{prefix}"), &root, &policy);
    let made = servers::send(
        "POST",
        &format!("{address}/v1/auth/token/create"),
        &root,
        &json!({"policies": [prefix], "no_default_policy": true, "ttl": "60s"}).to_string(),
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let limited = made["auth"]["client_token"].as_str().unwrap();
    let read = |name: &str| {
        let url = format!("{address}/v1/secret/data/{prefix}/{name}");
        let (status, body) = servers::try_send("GET", &url, &[("X-Vault-Token", limited)], "").unwrap();
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, body) = read("db/Pass%20word");
    assert_eq!(status, 200);
    assert!(body["data"]["data"]["value"] == json!(world.canary));
    assert_eq!(read("db/other").0, 403);
    let _ = servers::send("DELETE", &format!("{address}/v1/sys/policies/acl/{prefix}"), &root, "");
}

const POLICIES: &str = "\
policies:
  - { name: app, secrets: [app/token], every: 30d, grace: 0s, make: uuid }
";

/// Every store of which a pod can rotate secrets.
const ROTATED: [&str; 9] = [
    "--store k8s:",
    "--store k8s:///shop",
    AWS,
    POD_IDENTITY,
    GCP,
    AZURE,
    VAULT,
    "--store 'vault://vault.example/kv?kv=1' --auth approle --identity 0f3e6c1a-2222 --secret-id vault-approle/secret-id",
    "--store postgres: --secret database",
];

fn rotating() -> World {
    let world = World::empty();
    world.write("rotation.yaml", POLICIES);
    world
}

#[test]
fn an_api_server_takes_every_job_and_its_pods_are_restricted() {
    let Some(cluster) = Cluster::new("jobs that rotate") else {
        return;
    };
    cluster.restrict();
    let world = rotating();
    for store in ROTATED {
        let objects = world.job(cluster.namespace(), &format!("{store} --label team=shop --sole-runner"));
        for object in &objects {
            drop(
                cluster
                    .apply(object)
                    .unwrap_or_else(|refusal| panic!("{store}: {refusal}\n{object}")),
            );
        }
        cluster
            .make_pod("keyfob-rotation", |_| ())
            .unwrap_or_else(|refusal| panic!("{store}: {refusal}"));
    }
    // Otherwise the above would prove nothing.
    let refusal = cluster
        .make_pod("keyfob-rotation", |pod| pod["spec"]["securityContext"] = json!({}))
        .unwrap_err();
    assert!(refusal.contains("violates PodSecurity"), "{refusal}");
    let job = the(&world.job(cluster.namespace(), "--store k8s:"), "CronJob").replace("concurrencyPolicy", "concurrency");
    assert!(cluster.apply(&job).unwrap_err().contains("field not declared in schema"));
}

/// As the pod's service account, with the role that comes with the job and no other right.
#[test]
fn the_role_of_a_job_is_enough_for_a_whole_rotation_and_for_nothing_else() {
    let Some(cluster) = Cluster::new("the rights of a job that rotates") else {
        return;
    };
    let world = rotating();
    world.write("rotation.yaml", &POLICIES.replace("30d", "1s"));
    for store in ["k8s:", "k8s:///app"] {
        let objects = world.job(cluster.namespace(), &format!("--store {store}"));
        for object in &objects {
            drop(cluster.apply(object).unwrap());
        }
        let admin = format!(
            "KUBECONFIG='{}' K8S_SECRET_NAMESPACE={}",
            cluster.kubeconfig(),
            cluster.namespace()
        );
        let put = format!(
            "printf %s '{}' | {admin} keyfob set -q --store {store} app/token",
            world.canary
        );
        world.sh(&put).ok();
        world.write("account.yaml", &cluster.kubeconfig_of("keyfob-rotation"));
        let url = the(&objects, "CronJob")
            .split_once("value: k8s://")
            .unwrap()
            .1
            .split_whitespace()
            .next()
            .unwrap();
        let pod = format!("KEYFOB_CONFIG=none KUBECONFIG=$PWD/account.yaml SECRET_PROVIDER=k8s://{url} keyfob");
        // It is due a second after it was written.
        let rotated = (0..100).any(|_| {
            let done = world.sh(&format!("{pod} rotate --due --policies rotation.yaml"));
            assert_eq!(done.code, Some(0), "{done:?}");
            done.err.contains("rotated `app/token`") || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                false
            }
        });
        assert!(rotated);
        let now = world.sh(&format!("{admin} keyfob get --store {store} app/token")).ok();
        assert_eq!(now.len(), 36);
    }
    // The last role is the one of the one object.
    let account = format!("{}:keyfob-rotation", cluster.namespace());
    assert!(cluster.may(&account, "patch", "", "secrets", "app"));
    assert!(!cluster.may(&account, "patch", "", "secrets", "other"));
    assert!(!cluster.may(&account, "get", "", "configmaps", "keyfob-rotation"));
    assert!(!cluster.may(&account, "list", "", "secrets", ""));
}

/// A volume of a ConfigMap is a directory that everybody may write, by its mode, with links in it: what is there is not
/// believed. A file of it on its own, as the job has it, is.
#[test]
fn the_policies_are_believed_as_the_job_mounts_them() {
    let world = rotating();
    world.write("volume/..2026_11_30/rotation.yaml", POLICIES);
    let volume = "cd volume && ln -s ..2026_11_30 ..data && ln -s ..data/rotation.yaml rotation.yaml && chmod 444 ..data/rotation.yaml \
                  && chmod 755 ..2026_11_30 && chmod 777 .";
    world.sh(volume).ok();
    world.sh("keyfob init -q --store sqlite:secrets.db").ok();
    let plan = "keyfob rotate --plan --store sqlite:secrets.db --policies";
    let refused = world.sh(&format!("{plan} volume/rotation.yaml")).fails(1);
    assert_has(&refused, &["is not believed: others may write its directory", "(mode 0777)"]);
    world
        .sh("mkdir etc && cp volume/rotation.yaml etc/ && chmod 444 etc/rotation.yaml && chmod 755 etc")
        .ok();
    world.sh(&format!("{plan} etc/rotation.yaml")).ok();
    if rustix::process::geteuid().is_root() {
        // As the pod: the file belongs to root, and keyfob runs as somebody else.
        let line = format!(
            "cp \"$(command -v keyfob)\" . && chmod 755 ~ . keyfob && setpriv --reuid 65532 --regid 65532 --clear-groups \
             ./keyfob manifests cronjob --namespace shop {IMAGE} --store k8s: --policies etc/rotation.yaml"
        );
        assert_has(&world.sh(&line).ok(), &["kind: CronJob"]);
    }
    let objects = world.job("shop", "--store k8s:");
    assert_has(
        the(&objects, "CronJob"),
        &[
            "mountPath: /etc/keyfob/rotation.yaml\n",
            "subPath: rotation.yaml\n",
            "defaultMode: 292\n",
            "runAsNonRoot: true\n",
        ],
    );
    assert_has(the(&objects, "ConfigMap"), &["  rotation.yaml: |\n    policies:\n"]);
    let role = the(&objects, "Role");
    assert_has(role, &["- create\n", "- patch\n"]);
    assert!(!role.contains("delete"), "{role}");
}

#[test]
fn a_pod_opens_the_store_that_is_meant_here_and_no_secret_is_in_its_objects() {
    let world = rotating();
    let provider = |variables: &str, options: &str| {
        let line = format!("{variables} keyfob manifests cronjob --namespace shop {IMAGE} {options}");
        let text = world.sh(&line).ok();
        let (_, rest) = text.split_once("name: SECRET_PROVIDER\n").unwrap();
        let value = rest.split_once("value: ").unwrap().1.lines().next().unwrap();
        value.trim_matches('"').to_owned()
    };
    for (variables, options, expected) in [
        (
            "AWS_REGION=eu-west-1 AWS_SECRET_PREFIX=app/",
            "--store aws --auth pod-identity",
            "aws://eu-west-1?prefix=app/",
        ),
        ("GCP_PROJECT_ID=my-project", "--store gcp:", "gcp://my-project"),
        (
            "VAULT_ADDR=https://v.example:8200 VAULT_TOKEN=kfcanary-notthisone",
            "--store vault:secret --identity shop --audience vault",
            "vault:secret?address=https://v.example:8200&login=kubernetes&login-mount=kubernetes&role=shop&jwt-file=/var/run/secrets/vault/token",
        ),
        ("", "--store k8s:///app", "k8s://shop/app"),
    ] {
        assert_eq!(provider(variables, options), expected);
    }
    for (options, code, said) in [
        ("--store sqlite:secrets.db", 1, "a pod can't rotate secrets of this machine"),
        ("--store env", 1, "a pod can't rotate secrets of this machine"),
        (
            "--store 'postgres://u:kfcanary-password1@h/x' --secret s",
            2,
            "belong into a Secret",
        ),
        ("--store postgres://u@h/x", 2, "belong into a Secret"),
        ("--store k8s: --policies missing.yaml", 1, "--policies"),
        (
            "--store k8s: --schedule 'every day'",
            2,
            "is no cron line: it has 2 fields, not 5",
        ),
        ("--store k8s: --schedule '99 * * * *'", 2, "`99` is no minute"),
        ("--store k8s: --schedule '0 3 * * 7'", 2, "Sunday is 0"),
        ("--store k8s: --schedule @often", 2, "is no cron line"),
        ("--store k8s: --name UPPER", 2, "small letters"),
    ] {
        let answer = world.sh(&format!("keyfob manifests cronjob --namespace shop {IMAGE} {options}"));
        let err = answer.fails(code);
        assert_has(&err, &[said]);
        assert!(!err.contains("kfcanary"), "{err}");
    }
    for schedule in ["@hourly", "0 3 ? jan-mar sun", "5,35 */2 * * 1-5"] {
        world
            .sh(&format!(
                "keyfob manifests cronjob --namespace shop {IMAGE} --store k8s: --schedule '{schedule}'"
            ))
            .ok();
    }
    let program = |run: &str| {
        let policy = format!("policies: [{{ name: app, secrets: [a], make: {{ command: {{ run: [{run}] }} }} }}]\n");
        world.write("rotation.yaml", &policy);
        world.sh(&format!("keyfob manifests cronjob --namespace shop {IMAGE} --store k8s:"))
    };
    assert_has(&program("./prog, x").fails(1), &["nothing beside it", "./prog"]);
    let warned = program("/usr/bin/prog, x");
    assert_eq!(warned.code, Some(0), "{warned:?}");
    assert_has(&warned.err, &["the image must have the programs", "`/usr/bin/prog`"]);
    world.write("rotation.yaml", "policies: [{ nme: app }]\n");
    let wrong = world.sh(&format!("keyfob manifests cronjob --namespace shop {IMAGE} --store k8s:"));
    assert_has(&wrong.fails(1), &["nme"]);
}
