//! The org as anything sees it that treats all doubles alike: its configuration for a connector, its deals
//! as records of payments, and a person at its screen.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::metadata::{self, STATUSES};
use super::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, ZohoCrm};
use crate::{Account, By, Fields, PaymentRecord, Server, table::Life};

const MODULE: &str = "Deals";
/// More than these a connector's configuration does not take.
const MAX_CALLS: usize = 25;

impl Account for Server<ZohoCrm> {
    fn config(&self) -> String {
        let settings = &self.backend().settings;
        let values: Vec<String> = STATUSES
            .iter()
            .map(|label| format!("{} = \"{label}\"", label.to_uppercase().replace(' ', "_")))
            .collect();
        format!(
            r#"[crm]
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
refresh_token = "{REFRESH_TOKEN}"
accounts_url = "{accounts}"
credits_per_day = {credits}
max_calls_in_flight = {calls}
timeout_seconds = 10

[[objects]]
object = "Deals"
name = "payment"
policy = "upsert"
match = [{{ field = "Payment_Id", from = "subject_id", unique = true }}]

[objects.fields]
Payment_Status = {{ from = "status", values = {{ {values} }} }}
Amount_Paid = {{ from = "amounts.paid", default = 0 }}
Amount_Refunded = {{ from = "amounts.refunded", default = 0 }}
Payment_Currency = "currency"
Invoice_Number = "references.invoice_number"
Deal_Name = {{ template = "Payment {{subject_id}}", on = "create" }}
Stage = {{ constant = "Qualification", on = "create" }}
"#,
            accounts = self.auth_url(),
            credits = settings.credits_per_day,
            calls = settings.max_in_flight.min(MAX_CALLS),
            values = values.join(", "),
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let mut writes: HashMap<String, u64> = HashMap::new();
        for commit in self.journal().commits() {
            if commit.call > 0 && commit.object == MODULE {
                *writes.entry(commit.record).or_default() += 1;
            }
        }
        let modules = self.backend().modules.lock();
        let records = modules.get(MODULE).into_iter().flat_map(|table| table.records());
        let live = records.filter(|record| record.life == Life::Live);
        let shown = live.map(|record| {
            let reference = record.text("Invoice_Number");
            PaymentRecord {
                id: record.id.clone(),
                payment_id: record.text("Payment_Id"),
                status: record.text("Payment_Status"),
                paid: record.text("Amount_Paid").parse().ok(),
                refunded: record.text("Amount_Refunded").parse().ok(),
                reference: (!reference.is_empty()).then_some(reference),
                writes: writes.get(&record.id).copied().unwrap_or_default(),
            }
        });
        shown.collect()
    }

    fn field(&self, logical: &str) -> String {
        let name = match logical {
            "payment_id" => "Payment_Id",
            "status" => "Payment_Status",
            "paid" => "Amount_Paid",
            "refunded" => "Amount_Refunded",
            "reference" => "Invoice_Number",
            "currency" => "Payment_Currency",
            other => other,
        };
        name.to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let zoho = self.backend();
        let by = By::person("person", self.clock().now());
        let fields = Fields::from_iter([(field.to_owned(), value)]);
        let mut modules = zoho.modules.lock();
        for (module, table) in modules.iter_mut() {
            if let Some(written) = table.force(record, &fields, &by) {
                let key = metadata::key_of(module, table, record);
                self.journal().wrote(written.commit(module, &key));
                zoho.watches.changed(&zoho.site, module, table, &written);
            }
        }
    }

    fn create(&self, payment_id: &str) -> String {
        let fields = Fields::from_iter([
            ("Deal_Name".to_owned(), json!(format!("Deal of {payment_id}"))),
            ("Stage".to_owned(), json!("Qualification")),
            ("Payment_Id".to_owned(), json!(payment_id)),
        ]);
        let made = self.backend().insert(MODULE, &fields);
        made.expect("a person makes no second record of a payment")
    }
}
