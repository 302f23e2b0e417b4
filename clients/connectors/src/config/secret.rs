//! A secret of a configuration: `env:NAME`, `file:PATH`, or the value itself. In comes the text of the key,
//! out goes what it leads to. It must never be shown.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::Error};

/// A secret that was read.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret's text, to be shown to the API alone.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// As what hides it.
    pub fn to_secret_string(&self) -> SecretString {
        self.0.clone()
    }

    fn read(text: &str) -> Result<Secret, String> {
        let value = if let Some(name) = text.strip_prefix("env:") {
            std::env::var(name).map_err(|_| format!("the environment has no text `{name}`"))?
        } else if let Some(path) = text.strip_prefix("file:") {
            let read = std::fs::read_to_string(path);
            read.map_err(|error| format!("could not read {path}: {error}"))?
        } else {
            text.to_owned()
        };
        let value = value.trim();
        if value.is_empty() {
            return Err("is empty".to_owned());
        }
        Ok(Secret(value.to_owned().into()))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned().into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let text = String::deserialize(deserializer)
            .map_err(|_| D::Error::custom("a secret must be `env:NAME`, `file:PATH` or text"))?;
        Secret::read(&text).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("..")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_where_it_is_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hunter2\n").expect("written");
        let secret = Secret::read(&format!("file:{}", file.path().display())).expect("a secret");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "..");
        assert!(Secret::read("env:TOLLGATE_NO_SUCH_VARIABLE").is_err());
        assert!(Secret::read(" ").is_err());
    }
}
