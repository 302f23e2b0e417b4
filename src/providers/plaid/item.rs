//! Plaid's webhooks about an Item, the connection to a customer's bank: one comes in, a customer's action
//! goes out. They have no id and no time of their own; the JWT's time stands for both, so that the same
//! webhook sent again is the same event, while a connection that breaks again another day is a new one.

use crate::model::{CustomerAction, CustomerActionFact, Draft, Fact, References, SubjectKind};
use crate::providers::TranslateError;
use crate::providers::payload;
use crate::receipt::Receipt;

use super::verification::signed_at;
use super::{Body, digest, id};

pub(super) fn draft(
    body: &Body<'_>,
    event_type: String,
    live: bool,
    rank: u8,
    receipt: &Receipt,
) -> Result<Draft, TranslateError> {
    let item = id(&body.item_id, "Item")?;
    let occurred_at = signed_at(receipt).unwrap_or_else(|| receipt.received_at());
    let error = body.error.as_ref();
    let code = error.map(|error| error.error_code.to_string()).unwrap_or_default();
    let message = error.map(|error| error.error_message.to_string()).unwrap_or_default();
    let detail = payload::first(&[&code, &message, &body.reason, &body.consent_expiration_time]);
    let day = occurred_at.strftime("%F").to_string();
    let key = digest(&[&event_type, item, &detail, &body.consent_expiration_time, &day]);
    let fact = Fact::CustomerAction(CustomerActionFact {
        action: CustomerAction::MandateChanged,
        amount: None,
        detail: if detail.is_empty() { body.webhook_code.to_string() } else { detail },
    });
    let references = References { customer: body.user_id.to_string(), ..References::default() };
    Ok(Draft {
        event_id: key.clone(),
        key,
        event_type,
        occurred_at,
        version: 0,
        rank,
        subject: payload::subject(SubjectKind::PaymentRequest, receipt.endpoint(), item)?,
        references: references.bounded(),
        live,
        fact,
    })
}
