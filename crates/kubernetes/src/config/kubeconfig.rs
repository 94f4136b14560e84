//! What a kubeconfig says.
//!
//! The files and everything that they refer to come through [`Environment`], but for the programs that give credentials,
//! which kube runs.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use keyfob_core::{Environment, Error, ErrorKind, FileKind, Result, SecretValue};
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::access::{Access, MAX_FILE_BYTES, Token, of_context, read};
use super::{KubernetesConfig, invalid};

/// As owner and mode show it: also by an access control list, whose mask shows as the group's bits.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The access that these files give, merged as kubectl does: who says something first is right.
pub(super) fn access(config: &KubernetesConfig, files: &[PathBuf], found_by: &str) -> Result<Access> {
    let environment = &config.environment;
    let names = files.iter().map(|file| file.display().to_string());
    let names = names.collect::<Vec<_>>().join(":");
    let about = |error: Error| error.with("kubeconfig", names.as_str());
    let mut merged = None;
    for file in files {
        // Of a list, as kubectl has it, files may be missing.
        if files.len() > 1 && !environment.is_file(file) {
            continue;
        }
        let next = parse(environment, file)?;
        merged = Some(match merged {
            None => next,
            Some(first) => Kubeconfig::merge(first, next)
                .map_err(|_| about(invalid("the kubeconfig files are of different kinds or versions")))?,
        });
    }
    let Some(merged) = merged else {
        return Err(about(invalid("there is no kubeconfig")).with_hint("`KUBECONFIG` names files that don't exist"));
    };
    let chosen = choose(config, merged).map_err(about)?;
    let (cluster, mut user) = (
        with_files(environment, chosen.cluster)?,
        with_credentials(environment, chosen.user)?,
    );
    let token = take_token(environment, &mut user).map_err(about)?;
    if user.exec.is_some() || user.auth_provider.is_some() {
        for file in files.iter().filter(|file| environment.is_file(file)) {
            check_trusted(environment, file)?;
        }
    }
    let has_credentials = !matches!(token, Token::None) || user.exec.is_some() || user.password.is_some();
    if has_credentials && is_exposed(cluster.server.as_deref().unwrap_or_default()) {
        let error = invalid("the cluster's address is `http:`, and credentials would cross the network in the clear");
        return Err(about(error.with_hint(
            "use `https:`; plain HTTP is taken for this machine alone (`kubectl proxy`)",
        )));
    }
    let source = format!("context `{}` of {names}", chosen.name);
    let credentials = credentials(&user, &token);
    let identity = match chosen.context.user.as_deref() {
        Some(user) => format!("the user `{user}` of the {source} ({found_by}), {credentials}"),
        None => format!("{credentials} of the {source} ({found_by})"),
    };
    let mut access = of_context(&source, cluster, user, chosen.context)?;
    access.token = token;
    access.identity = identity;
    Ok(access)
}

/// A context with what it refers to.
struct Chosen {
    name: String,
    context: kube::config::Context,
    cluster: Cluster,
    user: AuthInfo,
}

fn choose(config: &KubernetesConfig, kubeconfig: Kubeconfig) -> Result<Chosen> {
    let named = config.context.clone();
    let current = kubeconfig.current_context.filter(|name| !name.is_empty());
    let Some(name) = named.or(current) else {
        return Err(invalid("the kubeconfig has no current context")
            .with_hint("name one as `k8s://NAMESPACE?context=NAME`, or choose one with `kubectl config use-context`"));
    };
    let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let found = kubeconfig.contexts.into_iter().find(|context| context.name == name);
    let Some(context) = found.and_then(|context| context.context) else {
        let error = invalid("the kubeconfig has no such context").with("context", name.as_str());
        let near = keyfob_core::nearest(&name, known.iter().map(String::as_str));
        return Err(match near.first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("`kubectl config get-contexts` shows them"),
        });
    };
    let cluster = kubeconfig
        .clusters
        .into_iter()
        .find(|cluster| cluster.name == context.cluster);
    let Some(cluster) = cluster.and_then(|cluster| cluster.cluster) else {
        return Err(invalid("the kubeconfig lacks the cluster of the context").with("context", name));
    };
    let wanted = context.user.as_deref().unwrap_or_default();
    let user = kubeconfig.auth_infos.into_iter().find(|user| user.name == wanted);
    Ok(Chosen {
        name,
        context,
        cluster,
        // As kubectl does, for clusters that ask for nobody.
        user: user.and_then(|user| user.auth_info).unwrap_or_default(),
    })
}

/// One file, with its relative paths made absolute: they stand below its directory.
fn parse(environment: &Environment, file: &Path) -> Result<Kubeconfig> {
    let bytes = Zeroizing::new(read(environment, file)?);
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes)).ok();
    // Not the parser's own error: it quotes lines, and one of them may be a token.
    let parsed = text.and_then(|text| Kubeconfig::from_yaml(text).ok());
    let mut kubeconfig = parsed.ok_or_else(|| {
        invalid("the file is not a kubeconfig, or is not valid YAML").with("kubeconfig", file.display().to_string())
    })?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let below = |path: &mut Option<String>| {
        if let Some(text) = path.as_mut().filter(|text| !text.is_empty() && Path::new(text).is_relative()) {
            *text = directory.join(&*text).display().to_string();
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        below(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        below(&mut user.client_certificate);
        below(&mut user.client_key);
        below(&mut user.token_file);
        // A program without a `/` is looked for in `PATH`.
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            below(&mut exec.command);
        }
    }
    Ok(kubeconfig)
}

fn with_files(environment: &Environment, mut cluster: Cluster) -> Result<Cluster> {
    let file = cluster.certificate_authority.take().filter(|file| !file.is_empty());
    if cluster.certificate_authority_data.is_none()
        && let Some(file) = file
    {
        cluster.certificate_authority_data = Some(BASE64.encode(&read(environment, Path::new(&file))?));
    }
    Ok(cluster)
}

fn with_credentials(environment: &Environment, mut user: AuthInfo) -> Result<AuthInfo> {
    let certificate = user.client_certificate.take().filter(|file| !file.is_empty());
    if user.client_certificate_data.is_none()
        && let Some(file) = certificate
    {
        user.client_certificate_data = Some(BASE64.encode(&read(environment, Path::new(&file))?));
    }
    let key = user.client_key.take().filter(|file| !file.is_empty());
    if user.client_key_data.is_none()
        && let Some(file) = key
    {
        let key = Zeroizing::new(read(environment, Path::new(&file))?);
        user.client_key_data = Some(SecretString::from(BASE64.encode(&key)));
    }
    Ok(user)
}

/// Takes tokens over from kube, which refuses one with white space around it, or panics.
///
/// The order is kube's and kubectl's: user name and password, then the token, then its file, then a program.
fn take_token(environment: &Environment, user: &mut AuthInfo) -> Result<Token> {
    let (token, file) = (user.token.take(), user.token_file.take().filter(|file| !file.is_empty()));
    if user.auth_provider.is_some() || user.username.is_some() && user.password.is_some() {
        return Ok(Token::None);
    }
    if let Some(token) = token.filter(|token| !token.expose_secret().trim().is_empty()) {
        user.exec = None;
        return Ok(Token::Text(SecretValue::from(token.expose_secret().trim())));
    }
    if let Some(file) = file {
        user.exec = None;
        environment.read(&file, MAX_FILE_BYTES).map_err(|error| {
            invalid("the user's token file can't be read")
                .with("file", file.as_str())
                .with_source(error)
        })?;
        return Ok(Token::File(file.into()));
    }
    Ok(Token::None)
}

/// In words.
fn credentials(user: &AuthInfo, token: &Token) -> String {
    let program = user.exec.as_ref().and_then(|exec| exec.command.as_deref());
    match (token, program) {
        (Token::Text(_), _) => "by a token".to_owned(),
        (Token::File(file), _) => format!("by the token in `{}`", file.display()),
        (Token::None, Some(program)) => format!("by what the program `{program}` says"),
        (Token::None, None) if user.auth_provider.is_some() => "by what an `auth-provider` says".to_owned(),
        (Token::None, None) if user.password.is_some() => "by a password".to_owned(),
        (Token::None, None) if user.client_certificate_data.is_some() => "by a client certificate".to_owned(),
        (Token::None, None) => "nobody: there are no credentials".to_owned(),
    }
}

/// A kubeconfig can name programs to run, so nobody else may be able to write it.
fn check_trusted(environment: &Environment, file: &Path) -> Result<()> {
    let real = environment.real_path(file).unwrap_or_else(|_| file.to_owned());
    let directory = real.parent().unwrap_or(Path::new("/")).to_owned();
    for place in [real, directory] {
        let Ok(status) = environment.status(&place) else { continue };
        let is_own = status.owner == 0 || status.owner == environment.user();
        let is_sticky = status.kind == FileKind::Directory && status.mode & 0o1000 != 0;
        if !is_own || status.mode & WRITABLE_BY_OTHERS != 0 && !is_sticky {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "the kubeconfig names a program that gives credentials, and others can write it",
            )
            .with("file", place.display().to_string())
            .with_hint("the file and its directory must belong to you or root and be writable by nobody else (`chmod go-w`)"));
        }
    }
    Ok(())
}

/// Whether what is sent there can be read on the way.
fn is_exposed(server: &str) -> bool {
    let Ok(uri) = server.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_near
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::{FakeEnvironment, StoreUrl};

    const FIRST: &str = "
apiVersion: v1
kind: Config
current-context: dev
contexts:
- name: dev
  context: {cluster: one, user: jo, namespace: team}
- name: prod
  context: {cluster: two, user: jo}
- name: lost
  context: {cluster: three, user: jo}
clusters:
- name: one
  cluster: {server: 'https://one.example:6443', certificate-authority: ca.pem}
- name: two
  cluster: {server: 'https://two.example/path', insecure-skip-tls-verify: true}
users:
- name: jo
  user: {token: ' kfcanary-first00001 '}
";
    const SECOND: &str = "
current-context: other
contexts:
- name: dev
  context: {cluster: wrong, user: wrong}
- name: other
  context: {cluster: one, user: file}
users:
- name: jo
  user: {token: kfcanary-second0001}
- name: file
  user: {tokenFile: token}
";
    // Of a certificate only that it is PEM matters here.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn fake() -> FakeEnvironment {
        Environment::fake()
            .file("~/a/config", FIRST)
            .file("~/a/ca.pem", CERTIFICATE)
            .file("/b/config", SECOND)
            .file("/b/token", "kfcanary-file000001\n")
    }

    fn find(url: &str, environment: &FakeEnvironment) -> Result<Access> {
        let environment = environment.clone().build();
        Access::find(&KubernetesConfig::from_url(&StoreUrl::parse(url)?, &environment)?)
    }

    fn server(access: &Access) -> String {
        access.kube.cluster_url.to_string()
    }

    #[test]
    fn files_are_merged_and_who_says_something_first_is_right() {
        let environment = fake().var("KUBECONFIG", "/missing::~/a/config:/b/config");
        let access = find("k8s:", &environment).unwrap();
        assert_eq!(server(&access), "https://one.example:6443/");
        assert_eq!(access.namespace, "team");
        assert!(matches!(&access.token, Token::Text(token) if token.expose_secret() == b"kfcanary-first00001"));
        assert_eq!(access.kube.root_cert.as_ref().map(Vec::len), Some(1));
        let access = find("k8s:?context=other", &environment).unwrap();
        assert!(matches!(&access.token, Token::File(file) if file == Path::new("/b/token")));
        assert_eq!(access.namespace, "default");
        let access = find("k8s:?context=prod", &environment).unwrap();
        assert!(server(&access) == "https://two.example/path" && access.kube.accept_invalid_certs);
        assert!(access.kube.auth_info.token.is_none(), "kube would send it as it stands");
    }

    #[test]
    fn an_explicit_file_beats_the_variable_which_beats_the_pod_which_beats_the_usual_file() {
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        let usual = fake().file(
            "~/.kube/config",
            FIRST.replace("one.example", "usual.example").replace("ca.pem", "/ca.pem"),
        );
        let usual = usual.file("/ca.pem", CERTIFICATE);
        assert_eq!(server(&find("k8s:", &usual).unwrap()), "https://usual.example:6443/");
        let pod = usual
            .var("KUBERNETES_SERVICE_HOST", "fd00::1")
            .var("KUBERNETES_SERVICE_PORT", "6443")
            .file(format!("{account}/token"), "kfcanary-pod00000001")
            .file(format!("{account}/ca.crt"), CERTIFICATE)
            .file(format!("{account}/namespace"), "pods\n");
        let access = find("k8s:", &pod).unwrap();
        assert_eq!(
            (server(&access).as_str(), access.namespace.as_str()),
            ("https://[fd00::1]:6443/", "pods")
        );
        assert!(matches!(&access.token, Token::File(_)) && access.authority_file.is_some());
        assert!(access.identity.contains("KUBERNETES_SERVICE_HOST"));
        // Who names a context means a kubeconfig.
        assert_eq!(
            server(&find("k8s:?context=dev", &pod).unwrap()),
            "https://usual.example:6443/"
        );
        let variable = pod.var("KUBECONFIG", "~/a/config");
        assert_eq!(server(&find("k8s:", &variable).unwrap()), "https://one.example:6443/");
        let explicit = find("k8s:?kubeconfig=/b/config&context=other", &variable).unwrap_err();
        assert!(explicit.message().contains("lacks the cluster"), "{explicit:?}");
    }

    #[test]
    fn without_a_cluster_it_says_where_it_looked() {
        let error = find("k8s:", &Environment::fake()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("KUBECONFIG") && hint.contains("~/.kube/config"))
        );
        // A pod that was given no service account.
        let pod = Environment::fake().var("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        assert_eq!(find("k8s:", &pod).unwrap_err().kind(), ErrorKind::InvalidConfig);
        let missing = Environment::fake().var("KUBECONFIG", "/missing");
        assert!(find("k8s:", &missing).unwrap_err().to_string().contains("/missing"));
        let missing = Environment::fake().var("KUBECONFIG", "/missing:/too");
        assert!(find("k8s:", &missing).unwrap_err().to_string().contains("/too"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_quoting_it() {
        for (text, part) in [
            (
                "users:\n- name: jo\n  user: {token: [kfcanary-inalist0001\n",
                "not a kubeconfig",
            ),
            ("- kfcanary-alist000001", "not a kubeconfig"),
            ("apiVersion: v1", "no current context"),
            ("current-context: x", "no such context"),
            (
                "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]",
                "no address",
            ),
            (
                "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \
                 'https://jo:kfcanary-inaurl0001@x'}}]",
                "not that of an API server",
            ),
            (
                "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \
                 'localhost:8080'}}]",
                "not that of an API server",
            ),
            (
                "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \
                 'https://x', proxy-url: 'http://kfcanary-proxy00001@y'}}]",
                "proxy",
            ),
            (
                "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \
                 'https://x', certificate-authority-data: 'kfcanary-!'}}]",
                "base64",
            ),
        ] {
            let error = find("k8s:", &Environment::fake().file("~/.kube/config", text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{part}");
            assert!(error.message().contains(part), "{part}: {error:?}");
            assert!(!format!("{error:?}").contains("kfcanary"), "{part}");
        }
    }

    #[test]
    fn a_context_that_is_not_there_has_a_near_one() {
        let error = find("k8s:?context=prd", &fake().var("KUBECONFIG", "~/a/config")).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `prod`?"));
    }

    #[test]
    fn credentials_do_not_cross_a_network_in_the_clear() {
        let over_http = |server: &str| {
            let text = FIRST.replace(
                "'https://one.example:6443', certificate-authority: ca.pem",
                &format!("'{server}'"),
            );
            find("k8s:", &Environment::fake().file("~/.kube/config", text))
        };
        for near in ["http://localhost:8001", "http://127.0.0.1:8001", "http://[::1]:8001"] {
            assert!(over_http(near).is_ok(), "{near}");
        }
        let error = over_http("http://one.example").unwrap_err();
        assert!(error.message().contains("in the clear"), "{error:?}");
    }

    #[test]
    fn it_is_said_who_asks_and_what_made_it_so() {
        let environment = fake().var("KUBECONFIG", "~/a/config");
        assert_eq!(
            find("k8s:", &environment).unwrap().identity,
            "the user `jo` of the context `dev` of /home/user/a/config (the variable `KUBECONFIG`), by a token"
        );
        let program = FIRST.replace(
            "token: ' kfcanary-first00001 '",
            "exec: {command: aws, args: [eks, get-token]}",
        );
        let environment = fake().file("/c", program);
        assert_eq!(
            find("k8s:?kubeconfig=/c&context=prod", &environment).unwrap().identity,
            "the user `jo` of the context `prod` of /c (the URL names it), by what the program `aws` says"
        );
    }

    #[test]
    fn a_program_is_believed_only_from_a_file_that_nobody_else_can_write() {
        let program = FIRST.replace("token: ' kfcanary-first00001 '", "exec: {command: aws}");
        for (owner, mode, is_believed) in [
            (1000, 0o600, true),
            (0, 0o644, true),
            (1001, 0o600, false),
            (1000, 0o660, false),
            (1000, 0o606, false),
        ] {
            let environment = Environment::fake().file_of("/c", program.clone(), owner, mode);
            let found = find("k8s:?kubeconfig=/c&context=prod", &environment);
            assert_eq!(found.is_ok(), is_believed, "{owner} {mode:o}: {found:?}");
        }
        // Without a program it says only where to ask.
        let environment = Environment::fake().file_of("/c", FIRST, 1000, 0o664);
        assert!(find("k8s:?kubeconfig=/c&context=prod", &environment).is_ok());
    }
}
