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
