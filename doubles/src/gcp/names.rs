//! Names of resources, as they stand in paths.

use super::crc32c::crc32c;
use super::status::{Code, Status};

/// A project, or a location in it for regional secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// A request may name a project by its id; answers always have the number.
    pub(super) project: u64,
    pub(super) location: Option<String>,
}

impl Place {
    pub(super) fn path(&self) -> String {
        match &self.location {
            Some(location) => format!("projects/{}/locations/{location}", self.project),
            None => format!("projects/{}", self.project),
        }
    }
}

/// A secret, by number of its project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SecretName {
    pub(super) place: Place,
    pub(super) id: String,
}

impl SecretName {
    pub(super) fn new(place: Place, id: &str) -> Result<Self, Status> {
        if !is_secret_id(id) {
            let resource = format!("{}/secrets/{id}", place.path());
            return Err(Status::invalid(format!("Resource ID [{resource}] is not in a valid format.")));
        }
        Ok(Self {
            place,
            id: id.to_owned(),
        })
    }

    pub(super) fn path(&self) -> String {
        format!("{}/secrets/{}", self.place.path(), self.id)
    }
}

/// Which version of a secret is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VersionId {
    Number(u64),
    /// The newest that was ever made, whatever its state is.
    Latest,
    Alias(String),
}

impl VersionId {
    fn parse(secret: &SecretName, text: &str) -> Result<Self, Status> {
        match text.parse() {
            Ok(number) if number > 0 && !text.starts_with(['0', '+']) => Ok(Self::Number(number)),
            _ if text == "latest" => Ok(Self::Latest),
            _ if is_alias(text) => Ok(Self::Alias(text.to_owned())),
            _ => {
                let resource = format!("{}/versions/{text}", secret.path());
                Err(Status::invalid(format!("Resource ID [{resource}] is not in a valid format.")))
            }
        }
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Latest => f.write_str("latest"),
            Self::Alias(alias) => f.write_str(alias),
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Secrets(Place),
    Secret(SecretName),
    Versions(SecretName),
    Version(SecretName, VersionId),
    /// `projects/P/locations` and one of them.
    Locations,
}

/// Reads a path after `/v1/`, with the verb that may stand behind a colon. `None` when there is nothing of the kind.
pub(super) fn route(path: &str) -> Option<Result<(Target, Option<&str>), Status>> {
    // In the last segment, as a project's id can have a colon too.
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    let (path, verb) = match path[last..].rsplit_once(':') {
        Some((before, verb)) => (&path[..last + before.len()], Some(verb)),
        None => (path, None),
    };
    let segments: Vec<&str> = path.split('/').collect();
    let ["projects", project, rest @ ..] = segments.as_slice() else {
        return None;
    };
    let (location, rest) = match rest {
        ["locations"] | ["locations", _] => return Some(Ok((Target::Locations, verb))),
        ["locations", location, rest @ ..] => (Some(*location), rest),
        rest => (None, rest),
    };
    let target = match rest {
        ["secrets"] => place(project, location).map(Target::Secrets),
        ["secrets", id] => secret(project, location, id).map(Target::Secret),
        ["secrets", id, "versions"] => secret(project, location, id).map(Target::Versions),
        ["secrets", id, "versions", version] => secret(project, location, id)
            .and_then(|secret| VersionId::parse(&secret, version).map(|version| Target::Version(secret, version))),
        _ => return None,
    };
    Some(target.map(|target| (target, verb)))
}

fn secret(project: &str, location: Option<&str>, id: &str) -> Result<SecretName, Status> {
    SecretName::new(place(project, location)?, id)
}

fn place(project: &str, location: Option<&str>) -> Result<Place, Status> {
    let Some(number) = project_number(project) else {
        // Who is no member of a project does not learn whether there is one.
        let message = format!(
            "Permission denied on resource project {project}. It may not exist, or its id is not 6 to 30 characters long \
             and of lower-case letters, digits and hyphens."
        );
        return Err(Status::new(Code::PermissionDenied, message));
    };
    if let Some(location) = location.filter(|location| !is_location(location)) {
        return Err(Status::invalid(format!("Location [{location}] is not in a valid format.")));
    }
    Ok(Place {
        project: number,
        location: location.map(str::to_owned),
    })
}

/// Every project that can exist does. Its number follows from its id, so that there is nothing to set up.
pub(super) fn project_number(project: &str) -> Option<u64> {
    if project.bytes().all(|byte| byte.is_ascii_digit()) {
        return project.parse().ok().filter(|number| *number > 0 && !project.starts_with('0'));
    }
    // An id of an organization's domain is written with it: `example.com:project`.
    let (domain, id) = project.rsplit_once(':').unwrap_or(("", project));
    let domain_fits = domain.split('.').all(|label| is_label(label) || domain.is_empty());
    let fits = (6..=30).contains(&id.len()) && id.starts_with(|first: char| first.is_ascii_lowercase()) && is_label(id);
    (domain_fits && fits).then(|| 100_000_000_000 + u64::from(crc32c(project.as_bytes())))
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

/// As in `europe-west3`.
fn is_location(text: &str) -> bool {
    text.contains('-') && is_label(text) && text.ends_with(|last: char| last.is_ascii_digit())
}

/// `Secret.secret_id` of the reference: at most 255 letters, digits, `-` and `_`.
pub(super) fn is_secret_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(is_word)
}

/// `Secret.version_aliases` of the reference: at most 63 letters, digits, `-` and `_`, a letter first, and two words that mean
/// something else.
pub(super) fn is_alias(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    first && text.len() <= 63 && text.bytes().all(is_word) && !["latest", "NEW"].contains(&text)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        route(path).unwrap().unwrap().0
    }

    #[test]
    fn a_project_is_the_same_by_its_id_and_by_its_number() {
        let number = project_number("my-project").unwrap();
        assert_eq!(
            target("projects/my-project/secrets/s"),
            target(&format!("projects/{number}/secrets/s"))
        );
        assert_ne!(Some(number), project_number("my-project2"));
        assert!(project_number("example.com:my-project").is_some());
        for none in [
            "",
            "short",
            "Upper-case",
            "1digit",
            "trailing-",
            "0123456",
            "a_b_c_d",
            &"a".repeat(31),
        ] {
            assert_eq!(project_number(none), None, "{none}");
        }
    }

    #[test]
    fn paths_lead_to_secrets_and_versions_of_both_kinds() {
        let Target::Version(secret, version) = target("projects/my-project/locations/europe-west3/secrets/s_1/versions/7") else {
            panic!("no version")
        };
        assert_eq!(version, VersionId::Number(7));
        let number = secret.place.project;
        assert_eq!(secret.path(), format!("projects/{number}/locations/europe-west3/secrets/s_1"));
        let (target, verb) = route("projects/1/secrets/s/versions/latest:access").unwrap().unwrap();
        assert!(matches!(target, Target::Version(_, VersionId::Latest)));
        assert_eq!(verb, Some("access"));
        assert!(matches!(route("projects/1/secrets"), Some(Ok((Target::Secrets(_), None)))));
    }

    #[test]
    fn names_that_can_not_be_are_refused() {
        for bad in [
            "projects/1/secrets/a%2Fb",
            "projects/1/secrets/a.b",
            "projects/1/secrets/",
            "projects/1/secrets/s/versions/01",
            "projects/1/secrets/s/versions/-1",
            "projects/1/secrets/s/versions/a.b",
            "projects/1/locations/Mars/secrets/s",
            &format!("projects/1/secrets/{}", "a".repeat(256)),
        ] {
            assert_eq!(route(bad).unwrap().unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        for nothing in [
            "",
            "projects",
            "projects/1",
            "projects/1/secrets/s/version/1",
            "secrets/s",
            "projects/1/secrets/s/",
        ] {
            assert!(route(nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn aliases_begin_with_a_letter_and_are_not_words_of_the_service() {
        assert!(is_alias("prod-1_x") && is_alias("Latest"));
        assert!(!is_alias("latest") && !is_alias("NEW") && !is_alias("1x") && !is_alias("") && !is_alias(&"a".repeat(64)));
    }
}
