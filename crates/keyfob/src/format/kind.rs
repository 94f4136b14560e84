//! Which formats there are, and which one a file has.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use keyfob_core::{Error, ErrorKind, Result};

/// How a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Anything: references are found everywhere and values are put in as they are.
    Text,
    /// `NAME=value` lines, see [`keyfob_env::dotenv`].
    Dotenv,
    /// JSON. Comments and trailing commas are accepted, and stay, whatever the file is called: whether its reader
    /// takes them is between the file and its reader.
    Json,
    /// YAML 1.2, and what of 1.1 looks the same; one or many documents.
    Yaml,
    /// TOML.
    Toml,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Text, Self::Dotenv, Self::Json, Self::Yaml, Self::Toml];

    /// The format that the name of a file says: `.env`, `.env.*` and `*.env` are dotenv, `.json` and `.jsonc` JSON,
    /// `.yaml` and `.yml` YAML, `.toml` TOML; everything else is text. Upper case counts the same.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Self::Text;
        };
        let name = name.to_ascii_lowercase();
        if name == ".env" || name.starts_with(".env.") {
            return Self::Dotenv;
        }
        match name.rsplit_once('.') {
            Some((_, "env")) => Self::Dotenv,
            Some((_, "json" | "jsonc")) => Self::Json,
            Some((_, "yaml" | "yml")) => Self::Yaml,
            Some((_, "toml")) => Self::Toml,
            _ => Self::Text,
        }
    }

    /// Its name: `text`, `dotenv`, `json`, `yaml` or `toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Dotenv => "dotenv",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Toml => "toml",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Takes the names, and `env` and `yml`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "env" => return Ok(Self::Dotenv),
            "yml" => return Ok(Self::Yaml),
            _ => {}
        }
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "no such format")
                .with("format", name.escape_debug().to_string())
                .with_hint("one of `text`, `dotenv`, `json`, `yaml`, `toml`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_says_the_format() {
        for (path, format) in [
            (".env", Format::Dotenv),
            ("a/.env.production", Format::Dotenv),
            (".env.json", Format::Dotenv),
            ("prod.env", Format::Dotenv),
            ("a.json", Format::Json),
            ("tsconfig.JSONC", Format::Json),
            ("a.b.yml", Format::Yaml),
            ("a.YAML", Format::Yaml),
            ("Cargo.toml", Format::Toml),
            ("nginx.conf", Format::Text),
            ("json", Format::Text),
            (".envrc", Format::Text),
            ("/", Format::Text),
        ] {
            assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        assert!("ini".parse::<Format>().is_err());
    }
}
