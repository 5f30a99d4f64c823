//! Configuration: one TOML file, each key of which an environment variable can override.
//!
//! With the prefix `RAFTBANKD`, `RAFTBANKD_NODE__ID=n1` overrides `id` of `[node]`. A type that denies unknown fields
//! makes unknown keys errors in the file and in the environment alike.

use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration cannot be used: one sentence that names the file and the key.
#[derive(Debug, Error)]
#[error("configuration {}: {what}", path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// Reads `path` and every environment variable that begins with `prefix` and an underscore.
///
/// `lists` names the keys (`relay.members`) that hold lists of strings; in the environment their items are separated
/// by commas.
///
/// # Errors
/// The file cannot be read or is too long; a key is unknown, missing or of another type.
pub fn load<T: DeserializeOwned>(path: &Path, prefix: &str, lists: &[&str]) -> Result<T, ConfigError> {
    load_with(path, Environment::with_prefix(prefix), lists)
}

/// As [`load`], with `variables` in place of the process' environment.
///
/// # Errors
/// As [`load`].
pub fn load_from<T: DeserializeOwned>(
    path: &Path,
    prefix: &str,
    lists: &[&str],
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let variables = variables.into_iter().collect();
    load_with(path, Environment::with_prefix(prefix).source(Some(variables)), lists)
}

/// As [`load_from`], with `text` in place of what the file at `path` holds.
///
/// # Errors
/// As [`load`], but for those of reading.
pub fn load_text<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    prefix: &str,
    lists: &[&str],
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let variables = variables.into_iter().collect();
    parse(path, text, Environment::with_prefix(prefix).source(Some(variables)), lists)
}

fn load_with<T: DeserializeOwned>(path: &Path, environment: Environment, lists: &[&str]) -> Result<T, ConfigError> {
    let error = |what: String| ConfigError { path: path.to_owned(), what };
    // `config` calls a missing file and a folder "not found" alike; the operating system's own word is clearer.
    let unreadable = |cause| error(format!("cannot be read: {cause}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(error(format!("has {size} bytes: at most {CONFIG_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text, environment, lists)
}

fn parse<T>(path: &Path, text: &str, environment: Environment, lists: &[&str]) -> Result<T, ConfigError>
where
    T: DeserializeOwned,
{
    let mut environment = environment.prefix_separator("_").separator("__");
    if !lists.is_empty() {
        environment = environment.try_parsing(true).list_separator(",");
        for list in lists {
            environment = environment.with_list_parse_key(list);
        }
    }
    config::Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(environment)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|cause| ConfigError {
            path: path.to_owned(),
            what: cause.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::{ConfigError, load_from};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        room: Room,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Room {
        name: String,
        seats: u16,
        guests: Vec<String>,
        #[serde(default)]
        open: bool,
    }

    const GOOD: &str = "[room]\nname = \"blue\"\nseats = 4\nguests = [\"a\", \"b\"]\n";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        load_from(&path, "SAMPLE", &["room.guests"], variables)
    }

    #[test]
    fn the_environment_overrides_the_file() {
        assert_eq!(read(GOOD, &[]).unwrap().room.guests, ["a", "b"]);
        let sample = read(
            GOOD,
            &[
                ("SAMPLE_ROOM__NAME", "7"),
                ("SAMPLE_ROOM__SEATS", "9"),
                ("SAMPLE_ROOM__GUESTS", "x,y,z"),
                ("SAMPLE_ROOM__OPEN", "true"),
                ("OTHER_ROOM__NAME", "red"),
            ],
        )
        .unwrap();
        let room = Room { name: "7".into(), seats: 9, guests: vec!["x".into(), "y".into(), "z".into()], open: true };
        assert_eq!(sample.room, room);
        assert_eq!(read(GOOD, &[("SAMPLE_ROOM__GUESTS", "solo")]).unwrap().room.guests, ["solo"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_key() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 6] = [
            ("[room]\nname = \"blue\"\nguests = []\n", &[], "seats"),
            ("[room]\nname = \"blue\"\nseats = 4\nguests = []\nchairs = 3\n", &[], "chairs"),
            ("[room]\nname = \"blue\"\nseats = \"many\"\nguests = []\n", &[], "seats"),
            ("[room\n", &[], "TOML"),
            (GOOD, &[("SAMPLE_ROOM__CHAIRS", "3")], "chairs"),
            (GOOD, &[("SAMPLE_ROMO__NAME", "x")], "romo"),
        ];
        for (text, variables, word) in cases {
            let message = read(text, variables).unwrap_err().to_string();
            assert!(message.contains("sample.toml") && message.contains(word), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
        let missing = load_from::<Sample>(Path::new("/does/not/exist.toml"), "SAMPLE", &[], []).unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
    }
}
