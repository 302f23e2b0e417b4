//! The configuration of a connector, one TOML file a target: which gateway and subscription, which CRM with
//! which credential, and what is written where. In comes the file's text, out goes a checked [`Config`] or
//! the first mistake with its key and reason. No secret may be shown by a debug print or a mistake.

mod secret;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use tollgate_client::proto::{LiveMode, Money, SubjectKind};
use tollgate_client::{Filter, proto};

pub use secret::Secret;

use crate::crms::Kind;
use crate::mapping::Mapping;

/// How many deliveries are in hand at once if nothing else is set.
const DEFAULT_OUTSTANDING: u32 = 1_000;
/// How many calls a connector makes at once if nothing else is set; the org's budget holds as well.
const DEFAULT_CALLS: usize = 4;

/// A connector's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where events come from.
    pub gateway: Gateway,
    /// How this process behaves.
    #[serde(default)]
    pub connector: Connector,
    /// Where they are written, as the CRM's module reads it.
    pub crm: toml::Table,
    /// What is written, object by object.
    pub objects: Vec<Mapping>,
}

/// Where events come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The gateway's address, `https://gateway.internal:50051`.
    pub address: String,
    /// The token to show.
    pub token: Option<Secret>,
    /// A PEM file with the authority of the gateway's certificate.
    pub ca: Option<PathBuf>,
    /// The subscription, created if it does not exist.
    pub subscription: String,
    /// Where a subscription that is created begins.
    #[serde(default)]
    pub start: Start,
    /// Which events a subscription that is created gets.
    #[serde(default)]
    pub filter: Events,
    /// Who consumes, for the gateway's timelines. `tollgate-connect <crm>` if not set.
    pub consumer: Option<String>,
    /// How many deliveries are in hand at once.
    #[serde(default = "default_outstanding")]
    pub max_outstanding: u32,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the next event.
    #[default]
    Latest,
    /// With the first event of the log.
    Earliest,
}

/// Which events. All that is given must hold; of a list any value does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Providers: `stripe`.
    pub providers: Vec<String>,
    /// Endpoints: `stripe/acme-eu`.
    pub endpoints: Vec<String>,
    /// Kinds of subject: `payment`, `invoice`, `bank_transaction`, `payment_request`.
    pub kinds: Vec<KindWord>,
    /// Statuses: `PAID`.
    pub statuses: Vec<String>,
    /// Headlines: `PAID`.
    pub headlines: Vec<HeadlineWord>,
    /// Only events that changed their subject's status.
    pub changes_only: bool,
    /// `live` (the default), `test` or `all`.
    pub live_mode: LiveWord,
    /// Currencies: `EUR`.
    pub currencies: Vec<String>,
    /// Only events of at least this amount, in this currency.
    pub minimum_amount: Option<Minimum>,
    /// Subjects, in full.
    pub subjects: Vec<String>,
    /// What the provider's metadata must hold.
    pub metadata: BTreeMap<String, String>,
}

/// A kind of subject.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    /// A payment.
    Payment,
    /// An invoice.
    Invoice,
    /// A movement on a bank account.
    BankTransaction,
    /// A request that a customer acts on.
    PaymentRequest,
}

/// What people call a status.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum HeadlineWord {
    /// Not decided yet.
    Pending,
    /// The money is there.
    Paid,
    /// It did not work.
    Failed,
    /// Given back.
    Refunded,
    /// Taken back.
    Disputed,
}

/// Live or test events.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LiveWord {
    /// Live ones.
    #[default]
    Live,
    /// Those of a provider's test mode.
    Test,
    /// Both.
    All,
}

/// An amount that is enough.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimum {
    /// Cents, yen, fils.
    pub minor_units: i64,
    /// `EUR`.
    pub currency: String,
}

/// How this process behaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connector {
    /// Where what was written last is remembered: an SQLite file, `<crm>.memory.db` if not set. Connectors
    /// of one org on one machine may share it.
    pub memory: Option<PathBuf>,
    /// Where `/metrics`, `/healthz` and `/status` are; nowhere if not set.
    pub listen: Option<SocketAddr>,
    /// Host names, without port, under which its metrics and status may be asked for, beside loopback
    /// ones.
    pub allowed_hosts: Vec<String>,
    /// How many calls are made at once.
    pub max_calls: usize,
    /// Whether an event that only tells a status is passed over where a newer one of its subject waits.
    pub collapse: bool,
    /// What becomes of events that this CRM itself reported.
    pub own_events: OwnEvents,
}

impl Default for Connector {
    fn default() -> Connector {
        Connector {
            memory: None,
            listen: None,
            allowed_hosts: Vec::new(),
            max_calls: DEFAULT_CALLS,
            collapse: false,
            own_events: OwnEvents::default(),
        }
    }
}

/// What becomes of events whose provider is the CRM that is written to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OwnEvents {
    /// They are acknowledged and not written: the CRM has them already.
    #[default]
    Ignore,
    /// They are written, but for those that our own write caused: for two orgs of one CRM.
    Write,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Mistake {
    /// The key, `objects[0].match[0].from`.
    pub key: String,
    /// Why it is refused.
    pub reason: String,
}

impl Mistake {
    /// At this key, for this reason.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Mistake {
        Mistake { key: key.into(), reason: reason.into() }
    }
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path, kind: &Kind) -> Result<Config, Mistake> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Mistake::new(path.display().to_string(), error.to_string()))?;
        Config::parse(&text, kind)
    }

    /// Reads a file's text.
    pub fn parse(text: &str, kind: &Kind) -> Result<Config, Mistake> {
        // The message shows the line; a line with a literal secret must not be shown.
        let config: Config = toml::from_str(text).map_err(|error| mistake_of(text, &error))?;
        if config.objects.is_empty() {
            return Err(Mistake::new("objects", "nothing would be written: there must be one"));
        }
        let counts = [
            ("gateway.max_outstanding", config.gateway.max_outstanding == 0),
            ("connector.max_calls", config.connector.max_calls == 0),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, is_none)| *is_none) {
            return Err(Mistake::new(*key, "must be more than 0"));
        }
        for (index, mapping) in config.objects.iter().enumerate() {
            mapping.check(&format!("objects[{index}]"), kind)?;
        }
        let mut names: Vec<&str> = config.objects.iter().map(Mapping::label).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!("`{}` is there twice; give each object a `name`", twice[0]);
            return Err(Mistake::new("objects", reason));
        }
        Ok(config)
    }

    /// Where what was written is remembered.
    pub fn memory(&self, kind: &Kind) -> PathBuf {
        let named = self.connector.memory.clone();
        named.unwrap_or_else(|| format!("{}.memory.db", kind.name).into())
    }
}

/// Reads a CRM's table; the keys of mistakes begin with `crm`.
pub fn read_crm<T: DeserializeOwned>(table: toml::Table) -> Result<T, Mistake> {
    let read = T::deserialize(toml::Value::Table(table));
    read.map_err(|error| Mistake::new("crm", error.message().trim().to_owned()))
}

impl Events {
    /// As the gateway takes it.
    pub fn filter(&self) -> Filter {
        let kinds = self.kinds.iter().map(|kind| match kind {
            KindWord::Payment => SubjectKind::Payment,
            KindWord::Invoice => SubjectKind::Invoice,
            KindWord::BankTransaction => SubjectKind::BankTransaction,
            KindWord::PaymentRequest => SubjectKind::PaymentRequest,
        });
        let headlines = self.headlines.iter().map(|headline| match headline {
            HeadlineWord::Pending => proto::Headline::Pending,
            HeadlineWord::Paid => proto::Headline::Paid,
            HeadlineWord::Failed => proto::Headline::Failed,
            HeadlineWord::Refunded => proto::Headline::Refunded,
            HeadlineWord::Disputed => proto::Headline::Disputed,
        });
        let live_mode = match self.live_mode {
            LiveWord::Live => LiveMode::Live,
            LiveWord::Test => LiveMode::Test,
            LiveWord::All => LiveMode::All,
        };
        let minimum = self.minimum_amount.as_ref();
        Filter {
            providers: self.providers.clone(),
            endpoints: self.endpoints.clone(),
            kinds: kinds.map(i32::from).collect(),
            statuses: self.statuses.clone(),
            headlines: headlines.map(i32::from).collect(),
            changes_only: self.changes_only,
            live_mode: live_mode.into(),
            currencies: self.currencies.clone(),
            minimum_amount: minimum.map(|minimum| Money {
                minor_units: minimum.minor_units,
                currency: minimum.currency.clone(),
            }),
            subjects: self.subjects.clone(),
            metadata: self.metadata.clone().into_iter().collect::<HashMap<_, _>>(),
        }
    }
}

/// The key and reason of a parse error, by line, without the line's text.
fn mistake_of(text: &str, error: &toml::de::Error) -> Mistake {
    let before = |end: usize| text.bytes().take(end).filter(|byte| *byte == b'\n').count();
    let line = error.span().map(|span| before(span.start) + 1);
    let key = line.map_or_else(|| "configuration".to_owned(), |line| format!("line {line}"));
    Mistake::new(key, error.message().trim().to_owned())
}

fn default_outstanding() -> u32 {
    DEFAULT_OUTSTANDING
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::KIND;

    #[test]
    fn a_mistake_is_told_where_it_is() {
        let text = |calls: u32, more: &str| {
            format!(
                "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"crm\"\n{more}\
                 [connector]\nmax_calls = {calls}\n[crm]\n[[objects]]\nobject = \"deals\"\n\
                 match = [{{ field = \"order_id\", from = \"subject_id\" }}]\nfields.note = \"status\"\n"
            )
        };
        let mistake = |text: &str| Config::parse(text, &KIND).expect_err("a mistake").key;
        assert_eq!(mistake(&text(0, "")), "connector.max_calls");
        assert_eq!(mistake(&text(1, "max_outstanding = 0\n")), "gateway.max_outstanding");
        assert_eq!(mistake(&text(1, "tokn = \"x\"\n")), "line 4");
        Config::parse(&text(1, ""), &KIND).expect("without a mistake");
    }
}
