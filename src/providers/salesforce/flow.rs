//! HTTP callouts of Flows: the admin writes their body, so its form is the gateway's. One JSON object for
//! a record, or a list of them, comes in; records go out. A record has its fields by their API names,
//! `Id` among them, and may have `event_id` (what names the change, such as the interview's GUID) and
//! `object` (the record's type).

use crate::providers::fields::Fields;
use crate::providers::{TranslateError, payload};

use super::{FLOW_CALLOUT, Record};

/// How many records one call may hold.
const MAX_RECORDS: usize = 200;

/// The records of a call.
pub(super) fn records(body: &[u8]) -> Result<Vec<Record>, TranslateError> {
    let unreadable = |error| payload::unreadable("a Flow callout", &error);
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let records: Vec<Fields> = match is_list {
        true => serde_json::from_slice(body).map_err(unreadable)?,
        false => vec![serde_json::from_slice(body).map_err(unreadable)?],
    };
    if records.len() > MAX_RECORDS {
        return Err(TranslateError(format!("a Flow callout has more than {MAX_RECORDS} records")));
    }
    Ok(records.into_iter().map(record).collect())
}

fn record(fields: Fields) -> Record {
    Record {
        event_type: FLOW_CALLOUT,
        event_id: fields.text("event_id").to_owned(),
        record_type: fields.text("object").to_owned(),
        fields,
        live: true,
    }
}
