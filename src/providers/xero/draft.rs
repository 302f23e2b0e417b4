//! What all drafts of Xero's objects have in common: where and when they belong, and a key that is a digest
//! of the state which the API told. In come an answer and the notice that asked for it, out go drafts. Two
//! different states must never share a key.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Draft, Fact, References};
use crate::providers::payload::{self, Text};
use crate::providers::{Answer, Endpoint, Step, TranslateError, accounting};

use super::{Category, Notice, bank, credit, invoice, payment};

/// What every draft of a fetch needs.
pub(super) struct Context<'a> {
    pub endpoint: &'a Endpoint,
    pub notice: &'a Notice,
}

/// The state that a draft tells, in the words of the API: whatever differs in it makes another event.
pub(super) struct State<'a> {
    pub updated: &'a str,
    pub rank: u8,
    pub values: &'a [&'a str],
}

impl Context<'_> {
    /// What an answer with one object says; a payment may ask for what it pays as well.
    pub fn step(
        &self,
        category: Category,
        answer: &Answer,
        paid: Option<&Answer>,
    ) -> Result<Step, TranslateError> {
        let drafts = match category {
            Category::Invoice => invoice::invoice(self, answer)?.into_iter().collect(),
            Category::Payment => return payment::payment(self, answer, paid),
            Category::CreditNote => credit::credit_note(self, answer)?,
            Category::Prepayment => credit::prepayment(self, answer)?,
            Category::BankTransaction => vec![bank::transaction(self, answer)?],
            Category::Other => Vec::new(),
        };
        Ok(Step::Done { drafts, cursor: None })
    }

    pub fn draft(
        &self,
        id: &str,
        state: &State<'_>,
        mut references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        let notice = self.notice;
        let kind = fact.kind().collection();
        let mut values = vec![notice.tenant.as_str(), kind, id, state.updated];
        values.extend(state.values);
        let key = accounting::state_key(&values);
        references.metadata.insert("tenant_id".to_owned(), notice.tenant.clone());
        Ok(Draft {
            event_id: key.clone(),
            key,
            event_type: notice.event_type.clone(),
            occurred_at: match state.updated {
                "" => time(&notice.at)?,
                updated => time(updated)?,
            },
            version: 0,
            rank: state.rank,
            subject: payload::subject(fact.kind(), &self.endpoint.name, id)?,
            references: references.bounded(),
            // The demo company is an organisation like any other.
            live: true,
            fact,
        })
    }
}

/// The only object of an answer, which is a list of one.
pub(super) fn only<T>(items: Vec<T>, what: &str) -> Result<T, TranslateError> {
    let mut items = items.into_iter();
    match (items.next(), items.next()) {
        (Some(item), None) => Ok(item),
        (None | Some(_), None | Some(_)) => {
            Err(TranslateError(format!("the API did not answer with one {what}")))
        }
    }
}

/// A time as Xero writes it: `/Date(1795402000000+0000)/`, milliseconds of UTC whatever the zone says, or
/// without a zone, which is UTC as well.
pub(super) fn time(text: &str) -> Result<Timestamp, TranslateError> {
    let wrong = || payload::not_a("a time", text);
    if let Some(rest) = text.strip_prefix("/Date(") {
        let end = rest.find(['+', ')']).ok_or_else(wrong)?;
        let milliseconds = rest.get(..end).and_then(|digits| digits.parse().ok());
        let milliseconds = milliseconds.ok_or_else(wrong)?;
        return Timestamp::from_millisecond(milliseconds).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let time: DateTime = text.parse().map_err(|_| wrong())?;
    TimeZone::UTC.to_timestamp(time).map_err(|_| wrong())
}

/// Who is on the other side.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Contact<'a> {
    #[serde(borrow, rename = "ContactID")]
    pub id: Text<'a>,
    #[serde(borrow, rename = "Name")]
    pub name: Text<'a>,
    #[serde(borrow, rename = "EmailAddress")]
    pub email: Text<'a>,
}
