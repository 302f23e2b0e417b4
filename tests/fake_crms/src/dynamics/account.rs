//! The double of Dynamics as all doubles are treated alike: its configuration, its records of payments, and
//! a person at its screen.

use std::collections::HashMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::entity::{PAYMENTS, STATUSES};
use super::sign_in::{CLIENT, SECRET, TENANT};
use super::{Dynamics, ENVIRONMENT};
use crate::table::{Fields, field};
use crate::{Account, By, PaymentRecord, Record, Server};

impl Account for Server<Dynamics> {
    fn config(&self) -> String {
        let statuses: Vec<String> =
            STATUSES.iter().map(|(word, number, _)| format!("{word} = {number}")).collect();
        format!(
            r#"[crm]
environment_url = "{ENVIRONMENT}"
auth_url = "{auth}"
api_url = "{api}"
tenant = "{TENANT}"
auth = "client_secret"
client_id = "{CLIENT}"
client_secret = "{SECRET}"

[[objects]]
object = "{PAYMENTS}"
name = "payment"
policy = "upsert"

[[objects.match]]
field = "new_paymentid"
from = "subject_id"
unique = true

[objects.fields]
new_name = {{ template = "Payment {{subject_id}}", on = "create" }}
new_paidamount = {{ from = "amounts.paid", default = 0 }}
new_refundedamount = {{ from = "amounts.refunded", default = 0 }}
new_currency = {{ from = "currency" }}
new_reference = {{ from = "references.invoice_number" }}

[objects.fields.new_status]
from = "status"
values = {{ {statuses} }}
"#,
            auth = self.auth_url(),
            api = self.api_url(),
            statuses = statuses.join(", "),
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let mut writes: HashMap<String, u64> = HashMap::new();
        for commit in self.journal().commits() {
            if commit.object == PAYMENTS && commit.call != 0 {
                *writes.entry(commit.record).or_default() += 1;
            }
        }
        self.backend().with(PAYMENTS, |entity| {
            let live = entity.table.records().filter(|record| record.life == crate::Life::Live);
            live.map(|record| seen(record, writes.get(&record.id).copied().unwrap_or(0))).collect()
        })
    }

    fn field(&self, logical: &str) -> String {
        match logical {
            "payment_id" => "new_paymentid",
            "status" => "new_status",
            "paid" => "new_paidamount",
            "refunded" => "new_refundedamount",
            "reference" => "new_reference",
            "currency" => "new_currency",
            other => other,
        }
        .to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let by = By::person("person", self.clock().now());
        let fields = Fields::from_iter([(field.to_owned(), value)]);
        self.backend().with(PAYMENTS, |entity| {
            if let Some(written) = entity.table.force(record, &fields, &by) {
                let key = entity.key_of(record);
                self.journal().wrote(written.commit(PAYMENTS, &key));
            }
        });
    }

    fn create(&self, payment_id: &str) -> String {
        let fields = Fields::from_iter([
            ("new_paymentid".to_owned(), json!(payment_id)),
            ("new_name".to_owned(), json!("by hand")),
        ]);
        self.backend().insert(PAYMENTS, &fields)
    }
}

fn seen(record: &Record, writes: u64) -> PaymentRecord {
    let number = record.fields.get("new_status").and_then(Value::as_i64);
    let status = STATUSES.iter().find(|(_, value, _)| Some(*value) == number);
    let amount =
        |name: &str| -> Option<Decimal> { field::text(record.fields.get(name)?).parse().ok() };
    PaymentRecord {
        id: record.id.clone(),
        payment_id: record.text("new_paymentid"),
        status: status.map(|(_, _, label)| (*label).to_owned()).unwrap_or_default(),
        paid: amount("new_paidamount"),
        refunded: amount("new_refundedamount"),
        reference: Some(record.text("new_reference")).filter(|text| !text.is_empty()),
        writes,
    }
}
