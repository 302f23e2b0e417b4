//! What is wrong with a configuration: all mistakes at once, each with its place, key and reason. In
//! come texts made by the reader, which never hold a secret; out come the lines that a person reads.

use std::fmt;

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub Vec<Mistake>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file with its line, or the variable.
    pub place: String,
    /// The key: `http.listen`; empty where the whole file is meant.
    pub key: String,
    /// Why it is refused.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(out, "{}: {}", self.place, self.reason),
            false => write!(out, "{}: {}: {}", self.place, self.key, self.reason),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(out, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
