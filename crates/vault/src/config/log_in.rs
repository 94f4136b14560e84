//! Which of the ways to log in is meant.

use std::path::PathBuf;

use keyfob_core::{Environment, Error, ErrorKind, Parameters, Result, SecretValue, StoreUrl};

use super::from_url::{first, first_file, variable};
use super::{AuthConfig, SecretSource, invalid};

/// Where a pod finds the token of its service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The parameters of a URL that are about logging in.
pub(super) const PARAMETERS: [&str; 7] = [
    "login",
    "login-mount",
    "role",
    "token-file",
    "secret-id-file",
    "wrapped-secret-id-file",
    "jwt-file",
];

const METHODS: [&str; 4] = ["token", "approle", "jwt", "kubernetes"];

/// Everything that the URL and the environment say about logging in.
struct Given {
    mount: Option<String>,
    role: Option<String>,
    token: Option<SecretSource>,
    role_id: Option<String>,
    secret_id: Option<SecretSource>,
    wrapped_secret_id: Option<SecretSource>,
    jwt: Option<SecretSource>,
    jwt_role: Option<String>,
    kubernetes_role: Option<String>,
    /// The file that log-ins of people leave, if it is there.
    token_of_user: Option<PathBuf>,
}

/// The way that `login` names; else the only one that something was found for; else the token file of the user.
pub(super) fn choose(url: &StoreUrl, parameters: &mut Parameters, environment: &Environment) -> Result<AuthConfig> {
    let login = parameters.take("login");
    let given = Given::find(url, parameters, environment)?;
    let method = match login.as_deref() {
        Some(login) => *METHODS.iter().find(|method| **method == login).ok_or_else(|| {
            invalid("the parameter `login` is not `token`, `approle`, `jwt` or `kubernetes`").with("url", url.to_string())
        })?,
        None => given.found()?,
    };
    given.of_method(method, login.is_some())
}

impl Given {
    fn find(url: &StoreUrl, parameters: &mut Parameters, environment: &Environment) -> Result<Self> {
        let mut file =
            |parameter: &str, variables: &[&'static str]| first_file(url, parameters, parameter, environment, variables);
        let secret = |names: &[&str]| names.iter().find_map(|name| secret_variable(environment, name));
        // A parameter is nearer than a variable, whatever form the variable has.
        let token = file("token-file", &[])?.map(SecretSource::File);
        let token = token.or_else(|| secret(&["VAULT_TOKEN", "BAO_TOKEN"]));
        let secret_id = file("secret-id-file", &[])?.map(SecretSource::File);
        let secret_id = secret_id.or_else(|| secret(&["VAULT_SECRET_ID"]));
        let wrapped_secret_id = file("wrapped-secret-id-file", &[])?.map(SecretSource::File);
        let jwt = file("jwt-file", &[])?.map(SecretSource::File);
        let jwt = jwt.or_else(|| secret(&["VAULT_JWT"]));
        let of_variable = |name: &'static str| -> Result<Option<SecretSource>> {
            Ok(variable(environment, &[name])?.map(|(_, path)| SecretSource::File(environment.absolute(path))))
        };
        Ok(Self {
            token: token.map_or_else(|| of_variable("VAULT_TOKEN_FILE"), |token| Ok(Some(token)))?,
            secret_id: secret_id.map_or_else(|| of_variable("VAULT_SECRET_ID_FILE"), |id| Ok(Some(id)))?,
            wrapped_secret_id: wrapped_secret_id.or_else(|| secret(&["VAULT_WRAPPED_SECRET_ID"])),
            jwt: jwt.map_or_else(|| of_variable("VAULT_JWT_FILE"), |jwt| Ok(Some(jwt)))?,
            mount: first(parameters, "login-mount", environment, &["VAULT_AUTH_MOUNT"])?
                .map(|mount| mount.trim_matches('/').to_owned()),
            role: first(parameters, "role", environment, &[])?,
            role_id: owned(variable(environment, &["VAULT_ROLE_ID"])?),
            jwt_role: owned(variable(environment, &["VAULT_ROLE"])?),
            kubernetes_role: owned(variable(environment, &["VAULT_K8S_ROLE"])?),
            token_of_user: environment
                .home()
                .map(|home| home.join(".vault-token"))
                .filter(|path| environment.is_file(path)),
        })
    }

    /// The only method that something was found for. Two are no choice that keyfob makes.
    fn found(&self) -> Result<&'static str> {
        let found: Vec<(&str, &str)> = [
            (self.token.is_some(), "token", "a token"),
            (
                self.role_id.is_some() || self.secret_id.is_some() || self.wrapped_secret_id.is_some(),
                "approle",
                "the role id or secret id of an AppRole",
            ),
            (
                self.jwt.is_some() && self.kubernetes_role.is_none(),
                "jwt",
                "a JSON Web Token",
            ),
            (self.kubernetes_role.is_some(), "kubernetes", "a role for Kubernetes"),
        ]
        .into_iter()
        .filter_map(|(found, method, what)| found.then_some((method, what)))
        .collect();
        match found[..] {
            [(method, _)] => Ok(METHODS.into_iter().find(|known| *known == method).unwrap_or("token")),
            [] if self.token_of_user.is_some() => Ok("token"),
            [] => Err(
                Error::new(ErrorKind::Unauthenticated, "nothing is given to log in to the server with").with_hint(
                    "set one of `VAULT_TOKEN`; `VAULT_ROLE_ID` and `VAULT_SECRET_ID`; `VAULT_ROLE` and `VAULT_JWT_FILE`; \
                 `VAULT_K8S_ROLE`; or log in with `vault login`, which writes `~/.vault-token`",
                ),
            ),
            _ => {
                let all: Vec<_> = found.iter().map(|(_, what)| *what).collect();
                let methods: Vec<_> = found.iter().map(|(method, _)| format!("`login={method}`")).collect();
                Err(
                    invalid(format!("there is more than one way to log in: {}", all.join(", "))).with_hint(format!(
                        "write {} into the store's URL, or unset the others",
                        methods.join(" or ")
                    )),
                )
            }
        }
    }

    fn of_method(self, method: &str, spelled_out: bool) -> Result<AuthConfig> {
        let mount = self.mount.unwrap_or_else(|| method.to_owned());
        let missing = |what: &'static str, hint: &'static str| Err(invalid(what).with("login", method).with_hint(hint));
        match method {
            "approle" => {
                let Some(role_id) = self.role.or(self.role_id) else {
                    return missing(
                        "the AppRole's role id is missing",
                        "set `VAULT_ROLE_ID`, or `role` in the store's URL",
                    );
                };
                let (secret_id, wrapped) = match (self.secret_id, self.wrapped_secret_id) {
                    (Some(_), Some(_)) => {
                        return missing("there is a secret id, and a wrapped one too", "unset one of them");
                    }
                    (None, Some(wrapped)) => (Some(wrapped), true),
                    (None, None) if !spelled_out => {
                        return missing(
                            "the AppRole's secret id is missing",
                            "set `VAULT_SECRET_ID`; for a role that needs none write `login=approle` into the store's URL",
                        );
                    }
                    (secret_id, None) => (secret_id, false),
                };
                Ok(AuthConfig::AppRole {
                    mount,
                    role_id,
                    secret_id,
                    wrapped,
                })
            }
            "jwt" => match self.jwt {
                None => missing(
                    "the JSON Web Token is missing",
                    "set `VAULT_JWT_FILE`, or `jwt-file` in the store's URL",
                ),
                Some(jwt) => Ok(AuthConfig::Jwt {
                    mount,
                    role: self.role.or(self.jwt_role),
                    jwt,
                }),
            },
            "kubernetes" => match self.role.or(self.kubernetes_role).or(self.jwt_role) {
                None => missing("the role is missing", "set `VAULT_K8S_ROLE`, or `role` in the store's URL"),
                Some(role) => Ok(AuthConfig::Kubernetes {
                    mount,
                    role,
                    jwt: self.jwt.unwrap_or_else(|| SecretSource::File(SERVICE_ACCOUNT_TOKEN.into())),
                }),
            },
            _ => match self.token.or(self.token_of_user.map(SecretSource::File)) {
                None => missing("there is no token", "set `VAULT_TOKEN`, or `token-file` in the store's URL"),
                Some(token) => Ok(AuthConfig::Token(token)),
            },
        }
    }
}

fn secret_variable(environment: &Environment, name: &str) -> Option<SecretSource> {
    let value: SecretValue = environment.secret_var(name)?;
    // Only white space counts as unset, as for other variables.
    (!value.expose_secret().trim_ascii().is_empty()).then_some(SecretSource::Value(value))
}

fn owned(found: Option<(&'static str, &str)>) -> Option<String> {
    found.map(|(_, value)| value.to_owned())
}
