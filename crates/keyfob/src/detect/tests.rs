use keyfob_core::{Environment, ErrorKind, FakeEnvironment};

use super::*;

const EC2: (&str, &str) = ("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
const GCE: (&str, &str) = ("/sys/class/dmi/id/product_name", "Google Compute Engine\n");
const AZURE_MACHINE: (&str, &str) = ("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n");

fn fake(variables: &[&str], files: &[(&str, &str)]) -> FakeEnvironment {
    let fake = variables
        .iter()
        .fold(Environment::fake(), |fake, name| fake.var(*name, "canary-7f3a"));
    files.iter().fold(fake, |fake, (path, contents)| fake.file(*path, *contents))
}

fn pod(variables: &[&str], files: &[(&str, &str)]) -> FakeEnvironment {
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    fake(variables, files)
        .var("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        .file(token, "canary-7f3a")
}

#[test]
fn every_place_is_recognised() {
    let places: [(&str, FakeEnvironment, Option<&str>); 28] = [
        ("a laptop with nothing", fake(&[], &[]), None),
        ("a laptop with a .env file", fake(&[], &[(".env", "A=1")]), None),
        ("a laptop with the AWS CLI", fake(&[], &[("~/.aws/config", "")]), Some("aws")),
        (
            "a laptop with the AWS CLI and a .env file",
            fake(&[], &[("~/.aws/config", ""), (".env", "")]),
            Some("aws"),
        ),
        (
            "a laptop with three clouds and one chosen",
            fake(
                &["AWS_PROFILE"],
                &[
                    ("~/.aws/config", ""),
                    ("~/.vault-token", ""),
                    ("~/.config/gcloud/application_default_credentials.json", ""),
                ],
            ),
            Some("aws"),
        ),
        (
            "an EKS pod with a role",
            pod(
                &[
                    "AWS_ROLE_ARN",
                    "AWS_WEB_IDENTITY_TOKEN_FILE",
                    "AWS_STS_REGIONAL_ENDPOINTS",
                    "AWS_DEFAULT_REGION",
                    "AWS_REGION",
                ],
                &[EC2],
            ),
            Some("aws"),
        ),
        (
            "an EKS pod with a pod identity",
            pod(
                &[
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                    "AWS_REGION",
                ],
                &[EC2],
            ),
            Some("aws"),
        ),
        ("a GKE pod", pod(&[], &[GCE]), Some("gcp")),
        (
            "a GKE pod with a project",
            pod(&["GOOGLE_CLOUD_PROJECT"], &[GCE]),
            Some("gcp"),
        ),
        (
            "an AKS pod with a workload identity and a vault",
            pod(
                &[
                    "AZURE_CLIENT_ID",
                    "AZURE_TENANT_ID",
                    "AZURE_FEDERATED_TOKEN_FILE",
                    "AZURE_AUTHORITY_HOST",
                    "AZURE_KEYVAULT_URL",
                ],
                &[AZURE_MACHINE],
            ),
            Some("azure"),
        ),
        ("a plain pod", pod(&[], &[]), Some("k8s")),
        ("a pod with one Secret", pod(&["K8S_SECRET_NAME"], &[]), Some("k8s")),
        (
            "a pod without a service account",
            fake(&["KUBERNETES_SERVICE_HOST"], &[]),
            None,
        ),
        (
            "Lambda",
            fake(
                &[
                    "AWS_LAMBDA_FUNCTION_NAME",
                    "AWS_EXECUTION_ENV",
                    "AWS_ACCESS_KEY_ID",
                    "AWS_SESSION_TOKEN",
                ],
                &[],
            ),
            Some("aws"),
        ),
        (
            "Cloud Run",
            fake(&["K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PORT"], &[]),
            Some("gcp"),
        ),
        (
            "Knative on another cluster",
            pod(&["K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PORT"], &[]),
            Some("k8s"),
        ),
        (
            "Knative without a service account",
            fake(
                &[
                    "K_SERVICE",
                    "K_REVISION",
                    "K_CONFIGURATION",
                    "PORT",
                    "KUBERNETES_SERVICE_HOST",
                ],
                &[],
            ),
            None,
        ),
        (
            "Knative on GKE",
            pod(&["K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PORT"], &[GCE]),
            Some("gcp"),
        ),
        (
            "a Cloud Run job",
            fake(&["CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX"], &[]),
            Some("gcp"),
        ),
        (
            "Azure Functions with an identity",
            fake(
                &[
                    "FUNCTIONS_WORKER_RUNTIME",
                    "WEBSITE_SITE_NAME",
                    "IDENTITY_ENDPOINT",
                    "IDENTITY_HEADER",
                    "MSI_ENDPOINT",
                ],
                &[],
            ),
            Some("azure"),
        ),
        (
            "Azure Functions without an identity",
            fake(&["FUNCTIONS_WORKER_RUNTIME", "WEBSITE_SITE_NAME"], &[]),
            None,
        ),
        ("EC2", fake(&[], &[EC2]), Some("aws")),
        ("a machine of Azure", fake(&[], &[AZURE_MACHINE]), None),
        ("GCE", fake(&[], &[GCE]), Some("gcp")),
        (
            "GitHub Actions with an AWS role",
            fake(
                &[
                    "GITHUB_ACTIONS",
                    "AWS_ACCESS_KEY_ID",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_SESSION_TOKEN",
                    "AWS_REGION",
                ],
                &[AZURE_MACHINE],
            ),
            Some("aws"),
        ),
        ("GitHub Actions", fake(&["GITHUB_ACTIONS", "CI"], &[AZURE_MACHINE]), None),
        (
            "GitHub Actions with a Google Cloud identity",
            fake(
                &[
                    "GITHUB_ACTIONS",
                    "GOOGLE_APPLICATION_CREDENTIALS",
                    "GOOGLE_GHA_CREDS_PATH",
                    "GOOGLE_CLOUD_PROJECT",
                    "CLOUDSDK_CORE_PROJECT",
                ],
                &[AZURE_MACHINE],
            ),
            Some("gcp"),
        ),
        (
            "a pod beside a Vault agent",
            pod(&["VAULT_ADDR"], &[("~/.vault-token", "")]),
            Some("vault"),
        ),
    ];
    for (place, fake, provider) in places {
        let detection = detect(&fake.build());
        assert_eq!(detection.provider().unwrap(), provider, "{place}");
        assert_eq!(detection.reason().is_empty(), provider.is_none(), "{place}");
        assert!(!format!("{detection:?} {}", detection.reason()).contains("canary"), "{place}");
    }
}

#[test]
fn two_that_are_equally_strong_are_an_error_that_lists_both_and_says_how_to_choose() {
    let token_dir = ("~/.config/gcloud/application_default_credentials.json", "");
    let places = [
        (
            "three clouds on a laptop",
            fake(&[], &[("~/.aws/config", ""), token_dir, ("~/.vault-token", "")]),
            vec!["aws", "gcp", "vault"],
        ),
        (
            "two clouds chosen",
            fake(&["AWS_PROFILE", "VAULT_ADDR"], &[token_dir]),
            vec!["aws", "vault"],
        ),
        ("AKS without a vault", pod(&["AZURE_CLIENT_ID"], &[]), vec!["azure", "k8s"]),
        (
            "EKS with a Secret object",
            pod(&["K8S_SECRET_NAME", "AWS_ROLE_ARN"], &[]),
            vec!["aws", "k8s"],
        ),
    ];
    for (place, fake, providers) in places {
        let error = detect(&fake.build()).provider().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{place}");
        for provider in ["aws", "gcp", "azure", "vault", "k8s"] {
            let listed = error.to_string().contains(&format!("`{provider}`:"));
            assert_eq!(listed, providers.contains(&provider), "{place}: {error}");
        }
        assert!(
            error.hint().unwrap().contains(&format!("SECRET_PROVIDER={}", providers[0])),
            "{place}"
        );
        assert!(!format!("{error:?}").contains("canary"), "{place}");
    }
    let error = detect(&fake(&["AWS_PROFILE", "VAULT_ADDR"], &[]).build())
        .provider()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is evidence for 2 providers: `aws`: the variable `AWS_PROFILE` (an AWS profile is chosen); \
         `vault`: the variable `VAULT_ADDR` (a Vault server is chosen)"
    );
}

#[test]
fn all_evidence_is_reported_also_what_does_not_decide() {
    let detection = detect(&fake(&["AWS_PROFILE"], &[("~/.vault-token", ""), (".env", "A=1"), AZURE_MACHINE]).build());
    let found: Vec<_> = detection
        .evidence
        .iter()
        .map(|e| (e.provider, e.strength, e.found.to_string()))
        .collect();
    assert_eq!(
        found,
        [
            ("aws", Strength::Strong, "the variable `AWS_PROFILE`".to_owned()),
            (
                "azure",
                Strength::Mention,
                "the file `/sys/class/dmi/id/chassis_asset_tag`".to_owned()
            ),
            ("vault", Strength::Weak, "the file `/home/user/.vault-token`".to_owned()),
            ("dotenv", Strength::Mention, "the file `/home/user/project/.env`".to_owned()),
        ]
    );
}

#[test]
fn files_are_looked_for_where_their_variables_say() {
    let env = fake(&[], &[("/etc/aws", ""), ("/g/application_default_credentials.json", "")]);
    let env = env.var("AWS_CONFIG_FILE", "/etc/aws").var("CLOUDSDK_CONFIG", "/g").build();
    let found: Vec<_> = detect(&env).evidence.iter().map(|e| e.found.to_string()).collect();
    assert_eq!(
        found,
        ["the file `/etc/aws`", "the file `/g/application_default_credentials.json`"]
    );
}

#[test]
fn an_empty_variable_is_no_evidence() {
    let env = Environment::fake().var("AWS_PROFILE", "").var("VAULT_ADDR", "").build();
    assert!(detect(&env).evidence.is_empty());
}

#[test]
fn every_signal_is_of_a_known_provider_and_its_variables_are_documented() {
    for (index, signal) in SIGNALS.iter().enumerate() {
        assert!(
            crate::backends::names().any(|name| name == signal.provider),
            "{}",
            signal.provider
        );
        // `Detection::provider` relies on it.
        let earlier = SIGNALS[..index].iter().rposition(|other| other.provider == signal.provider);
        assert!(
            earlier.is_none_or(|earlier| earlier + 1 == index),
            "signals of one provider stand together"
        );
    }
}
