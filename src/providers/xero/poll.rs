//! Xero's lists, for what has no webhook and for what a webhook missed: pages of objects in the order of
//! their changes come in, the same drafts go out as if each object had been asked for by itself, so that
//! what a webhook told already is no second event. It must never skip an object that it cannot read: the
//! list stays where it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::payload::{self, Text};
use crate::providers::{Answer, Endpoint, Fetch, Fetching, Step, TranslateError, accounting};

use super::draft::{Context, time};
use super::{Category, Notice, TENANT_ID, request};

const PAGE_SIZE: usize = 100;

/// The lists, with the event type that their objects are told under.
const LISTS: [(&str, Category); 4] = [
    ("INVOICE.UPDATE", Category::Invoice),
    ("PAYMENT.UPDATE", Category::Payment),
    ("CREDITNOTE.UPDATE", Category::CreditNote),
    ("BANKTRANSACTION.UPDATE", Category::BankTransaction),
];

/// The lists of the organisation, where both it and an interval are given.
pub(super) fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    let Some(tenant) = endpoint.settings.get(TENANT_ID) else { return Vec::new() };
    if !endpoint.settings.contains_key(accounting::POLL_INTERVAL) {
        return Vec::new();
    }
    let fetches = LISTS.iter().filter_map(|(event_type, category)| {
        let notice = Notice {
            tenant: tenant.clone(),
            id: String::new(),
            event_type: (*event_type).to_owned(),
            at: String::new(),
        };
        let object = format!("{tenant}/{}", category.path()?);
        Some(Fetch { object, told: serde_json::to_string(&notice).ok()? })
    });
    fetches.collect()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Changed<'a> {
    #[serde(borrow, rename = "UpdatedDateUTC")]
    updated: Text<'a>,
}

/// The next page, or what all pages say.
pub(super) fn step(fetching: &Fetching<'_>, notice: &Notice) -> Result<Step, TranslateError> {
    let row = LISTS.iter().find(|(event_type, _)| *event_type == notice.event_type);
    let Some((_, category)) = row else {
        return Err(payload::unknown("list", &notice.event_type));
    };
    let collection = category.path().unwrap_or_default();
    let context = Context { endpoint: fetching.endpoint, notice };
    let from = accounting::list_from(fetching)?;
    let (mut newest, mut drafts) = (from, Vec::new());
    for (index, answer) in fetching.answers.iter().enumerate() {
        let items = items(answer, collection)?;
        for item in &items {
            let changed: Changed<'_> = serde_json::from_str(item.get())
                .map_err(|error| payload::unreadable("a Xero object", &error))?;
            newest = newest.max(time(&changed.updated)?);
            match context.step(*category, &alone(collection, item), None)? {
                Step::Done { drafts: more, .. } => drafts.extend(more),
                Step::Call(_) | Step::Denied | Step::Later(_) => {
                    return Err(TranslateError("a listed payment names no currency".to_owned()));
                }
            }
        }
        if items.len() < PAGE_SIZE || index + 1 == accounting::MAX_PAGES {
            return Ok(Step::Done { drafts, cursor: Some(newest.to_string()) });
        }
    }
    let page = fetching.answers.len() + 1;
    let path = format!("{collection}?page={page}&pageSize={PAGE_SIZE}&order=UpdatedDateUTC%20ASC");
    let since = from.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let call = request(fetching.endpoint, notice, &path).header("if-modified-since", since);
    Ok(Step::Call(call))
}

/// The objects of a page.
fn items<'a>(answer: &'a Answer, collection: &str) -> Result<Vec<&'a RawValue>, TranslateError> {
    // Nothing changed since.
    if answer.status == 304 {
        return Ok(Vec::new());
    }
    let page: BTreeMap<String, &RawValue> = accounting::read(answer, "a list of Xero")?;
    let items = page.get(collection);
    let items =
        items.ok_or_else(|| TranslateError(format!("the API answered without {collection}")))?;
    serde_json::from_str(items.get()).map_err(|error| payload::unreadable("a list of Xero", &error))
}

/// The answer that would hold this object alone.
fn alone(collection: &str, item: &RawValue) -> Answer {
    let body = format!("{{\"{collection}\":[{item}]}}");
    Answer { status: 200, headers: HeaderMap::new(), body: Bytes::from(body) }
}
