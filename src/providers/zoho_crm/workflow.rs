//! Webhooks of workflows: the admin writes their body, so its form is the gateway's. One JSON object or one
//! form comes in, with the record's `id`, its fields by their API names, and `module` and `Modified_Time`
//! where the admin sends them along; out goes what it says about a payment. A body with an id alone has
//! the record read.

use crate::providers::crm::{Item, Thin};
use crate::providers::fields::Fields;
use crate::providers::{Endpoint, TranslateError, payload};
use crate::receipt::Receipt;

use super::{MODIFIED, MODULE, STATUS_FIELD, field, must_read, report};

/// A workflow tells that a record changed, whichever way.
const EVENT_TYPE: &str = "update";

/// The fields of a body. One that stands twice is an error.
pub(super) fn fields(body: &[u8]) -> Result<Fields, TranslateError> {
    if body.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(body)
            .map_err(|error| payload::unreadable("a workflow's webhook", &error));
    }
    let mut fields = Fields::default();
    for (name, text) in form_urlencoded::parse(body) {
        fields.add(&name, &text)?;
    }
    Ok(fields)
}

/// What a workflow's webhook says.
pub(super) fn item(receipt: &Receipt, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    let fields = fields(receipt.body())?;
    let (module, stated) = (field(endpoint, MODULE), fields.text("module").trim());
    if !stated.is_empty() && stated != module {
        return Ok(Item::Silent);
    }
    let record_id = fields.first(&["id", "record_id"]).trim();
    if record_id.is_empty() {
        return Err(TranslateError("the record has no id".to_owned()));
    }
    let thin = Thin {
        event_id: String::new(),
        event_type: EVENT_TYPE.to_owned(),
        // Merged into a template, a time is written as the account likes it; then the arrival has to do.
        occurred_at: fields.text(MODIFIED).parse().unwrap_or(receipt.received_at()),
        record_type: module.to_owned(),
        record_id: record_id.to_owned(),
    };
    let tells_status = fields.get(field(endpoint, STATUS_FIELD)).is_some();
    match tells_status && !must_read(&fields, endpoint) {
        true => report(&thin, None, &fields, endpoint),
        false => Ok(Item::Thin(thin)),
    }
}
