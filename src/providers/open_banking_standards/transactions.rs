//! An account's bank transactions by poll: pages of its list come in, drafts go out. Each poll reads some
//! days again, so that what was dated back is seen, and so does everything that was pending: an entry that
//! was pending and is in the list no more was withdrawn, or booked under another id. A row without an id is
//! known by what it says, with its number among equal rows. A bank that refuses access gives one event for
//! each time that it begins to.

use std::collections::{HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{
    BankTransactionFact, BankTransactionStatus, CustomerAction, CustomerActionFact, Draft, Fact,
    References,
};
use crate::providers::payload::{self, Text};
use crate::providers::{Answer, Endpoint, Fetching, Step, TranslateError};

use super::rows::{self, Row};
use super::{
    DEFAULT_HISTORY_DAYS, DEFAULT_OVERLAP_DAYS, DEFAULT_VERSION, HISTORY_DAYS, OVERLAP_DAYS,
    Standard, VERSION, bank, days,
};

const SCOPE: &str = "accounts";
/// What polled events are called; the standards have no names for them.
const TRANSACTION: &str = "transaction";
const CONSENT: &str = "consent";
/// A list of more pages is no list of some days.
const MAX_PAGES: usize = 500;
/// How many pending entries are watched for being withdrawn.
const MAX_PENDING: usize = 1_000;
const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;
const CONSENT_RANK: u8 = 10;

/// Where the next poll goes on.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Cursor {
    /// The day of the last poll; `None` before the first.
    until: Option<Date>,
    /// What was pending then, with its day.
    pending: Vec<(String, Date)>,
}

pub(super) fn step(fetching: &Fetching<'_>, account: &str) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    let standard = Standard::of(endpoint)
        .ok_or_else(|| TranslateError("the endpoint has no known standard".to_owned()))?;
    let cursor = match fetching.cursor {
        "" => Cursor::default(),
        text => serde_json::from_str(text)
            .map_err(|error| payload::unreadable("where the last poll ended", &error))?,
    };
    let from = from(endpoint, &cursor, fetching.now);
    let mut url = list_url(endpoint, standard, account, from)?;
    let mut listed = Vec::new();
    for answer in fetching.answers {
        if matches!(answer.status, UNAUTHORIZED | FORBIDDEN) {
            let draft = refused(fetching, account, &cursor, answer)?;
            return Ok(Step::Done { drafts: vec![draft], cursor: None });
        }
        if !answer.is_success() {
            return Err(TranslateError(format!("the bank answers {}", answer.status)));
        }
        let page = rows::read(standard, &answer.body, fetching.now)?;
        listed.extend(page.rows);
        match page.next {
            Some(next) => url = bank::link(endpoint, &next, &url)?,
            None => return done(fetching, account, &cursor, from, listed),
        }
    }
    let pages = fetching.answers.len();
    if pages >= MAX_PAGES {
        return Err(TranslateError(format!("the list has more than {MAX_PAGES} pages")));
    }
    Ok(Step::Call(bank::get(endpoint, url, SCOPE, (&fetching.fetch.object, fetching.now, pages))))
}

/// The first day to ask for: the overlap before the last poll, or what was pending then, if that is
/// earlier; never before what banks give without the customer.
fn from(endpoint: &Endpoint, cursor: &Cursor, now: Timestamp) -> Date {
    let today = TimeZone::UTC.to_datetime(now).date();
    let history = days(endpoint, HISTORY_DAYS, DEFAULT_HISTORY_DAYS);
    let earliest = before(today, history.unwrap_or(DEFAULT_HISTORY_DAYS));
    let Some(until) = cursor.until else { return earliest };
    let overlap = days(endpoint, OVERLAP_DAYS, DEFAULT_OVERLAP_DAYS);
    let wanted = before(until, overlap.unwrap_or(DEFAULT_OVERLAP_DAYS));
    let pending = cursor.pending.iter().map(|(_, day)| *day).min();
    pending.map_or(wanted, |day| day.min(wanted)).max(earliest)
}

fn before(day: Date, days: i64) -> Date {
    day.saturating_sub(SignedDuration::from_hours(days.saturating_mul(24)))
}

fn list_url(
    endpoint: &Endpoint,
    standard: Standard,
    account: &str,
    from: Date,
) -> Result<String, TranslateError> {
    let account = bank::path_part(account)?;
    let path = match standard {
        Standard::Uk => {
            let version = endpoint.setting(VERSION, DEFAULT_VERSION);
            format!(
                "/open-banking/{version}/aisp/accounts/{account}/transactions\
                 ?fromBookingDateTime={from}T00:00:00"
            )
        }
        Standard::Berlin => {
            format!("/v1/accounts/{account}/transactions?dateFrom={from}&bookingStatus=both")
        }
    };
    bank::url(endpoint, &path)
}

fn done(
    fetching: &Fetching<'_>,
    account: &str,
    cursor: &Cursor,
    from: Date,
    listed: Vec<Row>,
) -> Result<Step, TranslateError> {
    let today = TimeZone::UTC.to_datetime(fetching.now).date();
    let mut equals: HashMap<String, usize> = HashMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    let (mut drafts, mut pending) = (Vec::new(), Vec::new());
    for row in &listed {
        let id = match row.id.as_str() {
            "" => id_of(account, row, &mut equals),
            id => id.to_owned(),
        };
        drafts.push(transaction(fetching, account, &id, row)?);
        if row.status == BankTransactionStatus::Pending {
            pending.push((id.clone(), row.day));
        }
        seen.insert(id);
    }
    // What lies before the days that were asked for is not in the list whatever became of it.
    let vanished = cursor.pending.iter().filter(|(id, day)| *day >= from && !seen.contains(id));
    for (id, _) in vanished {
        drafts.push(removed(fetching, account, id)?);
    }
    pending.sort_by_key(|(_, day)| std::cmp::Reverse(*day));
    pending.truncate(MAX_PENDING);
    let cursor = serde_json::to_string(&Cursor { until: Some(today), pending })
        .map_err(|error| payload::unreadable("where the poll ended", &error))?;
    Ok(Step::Done { drafts, cursor: Some(cursor) })
}

/// The id of a row that the bank gave none: equal rows are numbered in the order of the list. It does not
/// depend on the status, so that a row stays itself when it is booked.
fn id_of(account: &str, row: &Row, equals: &mut HashMap<String, usize>) -> String {
    let direction = if row.amount.minor_units < 0 { "debit" } else { "credit" };
    let (day, amount) = (row.day.to_string(), row.amount.to_string());
    let said = digest(&[account, &day, &amount, direction, &row.reference, &row.remittance]);
    let number = equals.entry(said.clone()).or_default();
    *number += 1;
    digest(&[&said, &number.to_string()])
}

fn transaction(
    fetching: &Fetching<'_>,
    account: &str,
    id: &str,
    row: &Row,
) -> Result<Draft, TranslateError> {
    let rank = match row.status {
        BankTransactionStatus::Pending => 10,
        BankTransactionStatus::Failed => 20,
        BankTransactionStatus::Booked => 30,
        BankTransactionStatus::Returned => 40,
        BankTransactionStatus::Removed => 50,
    };
    let fact = BankTransactionFact {
        status: row.status,
        amount: Some(row.amount),
        counterparty: row.counterparty.clone(),
        remittance: row.remittance.clone(),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let (amount, day) = (row.amount.to_string(), row.day.to_string());
    let said = [&amount, &day, &row.counterparty, &row.remittance, &row.reference];
    let mut parts = vec![account, id, row.status.word()];
    parts.extend(said.map(String::as_str));
    let mut references = References { order: row.reference.clone(), ..References::default() };
    references.metadata.insert("date".to_owned(), day.clone());
    let key = digest(&parts);
    draft(fetching, account, id, (key, row.at, rank), references, fact)
}

fn removed(fetching: &Fetching<'_>, account: &str, id: &str) -> Result<Draft, TranslateError> {
    let status = BankTransactionStatus::Removed;
    let fact = BankTransactionFact {
        status,
        amount: None,
        counterparty: String::new(),
        remittance: String::new(),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let key = digest(&[account, id, status.word()]);
    draft(fetching, account, id, (key, fetching.now, 50), References::default(), fact)
}

fn draft(
    fetching: &Fetching<'_>,
    account: &str,
    id: &str,
    (key, occurred_at, rank): (String, Timestamp, u8),
    mut references: References,
    fact: BankTransactionFact,
) -> Result<Draft, TranslateError> {
    references.metadata.insert("account_id".to_owned(), account.to_owned());
    let fact = Fact::BankTransaction(fact);
    Ok(Draft {
        event_id: key.clone(),
        key,
        event_type: TRANSACTION.to_owned(),
        occurred_at,
        // The dates are those of the booking, which may lie before those of the announcement: what was
        // listed later is the newer state.
        version: fetching.now.as_microsecond(),
        rank,
        subject: payload::subject(fact.kind(), &fetching.endpoint.name, id)?,
        references: references.bounded(),
        live: true,
        fact,
    })
}

/// What is wrong, as either standard writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal<'a> {
    #[serde(borrow, rename = "tppMessages")]
    berlin: Option<Vec<Code<'a>>>,
    #[serde(borrow, rename = "Errors")]
    uk: Option<Vec<Code<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Code<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow, rename = "ErrorCode")]
    error_code: Text<'a>,
}

/// The customer must give consent anew. Until a poll works again, it is the same event.
fn refused(
    fetching: &Fetching<'_>,
    account: &str,
    cursor: &Cursor,
    answer: &Answer,
) -> Result<Draft, TranslateError> {
    let refusal: Refusal<'_> = serde_json::from_slice(&answer.body).unwrap_or_default();
    let codes = refusal.berlin.or(refusal.uk).unwrap_or_default();
    let code = codes.first().map(|first| payload::first(&[&first.code, &first.error_code]));
    let detail = format!("{} {}", answer.status, code.unwrap_or_default());
    let fact = Fact::CustomerAction(CustomerActionFact {
        action: CustomerAction::MandateChanged,
        amount: None,
        detail: detail.trim_end().to_owned(),
    });
    let since = cursor.until.map(|until| until.to_string()).unwrap_or_default();
    let key = digest(&[account, CONSENT, &since]);
    let mut references = References::default();
    references.metadata.insert("account_id".to_owned(), account.to_owned());
    Ok(Draft {
        event_id: key.clone(),
        key,
        event_type: CONSENT.to_owned(),
        occurred_at: fetching.now,
        version: fetching.now.as_microsecond(),
        rank: CONSENT_RANK,
        subject: payload::subject(fact.kind(), &fetching.endpoint.name, account)?,
        references: references.bounded(),
        live: true,
        fact,
    })
}

/// SHA-256 over parts, each with its length before it.
fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}
