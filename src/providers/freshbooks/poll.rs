//! FreshBooks' lists, for what a webhook missed: pages of objects come in, the same drafts go out as if each
//! object had been asked for by itself, so that what a webhook told already is no second event. Pages have
//! no order that is promised and their times no zone, so that a day is read again each time. It must never
//! skip an object that it cannot read: the list stays where it is.

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Draft;
use crate::providers::payload::{self, Text};
use crate::providers::{Answer, Endpoint, Fetch, Fetching, Step, TranslateError, accounting};

use super::record::{Context, time};
use super::{ACCOUNT_ID, Notice, Noun, call};

const PAGE_SIZE: usize = 100;
/// How much is read again: more than zones lie apart.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// The lists, with the event type that their objects are told under.
const LISTS: [(&str, Noun); 2] =
    [("payment.update", Noun::Payment), ("invoice.update", Noun::Invoice)];

/// The lists of the account, where both it and an interval are given.
pub(super) fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    let Some(account) = endpoint.settings.get(ACCOUNT_ID) else { return Vec::new() };
    if !endpoint.settings.contains_key(accounting::POLL_INTERVAL) {
        return Vec::new();
    }
    let fetches = LISTS.iter().filter_map(|(event_type, noun)| {
        let notice = Notice {
            account: account.clone(),
            id: String::new(),
            event_type: (*event_type).to_owned(),
            verifier: String::new(),
        };
        let object = format!("{account}/{}", noun.path()?);
        Some(Fetch { object, told: serde_json::to_string(&notice).ok()? })
    });
    fetches.collect()
}

/// Where a reading begins: a time of change, and the page, where the last one ended before the last page.
struct Start {
    from: Timestamp,
    page: usize,
}

impl Start {
    fn of(fetching: &Fetching<'_>) -> Result<Start, TranslateError> {
        let Some((cursor, page)) = fetching.cursor.split_once(' ') else {
            return Ok(Start { from: accounting::list_from(fetching)?, page: 1 });
        };
        let from = cursor.parse().map_err(|_| payload::not_a("a time", cursor))?;
        let page = page.parse().map_err(|_| payload::not_a("a page", page))?;
        Ok(Start { from, page })
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    result: Page<'a>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, alias = "invoices")]
    payments: Vec<&'a RawValue>,
    #[serde(default)]
    pages: usize,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    updated: Text<'a>,
}

/// The next page, or what all pages say.
pub(super) fn step(fetching: &Fetching<'_>, notice: &Notice) -> Result<Step, TranslateError> {
    let row = LISTS.iter().find(|(event_type, _)| *event_type == notice.event_type);
    let Some((_, noun)) = row else {
        return Err(payload::unknown("list", &notice.event_type));
    };
    let Start { from, page } = Start::of(fetching)?;
    let (mut newest, mut drafts) = (from, Vec::new());
    for (index, answer) in fetching.answers.iter().enumerate() {
        let envelope: Envelope<'_> = accounting::read(answer, "a list of FreshBooks")?;
        let Page { payments: items, pages } = envelope.response.result;
        for item in items {
            let (draft, updated) = draft(fetching, notice, *noun, item)?;
            drafts.extend(draft);
            newest = newest.max(updated);
        }
        let next = page.saturating_add(index).saturating_add(1);
        if next > pages {
            return Ok(Step::Done { drafts, cursor: Some(newest.to_string()) });
        }
        if index + 1 == accounting::MAX_PAGES {
            return Ok(Step::Done { drafts, cursor: Some(format!("{from} {next}")) });
        }
    }
    let page = page.saturating_add(fetching.answers.len());
    let since = from.checked_sub(AGAIN).unwrap_or(from);
    let since = since.strftime("%Y-%m-%d%%20%H:%M:%S");
    let (account, path) = (&notice.account, noun.path().unwrap_or_default());
    let path = format!(
        "accounting/account/{account}/{path}/{path}\
         ?page={page}&per_page={PAGE_SIZE}&search%5Bupdated_min%5D={since}"
    );
    Ok(call(fetching.endpoint, Method::GET, &path, Bytes::new()))
}

/// What a listed object says, as if the API had answered with it alone, and when it was changed.
fn draft(
    fetching: &Fetching<'_>,
    notice: &Notice,
    noun: Noun,
    item: &RawValue,
) -> Result<(Option<Draft>, Timestamp), TranslateError> {
    let Item { id, updated } = serde_json::from_str(item.get())
        .map_err(|error| payload::unreadable("a FreshBooks object", &error))?;
    let notice = Notice { id: id.to_string(), ..notice.clone() };
    let (endpoint, received_at) = (fetching.endpoint, fetching.received_at);
    let context = Context { endpoint, notice: &notice, received_at };
    let name = notice.event_type.split('.').next().unwrap_or_default();
    let body = format!("{{\"response\":{{\"result\":{{\"{name}\":{item}}}}}}}");
    let answer = Answer { status: 200, headers: HeaderMap::new(), body: Bytes::from(body) };
    Ok((context.draft(noun, &answer)?, time(&updated)?))
}
