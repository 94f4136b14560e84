//! Which operation of the reference a request asks for.

use hyper::Method;

use super::permissions::Action;
use crate::server::Request;

/// `api-version`s whose secrets are the same for what is modelled here.
pub(super) const API_VERSIONS: [&str; 5] = ["7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"];

/// An operation, with the names from the path, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    List,
    ListDeleted,
    ListVersions(String),
    Set(String),
    Get(String, Option<String>),
    Update(String, Option<String>),
    Delete(String),
    GetDeleted(String),
    Recover(String),
    Purge(String),
}

/// Why there is no operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// There are operations at this path, with these methods.
    Method(&'static str),
    Unknown,
}

impl Route {
    pub(super) fn of(request: &Request) -> Result<Self, NoRoute> {
        let path = decoded(&request.path).ok_or(NoRoute::Unknown)?;
        let parts: Vec<&str> = path.split('/').collect();
        let owned = |text: &str| text.to_owned();
        let version = |text: &str| Some(text.to_owned()).filter(|version| !version.is_empty());
        let (method, get, put, delete, patch, post) = (
            &request.method,
            Method::GET,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::POST,
        );
        let only = |allowed: Method, names, route| {
            if *method == allowed {
                Ok(route)
            } else {
                Err(NoRoute::Method(names))
            }
        };
        match parts[..] {
            ["secrets"] => only(get, "GET", Self::List),
            ["deletedsecrets"] => only(get, "GET", Self::ListDeleted),
            // Only a POST restores a backup: a secret can have this name.
            ["secrets", "restore"] if *method == post => Err(NoRoute::Unknown),
            ["secrets", name] => match method {
                method if *method == get => Ok(Self::Get(owned(name), None)),
                method if *method == put => Ok(Self::Set(owned(name))),
                method if *method == delete => Ok(Self::Delete(owned(name))),
                method if *method == patch => Ok(Self::Update(owned(name), None)),
                _ => Err(NoRoute::Method("DELETE, GET, PATCH, PUT")),
            },
            ["secrets", name, "versions"] => only(get, "GET", Self::ListVersions(owned(name))),
            ["secrets", _, "backup"] => Err(NoRoute::Unknown),
            // An empty version is the current one: the SDKs ask like this.
            ["secrets", name, id] => match method {
                method if *method == get => Ok(Self::Get(owned(name), version(id))),
                method if *method == patch => Ok(Self::Update(owned(name), version(id))),
                _ => Err(NoRoute::Method("GET, PATCH")),
            },
            ["deletedsecrets", name] => match method {
                method if *method == get => Ok(Self::GetDeleted(owned(name))),
                method if *method == delete => Ok(Self::Purge(owned(name))),
                _ => Err(NoRoute::Method("DELETE, GET")),
            },
            ["deletedsecrets", name, "recover"] => only(post, "POST", Self::Recover(owned(name))),
            _ => Err(NoRoute::Unknown),
        }
    }

    /// As faults and counts call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::ListDeleted => "list-deleted",
            Self::ListVersions(_) => "list-versions",
            Self::Set(_) => "set",
            Self::Get(..) => "get",
            Self::Update(..) => "update",
            Self::Delete(_) => "delete",
            Self::GetDeleted(_) => "get-deleted",
            Self::Recover(_) => "recover",
            Self::Purge(_) => "purge",
        }
    }

    pub(super) fn action(&self) -> Action {
        match self {
            Self::List | Self::ListDeleted | Self::ListVersions(_) | Self::GetDeleted(_) => Action::ReadMetadata,
            Self::Set(_) => Action::Set,
            Self::Get(..) => Action::Get,
            Self::Update(..) => Action::Update,
            Self::Delete(_) => Action::Delete,
            Self::Recover(_) => Action::Recover,
            Self::Purge(_) => Action::Purge,
        }
    }

    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::List | Self::ListDeleted => None,
            Self::ListVersions(name)
            | Self::Set(name)
            | Self::Get(name, _)
            | Self::Update(name, _)
            | Self::Delete(name)
            | Self::GetDeleted(name)
            | Self::Recover(name)
            | Self::Purge(name) => Some(name),
        }
    }

    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Get(_, version) | Self::Update(_, version) => version.as_deref(),
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List | Self::ListDeleted | Self::ListVersions(_))
    }

    pub(super) fn has_body(&self) -> bool {
        matches!(self, Self::Set(_) | Self::Update(..))
    }
}

/// `^[0-9A-Za-z-]{1,127}$`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// 32 hexadecimal digits.
pub(super) fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The path without its first slash. Escapes are decoded before it is taken apart, as the service's own web server does:
/// an escaped slash separates.
fn decoded(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    // A plus sign stands for itself in a path.
    let form = format!("={}", path.replace('+', "%2B"));
    let (_, decoded) = url::form_urlencoded::parse(form.as_bytes()).next()?;
    // More than one pair: a `&` in the path, which no operation has.
    (!path.contains('&')).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn route(line: &str) -> Result<Route, NoRoute> {
        let (method, path) = line.split_once(' ').unwrap();
        Route::of(&Request {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Vec::new().into(),
        })
    }

    #[test]
    fn every_operation_has_its_route() {
        let name = || "n".to_owned();
        for (line, expected) in [
            ("GET /secrets", Route::List),
            ("GET /deletedsecrets", Route::ListDeleted),
            ("GET /secrets/n/versions", Route::ListVersions(name())),
            ("PUT /secrets/n", Route::Set(name())),
            ("GET /secrets/n", Route::Get(name(), None)),
            ("GET /secrets/n/", Route::Get(name(), None)),
            ("GET /secrets/n/v", Route::Get(name(), Some("v".to_owned()))),
            ("PATCH /secrets/n/", Route::Update(name(), None)),
            ("PATCH /secrets/n/v", Route::Update(name(), Some("v".to_owned()))),
            ("DELETE /secrets/n", Route::Delete(name())),
            ("GET /deletedsecrets/n", Route::GetDeleted(name())),
            ("POST /deletedsecrets/n/recover", Route::Recover(name())),
            ("DELETE /deletedsecrets/n", Route::Purge(name())),
            ("GET /secrets/restore", Route::Get("restore".to_owned(), None)),
        ] {
            assert_eq!(route(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (line, allowed) in [
            ("POST /secrets", "GET"),
            ("POST /secrets/n", "DELETE, GET, PATCH, PUT"),
            ("PUT /secrets/n/v", "GET, PATCH"),
            ("PUT /deletedsecrets/n", "DELETE, GET"),
            ("GET /deletedsecrets/n/recover", "POST"),
            ("DELETE /secrets/n/versions", "GET"),
        ] {
            assert_eq!(route(line), Err(NoRoute::Method(allowed)), "{line}");
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for line in [
            "GET /",
            "GET /keys/n",
            "GET //secrets/n",
            "POST /secrets/restore",
            "POST /secrets/n/backup",
            "GET /secrets/n/v/w",
            "GET /secrets/n/versions/",
            "GET /secrets/n&m",
        ] {
            assert_eq!(route(line), Err(NoRoute::Unknown), "{line}");
        }
    }

    #[test]
    fn escapes_are_decoded_before_the_path_is_taken_apart() {
        assert_eq!(
            route("GET /secrets/n%2Fv"),
            Ok(Route::Get("n".to_owned(), Some("v".to_owned())))
        );
        assert_eq!(route("GET /secrets/a%20b"), Ok(Route::Get("a b".to_owned(), None)));
        assert_eq!(route("GET /secrets/a+b"), Ok(Route::Get("a+b".to_owned(), None)));
        assert_eq!(
            route("DELETE /secrets/..%2Fdeletedsecrets%2Fn"),
            Err(NoRoute::Unknown),
            "four parts"
        );
    }

    #[test]
    fn names_and_versions_have_their_form() {
        for name in ["a", "-", "0", "A-9", &"n".repeat(127)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a.b", "a_b", "a b", "ä", &"n".repeat(128)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_version(&"0f".repeat(16)));
        for version in ["", "0f", &"0g".repeat(16), &"0f".repeat(17)] {
            assert!(!is_version(version), "{version}");
        }
    }
}
