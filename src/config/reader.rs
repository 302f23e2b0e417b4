//! Reads typed values by key from two layers, the environment before the file, and collects every
//! mistake with the place it was made. In comes the file's text; out come values, the default standing
//! in for a wrong one until `finish` refuses the whole. A mistake never quotes the file, whose lines may
//! hold secrets: only values of keys that are no secret are repeated.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ENVIRONMENT_PREFIX, Error, MAX_FILE_BYTES, Mistake};

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// The table array that `endpoints` reads.
const ENDPOINTS: &str = "endpoints";
/// How many letters may be wrong for a suggestion, as one part in so many.
const MAX_WRONG_PART: usize = 2;

/// Both layers, the keys asked for, and the mistakes so far.
pub struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    environment: &'a Environment,
    written: BTreeMap<String, Spanned<DeValue<'a>>>,
    endpoints: Option<Spanned<DeValue<'a>>>,
    /// Variables that secrets are taken from.
    used: Vec<String>,
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

/// One value as it was given.
enum Given<'a> {
    Written(&'a DeValue<'a>),
    Variable(&'a str),
}

impl<'a> Reader<'a> {
    /// Refuses text that is not TOML, with all its errors.
    pub fn new(
        text: &'a str,
        file: &'a str,
        environment: &'a Environment,
    ) -> Result<Reader<'a>, Error> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            file,
            text,
            environment,
            written: BTreeMap::new(),
            endpoints: None,
            used: Vec::new(),
            known: Vec::new(),
            mistakes: Vec::new(),
        };
        for error in &errors {
            let place = error.span().map_or(file.to_owned(), |span| reader.place_at(span.start));
            let reason = format!("not valid TOML: {}", error.message());
            reader.mistakes.push(Mistake { place, key: String::new(), reason });
        }
        if !errors.is_empty() {
            return Err(Error(reader.mistakes));
        }
        let mut table = table.into_inner();
        reader.endpoints = table.remove(ENDPOINTS);
        flatten("", table, &mut reader.written);
        Ok(reader)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, default: &str) -> String {
        self.read(key, default.to_owned(), |given| given.text().map(str::to_owned))
    }

    /// A file that can be read; `None` where the text is empty.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, None, |given| match given.text()? {
            "" => Ok(None),
            path => {
                let path = PathBuf::from(path);
                read_file(&path).map_err(|reason| format!("`{}` {reason}", path.display()))?;
                Ok(Some(path))
            }
        })
    }

    /// An IP address with its port.
    pub fn address(&mut self, key: &'static str, default: &str) -> SocketAddr {
        let default = default.parse().expect("the default is an address");
        self.read(key, default, |given| {
            let text = given.text()?;
            text.parse()
                .map_err(|_| format!("`{text}` is not an IP address with port like `{default}`"))
        })
    }

    /// True or false.
    pub fn switch(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, |given| given.switch())
    }

    /// A number within bounds.
    pub fn number(&mut self, key: &'static str, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        self.read(key, default, |given| {
            let number = given.integer()?;
            u32::try_from(number).ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
                format!("{number} is not from {} to {}", bounds.start(), bounds.end())
            })
        })
    }

    /// A number of bytes or things, within bounds.
    pub fn size(&mut self, key: &'static str, default: u32, bounds: RangeInclusive<u32>) -> usize {
        usize::try_from(self.number(key, default, bounds)).expect("32 bits fit a size")
    }

    /// A time in whole seconds, within bounds.
    pub fn seconds(
        &mut self,
        key: &'static str,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> Duration {
        Duration::from_secs(self.number(key, default, bounds).into())
    }

    /// Several texts; in a variable they are separated by commas.
    pub fn list(&mut self, key: &'static str, default: &[&str]) -> Vec<String> {
        let default = default.iter().map(|&text| text.to_owned()).collect();
        self.read(key, default, |given| given.list())
    }

    /// One of these words; the first is the default.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        self.read(key, words[0].1, |given| {
            let text = given.text()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<String> =
                    words.iter().map(|(word, _)| format!("`{word}`")).collect();
                format!("`{text}` is not one of {}", words.join(", "))
            })
        })
    }

    /// Notes that the value of a key is wrong, wherever it came from.
    pub fn refuse(&mut self, key: &str, reason: String) {
        let variable = variable_of(key);
        let place = if self.environment.contains_key(&variable) {
            format!("environment variable {variable}")
        } else {
            self.written
                .get(key)
                .map_or(self.file.to_owned(), |value| self.place_at(value.span().start))
        };
        self.mistakes.push(Mistake { place, key: key.to_owned(), reason });
    }

    /// Notes a mistake at a place in the file.
    pub fn refuse_at(&mut self, offset: usize, key: String, reason: String) {
        let place = self.place_at(offset);
        self.mistakes.push(Mistake { place, key, reason });
    }

    /// Takes what was written under `endpoints`.
    pub fn take_endpoints(&mut self) -> Option<Spanned<DeValue<'a>>> {
        self.endpoints.take()
    }

    /// The value of a variable that a secret names.
    pub fn secret_variable(&mut self, name: &str) -> Option<&'a str> {
        self.used.push(name.to_owned());
        self.environment.get(name).map(String::as_str)
    }

    /// The keys asked for so far.
    #[cfg(test)]
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Refuses the configuration if there was any mistake, keys that nobody asked for among them.
    pub fn finish(mut self) -> Result<(), Error> {
        self.refuse_unknown_keys();
        self.refuse_unknown_variables();
        match self.mistakes.is_empty() {
            true => Ok(()),
            false => Err(Error(self.mistakes)),
        }
    }

    fn refuse_unknown_keys(&mut self) {
        let unknown: Vec<(String, usize)> = self
            .written
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.span().start))
            .collect();
        for (key, offset) in unknown {
            let is_section = self.known.iter().any(|known| is_within(known, &key));
            let reason = match is_section {
                true => format!("is a section; write `[{key}]` and its keys below"),
                false => unknown_reason("key", &key, self.known.iter().copied().chain([ENDPOINTS])),
            };
            self.refuse_at(offset, key, reason);
        }
    }

    /// Only names with `__` can be meant as keys: `TOLLGATE_TOKEN` and the like belong to others.
    fn refuse_unknown_variables(&mut self) {
        for name in self.environment.keys() {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            let known = self.known.iter().any(|known| variable_of(known) == *name);
            if !rest.contains("__") || known || self.used.contains(name) {
                continue;
            }
            let reason = match is_within(&key, ENDPOINTS) {
                true => "endpoints stand in the file; only their secrets can be variables, as \
                         `env:NAME`"
                    .to_owned(),
                false => unknown_reason("key", &key, self.known.iter().copied()),
            };
            let place = format!("environment variable {name}");
            self.mistakes.push(Mistake { place, key, reason });
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl Fn(&Given<'_>) -> Result<T, String>,
    ) -> T {
        self.known.push(key);
        let given = match self.environment.get(&variable_of(key)) {
            Some(value) => Given::Variable(value),
            None => match self.written.get(key) {
                Some(value) => Given::Written(value.get_ref()),
                None => return default,
            },
        };
        match convert(&given) {
            Ok(value) => value,
            Err(reason) => {
                self.refuse(key, reason);
                default
            }
        }
    }

    fn place_at(&self, offset: usize) -> String {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.file)
    }
}

impl Given<'_> {
    fn text(&self) -> Result<&str, String> {
        match self {
            Given::Variable(text) => Ok(text),
            Given::Written(DeValue::String(text)) => Ok(text),
            Given::Written(value) => Err(expected("a text in quotes", value)),
        }
    }

    fn integer(&self) -> Result<i64, String> {
        match self {
            Given::Variable(text) => {
                text.parse().map_err(|_| format!("`{text}` is not a whole number"))
            }
            Given::Written(DeValue::Integer(digits)) => {
                i64::from_str_radix(digits.as_str(), digits.radix())
                    .map_err(|_| format!("{digits} is out of range"))
            }
            Given::Written(value) => Err(expected("a whole number", value)),
        }
    }

    fn switch(&self) -> Result<bool, String> {
        match self {
            Given::Variable("true") => Ok(true),
            Given::Variable("false") => Ok(false),
            Given::Variable(text) => Err(format!("`{text}` is neither `true` nor `false`")),
            Given::Written(DeValue::Boolean(value)) => Ok(*value),
            Given::Written(value) => Err(expected("`true` or `false`", value)),
        }
    }

    fn list(&self) -> Result<Vec<String>, String> {
        match self {
            Given::Variable(text) => Ok(text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()),
            Given::Written(DeValue::Array(items)) => items
                .iter()
                .map(|item| Given::Written(item.get_ref()).text().map(str::to_owned))
                .collect(),
            Given::Written(value) => Err(expected("a list of texts", value)),
        }
    }
}

/// The text of a file, bounded.
pub fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidData => "cannot be read: not UTF-8 text".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    match text.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("cannot be read: larger than {MAX_FILE_BYTES} bytes")),
        false => Ok(text),
    }
}

/// Why a value of another type is refused. The value itself is not repeated.
pub fn expected(wanted: &str, value: &DeValue<'_>) -> String {
    format!("expected {wanted}, found {}", kind_of(value))
}

/// Why an unknown name is refused, with the nearest known one.
pub fn unknown_reason<'k>(thing: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(wrong, known)| *wrong * MAX_WRONG_PART <= known.len());
    match nearest {
        Some((_, nearest)) => format!("unknown {thing}; did you mean `{nearest}`?"),
        None => format!("unknown {thing}"),
    }
}

/// A key as TOML writes it.
pub fn written_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match !key.is_empty() && key.bytes().all(bare) {
        true => key.to_owned(),
        false => format!("{key:?}"),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn flatten<'a>(
    prefix: &str,
    table: DeTable<'a>,
    written: &mut BTreeMap<String, Spanned<DeValue<'a>>>,
) {
    for (key, value) in table {
        let path = format!("{prefix}{}", written_key(key.get_ref()));
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(inner) => flatten(&format!("{path}."), inner, written),
            other => {
                written.insert(path, Spanned::new(span, other));
            }
        }
    }
}
