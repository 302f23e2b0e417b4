//! `[[endpoints]]`: each table becomes a `providers::Endpoint`, checked against what its provider says
//! that it needs. In come the written tables and the variables and files that secrets name; out come
//! endpoints that can all verify. An endpoint without the secrets that its provider requires is refused,
//! and the value of a secret is never repeated, wherever it came from.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Reader, expected, read_file, unknown_reason, written_key};
use crate::model::EndpointName;
use crate::providers::{Endpoint, Provider};

/// The keys of an endpoint that every provider has.
const COMMON_KEYS: &[&str] = &["provider", "name", "path", SECRETS];
const SECRETS: &str = "secrets";
/// With this setting an endpoint only waits for the post that brings its secret, which its provider then
/// has confirmed; nothing else is accepted there.
const SCHEME: &str = "scheme";
const HANDSHAKE: &str = "handshake";
/// Below it no endpoint may be.
const LINKS: &str = "/l/";
/// How many values one secret may have; each is tried for each request.
const MAX_SECRET_VALUES: usize = 8;

/// One table while it is read.
struct Entry<'r, 'a, 't> {
    reader: &'r mut Reader<'a>,
    table: &'t DeTable<'a>,
    /// `endpoints[0]`.
    key: String,
    offset: usize,
}

/// Reads all endpoints; mistakes go to the reader.
pub fn read(
    reader: &mut Reader<'_>,
    providers: &'static [Provider],
    public_url: &str,
) -> Vec<Endpoint> {
    let Some(written) = reader.take_endpoints() else { return Vec::new() };
    let DeValue::Array(items) = written.get_ref() else {
        let reason = expected("tables that begin with `[[endpoints]]`", written.get_ref());
        reader.refuse_at(written.span().start, "endpoints".to_owned(), reason);
        return Vec::new();
    };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("endpoints[{index}]");
        let offset = item.span().start;
        let DeValue::Table(table) = item.get_ref() else {
            reader.refuse_at(offset, key, expected("a table", item.get_ref()));
            continue;
        };
        let mut entry = Entry { reader, table, key, offset };
        let Some(endpoint) = entry.endpoint(providers, public_url) else { continue };
        entry.refuse_duplicate(&endpoint, &endpoints);
        endpoints.push(endpoint);
    }
    endpoints
}

impl<'t> Entry<'_, '_, 't> {
    /// The endpoint, or `None` where what would name it is wrong.
    fn endpoint(&mut self, providers: &'static [Provider], public_url: &str) -> Option<Endpoint> {
        let provider = self.required_text("provider");
        let name = self.required_text("name");
        let (provider, name) = (provider?, name?);
        let Some(found) = providers.iter().find(|known| known.name == provider) else {
            let known = providers.iter().map(|known| known.name);
            let reason = unknown_reason(&format!("provider `{provider}`"), provider, known);
            self.refuse("provider", reason);
            return None;
        };
        let Ok(endpoint) = EndpointName::new(provider, name) else {
            self.refuse("name", "must have 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`".to_owned());
            return None;
        };
        let path = match self.text("path") {
            Some(path) => self.checked_path(path),
            None => format!("/webhooks/{endpoint}"),
        };
        let endpoint = Endpoint {
            name: endpoint,
            url: format!("{public_url}{path}"),
            path,
            secrets: self.secrets(found),
            settings: self.settings(found),
        };
        if let Err(mistake) = (found.check)(&endpoint) {
            self.refuse(mistake.key, mistake.reason);
        }
        Some(endpoint)
    }

    fn checked_path(&mut self, path: &str) -> String {
        let plain =
            path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&byte));
        // It may end in a slash, as some signed URLs do.
        let mut parts = path.strip_suffix('/').unwrap_or(path).split('/').skip(1);
        let parts_are_names = parts.all(|part| !part.is_empty() && part != "." && part != "..");
        if !path.starts_with('/') {
            self.refuse("path", format!("`{path}` does not begin with `/`"));
        } else if !plain || !parts_are_names {
            let reason = format!("`{path}` is not a plain path like `/webhooks/stripe/acme-eu`");
            self.refuse("path", reason);
        } else if path.starts_with(LINKS) {
            self.refuse("path", format!("`{path}` is where payment links are visited"));
        }
        path.to_owned()
    }

    fn secrets(&mut self, provider: &Provider) -> BTreeMap<String, Vec<SecretString>> {
        let mut secrets = BTreeMap::new();
        let table = match self.table.get(SECRETS).map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table,
            Some(other) => {
                let reason = expected("names with values, `secrets.NAME = VALUE`", other);
                self.refuse(SECRETS, reason);
                return secrets;
            }
            None => &DeTable::new(),
        };
        for (name, value) in table {
            let (name, offset) = (name.get_ref().as_ref(), value.span().start);
            let key = format!("{}.{SECRETS}.{}", self.key, written_key(name));
            if !provider.secrets.iter().any(|known| known.name == name) {
                let known = provider.secrets.iter().map(|known| known.name);
                let thing = format!("secret of {}", provider.name);
                self.reader.refuse_at(offset, key, unknown_reason(&thing, name, known));
                continue;
            }
            let structured = provider.structured.contains(&name);
            match self.values(value.get_ref(), structured) {
                Ok(values) => {
                    secrets.insert(name.to_owned(), values);
                }
                Err(reason) => self.reader.refuse_at(offset, key, reason),
            }
        }
        self.refuse_unverifiable(provider, table);
        secrets
    }

    /// Refuses an endpoint that could not tell an authentic request: nothing is accepted unverified.
    fn refuse_unverifiable(&mut self, provider: &Provider, written: &DeTable<'_>) {
        for secret in provider.secrets.iter().filter(|secret| secret.required) {
            if written.get(secret.name).is_none() {
                let key = format!("{SECRETS}.{}", secret.name);
                let reason =
                    format!("is missing; {} requests cannot be verified without it", provider.name);
                self.refuse(&key, reason);
            }
        }
        let none_required = provider.secrets.iter().all(|secret| !secret.required);
        let awaits_handshake = provider.settings.contains(&SCHEME)
            && self.table.get(SCHEME).is_some_and(
                |value| matches!(value.get_ref(), DeValue::String(scheme) if scheme == HANDSHAKE),
            );
        if none_required && !provider.secrets.is_empty() && written.is_empty() && !awaits_handshake
        {
            let names: Vec<String> =
                provider.secrets.iter().map(|secret| format!("`{}`", secret.name)).collect();
            let reason = format!(
                "is missing; {} requests cannot be verified without one of {}",
                provider.name,
                names.join(", ")
            );
            self.refuse(SECRETS, reason);
        }
    }

    fn values(
        &mut self,
        value: &DeValue<'_>,
        structured: bool,
    ) -> Result<Vec<SecretString>, String> {
        let texts: Vec<&str> = match value {
            DeValue::String(text) => vec![text],
            list @ DeValue::Array(items)
                if structured
                    && items.iter().any(|item| !matches!(item.get_ref(), DeValue::String(_))) =>
            {
                return Ok(vec![self.structured(list)?]);
            }
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(text.as_ref()),
                    other => Err(expected("a list of texts", other)),
                })
                .collect::<Result<_, _>>()?,
            table @ DeValue::Table(_) if structured => return Ok(vec![self.structured(table)?]),
            other => return Err(expected("a text or a list of texts", other)),
        };
        if texts.is_empty() || texts.len() > MAX_SECRET_VALUES {
            return Err(format!("must have 1 to {MAX_SECRET_VALUES} values"));
        }
        texts.into_iter().map(|text| self.value(text)).collect()
    }

    /// A table as JSON, each of its texts replaced by what it stands for.
    fn structured(&mut self, value: &DeValue<'_>) -> Result<SecretString, String> {
        let mut json = json_of(value)?;
        self.resolve(&mut json)?;
        Ok(SecretString::from(json.to_string()))
    }

    fn resolve(&mut self, json: &mut Value) -> Result<(), String> {
        match json {
            Value::String(text) => *text = self.value(text)?.expose_secret().to_owned(),
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.resolve(item))?,
            Value::Object(fields) => fields.values_mut().try_for_each(|item| self.resolve(item))?,
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    /// What `env:NAME`, `file:PATH` or a literal stands for.
    fn value(&mut self, text: &str) -> Result<SecretString, String> {
        let value = if let Some(name) = text.strip_prefix("env:") {
            let named = named_variable(name);
            let value = self.reader.secret_variable(name);
            value.ok_or_else(|| format!("{named} is not set"))?.to_owned()
        } else if let Some(path) = text.strip_prefix("file:") {
            let named = named_file(path);
            let content =
                read_file(Path::new(path)).map_err(|reason| format!("{named} {reason}"))?;
            let line = content.strip_suffix('\n').unwrap_or(&content);
            line.strip_suffix('\r').unwrap_or(line).to_owned()
        } else {
            text.to_owned()
        };
        match value.is_empty() {
            true => Err("is empty".to_owned()),
            false => Ok(SecretString::from(value)),
        }
    }

    fn settings(&mut self, provider: &Provider) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        for (name, value) in self.table {
            let name = name.get_ref().as_ref();
            if COMMON_KEYS.contains(&name) {
                continue;
            }
            if !provider.settings.contains(&name) {
                let known = COMMON_KEYS.iter().chain(provider.settings).copied();
                let thing = format!("key of {} endpoints", provider.name);
                self.refuse(&written_key(name), unknown_reason(&thing, name, known));
                continue;
            }
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(switch) => switch.to_string(),
                list @ (DeValue::Array(_) | DeValue::Table(_))
                    if provider.structured.contains(&name) =>
                {
                    match json_of(list) {
                        Ok(json) => json.to_string(),
                        Err(reason) => {
                            self.refuse(name, reason);
                            continue;
                        }
                    }
                }
                other @ (DeValue::Float(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_)) => {
                    self.refuse(name, expected("a text, a whole number, true or false", other));
                    continue;
                }
            };
            settings.insert(name.to_owned(), text);
        }
        settings
    }

    fn refuse_duplicate(&mut self, endpoint: &Endpoint, before: &[Endpoint]) {
        if before.iter().any(|other| other.name == endpoint.name) {
            self.refuse("name", format!("there is another endpoint `{}`", endpoint.name));
        } else if let Some(other) = before.iter().find(|other| other.path == endpoint.path) {
            let reason = format!("`{}` is the path of `{}` already", endpoint.path, other.name);
            self.refuse("path", reason);
        }
    }

    fn required_text(&mut self, name: &str) -> Option<&'t str> {
        if self.table.get(name).is_none() {
            self.refuse(name, "is missing".to_owned());
        }
        self.text(name)
    }

    fn text(&mut self, name: &str) -> Option<&'t str> {
        match self.table.get(name)?.get_ref() {
            DeValue::String(text) => Some(text),
            other => {
                self.refuse(name, expected("a text in quotes", other));
                None
            }
        }
    }

    fn refuse(&mut self, name: &str, reason: String) {
        let offset = self.table.get(name).map_or(self.offset, |value| value.span().start);
        self.reader.refuse_at(offset, format!("{}.{name}", self.key), reason);
    }
}

/// A list or a table as JSON. Numbers and switches stay what they are.
fn json_of(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let number: i64 = number.to_string().parse().map_err(|_| "has too large a number")?;
            Value::from(number)
        }
        DeValue::Boolean(switch) => Value::Bool(*switch),
        DeValue::Array(items) => Value::Array(
            items.iter().map(|item| json_of(item.get_ref())).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.get_ref().to_string(), json_of(value.get_ref())?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other @ (DeValue::Float(_) | DeValue::Datetime(_)) => {
            return Err(expected("texts, whole numbers, true or false", other));
        }
    })
}

/// How a mistake calls a file; only what is written like a path is repeated.
fn named_file(path: &str) -> String {
    match path.starts_with('/') || path.starts_with("./") || path.starts_with("../") {
        true => format!("`{path}`"),
        false => "the file that `file:` names".to_owned(),
    }
}

/// How a mistake calls a variable. A secret pasted behind `env:` must not be shown, so only what is
/// written like the name of a variable is repeated.
fn named_variable(name: &str) -> String {
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
    match name.contains('_') && name.bytes().all(upper) {
        true => format!("environment variable `{name}`"),
        false => "the environment variable that `env:` names".to_owned(),
    }
}
