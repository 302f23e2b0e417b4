//! The org as those see it who treat all doubles alike: the configuration that signs in to it, and its
//! opportunities as records of payments.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::objects::{
    CURRENCY, OPPORTUNITY, PAID, PAYMENT_ID, REFERENCE, REFUNDED, STATUS, STATUSES,
};
use super::{CLIENT_ID, CLIENT_SECRET, PRIVATE_KEY, Salesforce, USERNAME};
use crate::{Account, By, Fields, Life, PaymentRecord, Record, Server};

/// The mapping of payments, but for the table of statuses.
const OBJECT: &str = r#"
[[objects]]
object = "Opportunity"
name = "payment"
policy = "upsert"
match = [{ field = "Payment_Id__c", from = "subject_id", unique = true }]
when = { kind = "payment" }

[objects.fields]
Name = { template = "Payment {subject_id}", on = "create" }
StageName = { constant = "Prospecting", on = "create" }
CloseDate = { constant = "2026-12-31", on = "create" }
Paid_Amount__c = { from = "amounts.paid", default = 0 }
Refunded_Amount__c = { from = "amounts.refunded", default = 0 }
Payment_Currency__c = "currency"
Invoice_Number__c = "references.invoice_number"

[objects.fields.Payment_Status__c]
from = "status"

[objects.fields.Payment_Status__c.values]
"#;

impl Salesforce {
    /// The table `[crm]` that signs in by an assertion.
    pub fn crm_by_assertion(server: &Server<Salesforce>) -> String {
        let (daily, login) = (server.backend().settings.daily_calls, server.auth_url());
        format!(
            "[crm]\nauth = \"jwt_bearer\"\nlogin_url = \"{login}\"\nclient_id = \"{CLIENT_ID}\"\n\
             username = \"{USERNAME}\"\nprivate_key = \"\"\"\n{PRIVATE_KEY}\"\"\"\n\
             daily_calls = {daily}\ndaily_reserve = 0\nmax_calls_in_flight = 25\n"
        )
    }

    /// The table `[crm]` that signs in by the app's secret.
    pub fn crm_by_secret(server: &Server<Salesforce>) -> String {
        let (daily, login) = (server.backend().settings.daily_calls, server.auth_url());
        format!(
            "[crm]\nauth = \"client_credentials\"\nlogin_url = \"{login}\"\n\
             client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
             daily_calls = {daily}\ndaily_reserve = 0\nmax_calls_in_flight = 25\n"
        )
    }
}

impl Account for Server<Salesforce> {
    fn config(&self) -> String {
        let mut config = Salesforce::crm_by_assertion(self) + OBJECT;
        for label in STATUSES {
            let status = label.to_uppercase().replace(' ', "_");
            // Writing to a text never fails.
            let _ = writeln!(config, "{status} = \"{label}\"");
        }
        config
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let mut writes: HashMap<String, u64> = HashMap::new();
        for commit in self.journal().commits().into_iter().filter(|commit| commit.call > 0) {
            *writes.entry(commit.record).or_default() += 1;
        }
        let org = self.backend().org.lock();
        let records = org.objects.tables[OPPORTUNITY].records();
        let live = records.filter(|record| record.life == Life::Live);
        live.map(|record| payment(record, writes.get(&record.id).copied().unwrap_or(0))).collect()
    }

    fn field(&self, logical: &str) -> String {
        let name = match logical {
            "payment_id" => PAYMENT_ID,
            "status" => STATUS,
            "paid" => PAID,
            "refunded" => REFUNDED,
            "reference" => REFERENCE,
            "currency" => CURRENCY,
            other => other,
        };
        name.to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let by = By::person("person", self.clock().now());
        let fields: Fields = [(field.to_owned(), value)].into_iter().collect();
        let mut org = self.backend().org.lock();
        for (object, table) in &mut org.objects.tables {
            if let Some(written) = table.force(record, &fields, &by) {
                let key = super::objects::key(object, table.get(record));
                self.journal().wrote(written.commit(object, &key));
            }
        }
    }

    fn create(&self, payment_id: &str) -> String {
        let mut fields = Fields::new();
        for (name, value) in [
            ("Name", json!(format!("Payment {payment_id}"))),
            ("StageName", json!("Prospecting")),
            ("CloseDate", json!("2026-12-31")),
            (PAYMENT_ID, json!(payment_id)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let made = self.backend().insert(OPPORTUNITY, &fields);
        made.expect("a person makes a record that the schema takes")
    }
}

fn payment(record: &Record, writes: u64) -> PaymentRecord {
    let number = |field: &str| record.text(field).parse().ok();
    let reference = record.text(REFERENCE);
    PaymentRecord {
        id: record.id.clone(),
        payment_id: record.text(PAYMENT_ID),
        status: record.text(STATUS),
        paid: number(PAID),
        refunded: number(REFUNDED),
        reference: Some(reference).filter(|reference| !reference.is_empty()),
        writes,
    }
}
