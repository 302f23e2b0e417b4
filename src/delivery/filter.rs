//! Which events a subscription or watch receives. All conditions that are given must hold; of a list,
//! any value does. An empty filter takes every live event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Event, Headline, Money, SubjectKind};
use crate::store::{Codec, DecodeError, Logged};

/// A filter. Texts are compared whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Providers.
    pub providers: Vec<String>,
    /// Endpoints, `stripe/acme-eu`.
    pub endpoints: Vec<String>,
    /// Kinds of subject.
    pub kinds: Vec<SubjectKind>,
    /// The status that the event reports, in short words.
    pub statuses: Vec<String>,
    /// The headline of the subject after the event.
    pub headlines: Vec<Headline>,
    /// Only events that changed the status of their subject.
    pub changes_only: bool,
    /// Live or test events.
    pub live_mode: LiveMode,
    /// Currencies in upper case.
    pub currencies: Vec<String>,
    /// Only events whose amount is at least this, in this currency.
    pub minimum_amount: Option<Money>,
    /// Subjects in full.
    pub subjects: Vec<String>,
    /// What the metadata must hold; all must.
    pub metadata: BTreeMap<String, String>,
}

/// Which events by the provider's mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveMode {
    /// Only live events.
    #[default]
    Live,
    /// Only events of a provider's test mode.
    Test,
    /// Both.
    All,
}

impl LiveMode {
    /// Whether it takes live or test events.
    pub fn takes(self, live: bool) -> bool {
        match self {
            LiveMode::Live => live,
            LiveMode::Test => !live,
            LiveMode::All => true,
        }
    }
}

impl Filter {
    /// Whether the filter takes this event; it is decoded only if a condition needs it.
    pub fn takes(&self, logged: &Logged, codec: Codec) -> Result<bool, DecodeError> {
        if !self.live_mode.takes(logged.live) {
            return Ok(false);
        }
        if self.only_by_mode() {
            return Ok(true);
        }
        Ok(self.matches(logged.event(codec)?))
    }

    /// Whether the filter has no condition but the mode.
    pub fn only_by_mode(&self) -> bool {
        *self == Filter { live_mode: self.live_mode, ..Filter::default() }
    }

    fn matches(&self, event: &Event) -> bool {
        fn any<T: PartialEq<U>, U: ?Sized>(wanted: &[T], value: &U) -> bool {
            wanted.is_empty() || wanted.iter().any(|one| one == value)
        }
        let amount = event.report.amount();
        any(&self.providers, event.endpoint.provider())
            && any(&self.endpoints, event.endpoint.as_str())
            && any(&self.kinds, &event.subject.kind)
            && any(&self.statuses, event.report.status().word())
            && any(&self.headlines, &event.change.headline())
            && (!self.changes_only || event.change.changed())
            && (self.currencies.is_empty()
                || amount.is_some_and(|money| any(&self.currencies, money.currency.code())))
            && self.minimum_amount.is_none_or(|minimum| {
                amount.is_some_and(|money| {
                    money.currency == minimum.currency
                        && money.minor_units.saturating_abs() >= minimum.minor_units
                })
            })
            && (self.subjects.is_empty() || any(&self.subjects, &event.subject.to_string()))
            && self.metadata.iter().all(|(key, value)| {
                event.references.metadata.get(key).is_some_and(|held| held == value)
            })
    }
}
