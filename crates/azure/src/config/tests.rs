use keyfob_core::FakeEnvironment;

use super::*;

fn parse(url: &str, environment: FakeEnvironment) -> Result<AzureConfig> {
    AzureConfig::from_url(&StoreUrl::parse(url).unwrap(), &environment.build())
}

fn environment() -> FakeEnvironment {
    Environment::fake().var("AZURE_KEYVAULT_URL", "https://kv.vault.azure.net/")
}

fn application() -> FakeEnvironment {
    environment().var("AZURE_TENANT_ID", "tenant").var("AZURE_CLIENT_ID", "app")
}

#[test]
fn the_url_says_more_than_the_environment() {
    let environment = || {
        environment()
            .var("AZURE_SECRET_PREFIX", "env/")
            .var("AZURE_AUTHORITY_HOST", " login.example ")
    };
    let config = parse("azure:", environment()).unwrap();
    assert_eq!(config.vault.to_string(), "https://kv.vault.azure.net");
    assert_eq!(
        (config.prefix.as_str(), config.authority.as_str()),
        ("env/", "https://login.example")
    );
    let config = parse("azure://Other-kv?prefix=app/&timeout=5&recovery-timeout=7", environment()).unwrap();
    assert_eq!(config.vault.to_string(), "https://other-kv.vault.azure.net");
    assert_eq!(config.prefix, "app/");
    assert_eq!((config.timeout.as_secs(), config.recovery_timeout.as_secs()), (5, 7));
    let config = parse("azure://kv.vault.azure.cn", Environment::fake()).unwrap();
    assert_eq!(config.authority, "https://login.chinacloudapi.cn");
    assert_eq!(
        parse("azure://127.0.0.1:8443?challenge=unverified", Environment::fake())
            .unwrap()
            .vault
            .port(),
        Some(8443)
    );
}

#[test]
fn what_the_url_leaves_open_is_told_with_the_variable_that_says_it() {
    let environment = environment()
        .var("AZURE_KEYVAULT_URL", "https://kv.vault.azure.net")
        .var("AZURE_SECRET_PREFIX", "env/")
        .build();
    for (url, expected) in [
        (
            "azure:",
            "vault `https://kv.vault.azure.net` (the variable `AZURE_KEYVAULT_URL`), prefix `env/` (the variable \
             `AZURE_SECRET_PREFIX`)",
        ),
        ("azure://other", "prefix `env/` (the variable `AZURE_SECRET_PREFIX`)"),
        ("azure://other?prefix=app/", ""),
    ] {
        assert_eq!(
            place(&StoreUrl::parse(url).unwrap(), &environment).unwrap(),
            expected,
            "{url}"
        );
    }
}

#[test]
fn what_can_not_be_right_is_refused() {
    for url in [
        "azure:",
        "azure://kv/path",
        "azure://user@kv",
        "azure://kv?colour=red",
        "azure://kv?timeout=0",
        "azure://kv?timeout=x",
        "azure://kv?recovery-timeout=601",
        "azure://kv?identity=nobody",
        "azure://kv?challenge=maybe",
        "azure://kv?challenge=unverified",
        "azure://kv.example?challenge=unverified",
        "azure://k",
        "azure://kv?prefix=%20a",
        "azure://kv.example:8443?prefix=________________________",
    ] {
        let error = parse(url, Environment::fake()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error:?}");
    }
    for (variable, value) in [
        ("AZURE_KEYVAULT_URL", "http://kv.vault.azure.net"),
        ("AZURE_KEYVAULT_URL", "https://kv.vault.azure.net/secrets"),
        ("AZURE_AUTHORITY_HOST", "http://login.example"),
        ("AZURE_AUTHORITY_HOST", "https://login.example/tenant"),
    ] {
        let error = parse("azure:", environment().var(variable, value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{value}: {error:?}");
        assert!(error.context().any(|fact| fact == ("variable", variable)), "{error:?}");
    }
}

/// Real environments, and who asks in them.
#[test]
fn who_asks_is_chosen_by_what_is_set() {
    let azure_vm = ("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n");
    let other_vm = ("/sys/class/dmi/id/chassis_asset_tag", "No Asset Tag\n");
    let token = "/var/run/secrets/azure/tokens/azure-identity-token";
    for (what, environment, chosen) in [
        (
            "an application with a secret",
            application().var("AZURE_CLIENT_SECRET", "x"),
            "the client secret of application `app`",
        ),
        (
            "a secret beats a certificate and a token",
            application()
                .var("AZURE_CLIENT_SECRET", "x")
                .var("AZURE_CLIENT_CERTIFICATE_PATH", "app.pem")
                .var("AZURE_FEDERATED_TOKEN_FILE", token),
            "the client secret",
        ),
        (
            "an application with a certificate",
            application()
                .var("AZURE_CLIENT_CERTIFICATE_PATH", "~/app.pem")
                .var("AZURE_FEDERATED_TOKEN_FILE", token),
            "the certificate `/home/user/app.pem`",
        ),
        (
            "a pod on AKS with a workload identity, on a virtual machine",
            application()
                .var("AZURE_FEDERATED_TOKEN_FILE", token)
                .file(azure_vm.0, azure_vm.1),
            "the workload identity of application `app`",
        ),
        (
            "Functions with the identity of the app",
            environment()
                .var("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi/token")
                .var("IDENTITY_HEADER", "x"),
            "App Service's managed identity, because",
        ),
        (
            "Container Apps with a user-assigned identity",
            environment()
                .var("IDENTITY_ENDPOINT", "http://localhost:42356/msi/token")
                .var("IDENTITY_HEADER", "x")
                .var("AZURE_CLIENT_ID", "mine"),
            "App Service's managed identity with the client id `mine`",
        ),
        (
            "a virtual machine",
            environment().file(azure_vm.0, azure_vm.1),
            "the virtual machine's managed identity, because",
        ),
        (
            "a developer's virtual machine elsewhere",
            environment()
                .file(other_vm.0, other_vm.1)
                .file("~/.azure/azureProfile.json", "{}"),
            "who is logged in with Azure CLI, because `az login`",
        ),
        (
            "a laptop with Azure CLI's directory elsewhere",
            environment()
                .var("AZURE_CONFIG_DIR", "/cfg")
                .file("/cfg/msal_token_cache.json", "{}"),
            "who is logged in with Azure CLI",
        ),
        (
            "a user-assigned identity and nothing else",
            environment().var("AZURE_CLIENT_ID", "mine"),
            "the virtual machine's managed identity with the client id `mine`",
        ),
        (
            "nothing at all",
            environment(),
            "the virtual machine's managed identity, else who is logged in with Azure CLI",
        ),
        (
            "an empty secret is none",
            environment().var("AZURE_CLIENT_SECRET", ""),
            "the virtual machine's managed identity, else",
        ),
    ] {
        let identity = parse("azure:", environment).unwrap().identity.to_string();
        assert!(identity.starts_with(chosen), "{what}: {identity}");
        assert!(identity.contains(", because "), "{what}: {identity}");
    }
}

#[test]
fn the_url_can_name_who_asks() {
    let environment = || {
        application()
            .var("AZURE_CLIENT_SECRET", "x")
            .file("~/.azure/azureProfile.json", "{}")
    };
    for (named, chosen) in [
        ("secret", "the client secret"),
        ("managed", "the virtual machine's managed identity with the client id `app`"),
        (
            "cli",
            "who is logged in with Azure CLI, in tenant `tenant`, because the URL says `identity=cli`",
        ),
    ] {
        let identity = parse(&format!("azure:?identity={named}"), environment())
            .unwrap()
            .identity
            .to_string();
        assert!(identity.starts_with(chosen), "{identity}");
    }
    for named in ["certificate", "workload"] {
        assert!(parse(&format!("azure:?identity={named}"), environment()).is_err(), "{named}");
    }
}

#[test]
fn half_of_a_log_in_says_what_is_missing() {
    let alone = |name: &str| environment().var(name, "kfcanary-halfalogin01");
    for (environment, missing) in [
        (alone("AZURE_CLIENT_SECRET"), "`AZURE_TENANT_ID` is not set"),
        (
            alone("AZURE_CLIENT_SECRET").var("AZURE_TENANT_ID", "t"),
            "`AZURE_CLIENT_ID` is not set",
        ),
        (alone("AZURE_CLIENT_CERTIFICATE_PATH"), "`AZURE_TENANT_ID` is not set"),
        (alone("AZURE_FEDERATED_TOKEN_FILE"), "`AZURE_TENANT_ID` is not set"),
        (alone("IDENTITY_ENDPOINT"), "Azure Arc"),
        (
            application()
                .var("AZURE_CLIENT_SECRET", "x")
                .var("AZURE_TENANT_ID", "../other"),
            "`AZURE_TENANT_ID` is like",
        ),
        (
            application()
                .var("AZURE_CLIENT_CERTIFICATE_PATH", "a.pem")
                .var("AZURE_CLIENT_CERTIFICATE_PASSWORD", "kfcanary-password001"),
            "unset `AZURE_CLIENT_CERTIFICATE_PASSWORD`",
        ),
    ] {
        let error = parse("azure:", environment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains(missing)), "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}
