//! The double as tests, demo and measurements see it: the configuration that fits it, its payments as a
//! person sees them, and what a person does to them.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::board::{self, STATUSES};
use super::{Monday, PAYMENTS, TOKEN};
use crate::{Account, By, Life, PaymentRecord, Server};

impl Account for Server<Monday> {
    fn config(&self) -> String {
        let settings = self.backend().inner.lock().settings.clone();
        let values: Vec<String> =
            STATUSES.iter().map(|(word, label)| format!("{word} = \"{label}\"")).collect();
        format!(
            r#"[crm]
auth = "token"
token = "{TOKEN}"
api_url = "{api}"
points_per_minute = {points}
calls_per_minute = {calls}
calls_per_day = {day}
max_calls_in_flight = 20
timeout_seconds = 10

[[objects]]
object = "{PAYMENTS}"
name = "payment"
policy = "upsert"
options = {{ group_id = "{group}" }}

[[objects.match]]
field = "{payment_id}"
from = "subject_id"

[objects.fields]
name = {{ template = "Payment {{subject_id}}", on = "create" }}
{status} = {{ from = "status", values = {{ {values} }} }}
{paid} = {{ from = "amounts.paid", default = 0 }}
{refunded} = {{ from = "amounts.refunded", default = 0 }}
{reference} = {{ from = "references.invoice_number" }}
{currency} = {{ from = "currency" }}
"#,
            api = self.api_url(),
            points = settings.points_per_minute,
            calls = settings.calls_per_minute,
            day = settings.calls_per_day,
            group = board::GROUP,
            payment_id = board::PAYMENT_ID,
            status = board::STATUS,
            paid = board::PAID,
            refunded = board::REFUNDED,
            reference = board::REFERENCE,
            currency = board::CURRENCY,
            values = values.join(", "),
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let commits = self.journal().commits();
        let writes_of = |id: &str| {
            commits.iter().filter(|commit| commit.record == id && commit.call > 0).count()
        };
        let inner = self.backend().inner.lock();
        let board = inner.boards.iter().find(|board| board.id == PAYMENTS);
        let items = board.into_iter().flat_map(|board| board.items.records());
        let live = items.filter(|item| item.life == Life::Live);
        let number = |text: String| Decimal::from_str(&text).ok();
        live.map(|item| PaymentRecord {
            id: item.id.clone(),
            payment_id: item.text(board::PAYMENT_ID),
            status: item.text(board::STATUS),
            paid: number(item.text(board::PAID)),
            refunded: number(item.text(board::REFUNDED)),
            reference: Some(item.text(board::REFERENCE)).filter(|text| !text.is_empty()),
            writes: writes_of(&item.id) as u64,
        })
        .collect()
    }

    fn field(&self, logical: &str) -> String {
        let name = match logical {
            "payment_id" => board::PAYMENT_ID,
            "status" => board::STATUS,
            "paid" => board::PAID,
            "refunded" => board::REFUNDED,
            "reference" => board::REFERENCE,
            "currency" => board::CURRENCY,
            other => other,
        };
        name.to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let backend = self.backend();
        let by = By::person("person", backend.site.clock.now());
        let mut inner = backend.inner.lock();
        for board in &mut inner.boards {
            let fields = Map::from_iter([(field.to_owned(), value.clone())]);
            if let Some(written) = board.items.force(record, &fields, &by) {
                let key = board.key_of(record);
                backend.site.journal.wrote(written.commit(&board.id, &key));
            }
        }
    }

    fn create(&self, payment_id: &str) -> String {
        let fields = json!({
            "name": format!("Payment {payment_id}"), board::PAYMENT_ID: payment_id
        });
        self.backend().person_makes(PAYMENTS, payment_id, fields)
    }
}
