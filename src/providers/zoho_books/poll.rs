//! Zoho Books' list of invoices, for what a webhook missed: pages in the order of their changes come in, the
//! same drafts go out as if a webhook had brought each record, so that what one told already is no second
//! event. Lists of payments leave out what was refunded and are not read. It must never skip a record that
//! it cannot read: the list stays where it is.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::payload;
use crate::providers::{Endpoint, Fetch, Fetching, Step, TranslateError, accounting};

use super::draft::Context;
use super::record::{Module, Record};
use super::{ORGANIZATION_ID, SUCCESS, Told, call};

const PAGE_SIZE: usize = 200;
/// What stands for the merchant's own name of an event.
const LISTED: &str = "listed";

/// The list of the organisation, where both it and an interval are given.
pub(super) fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    let Some(organization) = endpoint.settings.get(ORGANIZATION_ID) else { return Vec::new() };
    if !endpoint.settings.contains_key(accounting::POLL_INTERVAL) {
        return Vec::new();
    }
    let told = Told {
        event: LISTED.to_owned(),
        organization: organization.clone(),
        module: Some(Module::Invoice),
        id: String::new(),
    };
    let object = format!("{organization}/{}", Module::Invoice.path());
    let fetch = serde_json::to_string(&told).ok().map(|told| Fetch { object, told });
    fetch.into_iter().collect()
}

#[derive(Deserialize)]
struct Page<'a> {
    code: Option<i64>,
    #[serde(borrow, default)]
    invoices: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "accounting::or_default")]
    page_context: PageContext,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageContext {
    has_more_page: bool,
}

/// The next page, or what all pages say.
pub(super) fn step(
    fetching: &Fetching<'_>,
    told: &Told,
    module: Module,
) -> Result<Step, TranslateError> {
    let from = accounting::list_from(fetching)?;
    let (endpoint, received_at) = (fetching.endpoint, fetching.received_at);
    let context = Context { endpoint, told, received_at };
    let (mut newest, mut drafts) = (from, Vec::new());
    for (index, answer) in fetching.answers.iter().enumerate() {
        let page: Page<'_> = accounting::read(answer, "a list of Zoho Books")?;
        if page.code != Some(SUCCESS) {
            let code = page.code.map_or_else(String::new, |code| code.to_string());
            return Err(TranslateError(format!("answered with code {code}")));
        }
        for item in page.invoices {
            let record: Record<'_> = serde_json::from_str(item.get())
                .map_err(|error| payload::unreadable("a Zoho Books record", &error))?;
            if !record.is_whole(module) {
                return Err(TranslateError("a listed record lacks amount or status".to_owned()));
            }
            let time = &record.last_modified_time;
            let changed: Timestamp = time.parse().map_err(|_| payload::not_a("a time", time))?;
            newest = newest.max(changed);
            drafts.extend(context.draft(module, &record)?);
        }
        if !page.page_context.has_more_page || index + 1 == accounting::MAX_PAGES {
            return Ok(Step::Done { drafts, cursor: Some(newest.to_string()) });
        }
    }
    let page = fetching.answers.len() + 1;
    let since = from.strftime("%Y-%m-%dT%H:%M:%S%%2B0000");
    let query = format!(
        "&page={page}&per_page={PAGE_SIZE}&sort_column=last_modified_time&sort_order=A\
         &last_modified_time={since}"
    );
    call(endpoint, told, module.path(), &query)
}
